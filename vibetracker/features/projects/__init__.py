"""What tasks are for: the containers that they are in."""
