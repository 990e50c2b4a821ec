"""Compiled JAX programs as problems of the family: `plain.py` says how."""
