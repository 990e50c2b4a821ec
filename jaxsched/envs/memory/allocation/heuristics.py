"""Heuristics of static allocation: an order of the buffers, and where each one goes among those
placed before.

Orders: `size` (size, then duration), `duration` (duration, then size), `area` (duration x size,
then size), each descending, `start` (start ascending, then size descending); further ties to the
buffer that comes first. Fits: `best`, the smallest gap in address that holds the buffer, the lowest
of equal ones; `first`, the lowest gap that holds it; both on top of all its neighbours where there
is none. Neighbours are the placed buffers live at a common time.

`xla` is the better of best fit by size and by duration, which is what XLA's buffer assignment
computes (its heap algorithms kSpatial and kTemporal, openxla/xla, `heap_simulator.cc`); best fit by
size is also the rule of TFLite's arena planner. The duration of a buffer with gaps is the time it
is live.

Inside jit the same orders are scores of a state of `StaticAllocation-v0`, where the chosen buffer
goes onto the skyline instead of into a gap, and two rules look at that skyline.
"""

from __future__ import annotations

import bisect
import types
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.envs.memory.allocation import rules
from jaxsched.envs.memory.allocation.types import State
from jaxsched.envs.memory.types import Buffers
from jaxsched.host.deadline import Deadline

ORDERS = ("size", "duration", "area", "start")
FITS = ("best", "first")
HEURISTICS = ("xla", "no_reuse", *(f"{fit}_fit_{order}" for fit in FITS for order in ORDERS))


def heuristic(buffers: Buffers, name: str, deadline: Deadline) -> np.ndarray | None:
    """The offsets i64[N] of a heuristic by name, one of `HEURISTICS`; None where time was up.

    All but `no_reuse` take time quadratic in the buffers, so only that one never returns None.
    """
    if name == "xla":
        plans = [heuristic(buffers, f"best_fit_{rule}", deadline) for rule in ("size", "duration")]
        found = [offsets for offsets in plans if offsets is not None]
        if len(found) < len(plans):
            return None
        # ties to by size
        return min(found, key=lambda offsets: int((offsets + buffers.size).max(initial=0)))
    if name == "no_reuse":
        return stacked(buffers, deadline)
    fit, _, rule = name.split("_")
    return place(buffers, order(buffers, rule), fit, deadline)


def order(buffers: Buffers, rule: str) -> np.ndarray:
    """The buffers in one of `ORDERS`, i64[N]."""
    size, duration = buffers.size, durations(buffers)
    if rule == "area":  # may exceed int64
        area = [int(a) * int(b) for a, b in zip(size, duration, strict=True)]
        return np.array(sorted(range(len(area)), key=lambda i: (-area[i], -int(size[i]))), np.int64)
    keys = {
        "size": (-duration, -size),
        "duration": (-size, -duration),
        "start": (-size, buffers.starts()),
    }
    return np.lexsort(keys[rule])  # the last key first; stable


def durations(buffers: Buffers) -> np.ndarray:
    """Ticks that each buffer is live, i64[N]."""
    buffer, start, end = buffers.segments()
    total = np.zeros(len(buffers), np.int64)
    np.add.at(total, buffer, end - start)
    return total


