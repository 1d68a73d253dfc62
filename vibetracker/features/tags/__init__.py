"""Labels that other features' rows can have."""
