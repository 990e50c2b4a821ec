"""Priority rules by name as policies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from jaxsched.core.environment import Environment, Policy, Scores
from jaxsched.core.rollout import greedy, randomised
from jaxsched.host.errors import UnknownNameError

MakePolicy = Callable[[Any], Policy]  # params -> policy


@functools.lru_cache(maxsize=256)
def rule_policy(env: Environment, rule: str) -> Policy:
    """The policy of a priority rule by name; `random` plays at random, every other rule takes its
    best action.

    The same object for equal arguments, so that `evaluate` compiles it once. Raises
    `UnknownNameError`.
    """
    return randomised(_scores(env, rule), 1.0) if rule == "random" else greedy(_scores(env, rule))


@functools.lru_cache(maxsize=256)
def randomised_rule(env: Environment, rule: str) -> MakePolicy:
    """`temperature -> policy` of a randomised priority rule, for `evaluate(...,
    params=temperature)`.
    """
    return functools.partial(randomised, _scores(env, rule))


def _scores(env: Environment, rule: str) -> Scores:
    if rule not in env.heuristics:
        raise UnknownNameError("rule", rule, env.heuristics)
    return env.heuristics[rule]
