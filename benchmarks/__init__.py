"""The performance run: hand-written, vibetracker, and the usual FastAPI, side by side."""
