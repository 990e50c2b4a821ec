"""The observation of memory mapping: values still needed, and the instructions around the current
one.

Nodes are the V values, then a window of instructions ("slots"), whatever the size of the program. A
value is joined with the slots of its last block of fast memory and of its next access, each slot
with the next. Ticks are in units of the mean time of an instruction with everything slow, widths in
units of the capacity, distances in sixteenths of instructions and relative to the current one. The
README of the family lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import lookup, take
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.memory.mapping.heuristics import next_use, pushed_out, residents
from jaxsched.envs.memory.mapping.types import COPY, DROP, NEVER, State

VALUE, SLOT = 0, 1  # node kinds
HOLDS, USES, NEXT = 0, 1, 2  # edge kinds
PAST, AHEAD = 24, 8  # slots before and after the current instruction
DISTANCE = np.float32(1 / 16)
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def observe(state: State) -> GraphObservation:
    """V + 33 nodes, 66 V + 64 edges, 3 actions."""
    instance, choices = state.instance, state.choices
    num_values, num_slots = instance.num_values, PAST + 1 + AHEAD
    index = jnp.arange(instance.num_accesses, dtype=jnp.int32)
    position = jnp.where(state.done, 0, state.position)
    now = take(instance.time, position)
    num = jnp.maximum(instance.instruction_mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    tick = num / jnp.maximum(state.baseline, 1).astype(jnp.float32)
    unit = 1.0 / jnp.maximum(instance.capacity, 1).astype(jnp.float32)

    # Accesses: what is to come, the first of each value, what each gains if it alone becomes fast.
    is_open = (index >= state.position) & instance.access_mask
    is_first = is_open & ((instance.previous == index) | (instance.previous < state.position))
    times = jnp.stack(
        [state.memory, instance.compute, state.supply, instance.instruction_mask.astype(jnp.int32)],
        -1,
    )
    memory, compute, _, _ = lookup(times, instance.time).T
    saved = instance.slow - instance.fast
    gain = jnp.maximum(compute, memory) - jnp.maximum(compute, memory - saved)
    of = instance.value[None] == jnp.arange(num_values, dtype=jnp.int32)[:, None]  # [V, A]
    uses = next_use(state)
    stays = residents(state)
    out = pushed_out(state, stays)
    is_write = take(instance.is_write, position)

    # Values, by their next access and their last one.
    has_next = (of & is_first[None]).any(-1)
    upcoming = jnp.where(of & is_first[None], index, 0).sum(-1, dtype=jnp.int32)
    columns = (
        instance.previous,
        instance.leader,
        instance.time,
        instance.width,
        saved,
        instance.demand,
        gain,
    )
    columns = jnp.stack(
        [*columns, instance.is_output.astype(jnp.int32), instance.is_write.astype(jnp.int32)], -1
    )
    last, leader, due, width, saving, demand, gain_next, output, write = lookup(columns, upcoming).T
    due = due - now
    is_begun = last != upcoming
    columns = jnp.stack(
        [state.begin, state.end, state.ready, stays.astype(jnp.int32), out.astype(jnp.int32)], -1
    )
    begin, end, ready, stays_now, out_now = lookup(columns, last).T
    shown = instance.value_mask & has_next & (is_begun | (due <= AHEAD)) & ~state.done
    was_fast = is_begun & (end > 0)
    is_bound = (leader != upcoming) & (leader < state.position)
    bound_slow = lookup(state.action, leader) == DROP
    left = of & is_open[None]
    values = [
        width.astype(jnp.float32) * unit,
        saving.astype(jnp.float32) * tick,
        demand.astype(jnp.float32) * tick,
        due.astype(jnp.float32) * DISTANCE,
        gain_next.astype(jnp.float32) * tick,
        left.sum(-1, dtype=jnp.int32).astype(jnp.float32) * DISTANCE,
        jnp.where(left, gain, 0).sum(-1, dtype=jnp.int32).astype(jnp.float32) * tick,
        is_begun & (stays_now > 0),
        is_begun & (ready == NEVER),
        was_fast,
        jnp.where(was_fast, now + 1 - end, 0).astype(jnp.float32) * DISTANCE,
        upcoming == state.position,
        instance.is_input,
        output,
        is_bound & bound_slow,
        is_bound & ~bound_slow,
        is_begun & (out_now > 0),
        write,
    ]

    # Slots: what blocks hold, and what residents would hold until their next use.
    slots = now + jnp.arange(-PAST, AHEAD + 1, dtype=jnp.int32)
    inside = (slots >= 0) & (slots < instance.num_instructions)
    memory, compute, supply, is_real = lookup(
        times, jnp.where(inside, slots, instance.num_instructions)
    ).T
    is_slot = (is_real > 0) & ~state.done
    blocks = (state.begin[:, None] <= slots[None]) & (slots[None] < state.end[:, None])  # [A, W]
    wants = stays[:, None] & (state.end[:, None] <= slots[None]) & (slots[None] <= uses[:, None])
    comes = is_open[:, None] & (instance.time[:, None] == slots[None])
    width = instance.width[:, None]
    columns = [
        supply.astype(jnp.float32) * tick,
        jnp.maximum(compute, memory).astype(jnp.float32) * tick,
        (memory - compute).astype(jnp.float32) * tick,
        jnp.where(comes, saved[:, None], 0).sum(0, dtype=jnp.int32).astype(jnp.float32) * tick,
        jnp.where(blocks, width, 0).sum(0, dtype=jnp.int32).astype(jnp.float32) * unit,
        jnp.where(wants, width, 0).sum(0, dtype=jnp.int32).astype(jnp.float32) * unit,
        comes.sum(0, dtype=jnp.int32).astype(jnp.float32) * DISTANCE,
        (slots - now).astype(jnp.float32) * DISTANCE,
        slots == now,
    ]
    padding = ((0, len(values) - len(columns)), (0, 0))
    nodes = jnp.concatenate(
        [_stack(values, shown), jnp.pad(_stack(columns, is_slot), padding)], 1
    ).T

    # The three actions; those that bring the value in may push others out.
    taken, none = choices.taken.sum(dtype=jnp.int32), jnp.zeros((), jnp.int32)
    is_fast = jnp.array([1, 1, 0], jnp.int32)
    comes_in = jnp.stack([none + 1, is_write.astype(jnp.int32), none])
    lost = jnp.stack(
        [
            instance.width,
            jnp.where(state.ready == NEVER, instance.width, 0),
            lookup(gain, instance.following),
        ]
    )
    lost = jnp.where(out[None], lost, 0).sum(-1, dtype=jnp.int32)
    pair = [
        (is_fast * choices.gain).astype(jnp.float32) * tick,
        (is_fast * take(saved, position)).astype(jnp.float32) * tick,
        jnp.stack([taken, none, choices.writes_back.astype(jnp.int32) * taken]).astype(jnp.float32)
        * tick,
        (choices.end - choices.begin).astype(jnp.float32) * DISTANCE,
        (comes_in * lost[0]).astype(jnp.float32) * unit,
        (comes_in * lost[1]).astype(jnp.float32) * unit,
        (comes_in * lost[2]).astype(jnp.float32) * tick,
        jnp.broadcast_to(take(instance.following, position) != position, (3,)),
    ]
    pair = _stack(pair, choices.legal).T

    # Edges from values to slots and back, then between slots.
    holds = (
        is_begun[:, None] & (begin[:, None] <= slots[None]) & (slots[None] < end[:, None])
    ).ravel()
    read = ((due + now)[:, None] == slots[None]).ravel()
    value_end, slot_end = np.divmod(np.arange(num_values * num_slots), num_slots)
    slot_end = num_values + slot_end
    one, other = num_values + np.arange(num_slots - 1), num_values + np.arange(1, num_slots)
    kind = jnp.where(holds, HOLDS, USES).astype(jnp.int32)
    chain = jnp.full((2 * len(one),), NEXT, jnp.int32)
    start = jnp.clip(choices.begin[COPY] - now + PAST, 0, PAST)
    return GraphObservation(
        graph=make_graph(
            nodes,
            np.concatenate([value_end, slot_end, one, other]),
            np.concatenate([slot_end, value_end, other, one]),
        ),
        node_mask=jnp.concatenate([shown, is_slot]),
        node_kind=jnp.asarray(
            np.repeat(np.array([VALUE, SLOT], np.int32), [num_values, num_slots])
        ),
        edge_mask=jnp.concatenate(
            [holds | read, holds | read, jnp.ones((2 * len(one),), jnp.bool_)]
        ),
        edge_kind=jnp.concatenate([kind, kind, chain]),
        action_node=jnp.broadcast_to(take(instance.value, position), (3,)),
        action_resource=num_values
        + jnp.where(choices.legal & (jnp.arange(3) == COPY), start, PAST).astype(jnp.int32),
        action_kind=jnp.arange(3, dtype=jnp.int32),
        action_features=pair,
        action_mask=choices.legal,
        num_node_kinds=2,
        num_edge_kinds=3,
        num_action_kinds=3,
    )


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[F, nodes], clipped, 0 where the node is not real."""
    features = [feature.astype(jnp.float32) for feature in features]
    return jnp.where(mask[None], lax.clamp(-LIMIT, jnp.stack(features), LIMIT), 0.0)
