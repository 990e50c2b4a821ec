"""Plain functions: one graph in, one plan out, on the host."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import random

from jaxsched.core.callables import as_key
from jaxsched.core.environment import Policy
from jaxsched.core.result import Result
from jaxsched.core.rollout import rollout
from jaxsched.envs.memory.replacement import exact
from jaxsched.envs.memory.replacement.env import TensorReplacement, played
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import Played, capacities, min_peak_order, play
from jaxsched.envs.memory.replacement.settings import PLACEMENTS, SCHEDULES, Settings
from jaxsched.envs.memory.replacement.types import (
    Instance,
    Plan,
    assemble,
    to_graph,
    to_instance,
    traffic_of,
)
from jaxsched.host.cpsat import Solver
from jaxsched.host.deadline import NO_LIMIT, Deadline
from jaxsched.host.errors import Infeasible, UnknownNameError

POLICY_WEIGHT = 10  # what compilation of an episode takes, in `deadline.probe`s
REPLACEMENT_METHODS = (
    "belady",
    "belady_min_peak",
    "greedy",
    "evict_all",
    "search",
    "exact",
    "policy",
)
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
) -> Plan:
    """A plan that runs the graph within `capacity` bytes and moves as little as the method finds.

    `capacity` may also be `"M_R"`, `"M_P"` or `"M_H"`, see `capacities`. Methods:

    * `belady`, `greedy`: the order given and one rule for victims; `belady_min_peak`: Belady in an
      order with the smallest peak footprint, so with `schedule="free"` only
      (`replacement/heuristics.py`).
    * `evict_all`: the order given, and whatever the next operator does not need leaves before it
      runs.
    * `search`: starts from the best of these and improves windows of it with CP-SAT, divide and
      conquer, until no window improves or `time_limit` seconds are over (`replacement/exact.py`);
      the heuristics without OR-Tools.
    * `exact`: one CP-SAT model, until the optimum is proved or time is up; 7 to 14 operators take
      seconds.
    * `policy`: one episode of `policy(key, state, observation) -> action`: `core.greedy(rule)`, or
      a trained one.

    `time_limit` covers the whole call; a heuristic or policy that does not end within it gives way
    to `evict_all`, and `Plan.note` says so.

    `Plan.method` names what found the plan: of `search` and `exact` the heuristic whose plan
    they start from, where they neither find a better one nor prove it optimal; `Plan.note`
    says why.

    `seed` is for the solver and the policy, `num_workers` the solver's threads (default: all
    cores). The bound of the heuristics is what some operator alone forces out in a fixed order,
    else 0.

    Raises `Infeasible` where an operator alone exceeds the capacity, with its name, the missing
    bytes and the method's plan at the smallest capacity that works; `InstanceError` for a malformed
    graph; `UnknownNameError` for another method, schedule, placement or capacity; `ImportError` in
    `exact` without OR-Tools.
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
        raise ValueError(
            "method 'policy' needs policy=, a function (key, state, observation) -> action; no other does"
        )
    if method == "belady_min_peak" and schedule == "fixed":
        raise ValueError("method 'belady_min_peak' chooses the order; it needs schedule='free'")
    deadline = Deadline(time_limit)
    graph = graph if isinstance(graph, Graph) else Graph.from_dict(graph)
    least = graph.largest_working_set()
    if capacity == "M_R":
        limit = least
    elif isinstance(capacity, str):
        limit = getattr(capacities(graph, deadline.part(0.25)), capacity)
    else:
        limit = operator.index(capacity)
    # with less nothing runs: what the method needs at the least capacity that works
    room = max(limit, least)
    plan = _plan(graph, room, schedule, placement, method, deadline, seed, num_workers, policy)
    if limit < least:
        op = max(range(len(graph.op_ids)), key=graph.working_set)
        name = graph.op_names[op]
        label = f"{graph.op_ids[op]!r}" + (f" ({name})" if name != str(graph.op_ids[op]) else "")
        who = (
            "the best plan found" if method in ("search", "exact") else f"the plan of {plan.method}"
        )
        raise Infeasible(
            f"capacity {limit} is {least - limit} bytes too small for operator {label}: its inputs and outputs take "
            f"{least}; with {least} {who} moves {plan.traffic}",
            missing=least - limit,
            plan=plan,
            proved=True,
        )
    return plan


