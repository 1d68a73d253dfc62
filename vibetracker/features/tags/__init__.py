"""Labels that other features' rows can wear."""
