"""Lints the OpenAPI document, and tests the service with clients generated from it."""
