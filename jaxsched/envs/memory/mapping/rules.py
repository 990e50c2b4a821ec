"""Rules of memory mapping as pure functions of one state: what COPY, NOCOPY and DROP do at the
current access.

Copies share the time of the instructions they overlap: each instruction supplies the ticks that it
takes with everything slow, and a copy takes its demand from whole instructions strictly before its
use. All decisions are made before the program runs, access by access in program order; addresses
follow from them by best fit.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from jaxsched.core.arrays import cumulate, put, put_add, segment_sum, take
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.envs.memory.mapping.types import COPY, DROP, NEVER, Choices, Instance, State

HIGHEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over units


def init(instance: Instance, settings: Settings) -> State:
    """Nothing is decided: every access is slow."""
    return with_choices(_undecided(instance))


def legal(state: State, settings: Settings) -> Array:
    """bool[3]: COPY, NOCOPY, DROP; all false when every access is decided, or none of
    them can be.
    """
    return state.choices.legal


def _undecided(instance: Instance) -> State:
    """The state of which nothing is decided, without the choices at its position."""
    slow = jnp.where(instance.access_mask, instance.slow, 0)
    memory = segment_sum(slow, instance.time, instance.num_instructions)
    elapsed = jnp.maximum(instance.compute, memory)
    row, zero = jnp.zeros_like(instance.time), jnp.zeros((), jnp.int32)
    total, false = elapsed.sum(dtype=jnp.int32), jnp.zeros((), jnp.bool_)
    three, none = jnp.zeros((3,), jnp.int32), jnp.zeros((3,), jnp.bool_)
    choices = Choices(none, three, three, three, three, elapsed, writes_back=false, gain=zero)
    return State(
        instance,
        zero,
        row,
        row,
        row,
        row,
        row,
        elapsed,
        memory,
        latency=total,
        baseline=total,
        choices=choices,
        dead=false,
    )


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """Take `action` (i32[]) at the current access; the same state where not `legal`."""
    instance, choices = state.instance, state.choices
    # out of range: nothing is written
    access = jnp.where(legal, state.position, instance.num_accesses)
    is_fast = action != DROP
    takes = (action == COPY) | ((action == DROP) & choices.writes_back)
    saved = jnp.where(is_fast, take(instance.slow, access) - take(instance.fast, access), 0)
    after = state.replace(
        position=state.position + legal.astype(jnp.int32),
        action=put(state.action, action, access),
        begin=put(state.begin, take(choices.begin, action), access),
        end=put(state.end, take(choices.end, action), access),
        offset=put(state.offset, take(choices.offset, action), access),
        ready=put(state.ready, take(choices.ready, action), access),
        supply=state.supply - jnp.where(legal & takes, choices.taken, 0),
        memory=put_add(state.memory, -saved, take(instance.time, access)),
        latency=state.latency - jnp.where(legal & is_fast, choices.gain, 0),
    )
    return with_choices(after)


def with_choices(state: State) -> State:
    """The state with the choices at its position."""
    instance, position = state.instance, state.position
    time, width, demand = (
        take(field, position) for field in (instance.time, instance.width, instance.demand)
    )
    is_write, leader = take(instance.is_write, position), take(instance.leader, position)
    now = time + 1
    # The value after its last access; zeros, an undecided row, where this is the first.
    previous = take(instance.previous, position)
    end, offset, ready = (take(field, previous) for field in (state.end, state.offset, state.ready))
    is_lone = ready == NEVER  # fast memory has the only copy

    # Its alias group is bound to slow memory or to an offset as soon as one of it is decided.
    is_bound = leader != position
    is_slow = take(state.action, leader) == DROP
    bound_slow, bound_fast = is_bound & is_slow, is_bound & ~is_slow

    slots = jnp.arange(instance.num_instructions, dtype=jnp.int32)
    taken, total = _transfer(state.supply, end, ready, time, demand)
    start = jnp.where(is_write, time, jnp.where(taken > 0, slots, time).min())
    # the write-back is over before this instruction
    written = jnp.where(taken > 0, slots + 1, end).max()
    is_met = total >= demand

    # Addresses: best fit, or that of the group, from the first instruction of the copy; its own for
    # those that stay.
    fit, fits = _best_fit(state, start, now, width)
    bound_offset = take(state.offset, leader)
    bound_fits = _is_free(state, start, now, bound_offset, width) & (
        bound_offset + width <= instance.capacity
    )
    fit, fits = jnp.where(bound_fast, bound_offset, fit), jnp.where(bound_fast, bound_fits, fits)
    stays = _is_free(state, end, now, offset, width)
    is_held = _is_free(state, end, written, offset, width)

    may_read = ready <= time
    copy = ~is_write & may_read & (end < now) & is_met & fits
    keep = (end > 0) & stays & (~bound_fast | (offset == bound_offset))
    no_copy = jnp.where(is_write, fits & ~take(instance.is_output, position), keep)
    drop = is_write | may_read | (is_lone & is_met & is_held & (written <= time))
    is_open = take(instance.access_mask, position)
    legal = jnp.stack([copy & ~bound_slow, no_copy & ~bound_slow, drop & ~bound_fast]) & is_open

    choices = Choices(
        legal=legal,
        begin=jnp.stack([start, jnp.where(is_write, time, end), end]),
        end=jnp.stack([now, now, jnp.where(is_lone, written, end)]),
        offset=jnp.stack([fit, jnp.where(is_write, fit, offset), offset]),
        ready=jnp.stack(
            [
                ready,
                jnp.where(is_write, NEVER, ready),
                jnp.where(is_write, now, jnp.where(is_lone, written, ready)),
            ]
        ),
        taken=taken,
        writes_back=is_lone,
        gain=_gain(state, time),
    )
    return state.replace(choices=choices, dead=is_open & ~legal.any())


def _gain(state: State, time: Array) -> Array:
    """i32[]: ticks that the program is shorter if the access at the position, which is in
    instruction `time`, is fast.
    """
    instance, position = state.instance, state.position
    memory, compute = take(state.memory, time), take(instance.compute, time)
    saved = take(instance.slow, position) - take(instance.fast, position)
    return jnp.maximum(compute, memory) - jnp.maximum(compute, memory - saved)


def rewind(state: State, position: Array) -> State:
    """The state before the access at `position` (i32[], an earlier one) was decided."""
    instance = state.instance
    access = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    action, begin, end, offset, ready = (
        jnp.where(access < position, rows, 0)
        for rows in (state.action, state.begin, state.end, state.offset, state.ready)
    )
    first = _undecided(instance)
    is_fast = (access < position) & (action != DROP)
    saved = jnp.where(is_fast, instance.slow - instance.fast, 0)
    memory = first.memory - segment_sum(saved, instance.time, instance.num_instructions)

    def again(access: Array, supply: Array) -> Array:
        previous = instance.previous[access]
        decided = previous != access  # else it is the first of its value
        last, valid = (jnp.where(decided, rows[previous], 0) for rows in (end, ready))
        taken, _ = _transfer(supply, last, valid, instance.time[access], instance.demand[access])
        takes = (action[access] == COPY) | ((action[access] == DROP) & (valid == NEVER))
        return supply - jnp.where(takes, taken, 0)

    before = state.replace(
        position=position,
        action=action,
        begin=begin,
        end=end,
        offset=offset,
        ready=ready,
        supply=lax.fori_loop(0, position, again, first.supply),
        memory=memory,
        latency=jnp.maximum(instance.compute, memory).sum(dtype=jnp.int32),
    )
    return with_choices(before)


def bound(state: State, settings: Settings) -> Array:
    """i32[]: latency with undecided accesses slow, which falls with every decision; at a dead end
    the baseline.
    """
    return jnp.where(state.dead, state.baseline, state.latency)


def slow_time(instance: Instance) -> Array:
    """i32[]: ticks that all accesses take from slow memory, hidden by computation or not."""
    return jnp.where(instance.access_mask, instance.slow, 0).sum(dtype=jnp.int32)


def memory_time(state: State) -> Array:
    """i32[]: ticks that all accesses take, undecided ones slow; at a dead end all slow."""
    return jnp.where(state.dead, slow_time(state.instance), state.memory.sum(dtype=jnp.int32))


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: every access that can be fast at all is, whatever that does to the others."""
    return optimistic(_undecided(instance))


