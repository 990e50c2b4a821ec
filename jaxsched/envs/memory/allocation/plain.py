"""Plain functions: one problem in, one plan out, on the host."""

from __future__ import annotations

import functools
import operator
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import random

from jaxsched.core.callables import as_key
from jaxsched.core.environment import Policy
from jaxsched.core.errors import Infeasible, InstanceError, UnknownNameError
from jaxsched.core.rollout import rollout
from jaxsched.envs.memory.allocation import exact, search, supermalloc
from jaxsched.envs.memory.allocation.env import StaticAllocation
from jaxsched.envs.memory.allocation.heuristics import HEURISTICS, heuristic
from jaxsched.envs.memory.allocation.types import AllocationInstance, to_instance
from jaxsched.envs.memory.types import Buffers, Plan, live_sizes, lower_bound

ALLOCATION_METHODS = (*HEURISTICS, "search", "exact", "omnimalloc", "policy")


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
    """Offsets for the buffers with as small a peak as the method finds, with a lower bound on any plan's peak.

    Methods, defined in `allocation/heuristics.py` unless said:

    * `best_fit_*`, `first_fit_*` with `size`, `duration`, `area` or `start`; `xla`; `no_reuse`, the sum of all sizes.
    * `search`: starts from all of these and never returns a worse plan (`allocation/search.py`); where OR-Tools is
      installed, CP-SAT with one thread looks for a plan at the lower bound beside it. Stops at the lower bound, with a
      capacity at the first plan that fits, or after `time_limit` seconds.
    * `exact`: CP-SAT (`allocation/exact.py`) from the best heuristic plan, until the optimum is proved or time is up.
    * `omnimalloc`: the best heuristic plan, or what OmniMalloc's SuperMalloc finds in `time_limit` seconds; sizes and
      lives only (`allocation/supermalloc.py`).
    * `policy`: one episode of `policy(key, state, observation) -> action`: `core.greedy(rule)`, or a trained one.

    Sizes are rounded up to `alignment` and offsets are multiples of it. `seed` is for the search, the solver and the
    policy, `num_workers` the threads of `exact` and `omnimalloc` (default: all cores).

    Raises `Infeasible` where the plan does not fit the `capacity`: with the plan, the missing amount, the time at which
    most is live, and whether no plan can fit; `InstanceError` for malformed buffers, and in `policy` for those whose
    offsets may exceed int32; `UnknownNameError` for another method; `ImportError` in `exact` without OR-Tools
    and in `omnimalloc` without OmniMalloc.
    """
    if method not in ALLOCATION_METHODS:
        raise UnknownNameError("method", method, ALLOCATION_METHODS)
    if (method == "policy") != (policy is not None):
        raise ValueError("method 'policy' needs policy=, a function (key, state, observation) -> action; no other does")
    if not time_limit >= 0:
        raise ValueError(f"time_limit is in seconds and not negative, got {time_limit}")
    if capacity is not None:
        capacity = operator.index(capacity)
    began = time.perf_counter()
    buffers = buffers if isinstance(buffers, Buffers) else Buffers(buffers)
    buffers = buffers.aligned(alignment)
    lower = lower_bound(buffers)
    deadline = began + time_limit
    if capacity is not None and lower > capacity:  # nothing to search for; the heuristics say how far off they are
        plan = _finish(buffers, _best_heuristic(buffers, deadline), lower, "search", alignment, began)
        raise _infeasible(buffers, plan, capacity, proved=True)
    if method in HEURISTICS:
        offsets = heuristic(buffers, method)
    elif method == "policy":
        assert policy is not None
        offsets = _play(buffers, policy, seed)
    else:
        offsets, lower = _improve(buffers, lower, capacity, method, deadline, seed, num_workers)
    plan = _finish(buffers, offsets, lower, method, alignment, began)
    if capacity is not None and plan.peak > capacity:
        raise _infeasible(buffers, plan, capacity, proved=lower > capacity)
    return plan


def _finish(buffers: Buffers, offsets: np.ndarray, lower: int, method: str, alignment: int, began: float) -> Plan:
    peak = int((offsets + buffers.size).max(initial=0))
    return Plan(offsets, peak, lower, peak == lower, alignment, method, time.perf_counter() - began)


