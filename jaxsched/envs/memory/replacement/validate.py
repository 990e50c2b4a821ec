"""The judge of finished plans of tensor replacement: written from the problem statement, not from
the rules.
"""

from __future__ import annotations

import itertools
import operator
import reprlib
from collections import Counter
from collections.abc import Mapping
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
    size = dict(zip(graph.tensor_ids, graph.size, strict=True))
    backed = {a for a, is_backed in zip(graph.tensor_ids, graph.backed, strict=True) if is_backed}
    made = {graph.tensor_ids[a] for outputs in graph.outputs for a in outputs}
    rows = {
        op: ([graph.tensor_ids[a] for a in inputs], [graph.tensor_ids[a] for a in outputs])
        for op, inputs, outputs in zip(graph.op_ids, graph.inputs, graph.outputs, strict=True)
    }
    for op, count in Counter(step["op"] for step in plan.steps).items():
        if count > 1:
            faults.append(f"operator {op!r} runs {count} times")
    ran = {step["op"] for step in plan.steps}
    faults += [f"operator {op!r} never runs" for op in graph.op_ids if op not in ran]
    if plan.schedule == "fixed" and [step["op"] for step in plan.steps] != list(graph.op_ids):
        faults.append("the schedule is fixed, but the operators run in another order")

    resident: set[Any] = set()
    where: dict[Any, int] = {}
    copies, loaded, created = set(backed), set(), set()
    moved = compulsory = 0
    for t, step in enumerate(plan.steps):
        op, at = step["op"], f"step {t}, operator {step['op']!r}"
        inputs, outputs = rows[op]
        keep, fetched, address = set(step["keep"]), set(step["retrieve"]), step["address"]
        for a in step["spill"]:
            if a not in resident:
                faults.append(f"{at}: spills {a!r}, which was not resident")
            elif a in copies:
                faults.append(f"{at}: spills {a!r}, of which a copy exists")
            copies.add(a)
            moved += size[a]
        faults += [
            f"{at}: keeps {a!r}, which was not resident" for a in step["keep"] if a not in resident
        ]
        for a in step["retrieve"]:
            if a not in copies:
                faults.append(f"{at}: retrieves {a!r}, of which there is no copy")
            if a in keep:
                faults.append(f"{at}: both keeps and retrieves {a!r}")
            if a in backed and a not in loaded:
                compulsory += size[a]
            else:
                moved += size[a]
            loaded.add(a)
        faults += [
            f"{at}: reads {a!r}, which is not resident" for a in inputs if a not in keep | fetched
        ]
        faults += [
            f"{at}: reads {a!r} before it is made" for a in inputs if a in made and a not in created
        ]
        faults += [
            f"{at}: makes {a!r}, which was resident already" for a in outputs if a in keep | fetched
        ]
        created |= set(outputs)
        now = keep | fetched | set(outputs)
        used = sum(size[a] for a in now)
        if used > plan.capacity:
            faults.append(
                f"{at}: {used} bytes are resident, {used - plan.capacity} more than the capacity"
            )
        if plan.placement == "address":
            faults += [
                f"{at}: {a!r} is resident, but has no address" for a in now if a not in address
            ]
            faults += [
                f"{at}: {a!r} has an address, but is not resident" for a in address if a not in now
            ]
            placed = sorted((low, low + size[a], a) for a, low in address.items() if a in now)
            for (_, end, one), (low, _, other) in itertools.pairwise(placed):
                if low < end:
                    faults.append(f"{at}: {one!r} and {other!r} overlap in address")
            for low, end, a in placed:
                if low < 0 or end > plan.capacity:
                    faults.append(
                        f"{at}: {a!r} at [{low}, {end}) is outside the capacity {plan.capacity}"
                    )
                if a in keep and where.get(a, low) != low:
                    faults.append(f"{at}: {a!r} is kept, but moves from {where[a]} to {low}")
            where = dict(address)
        resident = now
    if plan.traffic != moved:
        faults.append(f"the traffic is given as {plan.traffic}, but {moved} bytes are moved")
    if plan.compulsory != compulsory:
        faults.append(f"first loads are given as {plan.compulsory}, but are {compulsory} bytes")
    if not 0 <= plan.bound <= plan.traffic:
        faults.append(f"the bound {plan.bound} is not within 0 and the traffic {plan.traffic}")
    if plan.proved != (plan.bound == plan.traffic):
        faults.append(
            f"proved is {plan.proved}, with a traffic of {plan.traffic} and a bound of {plan.bound}"
        )
    return faults[:_MOST]


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
