"""A feature whose rows have values that JSON does not have, and columns of other names."""
