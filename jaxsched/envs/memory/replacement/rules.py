"""Rules of tensor replacement as pure functions of one state: run an operator, or evict a tensor to
make room for it.

While an operator runs, its inputs and outputs are resident, and everything resident fits the
capacity: in sum, or at addresses. Where it does not fit at once, tensors are evicted one by one,
inputs of the operator among them, until all its missing inputs and all its outputs fit; only then
they enter, all together. To evict costs the size of the tensor unless a copy lies off-chip already,
and as much again to copy it in for its next reader. What nobody will read any more leaves by
itself. The first load of a backed tensor is free.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import lookup, put, put_row, take, take_row
from jaxsched.envs.memory.replacement.settings import Settings
from jaxsched.envs.memory.replacement.types import Instance, State

HIGHEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over offsets


def init(instance: Instance, settings: Settings) -> State:
    """Nothing ran, and nothing is resident; the copies of backed tensors lie off-chip."""
    zero, off_chip = jnp.zeros((), jnp.int32), jnp.zeros_like(instance.backed)
    return State(
        instance=instance,
        ran_at=jnp.zeros((instance.num_ops,), jnp.int32),
        ran=jnp.zeros_like(instance.op_mask),
        created=off_chip,
        resident=off_chip,
        copied=instance.backed | off_chip,
        left=instance.reads.sum(0, dtype=jnp.int32),
        offset=jnp.zeros_like(instance.size),
        current=zero,
        evicting=jnp.zeros((), jnp.bool_),
        traffic=zero,
        retrieved=jnp.zeros_like(instance.slot_mask),
        address=jnp.zeros_like(instance.slot),
        baseline=zero,
        left_to_run=instance.op_mask.sum(dtype=jnp.int32),
        stuck=working_sets(instance).max(initial=0) > instance.capacity,
    )


def working_sets(instance: Instance) -> Array:
    """i32[N]: summed size of the tensors that each operator reads and makes."""
    size = lookup(instance.size, instance.slot.ravel()).reshape(instance.slot.shape)
    return jnp.where(instance.slot_mask, size, 0).sum(-1, dtype=jnp.int32)


def made_by(instance: Instance, op: Array) -> Array:
    """bool[A]: the outputs of an operator (i32[])."""
    return instance.tensor_mask & ~instance.backed & (instance.producer == op)


def legal(state: State, settings: Settings) -> Array:
    """bool[N + A]: operators that can run in a free order, or the next one.

    While one waits for room: what is resident.
    """
    instance = state.instance
    running = ~state.evicting & ~state.done
    if settings.schedule == "free":
        ops = (
            instance.op_mask
            & ~state.ran
            & ~(instance.reads & (~(state.created | instance.backed))[None]).any(-1)
        )
    else:
        step = (instance.op_mask & state.ran).sum(dtype=jnp.int32)
        ops = jnp.arange(instance.num_ops, dtype=jnp.int32) == step
    return jnp.concatenate([ops & running, state.resident & state.evicting])


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """Choose the operator `action` (i32[]), or evict the tensor `action - N`; run the operator if
    it fits then.

    The same state where not `legal` (bool[]).
    """
    addressed = settings.placement == "address"
    instance = state.instance
    num_ops, num_tensors = instance.num_ops, instance.num_tensors
    current = jnp.where(legal & (action < num_ops), action, state.current)
    victim = jnp.where(legal & (action >= num_ops), action - num_ops, num_tensors)
    # A tensor that is resident will be read again: what it costs to copy it in is certain, and
    # charged with the spill.
    cost = take(instance.size, victim) * (2 - take(state.copied, victim).astype(jnp.int32))
    resident, copied = put(state.resident, False, victim), put(state.copied, True, victim)

    inputs, outputs = take_row(instance.reads, current), made_by(instance, current)
    needed = inputs | outputs
    slot, slot_mask = take_row(instance.slot, current), take_row(instance.slot_mask, current)
    if addressed:
        offset, fits = place(instance, resident, state.offset, slot, slot_mask)
    else:
        offset = state.offset
        fits = (
            jnp.where(resident | needed, instance.size, 0).sum(dtype=jnp.int32) <= instance.capacity
        )
    run = legal & fits
    left = state.left - (run & inputs).astype(jnp.int32)
    retrieved = lookup((inputs & ~resident).astype(jnp.int32), slot) > 0
    op = jnp.where(run, current, num_ops)
    return state.replace(
        ran_at=put(state.ran_at, state.ran.sum(dtype=jnp.int32), op),
        ran=put(state.ran, True, op),
        created=state.created | (run & needed),
        resident=jnp.where(run, (resident | needed) & (left > 0), resident),
        copied=copied,
        left=left,
        offset=jnp.where(run, offset, state.offset),
        current=current,
        evicting=jnp.where(legal, ~fits, state.evicting),
        traffic=state.traffic + cost,
        retrieved=put_row(state.retrieved, retrieved & slot_mask, op),
        address=put_row(state.address, lookup(offset, slot), op) if addressed else state.address,
        left_to_run=state.left_to_run - run.astype(jnp.int32),
    )


def place(
    instance: Instance, resident: Array, offset: Array, slot: Array, slot_mask: Array
) -> tuple[Array, Array]:
    """Offsets i32[A] with the tensors `slot` i32[K] placed that are not `resident`, and whether all
    of them fit.

    One after the other, each into the smallest gap between what is resident or placed that holds
    it, the lowest of equal ones; the space above the last block counts as a gap up to the capacity.
    """
    fits = jnp.ones((), jnp.bool_)
    for k in range(slot.shape[0]):
        size = take(instance.size, slot[k])
        wanted = slot_mask[k] & ~take(resident, slot[k])
        low, gap = gaps(instance, resident, offset)
        gap = jnp.where(gap >= jnp.maximum(size, 1), gap, HIGHEST)
        smallest = gap.min()
        found = smallest < HIGHEST
        index = jnp.where(wanted & found, slot[k], instance.num_tensors)
        offset = put(offset, jnp.where(gap == smallest, low, HIGHEST).min(), index)
        resident = put(resident, True, index)
        fits &= ~wanted | found
    return offset, fits


def gaps(instance: Instance, resident: Array, offset: Array) -> tuple[Array, Array]:
    """Where gaps may begin, above each tensor and at 0, and how long they are, 0 for none: i32[A +
    1] each.
    """
    low = jnp.where(resident, offset, HIGHEST)
    begin = jnp.append(jnp.where(resident, offset + instance.size, 0), 0)
    # The first block that does not end at or below `begin`: it lies above, or it covers the
    # beginning of the gap.
    above = jnp.where(
        resident[None] & ((offset + instance.size)[None] > begin[:, None]),
        low[None],
        instance.capacity,
    ).min(-1)
    return begin, jnp.maximum(jnp.minimum(above, instance.capacity) - begin, 0)


def bound(state: State, settings: Settings) -> Array:
    """i32[]: no completion moves less: what was spilled, and what must be copied in
    again or was.
    """
    return state.traffic


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: 0, or in a fixed order the least that some operator forces out: what is made before
    and read after it.

    A byte of a backed tensor costs at least 1, to copy it in again, one of another 2.
    """
    if settings.schedule == "free":
        return jnp.zeros((), jnp.int32)
    step = jnp.arange(instance.num_ops, dtype=jnp.int32)[:, None]
    reads = instance.reads
    first = jnp.where(reads, step, instance.num_ops).min(0, initial=instance.num_ops)
    last = jnp.where(reads, step, -1).max(0, initial=-1)
    begin = jnp.where(instance.backed, first, instance.producer)
    across = (begin[None] < step) & (step < last[None]) & ~reads  # [N, A]
    across &= instance.tensor_mask[None]
    loose, held = (
        jnp.where(across & which[None], instance.size[None], 0).sum(-1, dtype=jnp.int32)
        for which in (instance.backed, ~instance.backed)
    )
    excess = loose + held + working_sets(instance) - instance.capacity
    least = excess + jnp.clip(excess - loose, 0, held)
    return jnp.where(instance.op_mask, jnp.maximum(least, 0), 0).max(initial=0)
