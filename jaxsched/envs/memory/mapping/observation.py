"""The observation of memory mapping: values still needed, and the instructions around the current one.

Nodes are the V values, then a window of instructions ("slots"), whatever the size of the program. A value is joined
with the slots at which it holds fast memory or has accesses to come, each slot with the next. Ticks are in units of the
mean time of an instruction with everything slow, widths in units of the capacity, distances in sixteenths of
instructions and relative to the current one. The README of the family lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import lookup, take
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.memory.mapping.heuristics import next_use, pushed_out, residents
from jaxsched.envs.memory.mapping.types import COPY, DROP, NEVER, NOCOPY, MapState

VALUE, SLOT = 0, 1  # node kinds
HOLDS, USES, NEXT = 0, 1, 2  # edge kinds
PAST, AHEAD = 24, 8  # slots before and after the current instruction
DISTANCE = np.float32(1 / 16)
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def observe(state: MapState) -> GraphObservation:
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
    memory, compute = lookup(state.memory, instance.time), lookup(instance.compute, instance.time)
    saved = instance.slow - instance.fast
    gain = jnp.maximum(compute, memory) - jnp.maximum(compute, memory - saved)
    of = instance.value == jnp.arange(num_values, dtype=jnp.int32)[:, None]  # [V, A]

    # Values, by their next access and their last one.
    has_next = (of & is_first).any(-1)
    upcoming = jnp.where(of & is_first, index, 0).sum(-1, dtype=jnp.int32)
    last = lookup(instance.previous, upcoming)
    is_begun = last != upcoming
    due = lookup(instance.time, upcoming) - now
    shown = instance.value_mask & has_next & (is_begun | (due <= AHEAD)) & ~state.done
    stays = residents(state)
    end, ready = lookup(state.end, last), lookup(state.ready, last)
    is_lone = is_begun & (ready == NEVER)
    leader = lookup(instance.leader, upcoming)
    is_bound = (leader != upcoming) & (leader < state.position)
    bound_slow = lookup(state.action, leader) == DROP
    where = jnp.where(take(instance.is_write, position), NOCOPY, COPY)
    out = pushed_out(state, take(choices.offset, where))
    left = of & is_open
    values = [
        lookup(instance.width, upcoming) * unit,
        lookup(saved, upcoming) * tick,
        lookup(instance.demand, upcoming) * tick,
        due * DISTANCE,
        lookup(gain, upcoming) * tick,
        left.sum(-1, dtype=jnp.int32) * DISTANCE,
        jnp.where(left, gain, 0).sum(-1, dtype=jnp.int32) * tick,
        is_begun & lookup(stays.astype(jnp.int32), last) > 0,
        is_lone,
        is_begun & (end > 0),
        jnp.where(is_begun & (end > 0), now + 1 - end, 0) * DISTANCE,
        upcoming == state.position,
        instance.is_input,
        lookup(instance.is_output.astype(jnp.int32), upcoming) > 0,
        is_bound & bound_slow,
        is_bound & ~bound_slow,
        is_begun & lookup(out.astype(jnp.int32), last) > 0,
        lookup(instance.is_write.astype(jnp.int32), upcoming) > 0,
    ]

    # Slots: `held` is what blocks hold, `wanted` what residents would hold until their next use.
    slots = now + jnp.arange(-PAST, AHEAD + 1, dtype=jnp.int32)
    inside = (slots >= 0) & (slots < instance.num_instructions)
    at = jnp.where(inside, slots, instance.num_instructions)
    is_slot = inside & (lookup(instance.instruction_mask.astype(jnp.int32), at) > 0) & ~state.done
    blocks = (state.begin[:, None] <= slots) & (slots < state.end[:, None])  # [A, W]
    wants = stays[:, None] & (state.end[:, None] <= slots) & (slots <= next_use(state)[:, None])
    comes = is_open[:, None] & (instance.time[:, None] == slots)
    width = instance.width[:, None]
    compute, memory, supply = (lookup(field, at) for field in (instance.compute, state.memory, state.supply))
    columns = [
        supply * tick,
        jnp.maximum(compute, memory) * tick,
        (memory - compute) * tick,
        jnp.where(comes, saved[:, None], 0).sum(0, dtype=jnp.int32) * tick,
        jnp.where(blocks, width, 0).sum(0, dtype=jnp.int32) * unit,
        jnp.where(wants, width, 0).sum(0, dtype=jnp.int32) * unit,
        comes.sum(0, dtype=jnp.int32) * DISTANCE,
        (slots - now) * DISTANCE,
        slots == now,
        lookup(jnp.where(choices.legal[COPY] | choices.writes_back, choices.taken, 0), at) * tick,
    ]
    padding = ((0, len(values) - len(columns)), (0, 0))
    nodes = jnp.concatenate([_stack(values, shown), jnp.pad(_stack(columns, is_slot), padding)], 1).T

    # The three actions.
    taken = choices.taken.sum(dtype=jnp.int32)
    lone_out = out & (state.ready == NEVER)
    is_fast = jnp.array([True, True, False])
    comes_in = jnp.stack([jnp.array(True), take(instance.is_write, position), jnp.array(False)])
    pair = [
        is_fast * choices.gain * tick,
        is_fast * take(saved, position) * tick,
        jnp.stack([taken, jnp.zeros_like(taken), choices.writes_back * taken]) * tick,
        (choices.end - choices.begin) * DISTANCE,
        comes_in * jnp.where(out, instance.width, 0).sum(dtype=jnp.int32) * unit,
        comes_in * jnp.where(lone_out, instance.width, 0).sum(dtype=jnp.int32) * unit,
        comes_in * jnp.where(out, gain[instance.following], 0).sum(dtype=jnp.int32) * tick,
        jnp.broadcast_to(jnp.where(take(instance.following, position) == position, 0, 1), (3,)),
        jnp.stack([choices.begin[COPY] - now, now * 0, now * 0]) * DISTANCE,
    ]
    pair = _clip(jnp.stack([jnp.asarray(row, jnp.float32) for row in pair], -1), choices.legal[:, None])

    # Edges from values to slots and back, then between slots.
    weights = of.astype(jnp.float32)
    holds = (weights @ (blocks & (index < state.position)[:, None]).astype(jnp.float32) > 0).ravel()
    uses = (weights @ comes.astype(jnp.float32) > 0).ravel()
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
        node_kind=jnp.asarray(np.repeat(np.array([VALUE, SLOT], np.int32), [num_values, num_slots])),
        edge_mask=jnp.concatenate([holds | uses, holds | uses, jnp.ones((2 * len(one),), jnp.bool_)]),
        edge_kind=jnp.concatenate([kind, kind, chain]),
        action_node=jnp.full((3,), 1, jnp.int32) * take(instance.value, position),
        action_resource=num_values
        + jnp.stack([jnp.where(choices.legal[COPY], start, PAST), start * 0 + PAST, start * 0 + PAST]),
        action_kind=jnp.arange(3, dtype=jnp.int32),
        action_features=pair,
        action_mask=choices.legal,
        num_node_kinds=2,
        num_edge_kinds=3,
        num_action_kinds=3,
    )


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[F, nodes], clipped, 0 where the node is not real."""
    return _clip(jnp.stack([feature.astype(jnp.float32) for feature in features]), mask)


def _clip(features: Array, mask: Array) -> Array:
    return jnp.where(mask, lax.clamp(-LIMIT, features, LIMIT), 0.0)
