"""What `TensorReplacement-v0` offers beside its rules."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Comparison, Loaded, Offer, Summary
from jaxsched.core.result import Result
from jaxsched.envs.memory.io import read_amount, read_kind, write_json
from jaxsched.envs.memory.replacement.draw import replacement_svg
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.replacement.heuristics import capacities
from jaxsched.envs.memory.replacement.plain import CAPACITIES, solve_exact
from jaxsched.envs.memory.replacement.preset import PRESETS
from jaxsched.envs.memory.replacement.types import Instance, Plan, to_graph, to_instance
from jaxsched.envs.memory.writers import plan_writer, problem_writer
from jaxsched.host.picture import Picture

LOAD_OPTIONS = {
    "capacity": "fast memory in bytes, or such as 1MiB, M_R, M_P, or M_H, which is the default",
}


def in_own_units(instance: Instance, plan: Plan, names: Graph | None) -> tuple[Graph, Plan]:
    """The graph as it was read and the plan in its names and bytes; those of the instance without
    `names`.
    """
    if names is None:
        return to_graph(instance), plan
    unit, tensor = names.unit, names.tensor_ids
    steps = []
    for step in plan.steps:
        own: dict[str, Any] = {"op": names.op_ids[step["op"]]}
        own |= {field: [tensor[a] for a in step[field]] for field in ("spill", "retrieve", "keep")}
        own["address"] = None
        if step["address"] is not None:
            own["address"] = {tensor[a]: low * unit for a, low in step["address"].items()}
        steps.append(own)
    fields = ("traffic", "bound", "capacity", "compulsory")
    scaled = {field: getattr(plan, field) * unit for field in fields}
    return names, dataclasses.replace(plan, steps=steps, **scaled)


def load_graph(env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
    """The graph in a file; `names` is the `Graph`."""
    graph = read_kind(name, Graph, env.id)
    capacity = options.get("capacity", "M_H")
    if capacity in CAPACITIES:
        limit = getattr(capacities(graph), capacity)
    else:
        limit = read_amount(capacity)
    return Loaded(to_instance(graph, limit), graph, graph.unit)


def compare_rules(env: Environment) -> Comparison:
    """The rules on generated programs."""
    return Comparison(
        groups=("generated:16",),
        track={"generated": env.default_source},
        draw="generated-0",
        rules=tuple(name for name in env.heuristics if name != "random"),
        randomised_rule="lean",
        rule_settings=dict(env.settings),
    )


def solve_replacement(
    env: Environment,
    instance: Instance,
    /,
    *,
    time_limit: float,
    hint: Plan | None = None,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_exact` for the schedule and the placement of the environment."""
    limits = {"num_workers": num_workers, "seed": seed}
    return solve_exact(instance, time_limit, hint, **limits, **env.settings)


def replacement_picture(
    env: Environment,
    instance: Instance,
    solution: Plan,
    /,
    *,
    names: Graph | None = None,
    title: str = "",
) -> Picture:
    """What is in fast memory in each step, and what is moved."""
    return replacement_svg(*in_own_units(instance, solution, names), title=title)


def explain_replacement(
    env: Environment, instance: Instance, solution: Plan, /, *, names: Graph | None = None
) -> list[str]:
    """What is moved, which tensors most, and which operator needs most room."""
    graph, plan = in_own_units(instance, solution, names)
    size = dict(zip(graph.tensor_ids, graph.size, strict=True))
    spilled = Counter(a for step in plan.steps for a in step["spill"])
    retrieved = Counter(a for step in plan.steps for a in step["retrieve"])
    for a, is_backed in zip(graph.tensor_ids, graph.backed, strict=True):
        if is_backed:
            retrieved[a] -= 1  # the first load is not charged
    moved = {a: size[a] * (spilled[a] + max(retrieved[a], 0)) for a in graph.tensor_ids}
    most = sorted((a for a in moved if moved[a]), key=lambda a: -moved[a])
    shown = ", ".join(f"{a} ({moved[a]:,})" for a in most[:5])
    more = f" and {len(most) - 5} more" if len(most) > 5 else ""
    op = max(range(len(graph.op_ids)), key=graph.working_set)
    needed = f"{graph.working_set(op):,} of {plan.capacity:,} bytes"
    return [
        f"{plan.traffic:,} bytes moved, and {plan.compulsory:,} of first loads",
        f"moved most: {shown}{more}" if most else "nothing is moved twice",
        f"operator {graph.op_ids[op]} needs most room, {needed}",
    ]


def summarise_graph(env: Environment, instance: Instance, names: Graph | None) -> Summary:
    """What is in a graph, what capacities mean for it, and operators that do not fit."""
    graph = to_graph(instance) if names is None else names
    unit = 1 if names is None else names.unit
    limits, capacity = capacities(graph), int(instance.capacity) * unit
    lines = [
        f"{len(graph.op_ids)} operators, {len(graph.size)} tensors of {sum(graph.size):,} bytes, "
        f"{sum(graph.backed)} of them backed",
        f"M_R {limits.M_R:,}, with less some operator does not run; M_P {limits.M_P:,}, with that nothing moves",
        f"capacity {capacity:,}",
    ]
    faults = []
    for op, name in enumerate(graph.op_ids):
        if graph.working_set(op) > capacity:
            faults.append(f"operator {name} takes {graph.working_set(op):,} of {capacity:,} bytes")
    return Summary(lines, faults)


OFFER = Offer(
    presets=PRESETS,
    comparison=compare_rules,
    load=load_graph,
    load_options=LOAD_OPTIONS,
    summary=summarise_graph,
    exact=solve_replacement,
    picture=replacement_picture,
    explain=explain_replacement,
    write=plan_writer(in_own_units),
    write_instance=problem_writer(to_graph, write_json),
)
