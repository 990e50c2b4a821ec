"""Plain Python values: scalars of NumPy and JAX become the numbers that they are."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import Any

import jax
import jax.core
import numpy as np

PLAIN_TYPES = (bool, int, float, str, type(None))


def make_plain(record: Any) -> None:
    """Turn the fields of a frozen dataclass into plain Python values, as it is made.

    A scalar of NumPy or JAX becomes the Python number it is. Raises `ValueError` where a value is
    not of the type that its field is annotated with, as far as that is made of `PLAIN_TYPES`.
    """
    for name, types in _plain_fields(type(record)).items():
        object.__setattr__(record, name, plain(getattr(record, name), name, *types))


def plain(value: Any, name: str, *types: type) -> Any:
    """`value` as one of `types`, which are of `PLAIN_TYPES`; `ValueError` naming it otherwise."""
    value = plain_number(value)
    if type(value) is int and float in types and int not in types:
        value = float(value)
    if type(value) not in types:
        expected = " or ".join("None" if each is type(None) else each.__name__ for each in types)
        raise ValueError(f"{name} must be of type {expected}, got {value!r}")
    return value


def plain_number(value: Any) -> Any:
    """The Python number of a NumPy or JAX scalar; any other value as it is."""
    is_traced = isinstance(value, jax.core.Tracer)  # pyright: ignore[reportAttributeAccessIssue]
    is_array = isinstance(value, np.ndarray | jax.Array) and not is_traced
    if isinstance(value, np.generic) or (is_array and value.ndim == 0):
        return value.item()
    return value


@functools.cache
def field_names(record: type) -> tuple[str, ...]:
    """The names of the fields of a dataclass."""
    return tuple(field.name for field in dataclasses.fields(record))


@functools.cache
def _plain_fields(record: type) -> dict[str, tuple[type, ...]]:
    """The types of those fields whose annotation is made of `PLAIN_TYPES`, by name."""
    hints = typing.get_type_hints(record)
    found = {}
    for name in field_names(record):
        types = typing.get_args(hints[name]) or (hints[name],)
        if all(each in PLAIN_TYPES for each in types):
            found[name] = types
    return found
