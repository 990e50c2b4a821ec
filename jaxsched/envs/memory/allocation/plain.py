"""Plain functions: one problem in, one plan out, on the host."""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import random

from jaxsched.core.callables import as_key
from jaxsched.core.environment import Policy
from jaxsched.core.padding import bucket
from jaxsched.core.result import Result
from jaxsched.core.rollout import rollout
from jaxsched.envs.memory.allocation import exact, search, supermalloc
from jaxsched.envs.memory.allocation.env import StaticAllocation
from jaxsched.envs.memory.allocation.heuristics import HEURISTICS, heuristic, stacked
from jaxsched.envs.memory.allocation.types import Instance, to_buffers, to_instance
from jaxsched.envs.memory.types import Buffers, Plan, live_sizes, lower_bound
from jaxsched.host.cpsat import Solver
from jaxsched.host.deadline import Deadline
from jaxsched.host.errors import Infeasible, InstanceError, UnknownNameError

START_SECONDS = 1.0  # that the first heuristic may take whatever the time limit
# What compilation takes, in `deadline.probe`s: the search over orders, an episode of a policy.
SEARCH_WEIGHT, POLICY_WEIGHT = 10, 10
SEARCHES = ("search", "exact", "omnimalloc")
ALLOCATION_METHODS = (*HEURISTICS, *SEARCHES, "policy")