def optimistic(state: State) -> Array:
    """i32[]: no completion of the mapping is faster."""
    instance = state.instance
    index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    is_open = (index >= state.position) & instance.access_mask & attainable(instance)
    saved = jnp.where(is_open, instance.slow - instance.fast, 0)
    memory = state.memory - segment_sum(saved, instance.time, instance.num_instructions)
    return jnp.maximum(instance.compute, memory).sum(dtype=jnp.int32)


def attainable(instance: Instance) -> Array:
    """bool[A]: accesses that some mapping has fast.

    Not writes of outputs, nor what is wider than fast memory, nor reads for which a copy would come
    too late: inputs and outputs enter fast memory by copies only, which take all supply since they
    are there at most.
    """
    memory = segment_sum(
        jnp.where(instance.access_mask, instance.slow, 0), instance.time, instance.num_instructions
    )
    passed = jnp.cumsum(jnp.maximum(instance.compute, memory), dtype=jnp.int32)
    passed = jnp.concatenate([jnp.zeros((1,), jnp.int32), passed])  # [T + 1]
    same = (instance.value[:, None] == instance.value[None]) & instance.access_mask[None]
    write = jnp.where(same & instance.is_write[None], instance.time + 1, 0).max(-1)  # 0 for inputs
    is_late = passed[instance.time] - passed[write] < instance.demand
    by_copy = instance.is_output | ~(same & instance.is_write[None]).any(-1)
    return (
        (instance.width <= instance.capacity)
        & ~(by_copy & is_late)
        & ~(instance.is_write & instance.is_output)
    )


