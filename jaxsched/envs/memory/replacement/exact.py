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

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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
    window = _window(graph, plan, begin, end)
    model = _Model(window, capacity, solver.cp_model.CpModel())
    model.add_order(schedule)
    cost = []
    for a in window.tensors:
        if deadline.is_over():
            return plan, 0
        model.add_residency(a)
        cost.append(model.size[a] * model.transfers(a))
    model.add_capacity()
    if plan.address is not None:
        model.add_addresses()
    model.cp.minimize(sum(cost))

    known = traffic_of(graph, plan.retrieved)[0]
    bound = solver.solve(model.cp, 0, known // graph.unit) * graph.unit
    if not solver.found:
        return plan, bound
    found = model.solution(solver.value)
    return (found if traffic_of(graph, found.retrieved)[0] < known else plan), bound


class _Window(NamedTuple):
    """Steps of a plan that are solved anew, and what the rest of the plan settles for them."""

    graph: Graph
    plan: Played
    begin: int
    end: int
    ops: list[int]  # operators that run in its steps
    tensors: list[int]  # that may be resident in them
    kept: list[set[int]]  # into each of them by the plan
    entry: set[int]  # tensors kept into it
    exit: set[int]  # tensors kept beyond it
    loaded: set[int]  # backed tensors that were read before it
    copied: set[int]  # tensors with a copy off-chip that the rest of the plan pays for

    @property
    def steps(self) -> range:
        return range(self.end - self.begin)


def _window(graph: Graph, plan: Played, begin: int, end: int) -> _Window:
    keep, _ = residency(graph, plan.order, plan.retrieved)
    ops, entry = plan.order[begin:end], set(keep[begin])
    used = (*(graph.inputs[op] for op in ops), *(graph.outputs[op] for op in ops))
    backed = {a for a, is_backed in enumerate(graph.backed) if is_backed}
    return _Window(
        graph,
        plan,
        begin,
        end,
        ops,
        tensors=sorted(entry.union(*used)),
        kept=[set(ids) for ids in keep[begin:end]],
        entry=entry,
        exit=set(keep[end]) if end < len(keep) else set(),
        loaded=backed.intersection(a for op in plan.order[:begin] for a in graph.inputs[op]),
        copied=backed.union(*plan.retrieved[:begin], *plan.retrieved[end:]),
    )


class _Model:
    """The model of a window, its plan as the hint.

    Variables have the operator or tensor as their key and one entry per step. Sizes and addresses
    are in the units of the graph.
    """

    def __init__(self, window: _Window, capacity: int, cp: Any):
        unit = window.graph.unit
        self.window, self.cp, self.room = window, cp, capacity // unit
        self.size = [value // unit for value in window.graph.size]
        self.runs: dict[int, list] = {}  # the operator runs in the step
        self.stays: dict[int, list] = {}  # the tensor is kept into it
        self.fetch: dict[int, list] = {}  # the tensor is retrieved in it
        self.there: dict[int, list] = {}  # the tensor is resident in it
        self.low: dict[int, list] = {}  # its address there
        self.lost: dict[int, Any] = {}  # kept beyond the window by the plan, but not by the new one

    def _boolean(self, name: str, hint: bool) -> Any:
        variable = self.cp.new_bool_var(name)
        self.cp.add_hint(variable, int(hint))
        return variable

    def add_order(self, schedule: str) -> None:
        """One operator runs per step, within the steps that its relatives leave it."""
        graph, ops, steps = self.window.graph, self.window.ops, self.window.steps
        if schedule == "fixed":
            self.runs = {op: [int(t == at) for t in steps] for at, op in enumerate(ops)}
            return
        producer, inside = graph.producer, set(ops)
        before = {
            op: {producer[a] for a in graph.inputs[op] if a in producer} & inside for op in ops
        }
        ancestors: dict[int, set[int]] = {}
        for op in ops:
            ancestors[op] = before[op].union(*(ancestors[other] for other in before[op]))
        for at, op in enumerate(ops):
            first = len(ancestors[op])
            last = len(steps) - 1 - sum(op in ancestors[other] for other in ops)
            self.runs[op] = [
                self._boolean(f"run_{op}_{t}", t == at) if first <= t <= last else 0 for t in steps
            ]
            self.cp.add(sum(self.runs[op]) == 1)
        for t in steps:
            self.cp.add(sum(self.runs[op][t] for op in ops) == 1)
        for op in ops:
            for other in before[op]:
                for t in steps:
                    self.cp.add(sum(self.runs[op][: t + 1]) <= sum(self.runs[other][:t]))

    def add_residency(self, a: int) -> None:
        """Tensor `a` is there where it is made, kept or retrieved; it is read where it is there."""
        window, graph, steps = self.window, self.window.graph, self.window.steps
        retrieved = window.plan.retrieved[window.begin : window.end]
        maker = self.runs.get(graph.producer.get(a, -1), [0] * len(steps))
        readers = [self.runs[op] for op in window.ops if a in graph.inputs[op]]
        stays = [self._boolean(f"keep_{a}_{t}", a in window.kept[t]) for t in steps]
        fetch = [self._boolean(f"fetch_{a}_{t}", a in retrieved[t]) for t in steps]
        there = [maker[t] + stays[t] + fetch[t] for t in steps]
        for t in steps:
            use = sum(reader[t] for reader in readers)
            self.cp.add(there[t] <= 1)
            self.cp.add(stays[t] <= (there[t - 1] if t else int(a in window.entry)))
            self.cp.add(fetch[t] <= use)
            self.cp.add(use <= stays[t] + fetch[t])
        if a in window.exit:
            self.lost[a] = self._boolean(f"lost_{a}", False)
            self.cp.add(there[-1] + self.lost[a] >= 1)
        self.stays[a], self.fetch[a], self.there[a] = stays, fetch, there

    def transfers(self, a: int) -> Any:
        """How often tensor `a` is spilled and retrieved, but for the first load of a backed one."""
        window, graph, fetch = self.window, self.window.graph, self.fetch[a]
        again = [*fetch, *([self.lost[a]] if a in self.lost else [])]
        times = sum(again)
        if a not in window.copied:
            retrieved = window.plan.retrieved[window.begin : window.end]
            spill = self._boolean(f"spill_{a}", any(a in ids for ids in retrieved))
            for retrieve in again:
                self.cp.add(retrieve <= spill)
            return times + spill
        is_read = any(a in graph.inputs[op] for op in window.ops)
        if graph.backed[a] and is_read and a not in window.loaded:
            self.cp.add(sum(fetch) >= 1)
            return times - 1
        return times

    def add_capacity(self) -> None:
        """What is there fits in sum."""
        for t in self.window.steps:
            used = sum(self.size[a] * self.there[a][t] for a in self.window.tensors)
            self.cp.add(used <= self.room)

    def add_addresses(self) -> None:
        """What is there has a place of its own, the same one while it stays."""
        window, model, unit = self.window, self.cp, self.window.graph.unit
        offsets = _offsets(window)
        wide, tall = [], []
        for a in window.tensors:
            size, stays = self.size[a], self.stays[a]
            low = [model.new_int_var(0, self.room - size, f"low_{a}_{t}") for t in window.steps]
            for t in window.steps:
                present = model.new_bool_var(f"there_{a}_{t}")
                model.add(present == self.there[a][t])
                wide.append(model.new_optional_fixed_size_interval_var(t, 1, present, ""))
                tall.append(model.new_optional_fixed_size_interval_var(low[t], size, present, ""))
                last = low[t - 1] if t else offsets["entry"][a] // unit if a in window.entry else 0
                model.add(low[t] == last).only_enforce_if(stays[t])
                if a in offsets[t]:
                    model.add_hint(low[t], offsets[t][a] // unit)
            if a in self.lost:
                model.add(low[-1] == offsets["exit"][a] // unit).only_enforce_if(~self.lost[a])
            self.low[a] = low
        model.add_no_overlap_2d(wide, tall)

    def solution(self, value: Callable[[Any], int]) -> Played:
        """The plan with the steps of the window by the values of the variables."""
        window, graph = self.window, self.window.graph
        plan, begin, end = window.plan, window.begin, window.end
        order = [next(op for op in window.ops if value(self.runs[op][t])) for t in window.steps]
        retrieved = [[a for a in window.tensors if value(self.fetch[a][t])] for t in window.steps]
        later = [list(ids) for ids in plan.retrieved[end:]]
        for a, lost in self.lost.items():
            if value(lost):
                rest = enumerate(plan.order[end:])
                later[next(t for t, op in rest if a in graph.inputs[op])].append(a)
        address = None
        if plan.address is not None:
            own = [(*graph.inputs[op], *graph.outputs[op]) for op in order]
            found = [
                {a: value(self.low[a][t]) * graph.unit for a in ids} for t, ids in enumerate(own)
            ]
            address = [*plan.address[:begin], *found, *plan.address[end:]]
        return Played(
            [*plan.order[:begin], *order, *plan.order[end:]],
            [*plan.retrieved[:begin], *retrieved, *later],
            address,
        )


def _offsets(window: _Window) -> dict[Any, dict[int, int]]:
    """Where tensors are in each step of a window, by number, and where those are that are kept into
    and beyond it.
    """
    plan, begin, end = window.plan, window.begin, window.end
    assert plan.address is not None
    keep, _ = residency(window.graph, plan.order, plan.retrieved)
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
