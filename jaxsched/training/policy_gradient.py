"""The policy gradient with the mean over an instance's episodes as baseline.

REINFORCE (Williams 1992) on several samples of each instance, as by Kool et al. ("Buy 4 REINFORCE
samples, get a baseline for free!", 2019) and POMO (Kwon et al., NeurIPS 2020). Needs no value, and
improves what is sampled on average where self-labelling imitates the best; slower per gradient,
since every episode counts: a last stage.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Params
from jaxsched.training.config import PolicyGradientConfig
from jaxsched.training.episodes import EpisodeKeys
from jaxsched.training.episodes import play as play_episode
from jaxsched.training.update import Algorithm, Lesson, Metrics, Task, mean_metrics


class Choice(struct.PyTreeNode):
    """What was done in every step, and how good its episode was."""

    action: Array  # i32[T]
    advantage: Array  # f32[T]  of the whole episode over the mean of its instance, in deviations


def play(task: Task, params: Params, keys: EpisodeKeys, env_id: Array) -> tuple[Lesson, Metrics]:
    """Sampled episodes of one instance in one world, [S, ...]."""
    env, config, instance = task.env, task.config, task.source(keys.instance)

    def sample(number):
        def act(key, state, observation):
            logits, _ = task.apply(params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            return policy.sample(random.fold_in(key, number)), None

        played = play_episode(env, instance, keys, act, keep=config.keep == "observations")
        return played.episode, env.objective(played.final), ~env.terminated(played.final)

    episodes, objective, truncated = jax.vmap(sample)(
        jnp.arange(config.num_samples, dtype=jnp.int32)
    )
    scale = env.reward_scale(env.init(keys.reset, instance))
    objective = objective.astype(jnp.float32)
    gain = (objective.mean() - objective) / scale
    advantage = jnp.broadcast_to(gain[:, None], episodes.mask.shape)
    return Lesson(episodes, Choice(episodes.action, advantage)), {
        "objective": objective.mean(),
        "objective_over_scale": objective.mean() / scale,
        "best_over_scale": objective.min() / scale,
        "truncated": truncated.astype(jnp.float32).mean(),
    }


def finish(task: Task, lessons: Lesson, figures: Metrics) -> tuple[Lesson, Metrics]:
    """All episodes [E * S, ...], their advantages with deviation 1."""
    lessons = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), lessons)
    advantage = lessons.target.advantage
    deviation = jnp.sqrt(jnp.square(advantage).mean())
    target = lessons.target.replace(advantage=advantage / (deviation + 1e-8))
    return mean_metrics(task, lessons.replace(target=target), figures)


def loss(
    config: Any, policy: MaskedCategorical, value: Array, choice: Choice
) -> tuple[Array, Metrics]:
    """The advantage times the log-probability of every decision."""
    entropy = policy.entropy()
    policy_loss = -choice.advantage * policy.log_prob(choice.action)
    return policy_loss - config.entropy_weight * entropy, {"entropy": entropy}


POLICY_GRADIENT = Algorithm(PolicyGradientConfig, play, loss, finish)
