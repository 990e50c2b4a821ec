"""Self-labelling (Corsini et al., NeurIPS 2024): sample many solutions of an instance, imitate the
best.

Labels may be improved by sampling the rest of the best solution anew (Pirnay & Grimm, ECAI 2024),
and weighted by how much better they are than the mean.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Params
from jaxsched.search.resample import ResampleConfig, follow_the_best
from jaxsched.training.config import SelfLabelingConfig
from jaxsched.training.episodes import EpisodeKeys, revisit
from jaxsched.training.update import Algorithm, Lesson, Metrics, Task, mean_metrics


class Label(struct.PyTreeNode):
    """What to do in every step, and how much it matters."""

    action: Array  # i32[T]
    weight: Array  # f32[T]  mean 1 over the labels of the update


def play(task: Task, params: Params, keys: EpisodeKeys, env_id: Array) -> tuple[Lesson, Metrics]:
    """The best of many sampled episodes of one instance."""
    env, config, instance = task.env, task.config, task.source(keys.instance)

    def act(key, state):
        observation = env.observe(state)
        logits, _ = task.apply(params, observation)
        policy = MaskedCategorical(logits, observation.action_mask)
        return policy.sample(key, config.temperature)

    first = env.init(keys.reset, instance)
    search = ResampleConfig(config.num_samples, config.num_rounds)
    found = follow_the_best(env, keys.step, first, act, env.max_steps(instance), search)
    episode = revisit(env, instance, keys, found.action, keep=config.keep == "observations")
    scale, best = env.reward_scale(first), found.end.objective.astype(jnp.float32)
    mean = found.first.objective.astype(jnp.float32).mean()
    advantage = jnp.maximum(mean - best, 0) / jnp.maximum(jnp.abs(mean), 1)
    weight = jnp.broadcast_to(advantage**config.advantage_power, episode.mask.shape)
    return Lesson(episode, Label(found.action, weight)), {
        "objective": mean,
        "objective_over_scale": mean / scale,
        "best_over_scale": best / scale,
        "truncated": found.first.truncated.astype(jnp.float32).mean(),
    }


def finish(task: Task, lessons: Lesson, figures: Metrics) -> tuple[Lesson, Metrics]:
    """Labels with weights of mean 1."""
    label = lessons.target
    weight = label.weight / jnp.maximum(label.weight.mean(), 1e-9)
    return mean_metrics(task, lessons.replace(target=label.replace(weight=weight)), figures)


def loss(
    config: Any, policy: MaskedCategorical, value: Array, label: Label
) -> tuple[Array, Metrics]:
    """The cross-entropy of every decision of the best episode."""
    cross_entropy = -policy.log_prob(label.action)
    entropy = policy.entropy()
    return label.weight * cross_entropy, {"cross_entropy": cross_entropy, "entropy": entropy}


SELF_LABELING = Algorithm(SelfLabelingConfig, play, loss, finish)
