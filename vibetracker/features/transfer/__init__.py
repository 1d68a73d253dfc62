"""In from elsewhere, and out without loss: exports, imports, and a calendar to subscribe to."""
