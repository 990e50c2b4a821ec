"""Padding by zeros and masks, and buckets of shapes so that few programs are compiled."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def bucket(size: int, base: int = 8) -> int:
    """The smallest of base, 1.25, 1.5, 1.75, 2 ... times a power of two that holds `size`: at
    most 25 % padding.
    """
    if size <= base:
        return base
    step = 1 << max((size - 1).bit_length() - 3, 0)
    return -(-size // step) * step


def pad_to(tree: Any, shapes: Any) -> Any:
    """Zero-pad every leaf of `tree` at the end of each axis to the shape of the matching leaf of
    `shapes`.

    A family's padding is zeros with a False mask, so this pads an instance of any family.
    """

    def pad(leaf, target):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        # On the host where possible: every shape would compile a program of its own.
        pad_with = jnp.pad if isinstance(leaf, Tracer) else np.pad
        if leaf.ndim != len(target.shape) or any(
            a > b for a, b in zip(leaf.shape, target.shape, strict=True)
        ):
            raise ValueError(
                f"cannot pad shape {leaf.shape} to {tuple(target.shape)}; every axis must fit"
            )
        widths = [(0, b - a) for a, b in zip(leaf.shape, target.shape, strict=True)]
        return pad_with(leaf, widths) if widths else leaf  # neither pads scalars

    return jax.tree.map(pad, tree, shapes)


def pad_stack(instances: Sequence[Any], buckets: bool = False) -> Any:
    """Stack instances of different sizes along a new leading axis, padded to the largest (or its
    bucket).
    """
    if not instances:
        raise ValueError("pad_stack needs at least one instance")

    def common(*leaves):
        shape = tuple(
            max(sizes) for sizes in zip(*(jnp.shape(leaf) for leaf in leaves), strict=True)
        )
        shape = tuple(bucket(size) for size in shape) if buckets else shape
        return jax.ShapeDtypeStruct(shape, jnp.result_type(leaves[0]))

    shapes = jax.tree.map(common, *instances)
    return jax.tree.map(_stack, *(pad_to(instance, shapes) for instance in instances))


def _stack(*leaves):
    return (
        jax.device_put(np.stack(leaves)) if isinstance(leaves[0], np.ndarray) else jnp.stack(leaves)
    )


def unstack(tree: Any) -> list[Any]:
    """The entries of a stacked tree, along the leading axis."""
    num = jax.tree.leaves(tree)[0].shape[0]
    return [jax.tree.map(operator.itemgetter(i), tree) for i in range(num)]
