"""Data of `TensorReplacement-v0`: plans on the host, the instance, and the state of a partial plan.

Shapes: `N` operators in default order, `A` tensors, `R` reads (pairs of an operator and a tensor it
reads), `K` tensors of one operator, inputs and outputs together; all padded with zeros and a False
mask. Sizes, offsets and traffic are bytes in units of the greatest common divisor of all sizes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import struct
from jax import Array

from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.host.checks import INT32_MAX
from jaxsched.host.errors import InstanceError

MAX_CELLS = 2**26  # operators times tensors, or tensors squared


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """An order of the operators and what is moved before each. `bound <= optimum <= traffic`;
    `proved`: they meet.

    `steps[t]` is a dict: `op`; `spill`, copied out before it, of what was resident in the step
    before; `retrieve`, copied in for it, first loads of backed tensors included; `keep`, resident
    since the step before; `address`, the offset of everything resident while it runs, `keep`,
    `retrieve` and its outputs (None with `placement="bytes"`). `method` is what found the plan;
    where that is not the method that was asked for, `note` says why.
    """

    steps: list[dict[str, Any]]
    traffic: int  # bytes spilled + retrieved, without the first load of each backed tensor
    bound: int  # no plan of this schedule and placement moves less
    proved: bool
    capacity: int  # bytes
    schedule: str
    placement: str
    compulsory: int  # bytes of first loads of backed tensors
    method: str = ""
    seconds: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        return (
            f"{self.traffic} bytes moved, lower bound {self.bound}{' (optimal)' if self.proved else ''}, and "
            f"{self.compulsory} of first loads, {self.method} in {self.seconds:.2f} s"
            f"{f'; {self.note}' if self.note else ''}"
        )


class Instance(struct.PyTreeNode):
    """A graph and a capacity."""

    size: Array  # i32[A]  units; 0 in padding
    backed: Array  # bool[A]
    producer: Array  # i32[A]  the operator that makes it; 0 where backed or padding
    tensor_mask: Array  # bool[A]  real tensors
    reads: Array  # bool[N, A]  the operator reads the tensor
    op_mask: Array  # bool[N]  real operators
    read_op: Array  # i32[R]
    read_tensor: Array  # i32[R]
    read_mask: Array  # bool[R]  real reads
    slot: Array  # i32[N, K]  the tensors of an operator, largest first, of equal ones the first
    slot_mask: Array  # bool[N, K]
    capacity: Array  # i32[]  units

    @property
    def num_ops(self) -> int:
        """Padded number of operators, a static Python int."""
        return self.reads.shape[-2]

    @property
    def num_tensors(self) -> int:
        """Padded number of tensors, a static Python int."""
        return self.reads.shape[-1]


class State(struct.PyTreeNode):
    """A partial plan: what ran, what is resident, and the operator that waits for room."""

    instance: Instance
    ran_at: Array  # i32[N]  the step at which the operator ran; 0 where it has not (yet)
    ran: Array  # bool[N]
    created: Array  # bool[A]  it was in fast memory at some time; backed tensors: loaded once
    resident: Array  # bool[A]
    copied: Array  # bool[A]  a copy lies off-chip
    left: Array  # i32[A]  readers that have not run
    offset: Array  # i32[A]  units; where it is, or was last; 0 with `placement="bytes"`
    current: Array  # i32[]  the operator that waits for room; meaningless otherwise
    evicting: Array  # bool[]  an operator waits for room
    traffic: Array  # i32[]  units; spills, and retrieves that have become certain
    retrieved: Array  # bool[N, K]  record: the tensor in this slot was copied in for the operator
    # i32[N, K]  record: its offset while the operator ran; 0 with `placement="bytes"`
    address: Array
    baseline: Array  # i32[]  0: the bound before the first decision
    left_to_run: Array  # i32[]
    stuck: Array  # bool[]  the working set of some operator exceeds the capacity

    @property
    def done(self) -> Array:
        """bool[]: every operator ran, or never all can."""
        return (self.left_to_run == 0) | self.stuck


def to_instance(graph: Graph | Mapping[str, Any], capacity: int) -> Instance:
    """The graph as an instance, on the host; `capacity` in bytes.

    Raises `InstanceError` for a malformed graph, where traffic could exceed int32 in units of the
    greatest common divisor of the sizes, or for more than 2**26 pairs of operators and tensors, or
    of tensors.
    """
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    num_ops, num_tensors, unit = len(graph.op_ids), len(graph.size), graph.unit
    size = [value // unit for value in graph.size]
    readers = graph.readers()
    worst = sum(size) + sum(2 * s * len(r) for s, r in zip(size, readers, strict=True))
    if worst > INT32_MAX:
        raise InstanceError(
            f"traffic may reach {worst} in units of {unit}, beyond int32: round sizes to a larger unit, or use the "
            "host methods of `replace`"
        )
    if num_tensors * max(num_ops, num_tensors) > MAX_CELLS:
        raise InstanceError(
            f"{num_ops} operators and {num_tensors} tensors: too many, more than {MAX_CELLS} pairs"
        )
    reads = np.zeros((num_ops, num_tensors), np.bool_)
    slots = [slots_of(graph, op) for op in range(num_ops)]
    slot = np.zeros((num_ops, max(map(len, slots))), np.int32)
    slot_mask = np.zeros(slot.shape, np.bool_)
    for op, mine in enumerate(slots):
        reads[op, list(graph.inputs[op])] = True
        slot[op, : len(mine)], slot_mask[op, : len(mine)] = mine, True
    read_op, read_tensor = np.nonzero(reads)
    producer = graph.producer
    fields: dict[str, Any] = {
        "size": np.array(size, np.int32),
        "backed": np.array(graph.backed, np.bool_),
        "producer": np.array([producer.get(a, 0) for a in range(num_tensors)], np.int32),
        "tensor_mask": np.ones((num_tensors,), np.bool_),
        "reads": reads,
        "op_mask": np.ones((num_ops,), np.bool_),
        "read_op": read_op.astype(np.int32),
        "read_tensor": read_tensor.astype(np.int32),
        "read_mask": np.ones(read_op.shape, np.bool_),
        "slot": slot,
        "slot_mask": slot_mask,
        "capacity": np.asarray(min(int(capacity) // unit, INT32_MAX), np.int32),
    }
    return Instance(**fields)


def slots_of(graph: Graph, op: int) -> list[int]:
    """The tensors of an operator in the order in which they are placed: largest first, of equal
    ones the first.
    """
    return sorted((*graph.inputs[op], *graph.outputs[op]), key=lambda a: (-graph.size[a], a))


def to_graph(instance: Instance) -> Graph:
    """The graph of an instance on the host, in units; operators and tensors are their own ids.
    Padding is dropped.
    """
    ops, tensors = (
        np.flatnonzero(instance.op_mask).tolist(),
        np.flatnonzero(instance.tensor_mask).tolist(),
    )
    backed, producer = np.asarray(instance.backed), np.asarray(instance.producer)
    reads, made = np.asarray(instance.reads), dict[int, list[int]]()
    for a in tensors:
        if not backed[a]:
            made.setdefault(int(producer[a]), []).append(a)
    return Graph(
        tuple(tensors),
        tuple(np.asarray(instance.size)[tensors].tolist()),
        tuple(backed[tensors].tolist()),
        tuple(ops),
        tuple(map(str, ops)),
        tuple(tuple(np.flatnonzero(reads[op]).tolist()) for op in ops),
        tuple(tuple(made.get(op, ())) for op in ops),
    )


def assemble(
    graph: Graph,
    order: Sequence[int],
    retrieved: Sequence[Iterable[int]],
    address: Sequence[Mapping[int, int]] | None,
) -> list[dict[str, Any]]:
    """The steps of a plan from its order of operators and, per step, the inputs copied in and the
    offsets of its own.

    A tensor is kept from a use to the next one that it is not retrieved for; a tensor that is
    retrieved again is spilled after the last use before that. `address[t]` has the inputs and
    outputs of step t.
    """
    fetched = [set(ids) for ids in retrieved]
    keep, spill = residency(graph, order, fetched)
    where: list[dict[int, int]] = []
    for t, mine in enumerate(address or ()):
        where.append({a: where[t - 1][a] for a in keep[t]} | dict(mine))
    id = graph.tensor_ids

    def named(tensors: Iterable[int]) -> list[Hashable]:
        return [id[a] for a in sorted(tensors)]

    return [
        {
            "op": graph.op_ids[op],
            "spill": named(spill[t]),
            "retrieve": named(fetched[t]),
            "keep": named(keep[t]),
            "address": {id[a]: low for a, low in sorted(where[t].items())} if where else None,
        }
        for t, op in enumerate(order)
    ]


def residency(
    graph: Graph, order: Sequence[int], retrieved: Sequence[Iterable[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Per step, the tensors that are kept since the step before and those spilled before it, see
    `assemble`.
    """
    uses: dict[int, list[int]] = {}  # tensor -> steps that make or read it
    for t, op in enumerate(order):
        for a in (*graph.inputs[op], *graph.outputs[op]):
            uses.setdefault(a, []).append(t)
    fetched = [set(ids) for ids in retrieved]
    keep: list[list[int]] = [[] for _ in order]
    spill: list[list[int]] = [[] for _ in order]
    for a, times in uses.items():
        copied = graph.backed[a]
        for before, after in itertools.pairwise(times):
            if a not in fetched[after]:
                for t in range(before + 1, after + 1):
                    keep[t].append(a)
            elif not copied:
                spill[before + 1].append(a)
                copied = True
    return keep, spill


def traffic_of(graph: Graph, retrieved: Sequence[Iterable[int]]) -> tuple[int, int]:
    """Bytes spilled and retrieved, and bytes of first loads, of a plan that copies in these tensors
    per step.
    """
    count = [0] * len(graph.size)
    for ids in retrieved:
        for a in ids:
            count[a] += 1
    moved = sum(
        size * (times - 1 if backed else times + 1)
        for size, times, backed in zip(graph.size, count, graph.backed, strict=True)
        if times
    )
    return moved, sum(
        size
        for size, n, backed in zip(graph.size, count, graph.backed, strict=True)
        if n and backed
    )
