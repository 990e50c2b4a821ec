"""Sources shared by all families: a `Source` is any callable `key -> Instance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.core.environment import Source
from jaxsched.core.padding import pad_stack


class Pool:
    """A fixed set of instances, padded to a common shape and sampled uniformly. A `Source`."""

    def __init__(self, instances: Sequence[Any] | Any):
        stacked = pad_stack(instances) if isinstance(instances, list | tuple) else instances
        # a traced index does not take from NumPy
        self.instances = jax.device_put(stacked)

    def __len__(self) -> int:
        return jax.tree.leaves(self.instances)[0].shape[0]

    def take(self, index: Array | int) -> Any:
        """The instance at `index` (i32[])."""
        return jax.tree.map(lambda leaf: leaf[index], self.instances)

    def sample_index(self, key: Array) -> Array:
        """A uniform index, i32[]."""
        return random.randint(key, (), 0, len(self), dtype=jnp.int32)

    def __call__(self, key: Array) -> Any:
        return self.take(self.sample_index(key))


class Mixture:
    """Draws from one of several sources of equal shapes, with the given weights (uniform by
    default). A `Source`.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float] | None = None):
        if weights is not None and (
            len(weights) != len(sources) or min(weights) < 0 or sum(weights) <= 0
        ):
            raise ValueError("weights must be non-negative, one per source, and not all zero")
        self.sources = tuple(sources)
        with np.errstate(divide="ignore"):  # a source of weight 0 is never drawn
            self.log_weights = np.log(np.asarray(weights or [1.0] * len(sources), np.float32))

    def __call__(self, key: Array) -> Any:
        which, draw = random.split(key)
        return jax.lax.switch(random.categorical(which, self.log_weights), self.sources, draw)
