"""Failures of machines, drawn by address: the same for a machine and an ordinal under every policy.

Integers throughout but for the logarithm of the repair time, so that results are equal with x64 on
and off.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxsched.envs.job_shop.blocking.types import Failures

LONGEST = 17  # a repair takes at most so many times its mean, and a tick: -log(2**-24) = 16.6


class FailureDraw(NamedTuple):
    """What happens to the operation that a machine begins as its `ordinal`-th."""

    fails: Array  # bool[]  the machine fails during it, if it takes any time
    share: Array  # u32[]  it fails after duration * share // 2**32 ticks of work
    repair: Array  # i32[]  ticks, >= 1


def draw_failure(failures: Failures, machine: Array, ordinal: Array) -> FailureDraw:
    """The draw of a machine and an ordinal, both i32[], from 0."""
    key = random.fold_in(random.fold_in(failures.noise_key, machine), ordinal)
    bits = random.bits(key, (3,), jnp.uint32)
    unit = (bits >> 8).astype(jnp.float32) * jnp.float32(2**-24)  # [0, 1), exact
    # Geometric by inversion: P(repair > n) = (1 - 1 / mean) ** n.
    mean = jnp.maximum(failures.mean_repair, 1)
    rate = -jnp.log1p(-1 / jnp.maximum(mean, jnp.float32(1.0001)))
    steps = -jnp.log(unit[2] + jnp.float32(2**-24)) / rate
    repair = 1 + jnp.floor(steps).astype(jnp.int32)
    return FailureDraw(unit[0] < failures.probability, bits[1], jnp.where(mean > 1, repair, 1))


def work_before_failure(share: Array, duration: Array) -> Array:
    """i32[]: duration * share // 2**32 for duration i32 >= 0, without 64 bits: uniform in [0,
    duration).
    """
    half = jnp.uint32(0xFFFF)
    a, b = share >> 16, share & half
    c, d = duration.astype(jnp.uint32) >> 16, duration.astype(jnp.uint32) & half
    low = ((b * d) >> 16) + ((a * d) & half) + ((b * c) & half)
    return (a * c + ((a * d) >> 16) + ((b * c) >> 16) + (low >> 16)).astype(jnp.int32)


@jax.jit
def failure_table(failures: Failures, machines: Array, ordinals: Array) -> FailureDraw:
    """The draws of all pairs of machines i32[M] and ordinals i32[N]: leaves [M, N]."""
    by_ordinal = jax.vmap(draw_failure, (None, None, 0))
    return jax.vmap(by_ordinal, (None, 0, None))(failures, machines, ordinals)
