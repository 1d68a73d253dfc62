"""Holds the OpenAPI document to its linters, and the service to clients generated from it."""
