"""Tasks: what there is to do, when, in what order, and what became of it."""
