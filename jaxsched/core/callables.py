"""Users' callables as keys of caches of compiled programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


class Uncached:
    """A callable that equals itself alone, so that a program compiled for it is used for nothing
    else.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def as_key(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, or where it cannot be a key of a cache, an `Uncached` of it.

    An object that holds arrays (a module of Equinox or flax, a `flax.struct`) has no hash, or one
    that does not change when its arrays do.
    """
    if not jax.tree_util.all_leaves([function]):
        return Uncached(function)
    try:
        hash(function)
    except TypeError:
        return Uncached(function)
    return function
