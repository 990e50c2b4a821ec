"""Rules of static allocation as pure functions of one state: put a buffer onto the skyline of its
neighbours.

Neighbours are buffers live at a common time. The chosen buffer goes to the lowest offset at or
above the highest end of its placed neighbours that is a multiple of its alignment and keeps clear
of its pinned neighbours. Some order reaches an optimum: take an optimal plan, place its buffers in
order of their offsets; none goes higher than it was, because what is below it now was below it
then.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import lookup, put, take, take_row
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.types import Instance, State

HIGHEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over offsets


def init(instance: Instance, settings: Settings) -> State:
    """Nothing is placed but what is pinned."""
    left = jnp.where(instance.live, instance.size[:, None], 0).sum(0, dtype=jnp.int32)
    lower = lower_bound(instance, settings)
    return State(
        instance=instance,
        placed=jnp.zeros_like(instance.buffer_mask),
        offset=jnp.zeros_like(instance.size),
        top=jnp.zeros_like(left),
        left=left,
        lower=lower,
        baseline=lower,
        overflow=_exceeds(lower, instance, settings),
        left_to_place=instance.buffer_mask.sum(dtype=jnp.int32),
    )


def legal(state: State, settings: Settings) -> Array:
    """bool[N]: buffers not placed, of equal ones the first; all false at the end."""
    twin = state.instance.twin
    before = lookup(state.placed.astype(jnp.int32), twin) > 0
    first = twin == jnp.arange(twin.shape[0], dtype=jnp.int32)
    return state.instance.buffer_mask & ~state.placed & (first | before) & ~state.done


def offsets(state: State, floor: Array | None = None) -> Array:
    """i32[N]: where each buffer would go now; `floor` i32[N] is the highest top of its sections
    where that is known.
    """
    instance = state.instance
    if floor is None:
        floor = jnp.where(instance.live, state.top[None], 0).max(-1)
    return jax.vmap(clear, (None, 0, 0, 0, 0))(
        instance, floor, instance.size, instance.alignment, instance.live
    )


def clear(instance: Instance, floor: Array, size: Array, alignment: Array, live: Array) -> Array:
    """i32[]: the lowest offset from `floor` on that is aligned and keeps clear of the pinned
    neighbours.

    It is `floor` or the end of a pinned buffer, rounded up. `live` bool[S] is the life of the
    buffer.
    """
    low, high = instance.pinned_offset, instance.pinned_offset + instance.pinned_size
    beside = (instance.pinned_live & live[None]).any(-1)
    start = jnp.append(jnp.maximum(high, floor), floor)  # [F + 1]
    alignment = jnp.maximum(alignment, 1)
    start = (start + alignment - 1) // alignment * alignment
    blocked = (
        beside[None] & (low[None] < start[:, None] + size) & (start[:, None] < high[None])
    ).any(-1)
    return jnp.where(blocked, HIGHEST, start).min()


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """Place the buffer `action` (i32[]); the same state where not `legal` (bool[])."""
    instance = state.instance
    buffer = jnp.where(legal, action, instance.num_buffers)  # out of range: nothing is written
    size, alignment = take(instance.size, buffer), take(instance.alignment, buffer)
    live = take_row(instance.live, buffer)
    floor = jnp.where(live, state.top, 0).max(initial=0)
    offset = clear(instance, floor, size, alignment, live)
    after = state.replace(
        placed=put(state.placed, True, buffer),
        offset=put(state.offset, offset, buffer),
        top=jnp.where(live, offset + size, state.top),
        left=state.left - jnp.where(live, size, 0),
        left_to_place=state.left_to_place - (buffer < instance.num_buffers).astype(jnp.int32),
    )
    return after.replace(overflow=_exceeds(bound(after, settings), instance, settings))


def bound(state: State, settings: Settings) -> Array:
    """i32[]: no completion has a smaller peak; non-decreasing, the peak at the end.

    All that is left of a section goes above its top.
    """
    return jnp.maximum(state.lower, (state.top + state.left).max(initial=0))


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: the largest size live in a section, or the highest end of a pinned buffer."""
    live = jnp.where(instance.live, instance.size[:, None], 0).sum(0, dtype=jnp.int32)
    pinned = jnp.where(instance.pinned_live, instance.pinned_size[:, None], 0).sum(
        0, dtype=jnp.int32
    )
    highest = (instance.pinned_offset + instance.pinned_size).max(initial=0)
    return jnp.maximum((live + pinned).max(initial=0), highest)


def _exceeds(peak: Array, instance: Instance, settings: Settings) -> Array:
    """bool[]: a peak of that much ends an episode: it is beyond the capacity, and a
    plan must fit.
    """
    return jnp.asarray(settings.goal == "fit") & (peak > instance.capacity)
