"""Self-labelling (Corsini et al., NeurIPS 2024): sample many solutions of an instance, imitate the
best.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxsched.core.rollout import best_episode, outcome
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Params
from jaxsched.training.config import SelfLabelingConfig
from jaxsched.training.episodes import EpisodeKeys
from jaxsched.training.episodes import play as play_episode
from jaxsched.training.update import Algorithm, Lesson, Metrics, Task


def play(task: Task, params: Params, keys: EpisodeKeys, env_id: Array) -> tuple[Lesson, Metrics]:
    """The best of many sampled episodes of one instance."""
    env, config, instance = task.env, task.config, task.source(keys.instance)

    def act(key, state, observation):
        logits, _ = task.apply(params, observation)
        policy = MaskedCategorical(logits, observation.action_mask)
        return policy.sample(key, config.temperature), None

    def sample(step_key):
        own = keys.replace(step=step_key)
        played = play_episode(env, instance, own, act, keep=config.keep == "observations")
        final = played.final
        objective = env.objective(final)
        ratio = objective / env.reward_scale(final)
        figures = objective, ratio, outcome(env, final), env.terminated(final)
        # The instance and its reset are common to all.
        return played.episode.replace(instance=None, reset_key=None), figures

    episodes, figures = jax.vmap(sample)(random.split(keys.step, config.num_samples))
    objective, ratio, ends, terminated = figures
    # one that was cut off or failed teaches where no other is left
    best = best_episode(ends, objective)
    episode = jax.tree.map(lambda leaf: leaf[best], episodes)
    episode = episode.replace(instance=instance, reset_key=keys.reset)
    return Lesson(episode, episode.action), {
        "objective": objective.astype(jnp.float32).mean(),
        "objective_over_scale": ratio.mean(),
        "best_over_scale": ratio[best],
        "truncated": (~terminated).astype(jnp.float32).mean(),
    }


def loss(
    config: Any, policy: MaskedCategorical, value: Array, label: Array
) -> tuple[Array, Metrics]:
    """The cross-entropy of every decision of the best episode."""
    cross_entropy = -policy.log_prob(label)
    return cross_entropy, {"cross_entropy": cross_entropy, "entropy": policy.entropy()}


SELF_LABELING = Algorithm(SelfLabelingConfig, play, loss)