def allocate(
    buffers: Buffers | Iterable[Mapping[str, Any]],
    capacity: int | None = None,
    method: str = "search",
    alignment: int = 1,
    *,
    time_limit: float = 60.0,
    seed: int = 0,
    num_workers: int | None = None,
    policy: Policy | None = None,
) -> Plan:
    """Offsets for the buffers with as small a peak as the method finds, with a lower bound on any
    plan's peak.

    Methods, defined in `allocation/heuristics.py` unless said:

    * `best_fit_*`, `first_fit_*` with `size`, `duration`, `area` or `start`; `xla`; `no_reuse`, the
      sum of all sizes.
    * `search`: starts from all of these and never returns a worse plan (`allocation/search.py`);
      where OR-Tools is installed, CP-SAT with one thread looks for a plan at the lower bound beside
      it. Stops at the lower bound, with a capacity at the first plan that fits, or after
      `time_limit` seconds.
    * `exact`: CP-SAT (`allocation/exact.py`) from the best heuristic plan, until the optimum is
      proved or time is up.
    * `omnimalloc`: the best heuristic plan, or what OmniMalloc's SuperMalloc finds in `time_limit`
      seconds; sizes and lives only (`allocation/supermalloc.py`).
    * `policy`: one episode of `policy(key, state, observation) -> action`: `core.greedy(rule)`, or
      a trained one.

    `time_limit` covers the whole call; where it leaves no time to compile the search, CP-SAT is
    alone. A heuristic or policy that does not end within it, or within a second, gives way to
    `no_reuse`, and `Plan.note` says so.

    `Plan.method` names what found the plan: of `search`, `exact` and `omnimalloc` the heuristic
    whose plan they start from, where they neither find a better one nor prove it optimal;
    `Plan.note` says why.

    Sizes are rounded up to `alignment` and offsets are multiples of it. `seed` is for the search,
    the solver and the policy, `num_workers` the threads of `exact` and `omnimalloc` (default: all
    cores).

    Raises `Infeasible` where the plan of the method does not fit the `capacity`: with that plan,
    the missing amount, the time at which most is live, and whether no plan can fit; `InstanceError`
    for malformed buffers, and in `policy` for those whose offsets may exceed int32;
    `UnknownNameError` for another method; `ImportError` in `exact` without OR-Tools and in
    `omnimalloc` without OmniMalloc.
    """
    if method not in ALLOCATION_METHODS:
        raise UnknownNameError("method", method, ALLOCATION_METHODS)
    if (method == "policy") != (policy is not None):
        raise ValueError(
            "method 'policy' needs policy=, a function (key, state, observation) -> action; no other does"
        )
    deadline = Deadline(time_limit)
    if capacity is not None:
        capacity = operator.index(capacity)
    buffers = buffers if isinstance(buffers, Buffers) else Buffers(buffers)
    buffers = buffers.aligned(alignment)
    lower = lower_bound(buffers)
    note = ""
    if method in HEURISTICS:
        offsets = heuristic(buffers, method, deadline.at_least(START_SECONDS))
    elif policy is not None:
        offsets = _play(buffers, policy, seed, deadline)
    else:
        # With a capacity that no plan fits, the smallest peak says how far off it is.
        goal = capacity if capacity is not None and capacity >= lower else None
        best, lower, note = _improve(buffers, lower, goal, method, deadline, seed, num_workers)
        offsets, method = best.offsets, best.method
    if offsets is None:
        note = f"{method} did not end within its time limit"
        offsets, method = stacked(buffers, deadline), "no_reuse"
    plan = _finish(buffers, offsets, lower, method, note, alignment, deadline.spent())
    if capacity is not None and plan.peak > capacity:
        raise _infeasible(buffers, plan, capacity, proved=lower > capacity)
    return plan


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Plan | None = None,
    *,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The best plan of an instance that CP-SAT finds, in its units, whether its capacity holds it
    or not.

    `hint`: a plan from which it starts and than which the result is never worse. The limit covers
    the whole call. `Result.method` is `cp_sat`, or where that found nothing better and proved
    nothing the heuristic that it started from, or `hint`. Raises `ImportError` without OR-Tools,
    `ValueError` for numbers that make no sense.
    """
    deadline = Deadline(time_limit)
    # refuses what it cannot do before the work
    Solver("exact allocation", deadline, num_workers, seed)
    buffers = to_buffers(instance)
    given = None
    if hint is not None and not (np.asarray(hint.offsets) % buffers.unit).any():
        given = _scaled(buffers, np.asarray(hint.offsets) // buffers.unit)
    lower = lower_bound(buffers)
    best, lower, note = _improve(buffers, lower, None, "exact", deadline, seed, num_workers, given)
    method = "cp_sat" if best.method == "exact" else best.method
    offsets, peak = best.offsets[~buffers.pinned], best.peak
    if hint is not None and hint.peak < peak:
        offsets, peak, method = hint.offsets, hint.peak, "hint"
    plan = Plan(offsets, peak, lower, peak == lower, 1, method, deadline.spent(), note)
    return Result(plan, peak, lower, plan.proved, method, plan.seconds)


def _finish(
    buffers: Buffers,
    offsets: np.ndarray,
    lower: int,
    method: str,
    note: str,
    alignment: int,
    seconds: float,
) -> Plan:
    peak = int((offsets + buffers.size).max(initial=0))
    return Plan(offsets, peak, lower, peak == lower, alignment, method, seconds, note)


def _infeasible(buffers: Buffers, plan: Plan, capacity: int, proved: bool) -> Infeasible:
    times, live = live_sizes(buffers)
    at = int(np.argmax(live)) if len(live) else 0
    end = times[at + 1] if at + 1 < len(times) else times[at]
    section = f"most is live in [{times[at]}, {end}), {live[at]}"
    who = "the best plan found" if plan.method in SEARCHES else f"the plan of {plan.method}"
    found = f"{who} needs {plan.peak}"
    if live[at] > capacity:
        missing = int(live[at]) - capacity
        reason = f"capacity {capacity} is {missing} too small for any plan: {section}; {found}"
    elif proved:
        missing = plan.lower_bound - capacity
        reason = f"capacity {capacity} is proved {missing} or more too small: {section}; {found}"
    else:
        missing = plan.peak - capacity
        reason = (
            f"{found}, {missing} more than the capacity {capacity}; {section}, "
            f"and no plan needs less than {plan.lower_bound}"
        )
    return Infeasible(reason, missing=missing, plan=plan, proved=proved)


# ---------------------------------------------------------------------------------------- searching


def _best_heuristic(buffers: Buffers, deadline: Deadline) -> tuple[str, np.ndarray]:
    """The best plan of all heuristics, its name first.

    Of the first few where large inputs leave no time for more, of `no_reuse` where for none.
    """
    lower, best = lower_bound(buffers), None
    within = deadline.at_least(START_SECONDS)  # of the first one
    for name in ("best_fit_size", "first_fit_area", *HEURISTICS):
        if name in ("xla", "no_reuse"):  # one is among the others, the other is the worst of all
            continue
        offsets, within = heuristic(buffers, name, within), deadline
        if offsets is not None:
            peak = int((offsets + buffers.size).max(initial=0))
            best = (peak, name, offsets) if best is None or peak < best[0] else best
        if deadline.is_over() or (best is not None and best[0] == lower):
            break
    return ("no_reuse", stacked(buffers, deadline)) if best is None else best[1:]


def _improve(
    buffers: Buffers,
    lower: int,
    capacity: int | None,
    method: str,
    deadline: Deadline,
    seed: int,
    num_workers: int | None,
    hint: np.ndarray | None = None,
) -> tuple[_Best, int, str]:
    """The best plan of a method of `SEARCHES`, the lower bound in the end, and what kept it from a
    better one.

    `hint` i64[N]: offsets of a plan to start from where it is the best known.
    """
    name, start = _best_heuristic(buffers, deadline)
    if hint is not None and (hint + buffers.size).max(initial=0) <= (start + buffers.size).max(
        initial=0
    ):
        name, start = "hint", hint
    best = _Best(buffers, name, start, method)
    goal = lower if capacity is None or method == "exact" else capacity
    if best.peak <= goal:
        return best.proved(lower), lower, ""
    if method == "omnimalloc":
        limit = max(deadline.left(), 0.01)
        offsets, bound = supermalloc.solve(buffers, time_limit=limit, num_workers=num_workers)
        best.offer(offsets[~buffers.pinned] // buffers.unit)
        lower = max(lower, bound)
        return best.proved(lower), lower, best.note()
    if deadline.is_over():
        return best, lower, best.note()
    try:
        instance = to_instance(buffers, capacity)
    except InstanceError as error:
        if method == "exact":
            raise
        return best, lower, f"nothing was searched: {error}"
    unit = buffers.unit
    if method == "exact":
        offsets, bound = exact.solve(
            instance,
            best.movable(),
            deadline=deadline,
            num_workers=num_workers,
            seed=seed,
            improved=best.offer,
        )
        best.offer(offsets)
    else:
        target = -(-goal // unit) if capacity is None else goal // unit
        solver = _Beside(instance, best, target, deadline, seed)
        shape = tuple(map(bucket, instance.live.shape))
        if deadline.has_room_to_compile(("allocation search", shape), SEARCH_WEIGHT):
            bound = search.search(
                instance,
                best.peak // unit,
                target=None if capacity is None else target,
                deadline=deadline,
                seed=seed,
                improved=best.offer,
                better=lambda: best.peak // unit,
            )[1]
            bound = max(bound, solver.stop())
        else:
            bound = solver.wait()
    lower = min(max(lower, bound * unit), best.peak)
    return best.proved(lower), lower, best.note()


class _Best:
    """The best plan so far of all buffers, and the method that found it; safe to share between
    threads.

    It starts from the plan of a heuristic, `method`; better ones are those of `searcher`.
    """

    def __init__(self, buffers: Buffers, method: str, offsets: np.ndarray, searcher: str):
        self.buffers, self.offsets, self.lock = buffers, offsets, threading.Lock()
        self.method, self.searcher = method, searcher

    @property
    def peak(self) -> int:
        return int((self.offsets + self.buffers.size).max(initial=0))

    def movable(self) -> np.ndarray:
        """Offsets of the buffers that are not pinned, in units."""
        return self.offsets[~self.buffers.pinned] // self.buffers.unit

    def offer(self, movable: np.ndarray) -> None:
        """Keep a plan of the buffers that are not pinned, in units, if it is better."""
        offsets = _scaled(self.buffers, movable)
        with self.lock:
            if int((offsets + self.buffers.size).max(initial=0)) < self.peak:
                self.offsets, self.method = offsets, self.searcher

    def proved(self, lower: int) -> _Best:
        """The same plan; it is the searcher's where it is proved optimal, whoever found
        it first.
        """
        if self.peak <= lower:
            self.method = self.searcher
        return self

    def note(self) -> str:
        """Why the plan is not the searcher's; empty where it is."""
        return (
            ""
            if self.method == self.searcher
            else f"{self.searcher} found no better plan in its time"
        )


