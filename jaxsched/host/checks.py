"""Checks of what users give, in files and in Python: plain values, or a `Fault` with its path."""

from __future__ import annotations

import itertools
import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched.host.errors import InstanceError, did_you_mean

INT32_MAX = 2**31 - 1
MAX_NAME = 200  # characters

Part = str | int | tuple[str, Any]  # of a path: a key, an index, or a key with what it counts


class Fault(InstanceError):
    """What a check found, and the `path` to the value at fault.

    A path has keys, indices, and pairs: `("job", 3)` is spelled `job 3`, and a pair without a word,
    `("", 3)`, is not spelled. `field` names the part of the value at fault where `what`, the reason
    without the path, does.
    """

    def __init__(self, what: str, *path: Part, field: str = ""):
        self.what, self.path, self.field = what, path, field
        where = "".join(map(_spelled, path))
        where = where[2:] if where.startswith(", ") else where.removeprefix(".")
        super().__init__(f"{where}: {what}" if where else what)

    @property
    def keys(self) -> tuple[Any, ...]:
        """The path, of pairs the keys."""
        return tuple(part[1] if isinstance(part, tuple) else part for part in self.path)


def _spelled(part: Part) -> str:
    """One part of a path, without line ends."""
    if isinstance(part, tuple):
        return f", {part[0]} {shorten(part[1])}" if part[0] else ""
    if isinstance(part, str) and part.isprintable() and len(part) <= MAX_NAME:
        return f".{part}"
    return f"[{shorten(part)}]"


def shorten(value: Any) -> str:
    """`value` as it is shown in a message: on one line, cut to a length that fits."""
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return f"{type(value).__name__} with a number of more than 4,300 digits"


def is_array(value: Any) -> bool:
    """Whether `value` is a list, a tuple or an array with an axis: no text, no object."""
    if isinstance(value, list | tuple):
        return True
    return hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0


def array(value: Any, *path: Part) -> Sequence[Any]:
    """`value`, anything to iterate over but a text or an object, as a sequence; raises `Fault`."""
    if isinstance(value, list | tuple):
        return value
    if hasattr(value, "tolist"):  # NumPy and JAX arrays, at once instead of element by element
        value = value.tolist()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise Fault(f"expected an array, got {shorten(value)}", *path)
    return list(value)


def mapping(
    value: Any,
    *path: Part,
    known: Sequence[str] = (),
    required: Sequence[str] = (),
) -> Mapping[str, Any]:
    """`value`, an object whose keys are texts, among them those `required`.

    Raises `Fault`, also for a key that is neither `required` nor `known`, where these are given.
    """
    if not isinstance(value, Mapping):
        those = f" with {', '.join(required)}" if required else ""
        raise Fault(f"expected an object{those}, got {shorten(value)}", *path)
    allowed = [*required, *known]
    for key in value:
        if not isinstance(key, str):
            raise Fault(f"the key {shorten(key)} is not a text", *path)
        if allowed and key not in allowed:
            hint = did_you_mean(key, allowed)
            raise Fault(f"unknown key {shorten(key)}; {hint}", *path, ("", key))
    for key in required:
        if key not in value:
            raise Fault(f"{key!r} is missing", *path, field=key)
    return value


def integer(value: Any, *path: Part, least: int = 0, most: int = INT32_MAX, field: str = "") -> int:
    """`value` as an integer from `least` to `most`; raises `Fault`, which begins with the `field`.

    `most` is a power of two less one, and also bounds how far below zero a value may be.
    """
    if type(value) is int and least <= value <= most:  # almost always
        return value
    name = f"{field} " if field else ""
    try:  # operator.index refuses floats and texts, but takes booleans
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise Fault(f"{name}{shorten(value)} is not an integer", *path, field=field)
    if abs(number) > most:
        limit = "does not fit int32" if most == INT32_MAX else f"is beyond 2**{most.bit_length()}"
        raise Fault(f"{field or shorten(number)} {limit}", *path, field=field)
    if number < least:
        reason = f"must be at least {least}, got {number}" if least else f"{number} is negative"
        raise Fault(f"{name}{reason}", *path, field=field)
    return number


def integers(values: Any, *path: Part) -> list[int]:
    """`values` as integers from 0 to the largest int32; raises `Fault`."""
    return [integer(value, *path, i) for i, value in enumerate(array(values, *path))]


def rising(values: Any, *path: Part) -> list[int]:
    """`integers` that do not decrease."""
    times = integers(values, *path)
    for i, (first, second) in enumerate(itertools.pairwise(times)):
        if second < first:
            reason = f"{second} is before the one ahead of it, {first}: times must not decrease"
            raise Fault(reason, *path, i + 1)
    return times


def number(value: Any, *path: Part, below: float = 1e30) -> float:
    """`value` as a float from 0 to less than `below`; raises `Fault`."""
    numeric = isinstance(value, int | float | np.integer | np.floating)
    if not numeric or isinstance(value, bool):
        raise Fault(f"{shorten(value)} is not a number", *path)
    if not 0 <= value < below:  # also refuses NaN
        raise Fault(f"{shorten(value)} is not a number from 0 to {below:g}", *path)
    return float(value)


def boolean(value: Any, *path: Part, field: str = "") -> bool:
    """`value`, true or false; raises `Fault`, which begins with the `field`."""
    if not isinstance(value, bool | np.bool_):
        name = f"{field} " if field else ""
        raise Fault(f"{name}{shorten(value)} is not true or false", *path, field=field)
    return bool(value)


def check_name(value: Any, *path: Part) -> str:
    """`value`, a name of 1 to `MAX_NAME` printable characters; raises `Fault`."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise Fault(f"{shorten(value)} is not a name: 1 to {MAX_NAME} printable characters", *path)
    return value


def check_unique(names: Sequence[str], field: str, key: str | None = None) -> None:
    """Raise `Fault` at the second of two equal names, `field[i]` or with `key` `field[i].key`."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        path = (field, i) if key is None else (field, i, key)
        if seen.setdefault(check_name(name, *path), i) != i:
            raise Fault(f"{name!r} is also the name of {field}[{seen[name]}]", *path)
