"""The application that ``uvicorn vibetracker.main:app`` serves."""

from vibetracker.core.app import create_app

app = create_app()