class _Beside:
    """CP-SAT with one thread beside the search, looking for a plan at `target`; nothing where it is
    not installed.
    """

    def __init__(self, instance: Instance, best: _Best, target: int, deadline: Deadline, seed: int):
        self.bound, self.best, self.end = 0, best, lambda: None
        self.arguments = instance, best.movable(), target, deadline, seed
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        instance, offsets, target, deadline, seed = self.arguments
        try:
            offsets, self.bound = exact.solve(
                instance,
                offsets,
                target=target,
                deadline=deadline,
                num_workers=1,
                seed=seed,
                stopper=self._keep,
            )
        except ImportError:
            return
        self.best.offer(offsets)

    def _keep(self, end: Callable[[], None]) -> None:
        self.end = end

    def wait(self) -> int:
        """Until it ends by itself, which it does by the deadline; returns the lower bound it has
        proved.
        """
        self.thread.join()
        return self.bound

    def stop(self) -> int:
        """End it; returns the lower bound it has proved."""
        while self.thread.is_alive():
            self.end()
            self.thread.join(0.05)
        return self.bound


# ------------------------------------------------------------------------------------------ playing


def _play(buffers: Buffers, policy: Policy, seed: int, deadline: Deadline) -> np.ndarray | None:
    """The offsets of one episode; None where no time is left to compile it."""
    instance, policy = to_instance(buffers), as_key(policy)
    if not deadline.has_room_to_compile(
        ("allocation policy", policy, instance.live.shape), POLICY_WEIGHT
    ):
        return None
    return _scaled(buffers, np.asarray(_episode(policy, instance, seed)))


@functools.partial(jax.jit, static_argnums=0)
def _episode(policy: Policy, instance: Instance, seed: int):
    return rollout(StaticAllocation(), random.key(seed), instance, policy).state.offset


def _scaled(buffers: Buffers, movable: np.ndarray) -> np.ndarray:
    """Offsets of all buffers from those of the ones that are not pinned, in units."""
    offsets = buffers.offset.copy()
    offsets[~buffers.pinned] = np.asarray(movable, np.int64) * buffers.unit
    return offsets
