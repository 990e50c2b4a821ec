"""Many small arrays as one: a scan stacks it with one write a step, where each of them takes its
own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

DTYPES = (jnp.float32, jnp.int32, jnp.bool_)


class Packed(struct.PyTreeNode):
    """A tree whose numbers and rows of these `DTYPES` lie side by side in one array."""

    bits: Array  # i32[..., K]
    others: list[Array]  # all other leaves
    # The structure of the tree, and of each leaf its shape and dtype, None of the others.
    layout: tuple[Any, tuple[jax.ShapeDtypeStruct | None, ...]] = struct.field(pytree_node=False)

    def unpack(self) -> Any:
        """The tree, its leaves with the axes in front that `bits` and `others` have got."""
        structure, kinds = self.layout
        batch, others = self.bits.shape[:-1], iter(self.others)
        leaves, place = [], 0
        for kind in kinds:
            if kind is None:
                leaves.append(next(others))
                continue
            part = self.bits[..., place : place + kind.size].reshape(*batch, *kind.shape)
            place += kind.size
            if kind.dtype == jnp.float32:
                leaves.append(lax.bitcast_convert_type(part, jnp.float32))
            else:
                leaves.append(part.astype(kind.dtype))
        return jax.tree.unflatten(structure, leaves)


def pack(tree: Any) -> Packed:
    """`tree` in few arrays; `unpack` gives it back, bit by bit."""
    leaves, structure = jax.tree.flatten(tree)
    bits, others, kinds = [jnp.zeros((0,), jnp.int32)], [], []
    for leaf in map(jnp.asarray, leaves):
        if leaf.ndim > 1 or leaf.dtype not in DTYPES:
            others.append(leaf)
            kinds.append(None)
            continue
        kinds.append(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
        is_float = leaf.dtype == jnp.float32
        part = lax.bitcast_convert_type(leaf, jnp.int32) if is_float else leaf.astype(jnp.int32)
        bits.append(part.reshape(-1))
    return Packed(jnp.concatenate(bits), others, (structure, tuple(kinds)))
