"""One folder per feature; a folder added here is found, checked and mounted at start."""
