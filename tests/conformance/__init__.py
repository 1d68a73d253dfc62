"""Holds the running service to its OpenAPI document; needs the ``conformance`` extra."""
