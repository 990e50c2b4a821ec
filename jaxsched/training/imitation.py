"""Imitation of a priority rule, labelled in the states that the rule and the policy reach.

DAgger (Ross, Gordon & Bagnell 2011) without its growing data set: every update plays fresh
episodes, some by the rule and some by the policy, and the rule says in each of their states what it
would do.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxsched.core.rollout import masked_argmax
from jaxsched.host.errors import UnknownNameError
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Params
from jaxsched.training.config import ImitationConfig
from jaxsched.training.episodes import EpisodeKeys
from jaxsched.training.episodes import play as play_episode
from jaxsched.training.update import Algorithm, Lesson, Metrics, Task


def play(task: Task, params: Params, keys: EpisodeKeys, env_id: Array) -> tuple[Lesson, Metrics]:
    """One episode, by the policy or by the rule, with the choice of the rule in every step."""
    env, config = task.env, task.config
    if config.teacher not in env.heuristics:
        raise UnknownNameError("teacher", config.teacher, env.heuristics)
    scores, own = env.heuristics[config.teacher], env_id < config.num_own

    def act(key, state, observation):
        label = masked_argmax(scores(state), observation.action_mask)
        policy = MaskedCategorical(task.apply(params, observation)[0], observation.action_mask)
        return jnp.where(own, policy.sample(key), label), label

    instance = task.source(keys.instance)
    played = play_episode(env, instance, keys, act, keep=config.keep == "observations")
    objective = env.objective(played.final)
    return Lesson(played.episode, played.extra), {
        "objective": objective,
        "objective_over_scale": objective / env.reward_scale(played.final),
        "truncated": ~env.terminated(played.final),
    }


def finish(task: Task, lessons: Lesson, figures: Metrics) -> tuple[Lesson, Metrics]:
    """The figures of the policy's own episodes, which are the first ones."""
    num_own = task.config.num_own
    return lessons, {
        name: values[:num_own].astype(jnp.float32).mean() for name, values in figures.items()
    }


def loss(
    config: Any, policy: MaskedCategorical, value: Array, label: Array
) -> tuple[Array, Metrics]:
    """The cross-entropy of the rule's choice in every step."""
    cross_entropy = -policy.log_prob(label)
    return cross_entropy, {
        "cross_entropy": cross_entropy,
        "agreement": policy.mode() == label,
    }


IMITATION = Algorithm(ImitationConfig, play, loss, finish)
