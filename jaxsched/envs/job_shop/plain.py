"""Plain functions: one instance in, one schedule out, on the host."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax import Array, random

from jaxsched.core.rollout import greedy, randomised, rollout
from jaxsched.envs.job_shop.env import JobShop, schedule
from jaxsched.envs.job_shop.heuristics import RULES
from jaxsched.envs.job_shop.lists import check_objective
from jaxsched.envs.job_shop.settings import Settings
from jaxsched.envs.job_shop.types import Instance, Schedule, State
from jaxsched.host.errors import UnknownNameError


def replay(
    instance: Instance, job_sequence: Sequence[int] | np.ndarray, candidates: str = "any"
) -> Schedule:
    """Dispatch the jobs in the given order, one entry per operation; in `event` the number of jobs
    is the no-op.

    Raises ValueError at the first entry that is not legal in the mode, or when operations are left
    over.
    """
    env = JobShop(Settings(candidates=candidates))
    jobs = np.asarray(job_sequence)
    if jobs.ndim != 1 or not np.issubdtype(jobs.dtype, np.integer):
        raise ValueError("job_sequence must be a flat sequence of integers")
    total, most = int(np.asarray(instance.op_mask).sum()), env.max_steps(instance)
    if len(jobs) > (most if candidates == "event" else total):
        raise ValueError(
            f"job_sequence has {len(jobs)} entries, the instance only {total} operations"
        )
    real = int(np.asarray(instance.op_mask).any(1).sum())
    nothing = instance.num_jobs + 1
    padded = np.full(most, nothing, np.int32)
    padded[: len(jobs)] = np.where((jobs >= 0) & (jobs <= instance.num_jobs), jobs, nothing)
    # the no-op comes after the real jobs here, in the environment after the padded ones
    if candidates == "event":
        padded[padded == real] = instance.num_jobs
    state, illegal = _replay(env, instance, padded)
    wrong = np.flatnonzero(np.asarray(illegal)[: len(jobs)])
    if wrong.size:
        raise ValueError(
            f"step {wrong[0]}: job {jobs[wrong[0]]} is not legal with candidates={candidates!r}"
        )
    return schedule(state)


@functools.partial(jax.jit, static_argnums=0)
def _replay(env: JobShop, instance: Instance, jobs: Array) -> tuple[State, Array]:
    key = random.key(0)

    def body(state, job):
        state, timestep = env.step(key, state, job)
        return state, timestep.metrics["illegal"]

    return jax.lax.scan(body, env.reset(key, instance)[0], jobs)


def dispatch(
    instance: Instance,
    rule: str = "mwkr",
    candidates: str = "non_delay",
    *,
    objective: str = "makespan",
    seed: int = 0,
) -> Schedule:
    """The schedule of a priority rule (ties to the lowest job; `seed` matters for `random` only).

    No rule looks at the `objective`: naming it checks that its values fit the int32 of the
    environment.
    """
    if rule not in RULES:
        raise UnknownNameError("rule", rule, RULES)
    check_objective(instance, objective)
    return schedule(
        _dispatch(JobShop(Settings(candidates=candidates)), rule, instance, random.key(seed))
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dispatch(env: JobShop, rule: str, instance: Instance, key: Array) -> State:
    scores = env.heuristics[rule]
    policy = randomised(scores, 1.0) if rule == "random" else greedy(scores)
    return rollout(env, key, instance, policy).state
