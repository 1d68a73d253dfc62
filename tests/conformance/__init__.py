"""Tests the running service against its OpenAPI document; needs the ``conformance`` extra."""