def solve_exact(
    instance: Instance,
    time_limit: float = 60.0,
    hint: Plan | None = None,
    *,
    schedule: str = "free",
    placement: str = "bytes",
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """The best plan of an instance that CP-SAT finds, in its units; ids are indices.

    `hint`: a plan from which it starts and than which the result is never worse. The limit covers
    the whole call. `Result.method` is `cp_sat`, or where that found nothing better and proved
    nothing the heuristic that it started from, or `hint`. Raises `Infeasible` where an operator
    alone exceeds the capacity, `InstanceError` for more than 20,000 pairs of operators and tensors,
    `ImportError` without OR-Tools, `ValueError` for numbers that make no sense.
    """
    deadline = Deadline(time_limit)
    # refuses what it cannot do before the work
    Solver("exact replacement", deadline, num_workers, seed)
    graph, capacity = to_graph(instance), int(instance.capacity)
    exact.check_size(graph)
    least = graph.largest_working_set()
    if least > capacity:
        op = max(range(len(graph.op_ids)), key=graph.working_set)
        reason = f"the capacity of {capacity} is {least - capacity} too small for operator {op}, which takes {least}"
        raise Infeasible(reason, missing=least - capacity, proved=True)
    given = None if hint is None else _as_played(graph, hint)
    plan = _plan(
        graph, capacity, schedule, placement, "exact", deadline, seed, num_workers, None, given
    )
    method = "cp_sat" if plan.method == "exact" else plan.method
    plan = dataclasses.replace(plan, method=method)
    return Result(plan, plan.traffic, plan.bound, plan.proved, method, plan.seconds)


def _as_played(graph: Graph, plan: Plan) -> Played:
    """A plan whose ids are indices as what was played."""
    order = [step["op"] for step in plan.steps]
    address = None
    if plan.placement == "address":
        address = []
        for op, step in zip(order, plan.steps, strict=True):
            address.append({a: step["address"][a] for a in (*graph.inputs[op], *graph.outputs[op])})
    return Played(order, [list(step["retrieve"]) for step in plan.steps], address)


def _plan(
    graph: Graph,
    limit: int,
    schedule: str,
    placement: str,
    method: str,
    deadline: Deadline,
    seed: int,
    num_workers: int | None,
    policy: Policy | None,
    hint: Played | None = None,
) -> Plan:
    """The plan of a method within `limit` bytes, which hold every operator.

    `hint`: a plan that searches start from where it is the best known.
    """
    note = ""
    bound = forced_out(graph, limit, deadline) if schedule == "fixed" else 0
    if method == "policy":
        assert policy is not None
        found = _play_policy(graph, limit, schedule, placement, policy, seed, deadline)
    elif method in ("search", "exact"):
        name, found = _best(graph, limit, schedule, placement, deadline)
        most = traffic_of(graph, found.retrieved)[0]
        if hint is not None and (moved := traffic_of(graph, hint.retrieved)[0]) <= most:
            name, found, most = "hint", hint, moved
        if most > bound:
            note = f"{method} found no better plan in its time"
            limits = {"num_workers": num_workers, "seed": seed}
            if method == "exact":
                found, proved = exact.solve(
                    graph, limit, schedule, found, deadline=deadline, **limits
                )
            else:
                try:
                    found, proved = exact.search(
                        graph, limit, schedule, found, deadline=deadline, **limits
                    )
                except ImportError as error:
                    proved, note = 0, f"nothing was searched: {error}"
            bound = max(bound, proved)
            if bound < most == traffic_of(graph, found.retrieved)[0]:
                method = name
            else:
                note = ""
    else:
        found = _heuristic(graph, limit, placement, method, deadline)
    if found is None:
        note = f"{method} did not end within its time limit"
        method, found = "evict_all", _evict_all(graph, limit, placement)
    return _finish(graph, limit, schedule, placement, method, note, found, bound, deadline.spent())


def forced_out(graph: Graph, capacity: int, deadline: Deadline = NO_LIMIT) -> int:
    """Bytes that must move in the order given whatever is evicted: the most that one operator
    forces out.

    What was made or loaded before an operator and is read after it, not by it, and does not fit
    beside its working set must be copied in again, and unless it is backed out as well. Of the
    operators up to the deadline.
    """
    size, producer = graph.size, graph.producer
    first = [producer.get(a, ops[0] if ops else 0) for a, ops in enumerate(graph.readers())]
    last = [ops[-1] if ops else -1 for ops in graph.readers()]
    most = 0
    for op in range(len(graph.op_ids)):
        if deadline.is_over():
            break
        across = [
            a for a in range(len(size)) if first[a] < op < last[a] and a not in graph.inputs[op]
        ]
        loose = sum(size[a] for a in across if graph.backed[a])
        excess = sum(size[a] for a in across) + graph.working_set(op) - capacity
        most = max(most, excess + max(excess - loose, 0))
    return most


def _heuristic(
    graph: Graph, capacity: int, placement: str, method: str, deadline: Deadline
) -> Played | None:
    """The plan of a heuristic; None where time was up."""
    order = list(range(len(graph.op_ids)))
    if method == "belady_min_peak":
        order = min_peak_order(graph, deadline=deadline)[0]
        if deadline.is_over():
            return None  # it may be the order given
    return play(graph, capacity, order, method.removesuffix("_min_peak"), placement, deadline)


def _evict_all(graph: Graph, capacity: int, placement: str) -> Played:
    """A plan in time linear in the operators, from which nothing stops it."""
    found = play(graph, capacity, range(len(graph.op_ids)), "evict_all", placement)
    assert found is not None
    return found


def _best(
    graph: Graph, capacity: int, schedule: str, placement: str, deadline: Deadline
) -> tuple[str, Played]:
    """The best plan of both rules for victims and, where it may be chosen, both orders; its name
    first.

    Of those that ended within a quarter of the time each; `evict_all` where none did.
    """
    plans: dict[str, Played] = {}

    def add(suffix: str, order: list[int]) -> None:
        for victims in ("belady", "greedy"):
            found = play(graph, capacity, order, victims, placement, deadline.part(0.25))
            if found is not None:
                plans[victims + suffix] = found

    add("", list(range(len(graph.op_ids))))
    if schedule == "free":
        within = deadline.part(0.25)
        order = min_peak_order(graph, deadline=within)[0]
        if not within.is_over():
            add("_min_peak", order)
    if not plans:
        return "evict_all", _evict_all(graph, capacity, placement)
    return min(plans.items(), key=lambda item: traffic_of(graph, item[1].retrieved)[0])


def _finish(
    graph: Graph,
    capacity: int,
    schedule: str,
    placement: str,
    method: str,
    note: str,
    found: Played,
    bound: int,
    seconds: float,
) -> Plan:
    traffic, compulsory = traffic_of(graph, found.retrieved)
    return Plan(
        steps=assemble(graph, found.order, found.retrieved, found.address),
        traffic=traffic,
        bound=bound,
        proved=traffic == bound,
        capacity=capacity,
        schedule=schedule,
        placement=placement,
        compulsory=compulsory,
        method=method,
        seconds=seconds,
        note=note,
    )


# ------------------------------------------------------------------------------------------ playing


def _play_policy(
    graph: Graph,
    capacity: int,
    schedule: str,
    placement: str,
    policy: Policy,
    seed: int,
    deadline: Deadline,
) -> Played | None:
    """The plan of one episode; None where no time is left to compile it."""
    env, policy = TensorReplacement(Settings(schedule, placement)), as_key(policy)
    instance = to_instance(graph, capacity)
    shape = instance.num_ops, *np.shape(instance.reads)
    if not deadline.has_room_to_compile(("replacement policy", env, policy, shape), POLICY_WEIGHT):
        return None
    state = _episode(env, policy, instance, seed)
    order, retrieved, address = played(jax.tree.map(np.asarray, state), placement)
    unit = graph.unit
    if address is not None:
        address = [{a: low * unit for a, low in mine.items()} for mine in address]
    return Played(order, retrieved, address)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _episode(env: TensorReplacement, policy: Policy, instance: Instance, seed: int):
    return rollout(env, random.key(seed), instance, policy).state