def _infeasible(buffers: Buffers, plan: Plan, capacity: int, proved: bool) -> Infeasible:
    times, live = live_sizes(buffers)
    at = int(np.argmax(live)) if len(live) else 0
    end = times[at + 1] if at + 1 < len(times) else times[at]
    section = f"most is live in [{times[at]}, {end}), {live[at]}"
    found = f"the best plan found needs {plan.peak}"
    if live[at] > capacity:
        missing = int(live[at]) - capacity
        reason = f"capacity {capacity} is {missing} too small for any plan: {section}; {found}"
    elif proved:
        missing = plan.lower_bound - capacity
        reason = f"capacity {capacity} is proved {missing} or more too small: {section}; {found}"
    else:
        missing = plan.peak - capacity
        reason = (
            f"the plan of {plan.method} needs {plan.peak}, {missing} more than the capacity {capacity}; {section}, "
            f"and no plan needs less than {plan.lower_bound}"
        )
    return Infeasible(reason, missing=missing, plan=plan, proved=proved)


# ------------------------------------------------------------------------------------------------------- searching


def _best_heuristic(buffers: Buffers, deadline: float) -> np.ndarray:
    """The best plan of all heuristics, or of the first few where large inputs leave no time for more."""
    lower, best = lower_bound(buffers), None
    for name in ("best_fit_size", "first_fit_area", *HEURISTICS):
        if best is not None and (best[0] == lower or time.perf_counter() > deadline):
            break
        if name not in ("xla", "no_reuse"):  # one is among the others, the other is the worst of all
            offsets = heuristic(buffers, name)
            peak = int((offsets + buffers.size).max(initial=0))
            best = (peak, offsets) if best is None or peak < best[0] else best
    assert best is not None
    return best[1]


def _improve(
    buffers: Buffers,
    lower: int,
    capacity: int | None,
    method: str,
    deadline: float,
    seed: int,
    num_workers: int | None,
) -> tuple[np.ndarray, int]:
    """The best plan of `search` or `exact`, offsets of all buffers, and the lower bound in the end."""
    best = _Best(buffers, _best_heuristic(buffers, deadline))
    goal = lower if capacity is None or method == "exact" else capacity
    if best.peak <= goal:
        return best.offsets, lower
    if method == "omnimalloc":
        limit = deadline - time.perf_counter()
        offsets, bound = supermalloc.solve(buffers, time_limit=max(limit, 0.01), num_workers=num_workers)
        best.offer(offsets // buffers.unit)
        return best.offsets, max(lower, bound)
    try:
        instance = to_instance(buffers, capacity)
    except InstanceError:
        if method == "exact":
            raise
        return best.offsets, lower  # too large for the device: the heuristics stand
    unit = buffers.unit
    if method == "exact":
        limit = deadline - time.perf_counter()
        offsets, bound = exact.solve(
            instance, best.movable(), time_limit=limit, num_workers=num_workers, seed=seed, improved=best.offer
        )
        best.offer(offsets)
    else:
        target = -(-goal // unit) if capacity is None else goal // unit
        solver = _Beside(instance, best, target, deadline, seed)
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
    return best.offsets, min(max(lower, bound * unit), best.peak)


class _Best:
    """The best plan so far of all buffers; safe to share between threads."""

    def __init__(self, buffers: Buffers, offsets: np.ndarray):
        self.buffers, self.offsets, self.lock = buffers, offsets, threading.Lock()

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
                self.offsets = offsets


class _Beside:
    """CP-SAT with one thread beside the search, looking for a plan at `target`; nothing where it is not installed."""

    def __init__(self, instance: AllocationInstance, best: _Best, target: int, deadline: float, seed: int):
        self.bound, self.best, self.end = 0, best, lambda: None
        self.arguments = instance, best.movable(), target, deadline, seed
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        instance, offsets, target, deadline, seed = self.arguments
        limit = deadline - time.perf_counter()
        try:
            offsets, self.bound = exact.solve(
                instance, offsets, target=target, time_limit=limit, num_workers=1, seed=seed, stopper=self._keep
            )
        except ImportError:
            return
        self.best.offer(offsets)

    def _keep(self, end: Callable[[], None]) -> None:
        self.end = end

    def stop(self) -> int:
        """End it; returns the lower bound it has proved."""
        while self.thread.is_alive():
            self.end()
            self.thread.join(0.05)
        return self.bound


# --------------------------------------------------------------------------------------------------------- playing


def _play(buffers: Buffers, policy: Policy, seed: int) -> np.ndarray:
    return _scaled(buffers, np.asarray(_episode(as_key(policy), to_instance(buffers), seed)))


@functools.partial(jax.jit, static_argnums=0)
def _episode(policy: Policy, instance: AllocationInstance, seed: int):
    return rollout(StaticAllocation(), random.key(seed), instance, policy).state.offset


def _scaled(buffers: Buffers, movable: np.ndarray) -> np.ndarray:
    """Offsets of all buffers from those of the ones that are not pinned, in units."""
    offsets = buffers.offset.copy()
    offsets[~buffers.pinned] = np.asarray(movable, np.int64) * buffers.unit
    return offsets
