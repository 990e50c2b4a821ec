"""Heuristics of tensor replacement: an order of the operators, and which tensor to evict while one
waits for room.

Victims: `belady`, the one whose next reader comes last in the order, of equal ones the largest
(Belady 1966 for pages of one size; for sizes that differ it need not be optimal). `greedy`, what
makes room for the operator at the least cost: of the tensors that free enough alone the one that
costs least to spill and copy in again; where none does, those with a copy off-chip, which cost half
as much per byte, before the others, and large before small. Inputs of the operator that waits come
last in both. Further ties go to the tensor that comes first. `evict_all`: whatever the next
operator does not need leaves before it runs.

Orders: the one given, or `min_peak_order`, one with the smallest peak footprint, which COSMA (arXiv
2311.18246) combines with Belady. Inside jit the same rules are scores of a state of
`TensorReplacement-v0`, in the order given; `lean` chooses the operator that fits best instead.
"""

from __future__ import annotations

import bisect
import heapq
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import lookup, take_row
from jaxsched.envs.memory.replacement import rules
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.types import State, slots_of
from jaxsched.host.deadline import NO_LIMIT, Deadline

# operators times sets of them that `min_peak_order` looks at before it goes on with a beam
SEARCH_LIMIT = 200_000
BEAM = 32


class Played(NamedTuple):
    """A plan in indices: the operators in order and, per step, what is copied in and where its
    tensors are.
    """

    order: list[int]
    retrieved: list[list[int]]
    address: list[dict[int, int]] | None


def play(
    graph: Graph,
    capacity: int,
    order: Sequence[int],
    victims: str,
    placement: str,
    deadline: Deadline = NO_LIMIT,
) -> Played | None:
    """Run the operators in `order`, evicting by `victims`, a key of `VICTIMS`; None where time was
    up.

    No operator alone may exceed `capacity`. The rules of `rules.py` on the host, without limits of
    int32. `evict_all` takes time linear in the operators and is never stopped.
    """
    size, choose = graph.size, VICTIMS[victims]
    position = {op: t for t, op in enumerate(order)}
    uses = [sorted(position[op] for op in ops) for ops in graph.readers()]
    resident: dict[int, int] = {}  # tensor -> offset
    copied = {a for a, backed in enumerate(graph.backed) if backed}
    retrieved, address = [], []
    for t, op in enumerate(order):
        mine = slots_of(graph, op)
        if victims == "evict_all":
            others = resident.keys() - mine
            resident = {a: low for a, low in resident.items() if a not in others}
            copied |= others
        elif deadline.is_over():
            return None
        while True:
            deficit = sum(size[a] for a in {*resident, *mine}) - capacity
            entering = [a for a in mine if a not in resident]
            if placement == "bytes":
                placed = dict.fromkeys(entering, 0) if deficit <= 0 else None
            else:
                placed = _place(resident, entering, size, capacity)
            if placed is not None:
                break
            next_use = {a: uses[a][bisect.bisect_left(uses[a], t)] for a in resident}
            victim = max(
                resident,
                key=lambda a: (*choose(a, t, next_use[a], size[a], a in copied, deficit), -a),
            )
            del resident[victim]
            copied.add(victim)
        retrieved.append([a for a in entering if a in graph.inputs[op]])
        resident |= placed
        address.append({a: resident[a] for a in mine})
        for a in mine:
            if not uses[a] or uses[a][-1] <= t:
                del resident[a]
    return Played(list(order), retrieved, address if placement == "address" else None)


def _place(
    resident: dict[int, int], entering: list[int], size: Sequence[int], capacity: int
) -> dict[int, int] | None:
    """Offsets by best fit, one after the other, ties to the lowest; None where one does not fit."""
    blocks = sorted((low, low + size[a]) for a, low in resident.items())
    found = {}
    for a in entering:
        floors = [0, *(end for _, end in blocks)]
        ceilings = [*(low for low, _ in blocks), capacity]
        holes = [
            (high - low, low)
            for low, high in zip(floors, ceilings, strict=True)
            if high - low >= size[a]
        ]
        if not holes:
            return None
        low = min(holes)[1]
        found[a] = low
        bisect.insort(blocks, (low, low + size[a]))
    return found


def _belady(
    a: int, t: int, next_use: int, size: int, copied: bool, deficit: int
) -> tuple[int, ...]:
    return next_use, size


def _greedy(
    a: int, t: int, next_use: int, size: int, copied: bool, deficit: int
) -> tuple[int, ...]:
    enough = size >= deficit
    rank = -1 if next_use == t else 2 if enough else int(copied)
    return rank, -size * (1 if copied else 2) if enough else size


VICTIMS: dict[str, Callable[..., tuple[int, ...]]] = {
    "belady": _belady,
    "greedy": _greedy,
    "evict_all": _belady,
}


