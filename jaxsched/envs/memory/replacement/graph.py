"""Operators and the tensors they read and make, on the host, and the checks that every graph
passes.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from jaxsched.envs.memory.types import LIMIT, new_id, position_of
from jaxsched.host.checks import INT32_MAX, Fault, Part, array, boolean, integer, mapping, shorten
from jaxsched.host.errors import InstanceError


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Operators in an order that runs, and the tensors they read and make; tensors and operators
    count from 0 inside.

    A tensor is made by one operator, or is `backed`: a copy of it lies off-chip from the start
    (inputs, weights).
    """

    tensor_ids: tuple[Hashable, ...]
    size: tuple[int, ...]  # bytes
    backed: tuple[bool, ...]
    op_ids: tuple[Hashable, ...]
    op_names: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]  # per operator
    outputs: tuple[tuple[int, ...], ...]

    @classmethod
    def from_dict(cls, graph: Mapping[str, Any]) -> Graph:
        """`{"tensors": [{"id", "size", "backed"}], "ops": [{"id", "name", "inputs": [id],
        "outputs": [id]}]}`.

        `backed` is False and `name` the id unless given; an operator may have no tensors. Raises
        `InstanceError`, naming tensor or operator, for unknown or missing fields, duplicate ids,
        sizes below 1 or beyond int32 in units of their greatest common divisor, unknown tensors,
        tensors made twice, made though backed, or never, cycles, and reads before writes.
        """
        mapping(graph, "the graph", required=("tensors", "ops"))
        tensors, ops = (array(graph[name], name) for name in ("tensors", "ops"))
        index: dict[Hashable, int] = {}
        size, backed = [], []
        for row in tensors:
            at = _place("tensor", row)
            mapping(row, at, known=("backed",), required=("id", "size"))
            new_id(row["id"], index, at)
            size.append(integer(row["size"], at, least=1, most=LIMIT, field="size"))
            backed.append(boolean(row.get("backed", False), at, field="backed"))
        unit = math.gcd(*size)
        for id, bytes_ in zip(index, size, strict=True):
            if bytes_ // unit > INT32_MAX:
                reason = f"exceeds int32 in units of the greatest common divisor, {unit}"
                raise Fault(f"size {bytes_} {reason}", ("tensor", id))
        names: dict[Hashable, int] = {}
        lists: dict[str, list[tuple[int, ...]]] = {"inputs": [], "outputs": []}
        for row in ops:
            at = _place("operator", row)
            mapping(row, at, known=("name",), required=("id", "inputs", "outputs"))
            new_id(row["id"], names, at)
            for field, found in lists.items():
                found.append(_tensors(row[field], field, index, at))
        for name, found in (("operators", ops), ("tensors", tensors)):
            if not found:
                raise InstanceError(f"the graph has no {name}")
        made = cls(
            tuple(index),
            tuple(size),
            tuple(backed),
            tuple(names),
            tuple(str(row.get("name", row["id"])) for row in ops),
            tuple(lists["inputs"]),
            tuple(lists["outputs"]),
        )
        _check_order(made)
        return made

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """What `from_dict` takes."""
        ids, tensors, ops = self.tensor_ids, [], []
        for id, size, backed in zip(ids, self.size, self.backed, strict=True):
            tensors.append({"id": id, "size": size, "backed": backed})
        rows = zip(self.op_ids, self.op_names, self.inputs, self.outputs, strict=True)
        for op, name, reads, makes in rows:
            row: dict[str, Any] = {"id": op, "name": name}
            row["inputs"] = [ids[a] for a in reads]
            row["outputs"] = [ids[a] for a in makes]
            ops.append(row)
        return {"tensors": tensors, "ops": ops}

    def __repr__(self) -> str:
        return f"Graph({len(self.op_ids)} operators, {len(self.tensor_ids)} tensors, {sum(self.size)} bytes)"

    @property
    def unit(self) -> int:
        """Greatest common divisor of the sizes."""
        return math.gcd(*self.size) or 1

    @property
    def producer(self) -> dict[int, int]:
        """The operator that makes each tensor that is not backed."""
        return {a: op for op, outputs in enumerate(self.outputs) for a in outputs}

    def readers(self) -> list[list[int]]:
        """The operators that read each tensor, ascending."""
        found: list[list[int]] = [[] for _ in self.size]
        for op, inputs in enumerate(self.inputs):
            for a in inputs:
                found[a].append(op)
        return found

    def working_set(self, op: int) -> int:
        """Bytes of the inputs and outputs of an operator."""
        return sum(self.size[a] for a in (*self.inputs[op], *self.outputs[op]))

    def largest_working_set(self) -> int:
        """M_R: the smallest capacity within which every operator runs at all."""
        return max(map(self.working_set, range(len(self.op_ids))))

    def reordered(self, order: Sequence[int]) -> Graph:
        """The same graph with its operators in another order that runs."""
        fields = {}
        for name in ("op_ids", "op_names", "inputs", "outputs"):
            fields[name] = tuple(map(getattr(self, name).__getitem__, order))
        return dataclasses.replace(self, **fields)


