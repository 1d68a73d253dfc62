"""What has changed, for clients that follow it or undo it."""
