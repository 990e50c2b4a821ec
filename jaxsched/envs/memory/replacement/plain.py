"""Plain functions: one graph in, one plan out, on the host."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import random

from jaxsched.core.callables import as_key
from jaxsched.core.environment import Policy
from jaxsched.core.errors import Infeasible, UnknownNameError
from jaxsched.core.rollout import rollout
from jaxsched.envs.memory.replacement import exact
from jaxsched.envs.memory.replacement.env import TensorReplacement, played
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import VICTIMS, Played, capacities, min_peak_order, play
from jaxsched.envs.memory.replacement.types import (
    PLACEMENTS,
    SCHEDULES,
    ReplacementInstance,
    ReplacementPlan,
    assemble,
    replacement_instance,
    traffic_of,
)

REPLACEMENT_METHODS = ("belady", "belady_min_peak", "greedy", "search", "exact", "policy")
CAPACITIES = ("M_R", "M_P", "M_H")


def replace(
    graph: Graph | Mapping[str, Any],
    capacity: int | str,
    schedule: str = "free",
    placement: str = "bytes",
    method: str = "search",
    *,
    time_limit: float = 60.0,
    seed: int = 0,
    num_workers: int | None = None,
    policy: Policy | None = None,
) -> ReplacementPlan:
    """A plan that runs the graph within `capacity` bytes and moves as little as the method finds.

    `capacity` may also be `"M_R"`, `"M_P"` or `"M_H"`, see `capacities`. Methods:

    * `belady`, `greedy`: the order given and one rule for victims; `belady_min_peak`: Belady in an order with the
      smallest peak footprint, so with `schedule="free"` only (`replacement/heuristics.py`).
    * `search`: starts from the best of these and improves windows of it with CP-SAT, divide and conquer, until no
      window improves or `time_limit` seconds are over (`replacement/exact.py`); the heuristics without OR-Tools.
    * `exact`: one CP-SAT model, until the optimum is proved or time is up; 7 to 14 operators take seconds.
    * `policy`: one episode of `policy(key, state, observation) -> action`: `core.greedy(rule)`, or a trained one.

    `seed` is for the solver and the policy, `num_workers` the solver's threads (default: all cores). The bound of the
    heuristics is what some operator alone forces out in a fixed order, else 0.

    Raises `Infeasible` where an operator alone exceeds the capacity, with its name, the missing bytes and the best plan
    at the smallest capacity that works; `InstanceError` for a malformed graph; `UnknownNameError` for another method,
    schedule, placement or capacity; `ImportError` in `exact` without OR-Tools.
    """
    for what, name, known in (
        ("method", method, REPLACEMENT_METHODS),
        ("schedule", schedule, SCHEDULES),
        ("placement", placement, PLACEMENTS),
    ):
        if name not in known:
            raise UnknownNameError(what, name, known)
    if isinstance(capacity, str) and capacity not in CAPACITIES:
        raise UnknownNameError("capacity", capacity, CAPACITIES)
    if (method == "policy") != (policy is not None):
        raise ValueError("method 'policy' needs policy=, a function (key, state, observation) -> action; no other does")
    if method == "belady_min_peak" and schedule == "fixed":
        raise ValueError("method 'belady_min_peak' chooses the order; it needs schedule='free'")
    if not time_limit >= 0:
        raise ValueError(f"time_limit is in seconds and not negative, got {time_limit}")
    began = time.perf_counter()
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    limit = getattr(capacities(graph), capacity) if isinstance(capacity, str) else operator.index(capacity)

    least = graph.largest_working_set()
    if limit < least:  # nothing to search for; what the heuristics need at the least capacity that works
        plan = _finish(graph, least, schedule, placement, "search", _best(graph, least, schedule, placement), 0, began)
        op = max(range(len(graph.op_ids)), key=graph.working_set)
        name = graph.op_names[op]
        label = f"{graph.op_ids[op]!r}" + (f" ({name})" if name != str(graph.op_ids[op]) else "")
        raise Infeasible(
            f"capacity {limit} is {least - limit} bytes too small for operator {label}: its inputs and outputs take "
            f"{least}; with {least} the best plan found moves {plan.traffic}",
            missing=least - limit,
            plan=plan,
            proved=True,
        )
    bound = forced_out(graph, limit) if schedule == "fixed" else 0
    if method == "policy":
        assert policy is not None
        found = _episode_of(graph, limit, schedule, placement, policy, seed)
    elif method in ("search", "exact"):
        found = _best(graph, limit, schedule, placement)
        if traffic_of(graph, found.retrieved)[0] > bound:
            deadline = began + time_limit
            limits = {"num_workers": num_workers, "seed": seed}
            if method == "exact":
                left = deadline - time.perf_counter()
                found, proved = exact.solve(graph, limit, schedule, found, time_limit=left, **limits)
            else:
                try:
                    found, proved = exact.search(graph, limit, schedule, found, deadline=deadline, **limits)
                except ImportError:
                    proved = 0
            bound = max(bound, proved)
    else:
        found = _heuristic(graph, limit, placement, method)
    return _finish(graph, limit, schedule, placement, method, found, bound, began)


def forced_out(graph: Graph, capacity: int) -> int:
    """Bytes that must move in the order given whatever is evicted: the most that one operator forces out.

    What was made or loaded before an operator and is read after it, not by it, and does not fit beside its working set
    must be copied in again, and unless it is backed out as well.
    """
    size, producer = graph.size, graph.producer
    first = [producer.get(a, ops[0] if ops else 0) for a, ops in enumerate(graph.readers())]
    last = [ops[-1] if ops else -1 for ops in graph.readers()]
    most = 0
    for op in range(len(graph.op_ids)):
        across = [a for a in range(len(size)) if first[a] < op < last[a] and a not in graph.inputs[op]]
        loose = sum(size[a] for a in across if graph.backed[a])
        excess = sum(size[a] for a in across) + graph.working_set(op) - capacity
        most = max(most, excess + max(excess - loose, 0))
    return most


def _heuristic(graph: Graph, capacity: int, placement: str, method: str) -> Played:
    order = min_peak_order(graph)[0] if method == "belady_min_peak" else list(range(len(graph.op_ids)))
    return play(graph, capacity, order, method.removesuffix("_min_peak"), placement)


def _best(graph: Graph, capacity: int, schedule: str, placement: str) -> Played:
    """The best plan of all rules for victims and, where it may be chosen, both orders."""
    orders = [list(range(len(graph.op_ids))), *([min_peak_order(graph)[0]] if schedule == "free" else [])]
    plans = [play(graph, capacity, order, victims, placement) for order in orders for victims in VICTIMS]
    return min(plans, key=lambda plan: traffic_of(graph, plan.retrieved)[0])


def _finish(
    graph: Graph, capacity: int, schedule: str, placement: str, method: str, found: Played, bound: int, began: float
) -> ReplacementPlan:
    traffic, compulsory = traffic_of(graph, found.retrieved)
    return ReplacementPlan(
        steps=assemble(graph, found.order, found.retrieved, found.address),
        traffic=traffic,
        bound=bound,
        proved=traffic == bound,
        capacity=capacity,
        schedule=schedule,
        placement=placement,
        compulsory=compulsory,
        method=method,
        seconds=time.perf_counter() - began,
    )


# --------------------------------------------------------------------------------------------------------- playing


def _episode_of(graph: Graph, capacity: int, schedule: str, placement: str, policy: Policy, seed: int) -> Played:
    env, instance = TensorReplacement(schedule, placement), replacement_instance(graph, capacity)
    state = _episode(env, as_key(policy), instance, seed)
    order, retrieved, address = played(jax.tree.map(np.asarray, state), placement)
    unit = graph.unit
    if address is not None:
        address = [{a: low * unit for a, low in mine.items()} for mine in address]
    return Played(order, retrieved, address)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _episode(env: TensorReplacement, policy: Policy, instance: ReplacementInstance, seed: int):
    return rollout(env, random.key(seed), instance, policy).state
