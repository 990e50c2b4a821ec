"""How the contract judges: conditions that name the first place where they do not hold."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxsched.testing.play import bits


def expect(condition: Any, message: str) -> None:
    """Raise AssertionError with the message where the condition does not hold."""
    if not condition:
        raise AssertionError(message)


def everywhere(good: Any, message: str) -> None:
    """`good` bool[n, T, ...] must hold everywhere; names the first place where it does not."""
    if not good.all():
        where = np.argwhere(~good)[0]
        names = [
            f"{name} {i}" for name, i in zip(("instance", "step", "entry"), where, strict=False)
        ]
        raise AssertionError(
            f"{message} ({', '.join(names)}; {(~good).sum()} of {good.size} in all)"
        )


def match(actual: Any, expected: Any, what: str) -> None:
    """Equal structure, shapes, dtypes and values; floats to 1e-5."""
    structures = jax.tree.structure(actual), jax.tree.structure(expected)
    expect(
        structures[0] == structures[1],
        f"{what}: the structure is {structures[0]}, not {structures[1]}",
    )
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        a, b, name = (
            np.asarray(bits(a)),
            np.asarray(bits(b)),
            f"{what}: leaf {jax.tree_util.keystr(path)}",
        )
        expect(a.dtype == b.dtype, f"{name} has dtype {a.dtype}, not {b.dtype}")
        expect(a.shape == b.shape, f"{name} has shape {a.shape}, not {b.shape}")
        close = (
            np.isclose(a, b, rtol=1e-5, atol=1e-5)
            if np.issubdtype(a.dtype, np.floating)
            else a == b
        )
        if not close.all():
            where = tuple(int(i) for i in np.argwhere(~close)[0])
            raise AssertionError(f"{name} is {a[where]} at {where}, not {b[where]}")
