"""Checks of what users give, in files and in Python: plain values, or a `Fault` with its path."""

from __future__ import annotations

import difflib
import itertools
import operator
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched.host.errors import InstanceError

INT32_MAX = 2**31 - 1
MAX_NAME = 200  # characters


class Fault(InstanceError):
    """What a check found, and the `path` of keys and indices to the value at fault."""

    def __init__(self, reason: str, *path: str | int):
        self.path = path
        where = "".join(map(_step, path)).removeprefix(".")
        super().__init__(f"{where}: {reason}" if where else reason)


def _step(part: str | int) -> str:
    """One key or index of a path, without line ends."""
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


def array(value: Any, *path: str | int) -> Sequence[Any]:
    """`value`, a list, a tuple or an array, as plain Python; raises `Fault`."""
    if not is_array(value):
        raise Fault(f"expected an array, got {shorten(value)}", *path)
    return value if isinstance(value, list | tuple) else value.tolist()


def mapping(value: Any, *path: str | int, known: Sequence[str] = ()) -> Mapping[str, Any]:
    """`value`, an object whose keys are texts; raises `Fault`, also for a key not `known`."""
    if not isinstance(value, Mapping):
        raise Fault(f"expected an object, got {shorten(value)}", *path)
    for key in value:
        if not isinstance(key, str):
            raise Fault(f"the key {shorten(key)} is not a text", *path)
        if known and key not in known:
            close = difflib.get_close_matches(key[:50], known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise Fault(f"unknown key {shorten(key)}; {hint}", *path, key)
    return value


def integer(value: Any, least: int, *path: str | int) -> int:
    """`value` as an integer from `least` to the largest int32; raises `Fault`."""
    try:  # operator.index refuses floats and texts, but takes booleans
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise Fault(f"{shorten(value)} is not an integer", *path)
    if abs(number) > INT32_MAX:
        raise Fault(f"{shorten(number)} does not fit int32", *path)
    if number < least:
        raise Fault(f"{number} is negative" if number < 0 else f"{number}, expected at least {least}", *path)
    return number


def integers(values: Any, *path: str | int) -> list[int]:
    """`values` as integers from 0 to the largest int32; raises `Fault`."""
    return [integer(value, 0, *path, i) for i, value in enumerate(array(values, *path))]


def rising(values: Any, *path: str | int) -> list[int]:
    """`integers` that do not decrease."""
    times = integers(values, *path)
    for i, (first, second) in enumerate(itertools.pairwise(times)):
        if second < first:
            reason = f"{second} is before the one ahead of it, {first}: times must not decrease"
            raise Fault(reason, *path, i + 1)
    return times


def number(value: Any, *path: str | int, below: float = 1e30) -> float:
    """`value` as a float from 0 to less than `below`; raises `Fault`."""
    numeric = isinstance(value, int | float | np.integer | np.floating)
    if not numeric or isinstance(value, bool):
        raise Fault(f"{shorten(value)} is not a number", *path)
    if not 0 <= value < below:  # also refuses NaN
        raise Fault(f"{shorten(value)} is not a number from 0 to {below:g}", *path)
    return float(value)


def check_name(value: Any, *path: str | int) -> str:
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
