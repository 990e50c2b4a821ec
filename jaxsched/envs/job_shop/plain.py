"""Plain functions: one instance in, one schedule out, on the host."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax import Array, random

from jaxsched.core.errors import UnknownNameError
from jaxsched.core.rollout import greedy, randomised, rollout
from jaxsched.envs.job_shop.env import JobShop, schedule
from jaxsched.envs.job_shop.heuristics import RULES
from jaxsched.envs.job_shop.types import Instance, Schedule, State


def replay(instance: Instance, job_sequence: Sequence[int] | np.ndarray, candidates: str = "any") -> Schedule:
    """Dispatch the jobs in the given order, one entry per operation.

    Raises ValueError at the first entry that is not legal in the mode, or when operations are left over.
    """
    jobs = np.asarray(job_sequence)
    if jobs.ndim != 1 or not np.issubdtype(jobs.dtype, np.integer):
        raise ValueError("job_sequence must be a flat sequence of integers")
    total = int(np.asarray(instance.op_mask).sum())
    if len(jobs) > total:
        raise ValueError(f"job_sequence has {len(jobs)} entries, the instance only {total} operations")
    in_range = (jobs >= 0) & (jobs < instance.num_jobs)
    padded = np.full(instance.num_jobs * instance.num_ops, instance.num_jobs, np.int32)
    padded[: len(jobs)] = np.where(in_range, jobs, instance.num_jobs)
    state, illegal = _replay(JobShop(candidates=candidates), instance, padded)
    wrong = np.flatnonzero(np.asarray(illegal)[: len(jobs)])
    if wrong.size:
        raise ValueError(f"step {wrong[0]}: job {jobs[wrong[0]]} is not legal with candidates={candidates!r}")
    return schedule(state)


@functools.partial(jax.jit, static_argnums=0)
def _replay(env: JobShop, instance: Instance, jobs: Array) -> tuple[State, Array]:
    key = random.key(0)

    def body(state, job):
        state, timestep = env.step(key, state, job)
        return state, timestep.metrics["illegal"]

    return jax.lax.scan(body, env.reset(key, instance)[0], jobs)


def dispatch(
    instance: Instance, rule: str = "mwkr", candidates: str = "non_delay", *, objective: str = "makespan", seed: int = 0
) -> Schedule:
    """The schedule of a priority rule (ties to the lowest job; `seed` matters for `random` only)."""
    if rule not in RULES:
        raise UnknownNameError("rule", rule, RULES)
    if objective != "makespan":
        raise UnknownNameError("objective", objective, ["makespan"])
    return schedule(_dispatch(JobShop(candidates=candidates), rule, instance, random.key(seed)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dispatch(env: JobShop, rule: str, instance: Instance, key: Array) -> State:
    policy = randomised(RULES[rule], 1.0) if rule == "random" else greedy(RULES[rule])
    return rollout(env, key, instance, policy).state