def _transfer(
    supply: Array, end: Array, ready: Array, time: Array, demand: Array
) -> tuple[Array, Array]:
    """i32[T], i32[]: what a copy or write-back takes of the supply since its value was last there,
    and all it could.

    A copy takes the latest, the write-back of an only copy the earliest.
    """
    slots = jnp.arange(supply.shape[0], dtype=jnp.int32)
    is_lone = ready == NEVER
    earliest = jnp.where(is_lone, end, jnp.maximum(ready, end))
    supply = jnp.where((earliest <= slots) & (slots < time), supply, 0)
    until, total = cumulate(supply), supply.sum(dtype=jnp.int32)
    before = jnp.where(is_lone, until - supply, total - until)  # what it can take elsewhere first
    return jnp.clip(demand - before, 0, supply), total


def _blocks(state: State, begin: Array, end: Array) -> Array:
    """bool[A]: blocks that are held at some instruction of `[begin, end)`."""
    return jnp.maximum(state.begin, begin) < jnp.minimum(state.end, end)


def _is_free(state: State, begin: Array, end: Array, offset: Array, width: Array) -> Array:
    """bool[]: no block is in the way of `[begin, end)` x `[offset, offset + width)`."""
    beside = (offset < state.offset + state.instance.width) & (state.offset < offset + width)
    return ~(_blocks(state, begin, end) & beside).any()


def _best_fit(state: State, begin: Array, end: Array, width: Array) -> tuple[Array, Array]:
    """The start of the smallest gap that holds `width` over `[begin, end)`, the lowest of equal
    ones; whether any does.

    Gaps start at 0 or where a block ends, and reach to the lowest block that ends above, or the
    capacity.
    """
    blocks = _blocks(state, begin, end)
    low, high = state.offset, state.offset + state.instance.width
    starts = jnp.concatenate([jnp.zeros((1,), jnp.int32), jnp.where(blocks, high, 0)])
    above = blocks[None] & (high[None] > starts[:, None])
    gap = jnp.where(above, low, state.instance.capacity).min(-1) - starts  # negative inside a block
    gap = jnp.where(gap >= width, gap, HIGHEST)
    smallest = gap.min()
    return jnp.where(gap == smallest, starts, HIGHEST).min(), smallest < HIGHEST
