"""The judge of finished plans of tensor replacement: written from the problem statement, not from
the rules.
"""

from __future__ import annotations

import itertools
import operator
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.types import Instance, Plan, to_graph

_MOST = 20  # faults listed
_FIELDS = ("op", "spill", "retrieve", "keep", "address")


def verify_replacement(graph: Graph, plan: Plan) -> list[str]:
    """Everything wrong with a plan of the graph, one line each (20 at most).

    Every operator runs once, after those that make its inputs, and in the order given if the
    schedule is fixed; what is kept was resident, what is spilled was resident and is spilled once,
    what is retrieved has a copy off-chip; inputs and outputs are resident while an operator runs,
    everything resident fits, in sum and at its addresses, and stays at its address while it is
    kept; and the totals and the claim of a proof are right.
    """
    faults = _malformed(graph, plan)
    if faults:
        return faults[:_MOST]
    faults += _misordered(graph, plan)
    judge = _Judge(graph, plan)
    for t, step in enumerate(plan.steps):
        faults += [f"step {t}, operator {step['op']!r}: {fault}" for fault in judge.faults(step)]
    if plan.traffic != judge.moved:
        faults.append(f"the traffic is given as {plan.traffic}, but {judge.moved} bytes are moved")
    if plan.compulsory != judge.compulsory:
        faults.append(
            f"first loads are given as {plan.compulsory}, but are {judge.compulsory} bytes"
        )
    if not 0 <= plan.bound <= plan.traffic:
        faults.append(f"the bound {plan.bound} is not within 0 and the traffic {plan.traffic}")
    if plan.proved != (plan.bound == plan.traffic):
        faults.append(
            f"proved is {plan.proved}, with a traffic of {plan.traffic} and a bound of {plan.bound}"
        )
    return faults[:_MOST]


def _misordered(graph: Graph, plan: Plan) -> list[str]:
    """What is wrong with which operators run, and in which order."""
    order = [step["op"] for step in plan.steps]
    faults = [
        f"operator {op!r} runs {count} times" for op, count in Counter(order).items() if count > 1
    ]
    ran = set(order)
    faults += [f"operator {op!r} never runs" for op in graph.op_ids if op not in ran]
    if plan.schedule == "fixed" and order != list(graph.op_ids):
        faults.append("the schedule is fixed, but the operators run in another order")
    return faults


class _Judge:
    """Plays the steps of a plan one after the other, says what is wrong and sums the bytes."""

    def __init__(self, graph: Graph, plan: Plan):
        ids = graph.tensor_ids
        self.plan = plan
        self.size = dict(zip(ids, graph.size, strict=True))
        self.backed = {a for a, is_backed in zip(ids, graph.backed, strict=True) if is_backed}
        self.made = {ids[a] for outputs in graph.outputs for a in outputs}
        self.rows = {
            op: ([ids[a] for a in inputs], [ids[a] for a in outputs])
            for op, inputs, outputs in zip(graph.op_ids, graph.inputs, graph.outputs, strict=True)
        }
        self.resident: set[Any] = set()
        self.where: dict[Any, int] = {}
        self.copies = set(self.backed)  # off-chip
        self.loaded: set[Any] = set()
        self.created: set[Any] = set()
        self.moved = self.compulsory = 0

    def faults(self, step: Mapping[str, Any]) -> Iterator[str]:
        """Of the next step."""
        inputs, outputs = self.rows[step["op"]]
        keep, brought = set(step["keep"]), {*step["keep"], *step["retrieve"]}
        yield from self._spill(step["spill"])
        for a in step["keep"]:
            if a not in self.resident:
                yield f"keeps {a!r}, which was not resident"
        yield from self._retrieve(step["retrieve"], keep)
        yield from self._run(inputs, outputs, brought)
        self.resident = brought | set(outputs)
        used = sum(self.size[a] for a in self.resident)
        if used > self.plan.capacity:
            yield f"{used} bytes are resident, {used - self.plan.capacity} more than the capacity"
        if self.plan.placement == "address":
            yield from self._place(step["address"], keep)

    def _spill(self, spilled: Iterable[Any]) -> Iterator[str]:
        for a in spilled:
            if a not in self.resident:
                yield f"spills {a!r}, which was not resident"
            elif a in self.copies:
                yield f"spills {a!r}, of which a copy exists"
            self.copies.add(a)
            self.moved += self.size[a]

    def _retrieve(self, retrieved: Iterable[Any], keep: set[Any]) -> Iterator[str]:
        for a in retrieved:
            if a not in self.copies:
                yield f"retrieves {a!r}, of which there is no copy"
            if a in keep:
                yield f"both keeps and retrieves {a!r}"
            if a in self.backed and a not in self.loaded:
                self.compulsory += self.size[a]
            else:
                self.moved += self.size[a]
            self.loaded.add(a)

    def _run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], brought: set[Any]
    ) -> Iterator[str]:
        """`brought`: what is kept or retrieved."""
        for a in inputs:
            if a not in brought:
                yield f"reads {a!r}, which is not resident"
        for a in inputs:
            if a in self.made and a not in self.created:
                yield f"reads {a!r} before it is made"
        for a in outputs:
            if a in brought:
                yield f"makes {a!r}, which was resident already"
        self.created |= set(outputs)

    def _place(self, address: Mapping[Any, int], keep: set[Any]) -> Iterator[str]:
        size, now, capacity = self.size, self.resident, self.plan.capacity
        for a in now:
            if a not in address:
                yield f"{a!r} is resident, but has no address"
        for a in address:
            if a not in now:
                yield f"{a!r} has an address, but is not resident"
        placed = sorted((low, low + size[a], a) for a, low in address.items() if a in now)
        for (_, end, one), (low, _, other) in itertools.pairwise(placed):
            if low < end:
                yield f"{one!r} and {other!r} overlap in address"
        for low, end, a in placed:
            if low < 0 or end > capacity:
                yield f"{a!r} at [{low}, {end}) is outside the capacity {capacity}"
            if a in keep and self.where.get(a, low) != low:
                yield f"{a!r} is kept, but moves from {self.where[a]} to {low}"
        self.where = dict(address)


