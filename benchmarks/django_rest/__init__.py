"""A peer: Django REST framework as its documentation has it, on the same tables."""
