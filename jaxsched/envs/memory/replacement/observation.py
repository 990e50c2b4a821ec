"""The frontier observation of tensor replacement: operators left, tensors alive, and the memory.

Nodes are the N operators, the A tensors and one for the memory. An operator is related with what it
reads and makes, both ways. Amounts of memory are in units of the capacity (`capacity`), times and
numbers of readers in operators left (`operators left`), positions are those in the order given,
from the first operator left on; so the same remaining problem looks alike whatever its units. While
an operator waits for room, its deficit is what does not fit beside what is resident.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import lookup, take_row
from jaxsched.core.graph import Actions, Edges, GraphObservation
from jaxsched.envs.memory.replacement import rules as rules
from jaxsched.envs.memory.replacement.heuristics import deficits, next_use
from jaxsched.envs.memory.replacement.types import Instance, State

# What the sender is to the receiver: read by it, a reader of it, its maker, made by it.
RELATIONS = ("read", "reader", "maker", "made")
READ, READER, MAKER, MADE = 1, 2, 3, 4


class Outlook(struct.PyTreeNode):
    """What the features are made of. Of the tensors what it costs to evict them, of the operators
    what it takes to run them.
    """

    num_left: Array  # f32[]  operators left, at least 1
    evicting: Array  # bool[]  an operator waits for room
    used: Array  # i32[]  what is resident
    deficit: Array  # i32[]  of the operator that waits; 0 where none does
    # Of the tensors.
    current: Array  # bool[A]  inputs of the operator that waits
    produces: Array  # bool[A]  outputs of it
    cost: Array  # i32[A]  what its eviction moves: a copy out unless there is one, and one in
    until: Array  # i32[A]  the position of its next reader
    # Of the operators.
    waiting: Array  # bool[N]  real and left to run
    inputs: Array  # bool[N, A]  what it reads, where it is left to run
    rank: Array  # i32[N]  position
    excess: Array  # i32[N]  what does not fit beside what is resident
    fetch: Array  # i32[N]  inputs to copy in again


def observe(state: State, mask: Array, addressed: bool) -> GraphObservation:
    """`mask` bool[N + A]: legal actions. N + A + 1 nodes, 2 (R + A) edges, N + A actions: to run
    each operator, then to evict each tensor; all of them use the memory.
    """
    instance, outlook = state.instance, _outlook(state)
    alive = (
        instance.tensor_mask
        & ((state.left > 0) | (~instance.backed & ~state.created))
        & ~state.done
    )
    operators = graph.nodes("operator", outlook.waiting, _operator_features(state, outlook))
    tensors = graph.nodes("tensor", alive, _tensor_features(state, outlook, addressed))
    memory = graph.nodes(
        "memory", jnp.ones((1,), jnp.bool_), _memory_features(state, outlook, addressed)
    )
    nodes = operators, tensors, memory
    return GraphObservation(nodes, _edges(instance), _actions(state, outlook), mask, RELATIONS)


def _outlook(state: State) -> Outlook:
    instance, size, resident = state.instance, state.instance.size, state.resident
    waiting = instance.op_mask & ~state.ran & ~state.done
    evicting = state.evicting & ~state.done
    current = take_row(instance.reads, state.current) & evicting
    produces = rules.made_by(instance, state.current) & evicting
    after = jnp.where(resident | current | produces, size, 0).sum(dtype=jnp.int32)
    inputs = instance.reads & waiting[:, None]
    fetched = inputs & (~resident)[None] & state.created[None]
    rank = jnp.cumsum(waiting, dtype=jnp.int32) - waiting.astype(jnp.int32)
    return Outlook(
        num_left=jnp.maximum(state.left_to_run, 1).astype(jnp.float32),
        evicting=evicting,
        used=jnp.where(resident, size, 0).sum(dtype=jnp.int32),
        deficit=jnp.where(evicting, after - instance.capacity, 0),
        current=current,
        produces=produces,
        cost=jnp.where(resident, size * (2 - state.copied.astype(jnp.int32)), 0),
        until=lookup(rank, next_use(state)),
        waiting=waiting,
        inputs=inputs,
        rank=rank,
        excess=deficits(state),
        fetch=jnp.where(fetched, size[None], 0).sum(-1, dtype=jnp.int32),
    )


def _amounts(instance: Instance, values: Array) -> Array:
    """f32[...]: memory i32[...] in units of the capacity."""
    unit = 1.0 / jnp.maximum(instance.capacity, 1).astype(jnp.float32)
    return values.astype(jnp.float32) * unit


def _operator_features(state: State, outlook: Outlook) -> dict[str, Array]:
    """Of every operator by name: whether it can run, and what that takes and frees."""
    instance, inputs = state.instance, outlook.inputs
    unmade = ~(state.created | instance.backed)
    last_read = inputs & (state.left == 1)[None]
    frees = jnp.where(last_read, instance.size[None], 0).sum(-1, dtype=jnp.int32)
    step = jnp.arange(instance.num_ops, dtype=jnp.int32)
    return {
        "inputs are made": outlook.waiting & ~(inputs & unmade[None]).any(-1),
        "waits for room": outlook.evicting & (step == state.current),
        "working set / capacity": _amounts(instance, rules.working_sets(instance)),
        "excess / capacity": _amounts(instance, outlook.excess),
        "to copy in again / capacity": _amounts(instance, outlook.fetch),
        "leaves after it / capacity": _amounts(instance, frees),
        "position / operators left": outlook.rank.astype(jnp.float32) / outlook.num_left,
        "inputs / 8": inputs.sum(-1, dtype=jnp.int32).astype(jnp.float32) / np.float32(8),
    }


def _tensor_features(state: State, outlook: Outlook, addressed: bool) -> dict[str, Array]:
    """Of every tensor by name: where it is, who needs it, and what its eviction costs and frees."""
    instance, size = state.instance, state.instance.size
    spare = _amounts(instance, size - outlook.deficit) * outlook.evicting.astype(jnp.float32)
    until = jnp.where(state.left > 0, outlook.until, 0)
    offset = jnp.where(state.resident, state.offset, 0)
    below, above = _gaps_beside(state) if addressed else (jnp.zeros_like(size),) * 2
    return {
        "size / capacity": _amounts(instance, size),
        "is resident": state.resident,
        "has a copy off-chip": state.copied,
        "is backed": instance.backed,
        "was resident": state.created,
        "input of the one that waits": outlook.current,
        "output of the one that waits": outlook.produces,
        "cost of evicting / capacity": _amounts(instance, outlook.cost),
        "(size - deficit) / capacity": spare,
        "readers left / operators left": state.left.astype(jnp.float32) / outlook.num_left,
        "next reader / operators left": until.astype(jnp.float32) / outlook.num_left,
        "offset / capacity": _amounts(instance, offset),
        "free below / capacity": _amounts(instance, below),
        "free above / capacity": _amounts(instance, above),
    }


def _memory_features(state: State, outlook: Outlook, addressed: bool) -> dict[str, Array]:
    """Of the memory by name: what it holds and will have to hold, and what is free."""
    instance, size = state.instance, state.instance.size
    made = instance.tensor_mask & ~instance.backed & state.created
    total = jnp.where(made & (state.left > 0), size, 0).sum(dtype=jnp.int32)
    free = jnp.maximum(instance.capacity - outlook.used, 0)
    largest = _largest_gap(state) if addressed else free
    return {
        "used / capacity": _amounts(instance, outlook.used),
        "made and to be read / capacity": _amounts(instance, total),
        "deficit / capacity": _amounts(instance, outlook.deficit),
        "largest gap / capacity": _amounts(instance, largest),
        "an operator waits": outlook.evicting,
        "1 / operators left": 1 / outlook.num_left,
    }


def _actions(state: State, outlook: Outlook) -> tuple[Actions, Actions]:
    """To run an operator, and to evict a tensor; one after the other."""
    instance, num_left = state.instance, outlook.num_left
    run = {
        "excess / capacity": _amounts(instance, outlook.excess),
        "to copy in again / capacity": _amounts(instance, outlook.fetch),
        "position / operators left": outlook.rank.astype(jnp.float32) / num_left,
    }
    evict = {
        "(size - deficit) / capacity": _amounts(instance, instance.size - outlook.deficit),
        "cost of evicting / capacity": _amounts(instance, outlook.cost),
        "next reader / operators left": outlook.until.astype(jnp.float32) / num_left,
    }
    return (
        _on_memory("operator", "run", outlook.waiting, run),
        _on_memory("tensor", "evict", state.resident, evict),
    )


def _on_memory(about: str, kind: str, mask: Array, features: dict[str, Array]) -> Actions:
    """Each node of a kind with the one node of the memory; `mask` and features [n]."""
    pairs = {name: feature[:, None] for name, feature in features.items()}
    return graph.actions(about, uses="memory", kinds=(kind,), mask=mask[:, None], features=pairs)


def _edges(instance: Instance) -> Edges:
    """Operators and what they read and make, both ways; operators are numbered before tensors."""
    num_ops, num_tensors = instance.num_ops, instance.num_tensors
    reader, read = instance.read_op, num_ops + instance.read_tensor
    tensor = num_ops + jnp.arange(num_tensors, dtype=jnp.int32)
    makes = instance.tensor_mask & ~instance.backed
    numbers = np.array([READ, READER, MAKER, MADE], np.int32)
    num_reads = instance.read_op.shape[0]
    return Edges(
        senders=jnp.concatenate([read, reader, instance.producer, tensor]),
        receivers=jnp.concatenate([reader, read, tensor, instance.producer]),
        relation=jnp.asarray(np.repeat(numbers, [num_reads] * 2 + [num_tensors] * 2)),
        mask=jnp.concatenate([instance.read_mask, instance.read_mask, makes, makes]),
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
