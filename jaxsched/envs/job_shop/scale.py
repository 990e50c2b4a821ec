"""The units in which a policy sees times."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.envs.job_shop.rules import LATEST, Frontier, makespan_bound
from jaxsched.envs.job_shop.types import State


class Scale(struct.PyTreeNode):
    """The clock and what times are measured in: `values * unit` and `(times - now) * span`."""

    now: Array  # i32[]  the earliest start of an unfinished job, ticks
    unit: Array  # f32[]  1 / mean remaining duration
    span: Array  # f32[]  1 / (makespan bound - clock)

    def units(self, values: Array) -> Array:
        """f32[...]: spans of time i32[...] in units of the mean remaining duration."""
        return values.astype(jnp.float32) * self.unit

    def spans(self, values: Array) -> Array:
        """f32[...]: spans of time i32[...] in units of what the bound leaves."""
        return values.astype(jnp.float32) * self.span

    def until(self, times: Array) -> Array:
        """f32[...]: from the clock to `times` i32[...], like `spans`."""
        return self.spans(times - self.now)


def scale_of(state: State, front: Frontier) -> Scale:
    """Clock and units of a state."""
    now = jnp.where(state.done, 0, jnp.where(front.mask, front.start, LATEST).min())
    work, ops_left = state.work_left.sum(dtype=jnp.int32), state.ops_left.sum(dtype=jnp.int32)
    unit = jnp.maximum(ops_left, 1).astype(jnp.float32) / jnp.maximum(work, 1).astype(jnp.float32)
    span = 1.0 / jnp.maximum(makespan_bound(state) - now, 1).astype(jnp.float32)
    return Scale(now, unit, span)
