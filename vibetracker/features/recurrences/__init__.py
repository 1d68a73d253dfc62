"""Tasks that come again."""