# --------------------------------------------------------------------------------- checks of a dict


def _place(kind: str, row: Any) -> tuple[str, Any]:
    """The part of a path that names a tensor or operator, by its id where it has one."""
    return kind, row["id"] if isinstance(row, Mapping) and "id" in row else row


def _tensors(value: Any, field: str, index: dict[Hashable, int], at: Part) -> tuple[int, ...]:
    found: list[int] = []
    for id in array(value, at, field):
        tensor = position_of(id, index)
        if tensor is None:
            raise Fault(f"{field} has the unknown tensor {shorten(id)}", at)
        if tensor in found:
            raise Fault(f"{field} has tensor {shorten(id)} twice", at)
        found.append(tensor)
    return tuple(found)


def _check_order(graph: Graph) -> None:
    """Every tensor has one origin, there is no cycle, and the operators run in the order given."""
    tensor, op_name = ([reprlib.repr(id) for id in ids] for ids in (graph.tensor_ids, graph.op_ids))
    producer: dict[int, int] = {}
    for op, outputs in enumerate(graph.outputs):
        for a in outputs:
            if graph.backed[a]:
                raise InstanceError(
                    f"operator {op_name[op]}: it makes tensor {tensor[a]}, which is backed"
                )
            if a in producer:
                raise InstanceError(
                    f"operator {op_name[op]}: it makes tensor {tensor[a]}, which operator {op_name[producer[a]]} makes"
                )
            producer[a] = op
    for op, inputs in enumerate(graph.inputs):
        for a in inputs:
            if not graph.backed[a] and a not in producer:
                raise InstanceError(
                    f"operator {op_name[op]}: it reads tensor {tensor[a]}, which nobody makes and which is not backed"
                )
    for a in range(len(graph.size)):
        if not graph.backed[a] and a not in producer:
            raise InstanceError(f"tensor {tensor[a]}: nobody makes it, and it is not backed")

    early = [
        (op, a)
        for op, inputs in enumerate(graph.inputs)
        for a in inputs
        if producer.get(a, -1) >= op
    ]
    if not early:
        return
    waits = [{producer[a] for a in inputs if a in producer} for inputs in graph.inputs]
    left = set(range(len(waits)))
    while ready := {op for op in left if not waits[op] & left}:
        left -= ready
    if left:
        path = [min(left)]
        while path[-1] not in path[:-1]:
            path.append(min(waits[path[-1]] & left))
        cycle = path[path.index(path[-1]) :]
        raise InstanceError(
            f"operators {' -> '.join(op_name[op] for op in reversed(cycle))} form a cycle"
        )
    op, a = early[0]
    raise InstanceError(
        f"operator {op_name[op]}: it reads tensor {tensor[a]} before operator {op_name[producer[a]]} makes it; "
        "list the operators in an order that runs"
    )
