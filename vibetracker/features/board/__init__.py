"""A page in the browser: tasks as cards in columns, built on the public API alone."""
