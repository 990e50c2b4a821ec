"""Exact static allocation with the constraint solver CP-SAT of OR-Tools (imported when called)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxsched.envs.memory.allocation.types import Instance
from jaxsched.host.cpsat import Solver
from jaxsched.host.deadline import Deadline


def solve(
    instance: Instance,
    offsets: np.ndarray,
    *,
    target: int | None = None,
    deadline: Deadline,
    num_workers: int | None = None,
    seed: int = 0,
    improved: Callable[[np.ndarray], None] | None = None,
    stopper: Callable[[Callable[[], None]], None] | None = None,
) -> tuple[np.ndarray, int]:
    """The best plan CP-SAT finds, starting from the valid plan `offsets` i32[N], and the lower
    bound it proves.

    A rectangle per buffer, its time fixed, its address free; rectangles must not overlap. With
    `target` the peak must not exceed it and the first such plan ends the search; the bound is above
    the target where there is none. Buffers with gaps have a rectangle per stretch of sections.
    `improved(offsets)` is called with every better plan; `stopper(stop)` once at the start: calling
    `stop()` from another thread ends the search. Everything is in units of the instance, which has
    no padding. `num_workers`: threads, by default all cores; with one and enough time the result
    depends on `seed` only. The building of the model counts against the deadline. Raises
    `ImportError` without OR-Tools.
    """
    solver = Solver("exact allocation", deadline, num_workers, seed)
    size, alignment = np.asarray(instance.size), np.asarray(instance.alignment)
    low, thick = np.asarray(instance.pinned_offset), np.asarray(instance.pinned_size)
    lower = _lower_bound(instance)
    peak = max(int((offsets + size).max(initial=0)), int((low + thick).max(initial=0)))
    highest = peak if target is None else min(target, peak)
    if highest < lower:
        return offsets, lower

    model = solver.cp_model.CpModel()
    wide, tall = [], []

    def block(live: np.ndarray, start, thickness: int) -> None:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], live.astype(np.int8), [0]])))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            wide.append(model.new_fixed_size_interval_var(begin, end - begin, ""))
            tall.append(model.new_fixed_size_interval_var(start, thickness, ""))

    variables = []
    top = model.new_int_var(lower, highest, "peak") if target is None else highest
    for i, live in enumerate(np.asarray(instance.live)):
        if deadline.is_over():
            return offsets, lower
        step, thickness = int(alignment[i]), int(size[i])
        if thickness > highest:
            return offsets, lower
        multiple = model.new_int_var(0, (highest - thickness) // step, f"offset_{i}")
        model.add_hint(multiple, int(offsets[i]) // step)
        variables.append(multiple)
        block(live, multiple * step, thickness)
        if target is None:
            model.add(multiple * step + thickness <= top)
    for live, start, thickness in zip(
        np.asarray(instance.pinned_live), low.tolist(), thick.tolist(), strict=True
    ):
        block(live, start, thickness)
    model.add_no_overlap_2d(wide, tall)
    if target is None:
        model.minimize(top)

    def plan(value: Callable) -> np.ndarray:
        return np.array([value(multiple) for multiple in variables], np.int64) * alignment

    class Reporter(solver.cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self):
            if improved:
                improved(plan(self.value))

    if stopper:
        stopper(solver.solver.stop_search)
    bound = solver.solve(model, lower, highest, Reporter(), has_solution=target is None)
    if target is not None:
        bound = highest + 1 if solver.infeasible else lower
    return plan(solver.value) if solver.found else offsets, bound


def _lower_bound(instance: Instance) -> int:
    live = np.concatenate([np.asarray(instance.live), np.asarray(instance.pinned_live)])
    size = np.concatenate([np.asarray(instance.size), np.asarray(instance.pinned_size)]).astype(
        np.int64
    )
    ends = np.asarray(instance.pinned_offset, np.int64) + np.asarray(instance.pinned_size)
    return max(int((live * size[:, None]).sum(0).max(initial=0)), int(ends.max(initial=0)))
