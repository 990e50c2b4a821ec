"""Plain functions: one instance in, one schedule out, on the host."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax import Array, random

from jaxsched.core.rollout import greedy, randomised, rollout
from jaxsched.envs.job_shop.flexible.env import FlexibleJobShop, schedule
from jaxsched.envs.job_shop.flexible.heuristics import RULES
from jaxsched.envs.job_shop.flexible.settings import Settings
from jaxsched.envs.job_shop.flexible.types import Instance, Schedule, State
from jaxsched.host.errors import UnknownNameError


def replay(
    instance: Instance, pairs: Sequence[tuple[int, int]] | np.ndarray, candidates: str = "any"
) -> Schedule:
    """Dispatch the pairs (job, machine) in the given order, one per operation.

    Raises ValueError at the first pair that is not legal in the mode, or when operations are left
    over.
    """
    env = FlexibleJobShop(Settings(candidates=candidates))
    rows = np.asarray(pairs)
    if rows.ndim != 2 or rows.shape[1] != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError("pairs must be a sequence of (job, machine), integers")
    total, most = int(np.asarray(instance.op_mask).sum()), env.max_steps(instance)
    if len(rows) > total:
        raise ValueError(f"pairs has {len(rows)} entries, the instance only {total} operations")
    job, machine = rows.T
    inside = (
        (job >= 0) & (job < instance.num_jobs) & (machine >= 0) & (machine < instance.num_machines)
    )
    actions = np.full(most, instance.num_jobs * instance.num_machines, np.int32)
    actions[: len(rows)] = np.where(
        inside, job * instance.num_machines + machine, actions[: len(rows)]
    )
    state, illegal = _replay(env, instance, actions)
    wrong = np.flatnonzero(np.asarray(illegal)[: len(rows)])
    if wrong.size:
        job, machine = rows[wrong[0]].tolist()
        reason = f"job {job} on machine {machine} is not legal with candidates={candidates!r}"
        raise ValueError(f"step {wrong[0]}: {reason}")
    return schedule(state)


@functools.partial(jax.jit, static_argnums=0)
def _replay(env: FlexibleJobShop, instance: Instance, actions: Array) -> tuple[State, Array]:
    key = random.key(0)

    def body(state, action):
        state, timestep = env.step(key, state, action)
        return state, timestep.metrics["illegal"]

    return jax.lax.scan(body, env.reset(key, instance)[0], actions)


def dispatch(
    instance: Instance, rule: str = "mwkr", candidates: str = "non_delay", *, seed: int = 0
) -> Schedule:
    """The schedule of a priority rule (`heuristics.py` states machine rule and ties; `seed` is
    for `random` only).
    """
    if rule not in RULES:
        raise UnknownNameError("rule", rule, RULES)
    return schedule(
        _dispatch(
            FlexibleJobShop(Settings(candidates=candidates)), rule, instance, random.key(seed)
        )
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dispatch(env: FlexibleJobShop, rule: str, instance: Instance, key: Array) -> State:
    scores = env.heuristics[rule]
    policy = randomised(scores, 1.0) if rule == "random" else greedy(scores)
    return rollout(env, key, instance, policy).state
