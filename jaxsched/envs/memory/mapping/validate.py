"""The judge of finished mappings, by the simulator in plain Python (`replay.py`), not by the
rules.
"""

from __future__ import annotations

import numpy as np

from jaxsched.envs.memory.mapping.plan import Plan
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.replay import Problem, Replay, problem_of, problem_of_instance
from jaxsched.envs.memory.mapping.types import Instance


def verify_mapping(program: Program, plan: Plan) -> list[str]:
    """Everything wrong with a plan of the program, in its own units; an empty list means that it is
    valid.
    """
    return _judge(problem_of(program), plan)


def validate(instance: Instance, plan: Plan) -> list[str]:
    """Everything wrong with the plan of an instance, in its units."""
    return _judge(problem_of_instance(instance), plan)


def measure(instance: Instance, plan: Plan) -> int:
    """The latency of a valid plan of an instance, in its ticks, from its actions alone."""
    replay = Replay(problem_of_instance(instance))
    for action in plan.actions:
        replay.take(action)
    return replay.latency


def _judge(problem: Problem, plan: Plan) -> list[str]:
    replay, actions = Replay(problem), list(plan.actions)
    if any(
        isinstance(action, bool) or not isinstance(action, int | np.integer) for action in actions
    ):
        return [f"actions are not all integers: {actions[:8]}"]
    for action in actions:
        try:
            replay.take(int(action))
        except ValueError as error:
            return [str(error)]
    faults = []
    is_dead = not replay.is_over and not replay.legal()
    if not replay.is_over and not is_dead:
        return [f"{len(problem.uses)} accesses, but {len(actions)} actions"]
    if plan.feasible == is_dead:
        faults.append(
            f"feasible is {plan.feasible}, but the actions {'end at a dead end' if is_dead else 'are complete'}"
        )
    latency = replay.baseline if is_dead else replay.latency
    if plan.latency != latency:
        faults.append(f"the latency is given as {plan.latency}, but it is {latency}")
    if plan.baseline != replay.baseline:
        faults.append(f"the baseline is given as {plan.baseline}, but it is {replay.baseline}")
    if plan.bound > latency:
        faults.append(f"the bound {plan.bound} is above the latency {latency}")
    return faults
