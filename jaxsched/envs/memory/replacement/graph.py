"""Operators and the tensors they read and make, on the host, and the checks that every graph
passes.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched.envs.memory.types import INT32_MAX
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
        _fields(graph, "the graph", ("tensors", "ops"))
        tensors, ops = (_rows(graph[name], name) for name in ("tensors", "ops"))
        index: dict[Hashable, int] = {}
        size, backed = [], []
        for row in tensors:
            what = _named("tensor", row)
            _fields(row, what, ("id", "size"), ("backed",))
            _new(row["id"], what, index)
            size.append(_size(row["size"], what))
            if not isinstance(row.get("backed", False), bool | np.bool_):
                raise InstanceError(f"{what}: backed {reprlib.repr(row['backed'])} is not True or False")
            backed.append(bool(row.get("backed", False)))
        unit = math.gcd(*size)
        for row, bytes_ in zip(tensors, size, strict=True):
            if bytes_ // unit > INT32_MAX:
                raise InstanceError(
                    f"{_named('tensor', row)}: size {bytes_} exceeds int32 in units of the greatest common divisor, "
                    f"{unit}"
                )
        names: dict[Hashable, int] = {}
        lists: dict[str, list[tuple[int, ...]]] = {"inputs": [], "outputs": []}
        for row in ops:
            what = _named("operator", row)
            _fields(row, what, ("id", "inputs", "outputs"), ("name",))
            _new(row["id"], what, names)
            for field, found in lists.items():
                found.append(_tensors(row[field], what, field, index))
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


# --------------------------------------------------------------------------------------------- checks of a dict


def _fields(row: Any, what: str, needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    if not isinstance(row, Mapping):
        raise InstanceError(f"{what}: expected a dict with {', '.join(needed)}, got {reprlib.repr(row)}")
    for name in row:
        if name not in (*needed, *optional):
            raise InstanceError(f"{what}: unknown field {reprlib.repr(name)}; known: {', '.join((*needed, *optional))}")
    for name in needed:
        if name not in row:
            raise InstanceError(f"{what}: no field {name!r}")


def _rows(value: Any, name: str) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise InstanceError(f"{name} must be a list of dicts, got {reprlib.repr(value)}")
    return list(value)


def _named(kind: str, row: Any) -> str:
    return f"{kind} {reprlib.repr(row['id']) if isinstance(row, Mapping) and 'id' in row else reprlib.repr(row)}"


def _new(id: Any, what: str, index: dict[Hashable, int]) -> None:
    if not isinstance(id, Hashable):
        raise InstanceError(f"{what}: the id is not hashable")
    if id in index:
        raise InstanceError(f"{what}: another one has the same id")
    index[id] = len(index)


def _size(value: Any, what: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InstanceError(f"{what}: size {reprlib.repr(value)} is not an integer") from None
    if number < 1:
        raise InstanceError(f"{what}: size must be at least 1, got {number}")
    return number


def _tensors(value: Any, what: str, field: str, index: dict[Hashable, int]) -> tuple[int, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise InstanceError(f"{what}: {field} must be a list of ids, got {reprlib.repr(value)}")
    found = []
    for id in value:
        if not isinstance(id, Hashable) or id not in index:
            raise InstanceError(f"{what}: {field} has the unknown tensor {reprlib.repr(id)}")
        if index[id] in found:
            raise InstanceError(f"{what}: {field} has tensor {reprlib.repr(id)} twice")
        found.append(index[id])
    return tuple(found)


def _check_order(graph: Graph) -> None:
    """Every tensor has one origin, there is no cycle, and the operators run in the order given."""
    tensor, op_name = ([reprlib.repr(id) for id in ids] for ids in (graph.tensor_ids, graph.op_ids))
    producer: dict[int, int] = {}
    for op, outputs in enumerate(graph.outputs):
        for a in outputs:
            if graph.backed[a]:
                raise InstanceError(f"operator {op_name[op]}: it makes tensor {tensor[a]}, which is backed")
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

    early = [(op, a) for op, inputs in enumerate(graph.inputs) for a in inputs if producer.get(a, -1) >= op]
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
        raise InstanceError(f"operators {' -> '.join(op_name[op] for op in reversed(cycle))} form a cycle")
    op, a = early[0]
    raise InstanceError(
        f"operator {op_name[op]}: it reads tensor {tensor[a]} before operator {op_name[producer[a]]} makes it; "
        "list the operators in an order that runs"
    )
