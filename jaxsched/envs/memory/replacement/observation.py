"""The frontier observation of tensor replacement: operators left, tensors alive, and the memory.

Nodes are the N operators, the A tensors and one for the memory. Edges join an operator with what it
reads and makes, in both directions. Amounts of memory are in units of the capacity, times in
operators left, so that the same remaining problem looks alike whatever its units. The README of the
family lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import lookup, take_row
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.memory.replacement import rules as rules
from jaxsched.envs.memory.replacement.heuristics import deficits, next_use
from jaxsched.envs.memory.replacement.types import State

OPERATOR, TENSOR, MEMORY = 0, 1, 2  # node kinds
# Edge kinds: tensor to reader, reader to tensor, maker to tensor, back.
READ, READER, MADE, MAKER = 0, 1, 2, 3
RUN, EVICT = 0, 1  # action kinds
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def observe(state: State, mask: Array, addressed: bool) -> GraphObservation:
    """`mask` bool[N + A]: legal actions. N + A + 1 nodes, 2 (R + A) edges, N + A actions."""
    instance = state.instance
    num_ops, num_tensors = instance.num_ops, instance.num_tensors
    waiting = instance.op_mask & ~state.ran & ~state.done
    made = instance.tensor_mask & ~instance.backed & state.created
    alive = (
        instance.tensor_mask
        & ((state.left > 0) | (~instance.backed & ~state.created))
        & ~state.done
    )
    unit = 1.0 / jnp.maximum(instance.capacity, 1).astype(jnp.float32)
    num_left = jnp.maximum(state.left_to_run, 1).astype(jnp.float32)
    evicting = state.evicting & ~state.done

    size, resident, copied = instance.size, state.resident, state.copied
    current = take_row(instance.reads, state.current) & evicting
    produces = rules.made_by(instance, state.current) & evicting
    used = jnp.where(resident, size, 0).sum(dtype=jnp.int32)
    after = jnp.where(resident | current | produces, size, 0).sum(dtype=jnp.int32)
    deficit = jnp.where(evicting, after - instance.capacity, 0)
    # Steps in the order given from the first operator left: the next one is at 0.
    step = jnp.arange(num_ops, dtype=jnp.int32)
    rank = jnp.cumsum(waiting, dtype=jnp.int32) - waiting.astype(jnp.int32)
    until = lookup(rank, next_use(state))
    cost = jnp.where(resident, size * (2 - copied.astype(jnp.int32)), 0)

    gap_below, gap_above = _gaps_beside(state) if addressed else (jnp.zeros_like(size),) * 2
    tensors = [
        size.astype(jnp.float32) * unit,
        resident,
        copied,
        instance.backed,
        state.created,
        current,
        produces,
        cost.astype(jnp.float32) * unit,
        (size - deficit).astype(jnp.float32) * unit * evicting.astype(jnp.float32),
        state.left.astype(jnp.float32) / num_left,
        jnp.where(state.left > 0, until, 0).astype(jnp.float32) / num_left,
        jnp.where(resident, state.offset, 0).astype(jnp.float32) * unit,
        gap_below.astype(jnp.float32) * unit,
        gap_above.astype(jnp.float32) * unit,
    ]
    excess = deficits(state)
    inputs = instance.reads & waiting[:, None]
    ready = waiting & ~(inputs & (~(state.created | instance.backed))[None]).any(-1)
    fetch = jnp.where(inputs & (~resident)[None] & state.created[None], size, 0).sum(
        -1, dtype=jnp.int32
    )
    frees = jnp.where(inputs & (state.left == 1)[None], size, 0).sum(-1, dtype=jnp.int32)
    ops = [
        ready,
        evicting & (step == state.current),
        rules.working_sets(instance).astype(jnp.float32) * unit,
        excess.astype(jnp.float32) * unit,
        fetch.astype(jnp.float32) * unit,
        frees.astype(jnp.float32) * unit,
        rank.astype(jnp.float32) / num_left,
        inputs.sum(-1, dtype=jnp.int32) / 8,
    ]
    total = jnp.where(made & (state.left > 0), size, 0).sum(dtype=jnp.int32)
    largest = _largest_gap(state) if addressed else jnp.maximum(instance.capacity - used, 0)
    memory = [
        used.astype(jnp.float32) * unit,
        total.astype(jnp.float32) * unit,
        deficit.astype(jnp.float32) * unit,
        largest.astype(jnp.float32) * unit,
        evicting,
        1 / num_left,
    ]
    width = max(map(len, (tensors, ops, memory)))
    nodes = jnp.concatenate(
        [
            _stack(ops, waiting, width),
            _stack(tensors, alive, width),
            _stack(
                [jnp.asarray(value)[None] for value in memory], jnp.ones((1,), jnp.bool_), width
            ),
        ]
    )
    run = jnp.stack(
        [
            excess.astype(jnp.float32) * unit,
            fetch.astype(jnp.float32) * unit,
            rank.astype(jnp.float32) / num_left,
        ],
        -1,
    )
    evict = jnp.stack(
        [
            (size - deficit).astype(jnp.float32) * unit,
            cost.astype(jnp.float32) * unit,
            until.astype(jnp.float32) / num_left,
        ],
        -1,
    )
    pair = jnp.concatenate(
        [jnp.where(waiting[:, None], run, 0), jnp.where(resident[:, None], evict, 0)]
    )

    index = num_ops + jnp.arange(num_tensors, dtype=jnp.int32)
    reader, read = instance.read_op, num_ops + instance.read_tensor
    makes = instance.tensor_mask & ~instance.backed
    num_reads = instance.read_op.shape[0]
    kinds = np.repeat(
        np.array([READ, READER, MADE, MAKER], np.int32), [num_reads] * 2 + [num_tensors] * 2
    )
    return GraphObservation(
        graph=make_graph(
            nodes,
            jnp.concatenate([read, reader, instance.producer, index]),
            jnp.concatenate([reader, read, index, instance.producer]),
        ),
        node_mask=jnp.concatenate([waiting, alive, jnp.ones((1,), jnp.bool_)]),
        node_kind=jnp.asarray(
            np.repeat(np.array([OPERATOR, TENSOR, MEMORY], np.int32), [num_ops, num_tensors, 1])
        ),
        edge_mask=jnp.concatenate([instance.read_mask, instance.read_mask, makes, makes]),
        edge_kind=jnp.asarray(kinds),
        action_node=jnp.arange(num_ops + num_tensors, dtype=jnp.int32),
        action_resource=jnp.full((num_ops + num_tensors,), num_ops + num_tensors, jnp.int32),
        action_kind=jnp.asarray(
            np.repeat(np.array([RUN, EVICT], np.int32), [num_ops, num_tensors])
        ),
        action_features=_clip(pair),
        action_mask=mask,
        num_node_kinds=3,
        num_edge_kinds=4,
        num_action_kinds=2,
    )


def _gaps_beside(state: State) -> tuple[Array, Array]:
    """Free units directly below and above each resident tensor, i32[A] each; 0 for the others."""
    instance, resident = state.instance, state.resident
    high = state.offset + instance.size
    below = resident[None] & (high[None] <= state.offset[:, None])
    floor = jnp.where(below, high[None], 0).max(-1, initial=0)
    above = rules.gaps(instance, resident, state.offset)[1][:-1]
    return jnp.where(resident, state.offset - floor, 0), jnp.where(resident, above, 0)


def _largest_gap(state: State) -> Array:
    return rules.gaps(state.instance, state.resident, state.offset)[1].max()


def _stack(features: list[Array], mask: Array, width: int) -> Array:
    """f32[nodes, width], clipped, 0 where the node is not real."""
    stacked = jnp.stack([jnp.asarray(feature).astype(jnp.float32) for feature in features], -1)
    return jnp.where(
        mask[:, None], _clip(jnp.pad(stacked, ((0, 0), (0, width - len(features))))), 0.0
    )


def _clip(features: Array) -> Array:
    return lax.clamp(-LIMIT, features.astype(jnp.float32), LIMIT)
