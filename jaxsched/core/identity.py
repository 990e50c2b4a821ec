"""What identifies an instance whatever its padding: the hash of its arrays, and its size in
words.
"""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jaxsched.core.environment import Instance


def instance_hash(instance: Instance) -> str:
    """SHA-256 (hex) of the instance's arrays, equal for any padding.

    Padding is zeros with a False mask, so arrays are hashed as if zeros went on for ever: without
    trailing zeros along each axis, as little-endian 64-bit numbers, beside the field's name. Fields
    that are all zero are left out.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(
        (jax.tree_util.keystr(path), leaf) for path, leaf in _named_leaves(instance)
    ):
        array = _trimmed(leaf)
        if array.size:
            kind = "<f8" if np.issubdtype(array.dtype, np.floating) else "<i8"
            digest.update(f"{path} {array.shape} {kind}\n".encode())
            digest.update(np.ascontiguousarray(array, kind).tobytes())
    return digest.hexdigest()


def instance_size(instance: Instance) -> str:
    """Extent of the widest mask without padding: `20 x 15` for 20 jobs of 15 operations."""
    masks = [_trimmed(leaf) for _, leaf in _named_leaves(instance) if leaf.dtype == jnp.bool_]
    return (
        " x ".join(map(str, max(masks, key=lambda mask: (mask.ndim, mask.size)).shape))
        if masks
        else ""
    )


def _named_leaves(instance: Instance) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(instance)[0]


def _trimmed(leaf: Any) -> np.ndarray:
    """The array without trailing all-zero slices along each axis."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = random.key_data(leaf)
    array = np.asarray(leaf)
    extent = [int(ids.max(initial=-1)) + 1 for ids in np.nonzero(np.atleast_1d(array))]
    return np.atleast_1d(array)[tuple(slice(length) for length in extent)]
