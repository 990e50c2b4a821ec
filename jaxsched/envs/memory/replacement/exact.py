"""Exact tensor replacement with the constraint solver CP-SAT of OR-Tools (imported when called).

The model follows the formulation of COSMA (arXiv 2311.18246), from descriptions of it: per tensor
and step, created, preserved or retrieved; inputs and outputs resident while an operator runs;
offsets that stay while a tensor is preserved. Ours differs where it costs nothing: a tensor is
spilled once, right after it is made, since it may stay resident; it is retrieved only for an
operator that reads it; and the first load of a backed tensor is free, but happens, which lifts the
bound.

A *window* is a stretch of the steps of a plan that is solved anew while the rest of the plan stays
as it is, which is how graphs beyond the whole model are improved: divide and conquer, one window
after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import Played
from jaxsched.envs.memory.replacement.types import residency, traffic_of
from jaxsched.host.cpsat import Solver
from jaxsched.host.deadline import Deadline
from jaxsched.host.errors import InstanceError

MAX_MODEL = 20_000  # operators times tensors of one model
WHOLE = 14  # operators that `search` hands to the solver at once
WINDOWS = (8, 12, 16)  # steps of the windows of `search`
WINDOW_SECONDS = 10.0


def solve(
    graph: Graph,
    capacity: int,
    schedule: str,
    plan: Played,
    *,
    deadline: Deadline,
    num_workers: int | None = None,
    seed: int = 0,
) -> tuple[Played, int]:
    """The best plan that CP-SAT finds, starting from `plan`, and the lower bound it proves, in
    bytes.

    `plan` has addresses or not, and so has the result. Raises `ImportError` without OR-Tools,
    `InstanceError` for more than 20,000 pairs of operators and tensors.
    """
    check_size(graph)
    num_ops = len(graph.op_ids)
    limits = {"num_workers": num_workers, "seed": seed}
    return solve_window(graph, capacity, schedule, plan, 0, num_ops, deadline=deadline, **limits)


def check_size(graph: Graph) -> None:
    """Raise `InstanceError` for more pairs of operators and tensors than one model takes."""
    num_ops, num_tensors = len(graph.op_ids), len(graph.size)
    if num_ops * num_tensors > MAX_MODEL:
        raise InstanceError(
            f"{num_ops} operators and {num_tensors} tensors: too many for one model, use method='search'"
        )


def search(
    graph: Graph,
    capacity: int,
    schedule: str,
    plan: Played,
    *,
    deadline: Deadline,
    num_workers: int | None = None,
    seed: int = 0,
) -> tuple[Played, int]:
    """The best plan found by solving windows of `plan` one after the other until none improves, and
    a lower bound.

    Windows overlap by half and grow from sweep to sweep; up to 14 operators are one window, which
    proves the optimum. The bound is 0 otherwise.
    """
    num_ops = len(graph.op_ids)
    limits = {"num_workers": num_workers, "seed": seed}
    if num_ops <= WHOLE:
        return solve(graph, capacity, schedule, plan, deadline=deadline, **limits)
    best = traffic_of(graph, plan.retrieved)[0]
    for width in WINDOWS:
        improves = True
        while improves:
            improves = False
            for begin in range(0, max(num_ops - width // 2, 1), width // 2):
                if deadline.is_over() or best == 0:
                    return plan, 0
                end = min(begin + width, num_ops)
                within = Deadline(min(deadline.left(), WINDOW_SECONDS))
                plan, _ = solve_window(
                    graph, capacity, schedule, plan, begin, end, deadline=within, **limits
                )
                now = traffic_of(graph, plan.retrieved)[0]
                improves |= now < best
                best = now
    return plan, 0


def solve_window(
    graph: Graph,
    capacity: int,
    schedule: str,
    plan: Played,
    begin: int,
    end: int,
    *,
    deadline: Deadline,
    num_workers: int | None = None,
    seed: int = 0,
) -> tuple[Played, int]:
    """`plan` with its steps [begin, end) solved anew, and the least traffic of such plans that was
    proved.

    What is kept into the window may stay or leave; what the plan keeps beyond it may be lost, for a
    retrieve later on. The result is never worse than `plan`.
    """
    solver = Solver("exact replacement", deadline, num_workers, seed)
    unit = graph.unit
    room = capacity // unit
    size = [value // unit for value in graph.size]
    ops, num_steps, producer = plan.order[begin:end], end - begin, graph.producer
    keep, _ = residency(graph, plan.order, plan.retrieved)
    entry, exit_ = set(keep[begin]), set(keep[end]) if end < len(keep) else set()
    outside = [t for t in range(len(plan.order)) if not begin <= t < end]
    loaded = {a for t in range(begin) for a in graph.inputs[plan.order[t]] if graph.backed[a]}
    copied = {a for t in outside for a in plan.retrieved[t]} | {
        a for a, backed in enumerate(graph.backed) if backed
    }
    tensors = sorted(
        entry.union(*(graph.inputs[op] for op in ops), *(graph.outputs[op] for op in ops))
    )
    inside = set(ops)

    model = solver.cp_model.CpModel()
    hints: list[tuple[Any, int]] = []

    def boolean(name: str, hint: bool):
        variable = model.new_bool_var(name)
        hints.append((variable, int(hint)))
        return variable

    # runs[op][t]: the operator runs in step t of the window; within the steps that its relatives
    # leave it.
    before = {op: {producer[a] for a in graph.inputs[op] if a in producer} & inside for op in ops}
    runs: dict[int, list] = {}
    if schedule == "fixed":
        runs = {op: [int(t == at) for t in range(num_steps)] for at, op in enumerate(ops)}
    else:
        ancestors: dict[int, set[int]] = {}
        for op in ops:
            ancestors[op] = before[op].union(*(ancestors[other] for other in before[op]))
        for at, op in enumerate(ops):
            first = len(ancestors[op])
            last = num_steps - 1 - sum(op in ancestors[other] for other in ops)
            runs[op] = [
                boolean(f"run_{op}_{t}", t == at) if first <= t <= last else 0
                for t in range(num_steps)
            ]
            model.add(sum(runs[op]) == 1)
        for t in range(num_steps):
            model.add(sum(runs[op][t] for op in ops) == 1)
        for op in ops:
            for other in before[op]:
                for t in range(num_steps):
                    model.add(sum(runs[op][: t + 1]) <= sum(runs[other][:t]))

    stays: dict[int, list] = {}
    fetch: dict[int, list] = {}
    there: dict[int, list] = {}
    lost: dict[int, Any] = {}
    cost = []
    for a in tensors:
        if deadline.is_over():
            return plan, 0
        maker = runs[producer[a]] if producer.get(a) in inside else [0] * num_steps
        readers = [runs[op] for op in ops if a in graph.inputs[op]]
        stays[a] = [boolean(f"keep_{a}_{t}", a in keep[begin + t]) for t in range(num_steps)]
        fetch[a] = [
            boolean(f"fetch_{a}_{t}", a in plan.retrieved[begin + t]) for t in range(num_steps)
        ]
        there[a] = [maker[t] + stays[a][t] + fetch[a][t] for t in range(num_steps)]
        for t in range(num_steps):
            use = sum(reader[t] for reader in readers)
            model.add(there[a][t] <= 1)
            model.add(stays[a][t] <= (there[a][t - 1] if t else int(a in entry)))
            model.add(fetch[a][t] <= use)
            model.add(use <= stays[a][t] + fetch[a][t])
        times = sum(fetch[a])
        if a in exit_:
            gone = boolean(f"lost_{a}", False)
            model.add(there[a][num_steps - 1] + gone >= 1)
            lost[a] = gone
            times += gone
        if a not in copied:
            is_fetched = any(a in plan.retrieved[t] for t in range(begin, end))
            spill = boolean(f"spill_{a}", is_fetched)
            for again in (*fetch[a], *([lost[a]] if a in lost else [])):
                model.add(again <= spill)
            times += spill
        elif graph.backed[a] and readers and a not in loaded:
            model.add(sum(fetch[a]) >= 1)
            times -= 1
        cost.append(size[a] * times)
    for t in range(num_steps):
        model.add(sum(size[a] * there[a][t] for a in tensors) <= room)

    where: dict[int, list] = {}
    if plan.address is not None:
        offsets = _offsets(graph, plan, begin, end)
        wide, tall = [], []
        for a in tensors:
            low = [model.new_int_var(0, room - size[a], f"low_{a}_{t}") for t in range(num_steps)]
            where[a] = low
            for t in range(num_steps):
                present = model.new_bool_var(f"there_{a}_{t}")
                model.add(present == there[a][t])
                wide.append(model.new_optional_fixed_size_interval_var(t, 1, present, ""))
                tall.append(
                    model.new_optional_fixed_size_interval_var(low[t], size[a], present, "")
                )
                last = low[t - 1] if t else offsets["entry"][a] // unit if a in entry else 0
                model.add(low[t] == last).only_enforce_if(stays[a][t])
                if a in offsets[t]:
                    hints.append((low[t], offsets[t][a] // unit))
            if a in lost:
                model.add(low[-1] == offsets["exit"][a] // unit).only_enforce_if(~lost[a])
        model.add_no_overlap_2d(wide, tall)
    total = sum(cost)
    model.minimize(total)
    for variable, value in hints:
        model.add_hint(variable, value)

    known = traffic_of(graph, plan.retrieved)[0]
    bound = solver.solve(model, 0, known // unit) * unit
    if not solver.found:
        return plan, bound

    value = solver.value
    order = [next(op for op in ops if value(runs[op][t])) for t in range(num_steps)]
    retrieved = [[a for a in tensors if value(fetch[a][t])] for t in range(num_steps)]
    later = [list(ids) for ids in plan.retrieved[end:]]
    for a, gone in lost.items():
        if value(gone):
            next_reader = next(t for t, op in enumerate(plan.order[end:]) if a in graph.inputs[op])
            later[next_reader].append(a)
    address = None
    if plan.address is not None:
        mine = [(*graph.inputs[op], *graph.outputs[op]) for op in order]
        found = [{a: value(where[a][t]) * unit for a in ids} for t, ids in enumerate(mine)]
        address = [*plan.address[:begin], *found, *plan.address[end:]]
    new = Played(
        [*plan.order[:begin], *order, *plan.order[end:]],
        [*plan.retrieved[:begin], *retrieved, *later],
        address,
    )
    return (new if traffic_of(graph, new.retrieved)[0] < known else plan), bound


def _offsets(graph: Graph, plan: Played, begin: int, end: int) -> dict[Any, dict[int, int]]:
    """Where tensors are in each step of a window, by number, and where those are that are kept into
    and beyond it.
    """
    assert plan.address is not None
    keep, _ = residency(graph, plan.order, plan.retrieved)
    found: dict[Any, dict[int, int]] = {"entry": {}, "exit": {}}
    now: dict[int, int] = {}
    for t, own in enumerate(plan.address):
        kept: Iterable[int] = keep[t]
        held = {a: now[a] for a in kept}
        if t == begin:
            found["entry"] = held
        if t == end:
            found["exit"] = held
        now = held | own
        if begin <= t < end:
            found[t - begin] = now
    return found