# ------------------------------------------------------------------------------------------- orders


class _Footprint:
    """What is resident without any spill while operators run; sets of operators are bits of an
    int.
    """

    def __init__(self, graph: Graph):
        self.size, self.outputs = graph.size, graph.outputs
        self.num_ops = len(graph.op_ids)
        self.readers = [sum(1 << op for op in ops) for ops in graph.readers()]
        producer = graph.producer
        self.origin = [0 if backed else 1 << producer[a] for a, backed in enumerate(graph.backed)]
        self.inputs = graph.inputs
        self.waits = [0] * self.num_ops
        for op, inputs in enumerate(graph.inputs):
            for a in inputs:
                self.waits[op] |= self.origin[a]

    def ready(self, done: int) -> list[int]:
        return [
            op for op in range(self.num_ops) if not done >> op & 1 and not self.waits[op] & ~done
        ]

    def run(self, done: int, live: int, op: int) -> tuple[int, int]:
        """Bytes while `op` runs after the operators `done`, and bytes live after it; `live` are
        those before it.
        """
        after = done | 1 << op
        enters = sum(self.size[a] for a in self.outputs[op])
        leaves = sum(self.size[a] for a in self.outputs[op] if not self.readers[a])
        for a in self.inputs[op]:
            if not self.origin[a] and not self.readers[a] & done:
                enters += self.size[a]  # the first load of a backed tensor
            if not self.readers[a] & ~after:
                leaves += self.size[a]
        return live + enters, live + enters - leaves

    def closure(
        self, done: int, live: int, peak: int, path: tuple[int, ...], deadline: Deadline
    ) -> tuple[int, int, tuple[int, ...]]:
        """Run what neither exceeds `peak` nor leaves more live than before: to wait with it is
        never better.

        As far as the deadline allows.
        """
        while not deadline.is_over():
            for op in self.ready(done):
                during, after = self.run(done, live, op)
                if during <= peak and after <= live:
                    done, live, path = done | 1 << op, after, (*path, op)
                    break
            else:
                break
        return done, live, path


def min_peak_order(
    graph: Graph, limit: int = SEARCH_LIMIT, deadline: Deadline = NO_LIMIT
) -> tuple[list[int], int, bool]:
    """An order of the operators, its peak footprint in bytes, and whether no order has a smaller
    one.

    The footprint of an operator is what is resident while it runs if nothing is spilled and backed
    tensors are loaded for their first reader. Best-first search over the sets of operators that
    ran; a beam search goes on once operators times sets exceed `limit`, and the order given is
    returned where nothing better is found, or nothing in time.
    """
    model = _Footprint(graph)
    everything = (1 << model.num_ops) - 1
    best_order = list(range(model.num_ops))
    best_peak, least = peak_footprint(graph), graph.largest_working_set()
    if best_peak == least:
        return best_order, best_peak, True
    done, live, path = model.closure(0, 0, least, (), deadline)
    queue = [(least, -len(path), 0, done, live, path)]
    seen, count = {done: least}, 0  # the smallest peak with which each set was reached
    while queue:
        peak, _, _, done, live, path = heapq.heappop(queue)
        if done == everything:
            return (list(path), peak, True) if peak < best_peak else (best_order, best_peak, True)
        if len(seen) * model.num_ops > limit or deadline.is_over():
            break
        for op in model.ready(done):
            during, after = model.run(done, live, op)
            high = max(peak, during)
            if high >= best_peak:
                continue
            state = model.closure(done | 1 << op, after, high, (*path, op), deadline)
            if high < seen.get(state[0], high + 1):
                seen[state[0]] = high
                count += 1
                heapq.heappush(queue, (high, -len(state[2]), count, *state))
    else:
        return best_order, best_peak, True
    order, peak = _beam(model, best_peak, deadline)
    return (order, peak, False) if order and peak < best_peak else (best_order, best_peak, False)


def _beam(model: _Footprint, best_peak: int, deadline: Deadline) -> tuple[list[int], int]:
    """The best order that a beam of partial orders finds, compared by peak and then by what is
    live.
    """
    layer: dict[int, Any] = {0: (0, 0, ())}
    for _ in range(model.num_ops):
        following: dict[int, Any] = {}
        for done, (peak, live, path) in layer.items():
            if deadline.is_over():
                return [], best_peak
            for op in model.ready(done):
                during, after = model.run(done, live, op)
                state, key = (max(peak, during), after, (*path, op)), done | 1 << op
                if state[0] < best_peak and (
                    key not in following or state[:2] < following[key][:2]
                ):
                    following[key] = state
        layer = dict(sorted(following.items(), key=lambda item: item[1][:2])[:BEAM])
    if not layer:
        return [], best_peak
    peak, _, path = min(layer.values())
    return list(path), peak