def validate(instance: Instance, plan: Plan) -> list[str]:
    """Everything wrong with the plan of an instance, in its units: ids are indices."""
    faults = verify_replacement(to_graph(instance), plan)
    if plan.capacity != int(instance.capacity):
        faults = [
            f"the plan is for a capacity of {plan.capacity}, not {int(instance.capacity)}",
            *faults,
        ]
    return faults[:_MOST]


def measure(instance: Instance, plan: Plan) -> int:
    """Bytes spilled and retrieved in the steps, in units, without the first load of each backed
    tensor.
    """
    size, backed = np.asarray(instance.size).tolist(), np.asarray(instance.backed).tolist()
    loaded: set[int] = set()
    moved = 0
    for step in plan.steps:
        moved += sum(size[a] for a in step["spill"])
        for a in step["retrieve"]:
            moved += size[a] if not backed[a] or a in loaded else 0
            loaded.add(a)
    return moved


def _malformed(graph: Graph, plan: Plan) -> list[str]:
    """What does not have the form of a plan of this graph; nothing else can be judged while there
    is any.
    """
    faults = []
    if plan.schedule not in ("fixed", "free") or plan.placement not in ("bytes", "address"):
        faults.append(f"unknown schedule {plan.schedule!r} or placement {plan.placement!r}")
    ops, tensors = set(graph.op_ids), set(graph.tensor_ids)

    def known(id: Any, ids: set) -> bool:
        try:
            return id in ids
        except TypeError:
            return False

    for t, step in enumerate(plan.steps):
        if not isinstance(step, Mapping) or set(step) != set(_FIELDS):
            faults.append(
                f"step {t}: expected a dict with {', '.join(_FIELDS)}, got {reprlib.repr(step)}"
            )
            continue
        if not known(step["op"], ops):
            faults.append(f"step {t}: unknown operator {reprlib.repr(step['op'])}")
        for field in ("spill", "retrieve", "keep"):
            ids = list(step[field])
            bad = [id for id in ids if not known(id, tensors)]
            faults += [f"step {t}: {field} has the unknown tensor {reprlib.repr(id)}" for id in bad]
            if not bad and len(set(ids)) < len(ids):
                faults.append(f"step {t}: {field} names a tensor twice")
        address = step["address"]
        if (plan.placement == "address") != isinstance(address, Mapping):
            wanted = "a dict" if plan.placement == "address" else "None"
            faults.append(f"step {t}: address is {reprlib.repr(address)}, not {wanted}")
            continue
        for id, low in (address or {}).items():
            try:
                operator.index(low)
            except TypeError:
                faults.append(f"step {t}: the address {reprlib.repr(low)} is not an integer")
            if not known(id, tensors):
                faults.append(f"step {t}: address has the unknown tensor {reprlib.repr(id)}")
    return faults
