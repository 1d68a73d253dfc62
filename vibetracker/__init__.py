"""A lightweight, single-tenant REST API for task tracking."""

from importlib.metadata import version

__version__ = version("vibetracker")