def peak_footprint(graph: Graph) -> int:
    """The largest footprint of an operator in the order given, in bytes: with so much nothing need
    be spilled.
    """
    model = _Footprint(graph)
    done = live = peak = 0
    for op in range(model.num_ops):
        during, live = model.run(done, live, op)
        done |= 1 << op
        peak = max(peak, during)
    return peak


class Capacities(NamedTuple):
    """Capacities of interest, in bytes; names of COSMA."""

    M_R: int  # largest working set of an operator: with less nothing runs
    # smallest peak footprint that was found over all orders: with as much nothing need be moved
    M_P: int
    M_H: int  # half way between
    proved: bool  # no order has a smaller peak footprint


def capacities(graph: Graph | dict[str, Any], deadline: Deadline = NO_LIMIT) -> Capacities:
    """M_R, M_P and M_H of a graph; M_P as far as it is found before the deadline."""
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    least, (_, peak, proved) = graph.largest_working_set(), min_peak_order(graph, deadline=deadline)
    return Capacities(least, peak, (least + peak) // 2, proved)


# ------------------------------------------------------------------------------------ scores in jit


def deficits(state: State) -> Array:
    """i32[N]: bytes by which each operator exceeds the capacity beside what is resident; <= 0 where
    it fits.
    """
    instance = state.instance
    size = lookup(instance.size, instance.slot.ravel()).reshape(instance.slot.shape)
    there = (
        lookup(state.resident.astype(jnp.int32), instance.slot.ravel()).reshape(instance.slot.shape)
        > 0
    )
    missing = jnp.where(instance.slot_mask & ~there, size, 0).sum(-1, dtype=jnp.int32)
    used = jnp.where(state.resident, instance.size, 0).sum(dtype=jnp.int32)
    return missing + (used - instance.capacity)


def next_use(state: State) -> Array:
    """i32[A]: the first operator in the order given that still reads the tensor; N where there is
    none.
    """
    step = jnp.arange(state.instance.num_ops, dtype=jnp.int32)[:, None]
    waiting = state.instance.reads & ~state.ran[:, None]
    return jnp.where(waiting, step, state.instance.num_ops).min(0, initial=state.instance.num_ops)


def belady(state: State) -> Array:
    """The order given; the victim read last in it, of equal ones the largest. i32[N + A]."""
    return jnp.concatenate([_given(state), _ranks(next_use(state), state.instance.size)])


def greedy(state: State) -> Array:
    """The order given; the victim that makes room at the least cost. i32[N + A]."""
    return jnp.concatenate([_given(state), _cheapest(state)])


def lean(state: State) -> Array:
    """The operator with the least to evict, then the one that leaves least live; victims as in
    `greedy`. i32[N + A].
    """
    instance = state.instance
    size, there, left = (
        lookup(leaf, instance.slot.ravel()).reshape(instance.slot.shape)
        for leaf in (instance.size, state.resident.astype(jnp.int32), state.left)
    )
    stays = jnp.where(instance.slot_mask & (there == 0) & (left > 0), size, 0).sum(
        -1, dtype=jnp.int32
    )
    leaves = jnp.where(instance.reads & (state.left == 1)[None], instance.size, 0).sum(
        -1, dtype=jnp.int32
    )
    return jnp.concatenate(
        [_ranks(-jnp.maximum(deficits(state), 0), leaves - stays), _cheapest(state)]
    )


def random(state: State) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal action. i32[N + A]."""
    return jnp.zeros((state.ran.shape[0] + state.left.shape[0],), jnp.int32)


def _given(state: State) -> Array:
    return -jnp.arange(state.ran.shape[0], dtype=jnp.int32)


def _cheapest(state: State) -> Array:
    instance = state.instance
    needed = take_row(instance.reads, state.current) | rules.made_by(instance, state.current)
    deficit = (
        jnp.where(state.resident | needed, instance.size, 0).sum(dtype=jnp.int32)
        - instance.capacity
    )
    enough = instance.size >= deficit
    rank = jnp.where(enough, 2, state.copied.astype(jnp.int32))
    rank = jnp.where(take_row(instance.reads, state.current), -1, rank)
    return _ranks(
        rank,
        jnp.where(enough, -instance.size * (2 - state.copied.astype(jnp.int32)), instance.size),
    )


def _ranks(first: Array, second: Array) -> Array:
    """i32[.]: position in the ascending order of (first, second), the same for ties."""
    above = (first[:, None] > first[None]) | (
        (first[:, None] == first[None]) & (second[:, None] > second[None])
    )
    return above.sum(-1, dtype=jnp.int32)


SCORES = types.MappingProxyType(
    {"belady": belady, "greedy": greedy, "lean": lean, "random": random}
)
