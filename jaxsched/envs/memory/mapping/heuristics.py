"""Heuristics of memory mapping, as scores of the three actions; each can be played with drop-backup
(`backup.play`).

* `all_drop`: DROP, NOCOPY, COPY in this order: everything slow, as far as alias groups let it.
* `greedy`: NOCOPY, COPY, DROP. `greedy_copy`: COPY, NOCOPY, DROP. `greedy_keep`: NOCOPY, DROP,
  COPY, so it never copies what may be read slowly.
* `belady`: what is there stays. Other values come in only where they take the place of no value
  that is needed sooner than themselves, or whose only copy is in fast memory.
* `msa`: the plan of `msa_plan`, after XLA's memory space assignment; NOCOPY, COPY, DROP for what
  should be fast, DROP, NOCOPY, COPY for the rest.
* `random`: equal scores, to be sampled.
"""

from __future__ import annotations

import types

import jax.numpy as jnp
from jax import Array, lax

from jaxsched.core.arrays import segment_sum, take
from jaxsched.envs.memory.mapping import rules
from jaxsched.envs.memory.mapping.types import COPY, NEVER, NOCOPY, Instance, State


def _order(*scores: int):
    def scored(state: State) -> Array:
        return jnp.asarray(scores, jnp.int32)  # of COPY, NOCOPY, DROP

    return scored


def residents(state: State) -> Array:
    """bool[A]: the last decided access of each value that is still needed and could stay where it
    is until now.
    """
    instance = state.instance
    index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    waits = (index < state.position) & (instance.following >= state.position) & (state.end > 0)
    now = take(instance.time, state.position) + 1
    low, high = state.offset, state.offset + instance.width
    used = state.begin < state.end
    # [value, block]
    later = jnp.maximum(state.begin[None], state.end[:, None]) < jnp.minimum(state.end, now)[None]
    taken = later & used[None] & (low[None] < high[:, None]) & (low[:, None] < high[None])
    return waits & ~taken.any(-1)


def pushed_out(state: State, stays: Array) -> Array:
    """bool[A]: of the residents `stays`, those whose place the current value would take by COPY or
    by a fast write.
    """
    instance = state.instance
    offset = take(
        state.choices.offset, jnp.where(take(instance.is_write, state.position), NOCOPY, COPY)
    )
    other = instance.value != take(instance.value, state.position)
    top = offset + take(instance.width, state.position)
    covered = (state.offset < top) & (offset < state.offset + instance.width)
    return stays & other & covered


def next_use(state: State) -> Array:
    """i32[A]: the instruction of the access of the same value after each, NEVER where none."""
    instance = state.instance
    index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    return jnp.where(instance.following == index, NEVER, instance.time[instance.following])


def belady(state: State) -> Array:
    """i32[3]: what is there stays, others come in where they are needed before what they push
    out.
    """
    uses = next_use(state)
    is_write = take(state.instance.is_write, state.position)
    covered = pushed_out(state, residents(state))
    worth = ~(covered & ((state.ready == NEVER) | (uses <= take(uses, state.position)))).any()
    comes_in = jnp.where(worth, 3, 0)
    return jnp.stack([comes_in, jnp.where(is_write, comes_in, 4), jnp.int32(2)]).astype(jnp.int32)


def msa(state: State) -> Array:
    """i32[3]: fast where `msa_plan` wants the access fast, else slow."""
    wanted = take(msa_plan(state.instance), state.position)
    return jnp.where(wanted, jnp.asarray([2, 3, 1], jnp.int32), jnp.asarray([1, 2, 3], jnp.int32))


def msa_plan(instance: Instance) -> Array:
    """bool[A]: accesses that should be fast, after XLA's memory space assignment, by bytes instead
    of addresses.

    Values in descending order of summed benefit / sqrt(width), the benefit of an access being what
    its instruction gains if it alone is fast. A value gets fast memory from its first to its last
    access if it fits beside what was given before; else for each read for itself, with the
    instruction before it for the copy.
    """
    total = instance.num_instructions
    slots = jnp.arange(total, dtype=jnp.int32)
    memory = segment_sum(jnp.where(instance.access_mask, instance.slow, 0), instance.time, total)
    memory, compute = memory[instance.time], instance.compute[instance.time]
    alone = jnp.maximum(compute, memory) - jnp.maximum(
        compute, memory - instance.slow + instance.fast
    )
    can = rules.attainable(instance) & instance.access_mask
    ids = jnp.arange(instance.num_values, dtype=jnp.int32)
    mine = (instance.value[None] == ids[:, None]) & can[None]  # [V, A]
    benefit = jnp.where(mine, alone, 0).sum(-1, dtype=jnp.int32)
    width = jnp.where(mine, instance.width, 0).max(-1)
    order = jnp.argsort(
        (-benefit).astype(jnp.float32) / jnp.sqrt(jnp.maximum(width, 1).astype(jnp.float32)),
        stable=True,
    )

    def place(carry, value):
        used, wanted = carry
        uses, need, time = mine[value], width[value], instance.time
        first, last = jnp.where(uses, time, total).min(), jnp.where(uses, time, -1).max()
        life = (first <= slots) & (slots <= last)
        left = instance.capacity - used
        whole = ~(life & (left < need)).any()
        here, before = left[time] >= need, left[jnp.maximum(time - 1, 0)] >= need
        alone = uses & ~instance.is_write & here & before
        read = segment_sum(alone.astype(jnp.int32), time, total) > 0
        # and the instruction of its copy
        around = read | jnp.concatenate([read[1:], jnp.zeros((1,), jnp.bool_)])
        worth = benefit[value] > 0
        used = used + jnp.where(worth & jnp.where(whole, life, around), need, 0)
        return (used, wanted | (worth & jnp.where(whole, uses, alone))), None

    start = jnp.zeros((total,), jnp.int32), jnp.zeros_like(can)
    return lax.scan(place, start, order)[0][1]


def random(state: State) -> Array:
    """f32[3]: equal scores; sample them with `core.randomised`."""
    return jnp.zeros((3,), jnp.float32)


SCORES = types.MappingProxyType(
    {
        "all_drop": _order(1, 2, 3),
        "greedy": _order(2, 3, 1),
        "greedy_copy": _order(3, 2, 1),
        "greedy_keep": _order(1, 3, 2),
        "belady": belady,
        "msa": msa,
        "random": random,
    }
)
HEURISTICS = tuple(
    name + backup for name in SCORES if name != "random" for backup in ("", "+drop_backup")
)
