"""Random instances of `StaticAllocation-v0`, in pure JAX. Those of programs are drawn on the host:
`live_ranges.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.envs.memory.allocation.types import Instance
from jaxsched.host.checks import INT32_MAX


@dataclasses.dataclass(frozen=True)
class RandomLives:
    """Random buffers; see `random_lives` for the fields. Static shapes `[num_buffers,
    num_buffers]`.
    """

    num_buffers: int
    low: int
    high: int
    horizon: int
    longest: int
    long_percent: int

    def __post_init__(self):
        if self.num_buffers < 1:
            raise ValueError(f"need at least one buffer, got {self.num_buffers}")
        if not 1 <= self.low <= self.high:
            raise ValueError(f"sizes need 1 <= low <= high, got low={self.low}, high={self.high}")
        if not 1 <= self.longest <= self.horizon < INT32_MAX // 2:
            raise ValueError(f"need 1 <= longest <= horizon, got {self.longest} and {self.horizon}")
        if not 0 <= self.long_percent <= 100:
            raise ValueError(f"long_percent is in [0, 100], got {self.long_percent}")
        if self.num_buffers * self.high > INT32_MAX:
            raise ValueError(
                "num_buffers * high exceeds int32: the offsets of a plan would overflow"
            )

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        start_key, short_key, long_key, which_key, size_key = jax.random.split(key, 5)
        shape = (self.num_buffers,)
        start = jnp.sort(jax.random.randint(start_key, shape, 0, self.horizon, jnp.int32))
        short = jax.random.randint(short_key, shape, 1, max(self.longest // 8, 1) + 1, jnp.int32)
        long = jax.random.randint(long_key, shape, 1, self.longest + 1, jnp.int32)
        is_long = jax.random.randint(which_key, shape, 0, 100, jnp.int32) < self.long_percent
        duration = jnp.where(is_long, long, short)
        size = jax.random.randint(size_key, shape, self.low, self.high + 1, jnp.int32)
        return from_arrays(start, duration, size)


@dataclasses.dataclass(frozen=True)
class CutLives:
    """Buffers cut from a full memory; see `cut_lives` for the fields. Static shapes as above."""

    num_buffers: int
    num_dropped: int
    memory: int
    horizon: int
    time_percent: int

    def __post_init__(self):
        if self.num_buffers < 1 or self.num_dropped < 0:
            raise ValueError(
                "need at least one buffer and no negative number of dropped ones, got "
                f"{self.num_buffers} and {self.num_dropped}"
            )
        if not 0 <= self.time_percent <= 100:
            raise ValueError(f"time_percent is in [0, 100], got {self.time_percent}")
        num_cells = self.memory * self.horizon
        if self.num_pieces > num_cells or num_cells * self.num_pieces > INT32_MAX:
            raise ValueError(
                f"memory {self.memory} x horizon {self.horizon} must hold {self.num_pieces} pieces, "
                "and times their number stay within int32"
            )

    @property
    def num_pieces(self) -> int:
        return self.num_buffers + self.num_dropped

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        cut_key, keep_key = jax.random.split(key)
        start, duration, size = self._pieces(cut_key)
        kept = jax.random.permutation(keep_key, self.num_pieces)[: self.num_buffers]
        kept = kept[jnp.argsort(start[kept], stable=True)]
        return from_arrays(start[kept], duration[kept], size[kept])

    def _pieces(self, key: Array) -> tuple[Array, Array, Array]:
        """Start, duration and size of all pieces, i32[P] each."""

        def cut(number: Array, pieces: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            start, duration, size = pieces
            keys = jax.random.split(jax.random.fold_in(key, number), 4)

            def draw(key: Array, high: Any) -> Array:
                return jax.random.randint(key, (), 0, high, jnp.int32)

            area = duration * size
            can = area > 1
            # Of two thirds of the cuts large pieces are the likelier, the others take any piece: a
            # few stay large, and many become small.
            weight = jnp.where(draw(keys[0], 3) > 0, jnp.where(can, area, 0), can.astype(jnp.int32))
            total = jnp.cumsum(weight, dtype=jnp.int32)
            which = (total <= draw(keys[1], total[-1])).sum(dtype=jnp.int32)
            in_time = draw(keys[2], 100) < self.time_percent
            in_time = jnp.where(duration[which] < 2, False, in_time | (size[which] < 2))
            length = jnp.where(in_time, duration[which], size[which])
            low = 1 + draw(keys[3], jnp.maximum(length - 1, 1))
            rest = length - low
            start = start.at[number].set(jnp.where(in_time, start[which] + low, start[which]))
            duration = duration.at[number].set(jnp.where(in_time, rest, duration[which]))
            size = size.at[number].set(jnp.where(in_time, size[which], rest))
            duration = duration.at[which].set(jnp.where(in_time, low, duration[which]))
            return start, duration, size.at[which].set(jnp.where(in_time, size[which], low))

        nothing = jnp.zeros((self.num_pieces,), jnp.int32)
        whole = nothing, nothing.at[0].set(self.horizon), nothing.at[0].set(self.memory)
        return jax.lax.fori_loop(1, self.num_pieces, cut, whole)


def from_arrays(start: Array, duration: Array, size: Array) -> Instance:
    """The instance of lives `[start, start + duration)`, i32[N] each, with start ascending; one
    section per start.

    A largest set of live buffers is complete when the last of it starts, so no other moment
    constrains anything.
    """
    num = start.shape[0]
    live = (start[:, None] <= start[None]) & (start[None] < (start + duration)[:, None])
    index = jnp.arange(num, dtype=jnp.int32)
    same = (
        (start[:, None] == start[None])
        & (duration[:, None] == duration[None])
        & (size[:, None] == size[None])
    )
    before = same & (index[None] < index[:, None])
    none = jnp.zeros((0,), jnp.int32)
    return Instance(
        size=size,
        alignment=jnp.ones_like(size),
        start=start - start[0],
        duration=duration,
        live=live,
        beside=(start[:, None] < (start + duration)[None])
        & (start[None] < (start + duration)[:, None])
        & (index[:, None] != index[None]),
        twin=jnp.where(before.any(-1), jnp.where(before, index, 0).max(-1), index),
        buffer_mask=jnp.ones((num,), jnp.bool_),
        section_mask=jnp.ones((num,), jnp.bool_),
        pinned_offset=none,
        pinned_size=none,
        pinned_live=jnp.zeros((0, num), jnp.bool_),
        capacity=jnp.asarray(INT32_MAX, jnp.int32),
    )


def random_lives(
    num_buffers: int,
    low: int = 1,
    high: int = 64,
    horizon: int | None = None,
    longest: int | None = None,
    long_percent: int = 25,
) -> RandomLives:
    """Buffers with sizes uniform in `[low, high]` and starts uniform in `[0, horizon)`; the
    distribution is ours.

    `long_percent` of them live for a time uniform in `[1, longest]`, the others uniform in `[1,
    longest // 8]`, so that few span many, as weights and skip connections do. `horizon` is
    `num_buffers` ticks and `longest` half of that unless given. Raises `ValueError` for settings
    that contradict each other.
    """
    horizon = num_buffers if horizon is None else horizon
    longest = max(horizon // 2, 1) if longest is None else longest
    return RandomLives(num_buffers, low, high, horizon, longest, long_percent)


def cut_lives(
    num_buffers: int,
    num_dropped: int = 0,
    memory: int = 1024,
    horizon: int | None = None,
    time_percent: int = 60,
) -> CutLives:
    """Buffers that fill a memory without a hole: a rectangle of `horizon` ticks and `memory` units
    is cut in two, the pieces are cut again, and so on, each time through the whole piece.

    `time_percent` of the cuts go across time, the others across the memory; `num_dropped` pieces
    are left out. With all of them, or where a section keeps all of its own, the optimum is known:
    `memory`, the largest live size. `horizon` is two ticks for each piece unless given. Packing
    problems of known optimum are made so since Hopper & Turton (EJOR 128, 2001); the distribution
    is ours. Raises `ValueError` for settings that contradict each other.
    """
    horizon = 2 * (num_buffers + num_dropped) if horizon is None else horizon
    return CutLives(num_buffers, num_dropped, memory, horizon, time_percent)
