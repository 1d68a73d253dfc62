"""Reports to people, monitors and orchestrators whether the service can do its work."""
