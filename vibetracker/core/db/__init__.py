"""The database: engines, the transaction of a request, models and column types."""