def stacked(buffers: Buffers, deadline: Deadline) -> np.ndarray:
    """The offsets i64[N] of `no_reuse`: no two buffers share an address, whenever they are live.

    Pinned ones are there from the beginning, the others go one by one into the smallest gap that
    pinned ones or alignments leave and that holds them, or above all; only above once time is up.
    """
    pinned, offset = buffers.pinned, buffers.offset.copy()
    size, alignment = buffers.size.tolist(), buffers.alignment.tolist()
    blocks = sorted(
        zip(offset[pinned].tolist(), (offset + buffers.size)[pinned].tolist(), strict=True)
    )
    gaps, top = list[tuple[int, int, int]](), 0  # width, floor and ceiling, in ascending order
    for low, high in blocks:
        if low > top:
            bisect.insort(gaps, (low - top, top, low))
        top = max(top, high)
    for i in np.flatnonzero(~pinned).tolist():
        low = -(-top // alignment[i]) * alignment[i]
        if deadline.is_over():
            gaps = []
        for k in range(bisect.bisect_left(gaps, (size[i],)), len(gaps)):
            inside = -(-gaps[k][1] // alignment[i]) * alignment[i]
            if inside + size[i] <= gaps[k][2]:
                low, (_, floor, ceiling) = inside, gaps.pop(k)
                break
        else:
            floor, top = top, low + size[i]
            ceiling = top
        offset[i] = low
        for start, end in ((floor, low), (low + size[i], ceiling)):
            if end > start:
                bisect.insort(gaps, (end - start, start, end))
    return offset


def place(
    buffers: Buffers, order: Sequence[int] | np.ndarray, fit: str, deadline: Deadline
) -> np.ndarray | None:
    """The offsets i64[N] of the buffers placed one by one; None where time was up.

    Pinned ones are there from the beginning.
    """
    segment, start, end = buffers.segments()
    # the segments of buffer i: first[i] to first[i + 1]
    first = np.searchsorted(segment, np.arange(len(buffers) + 1))
    offset = buffers.offset.copy()
    placed = buffers.pinned.copy()
    for i in order:
        if placed[i]:
            continue
        if deadline.is_over():
            return None
        beside = np.zeros(len(buffers), np.bool_)
        for k in range(first[i], first[i + 1]):
            beside[segment[placed[segment] & (start < end[k]) & (start[k] < end)]] = True
        ids = np.flatnonzero(beside)
        ids = ids[np.argsort(offset[ids], kind="stable")]
        offset[i] = _fit(
            offset[ids],
            offset[ids] + buffers.size[ids],
            int(buffers.size[i]),
            int(buffers.alignment[i]),
            fit,
        )
        placed[i] = True
    return offset


def _fit(low: np.ndarray, high: np.ndarray, size: int, alignment: int, fit: str) -> int:
    """The offset among blocks i64[K] in ascending order of their lower ends."""
    floor = np.maximum.accumulate(np.append(0, high))
    start = -(-floor // alignment) * alignment
    gap = low - floor[:-1]
    holds = np.flatnonzero(start[:-1] + size <= low)
    if not holds.size:
        return int(start[-1])
    return int(start[holds[np.argmin(gap[holds])] if fit == "best" else holds[0]])


# ------------------------------------------------------------------------------------ scores in jit


def by_size(state: State) -> Array:
    """Largest first, ties to the longer life. i32[N]."""
    return _ranks(state.instance.size, state.instance.duration)


def by_duration(state: State) -> Array:
    """Longest life first, ties to the larger. i32[N]."""
    return _ranks(state.instance.duration, state.instance.size)


def by_area(state: State) -> Array:
    """Largest product of size and duration first, ties to the larger. i32[N].

    Products closer than float32 resolves count as ties.
    """
    size = state.instance.size
    return _ranks(size.astype(jnp.float32) * state.instance.duration.astype(jnp.float32), size)


def by_start(state: State) -> Array:
    """Earliest start first, ties to the larger. i32[N]."""
    return _ranks(-state.instance.start, state.instance.size)


def lowest(state: State) -> Array:
    """The lowest offset, ties to the longer life. i32[N]."""
    return _ranks(-rules.offsets(state), state.instance.duration)


def least_waste(state: State) -> Array:
    """The least unusable area under it, ties to the lowest index. f32[N]."""
    live = state.instance.live
    gap = jnp.where(live, rules.offsets(state)[:, None] - state.top[None], 0)
    return -gap.astype(jnp.float32).sum(-1)


def random(state: State) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal buffer. i32[N]."""
    return jnp.zeros_like(state.offset)


def _ranks(first: Array, second: Array) -> Array:
    """i32[N]: position in the ascending order of (first, second), the same for ties."""
    above = (first[:, None] > first[None]) | (
        (first[:, None] == first[None]) & (second[:, None] > second[None])
    )
    return above.sum(-1, dtype=jnp.int32)


SCORES = types.MappingProxyType(
    {
        "size": by_size,
        "duration": by_duration,
        "area": by_area,
        "start": by_start,
        "lowest": lowest,
        "least_waste": least_waste,
        "random": random,
    }
)
