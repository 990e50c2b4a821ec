"""What `MemoryMap-v0` offers beside its rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Loaded, Offer, Summary
from jaxsched.core.result import Result
from jaxsched.envs.memory.io import read_amount, read_kind, write_json
from jaxsched.envs.memory.mapping.draw import mapping_svg
from jaxsched.envs.memory.mapping.instances import to_instance
from jaxsched.envs.memory.mapping.plain import solve_exact
from jaxsched.envs.memory.mapping.plan import Plan
from jaxsched.envs.memory.mapping.play import lower_bound
from jaxsched.envs.memory.mapping.preset import PRESETS
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.replay import Replay, named_problem
from jaxsched.envs.memory.mapping.types import ACTIONS, Instance
from jaxsched.envs.memory.writers import plan_writer, problem_writer
from jaxsched.host.errors import InstanceError
from jaxsched.host.picture import Picture

LOAD_OPTIONS = {
    "capacity": "fast memory there is, in bytes, or such as 1MiB; default: the program's own",
}


def in_own_units(
    instance: Instance,
    plan: Plan,
    names: Program | None,
) -> tuple[Program | Instance, Plan]:
    """The program as it was read and the plan in its ticks; the instance and its plan without
    `names`.
    """
    if names is None:
        return instance, plan
    tick = to_instance(names)[1].time
    scaled = {field: getattr(plan, field) * tick for field in ("latency", "baseline", "bound")}
    return names, dataclasses.replace(plan, **scaled)


def load_program(env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
    """The program in a file; `names` is the `Program`."""
    program = read_kind(name, Program, env.id)
    if "capacity" in options:
        program = dataclasses.replace(program, capacity=read_amount(options["capacity"]))
    loaded, units = to_instance(program)
    return Loaded(loaded, program, units.time)


def solve_mapping(
    env: Environment,
    instance: Instance,
    /,
    *,
    time_limit: float,
    hint: Plan | None = None,
    num_workers: int | None = None,
    seed: int = 0,
) -> Result:
    """`solve_exact`; the reward of the environment does not matter."""
    return solve_exact(instance, time_limit, hint, num_workers=num_workers, seed=seed)


def mapping_picture(
    env: Environment,
    instance: Instance,
    solution: Plan,
    /,
    *,
    names: Program | None = None,
    title: str = "",
) -> Picture:
    """What is where in fast memory, and the supply that copies take."""
    return mapping_svg(*in_own_units(instance, solution, names), title=title)


def explain_mapping(
    env: Environment, instance: Instance, solution: Plan, /, *, names: Program | None = None
) -> list[str]:
    """How much is saved, what the accesses do, and which instructions wait longest for memory."""
    program, plan = in_own_units(instance, solution, names)
    problem, _, instruction_ids = named_problem(program)
    replay = Replay(problem)
    for action in plan.actions:
        replay.take(action)
    saved = plan.baseline - plan.latency
    counts = [f"{plan.actions.count(number)} {name}" for number, name in enumerate(ACTIONS)]
    lines = [
        f"latency {plan.latency:,} ticks, {saved:,} fewer than with everything in slow memory",
        f"{len(problem.uses)} accesses: {', '.join(counts)}",
    ]
    waits = {}
    for at, (compute, memory) in enumerate(zip(problem.compute, replay.memory, strict=True)):
        if memory > compute:
            waits[at] = memory - compute
    longest = sorted(waits, key=lambda at: (-waits[at], at))
    shown = "; ".join(f"{instruction_ids[at]} for {waits[at]:,} ticks" for at in longest[:5])
    more = f"; and {len(longest) - 5} more" if len(longest) > 5 else ""
    if longest:
        lines.append(f"instructions that wait for memory: {shown}{more}")
    else:
        lines.append("no instruction waits for memory")
    return lines


def summarise_program(env: Environment, instance: Instance, names: Program | None) -> Summary:
    """What is in a program, and how fast it may get."""
    problem, value_ids, _ = named_problem(instance if names is None else names)
    slowest, fastest = Replay(problem).baseline, lower_bound(problem)
    wide = len({use.value for use in problem.uses if use.width > problem.capacity})
    counts = f"{len(problem.compute)} instructions, {len(problem.uses)} accesses"
    return Summary(
        [
            f"{counts} of {len(value_ids)} values",
            f"fast memory of {problem.capacity:,}, which {wide} values exceed",
            f"{slowest:,} ticks with everything in slow memory, no plan takes less than {fastest:,}",
        ]
    )


def _unread(instance: Instance) -> Program:
    raise InstanceError("an instance that was drawn has no sizes in bytes, which a program has")


OFFER = Offer(
    presets=PRESETS,
    load=load_program,
    load_options=LOAD_OPTIONS,
    summary=summarise_program,
    exact=solve_mapping,
    picture=mapping_picture,
    explain=explain_mapping,
    write=plan_writer(in_own_units),
    write_instance=problem_writer(_unread, write_json),
)
