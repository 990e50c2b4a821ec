"""Plain functions: one instance in, one schedule out, on the host."""

from __future__ import annotations

import functools

import jax
from jax import Array, random

from jaxsched.core.rollout import greedy, randomised, rollout
from jaxsched.envs.job_shop.blocking.env import BlockingJobShop, schedule
from jaxsched.envs.job_shop.blocking.heuristics import RULES
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.blocking.sources import interrupt
from jaxsched.envs.job_shop.blocking.types import Instance, Interruptions, Schedule, State
from jaxsched.host.errors import UnknownNameError


def dispatch(
    instance: Instance,
    rule: str = "mtwr",
    swap: bool = True,
    interruptions: Interruptions | None = None,
    seed: int = 0,
    *,
    lookahead: bool = False,
) -> Schedule:
    """The schedule of a priority rule, ties to the lowest job; a job that competes alone moves at
    once.

    `interruptions` take the place of those of the instance and are drawn with `seed`, as is the
    rule `random`. Every rule meets the same world for a seed. Raises `Infeasible` for a deadlock,
    naming its jobs and machines; without `swap`, a `lookahead` avoids it.
    """
    if rule not in RULES:
        raise UnknownNameError("rule", rule, RULES)
    if interruptions is not None:
        instance = interrupt(instance, interruptions, random.key(seed))
    env = BlockingJobShop(Settings(swap=swap, lookahead=lookahead))
    return schedule(_dispatch(env, rule, instance, random.key(seed)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _dispatch(env: BlockingJobShop, rule: str, instance: Instance, key: Array) -> State:
    scores = env.heuristics[rule]
    policy = randomised(scores, 1.0) if rule == "random" else greedy(scores)
    return rollout(env, key, instance, policy).state
