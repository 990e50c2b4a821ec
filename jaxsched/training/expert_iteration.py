"""Expert iteration: plan before every decision, imitate the plans (Anthony et al. 2017; Danihelka
et al. 2022).

What mallocMuZero does (Wang et al. 2023), with the exact simulator in the place of a learned model.
One update plays whole episodes by Gumbel search, then fits the policy to the improved policies of
the searches and the value to what the episodes gained. It starts best from a trained policy. Needs
mctx.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.core.rollout import dress
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Params
from jaxsched.search.planning import PlanningConfig, plan, rekey
from jaxsched.training.config import ExpertIterationConfig
from jaxsched.training.episodes import EpisodeKeys
from jaxsched.training.episodes import play as play_episode
from jaxsched.training.ppo import advantages
from jaxsched.training.update import Algorithm, Lesson, Metrics, Task


class Searched(struct.PyTreeNode):
    """What the search said in each step."""

    weights: Array  # f32[T, A]  the improved policy
    gained: Array  # f32[T]  reward from each step to the end


def play(task: Task, params: Params, keys: EpisodeKeys, env_id: Array) -> tuple[Lesson, Metrics]:
    """One episode, planned before every decision."""
    env, config, instance = task.env, task.config, task.source(keys.instance)
    planning = PlanningConfig(
        num_simulations=config.num_simulations,
        num_considered=config.num_considered,
        value_scale=config.value_scale,
        rescale_values=config.rescale_values,
        gamma=config.gamma,
        reward_scale=config.reward_scale,
    )

    def act(key, state, observation):
        search_key, world_key = jax.random.split(key)
        # noise to come is not foreseen
        blind = dress(state, rekey(world_key, instance))
        states = jax.tree.map(lambda leaf: leaf[None], blind)
        planned = plan(env, task.apply, params, search_key, states, planning)
        return planned.action[0], planned.weights[0]

    played = play_episode(env, instance, keys, act, keep=config.keep == "observations")
    final, reward = played.final, played.reward
    _, last_value = task.apply(params, env.observe(final))
    # With values of 0 and lambda 1 an advantage is the discounted reward to the end of the
    # episode, and from there on what the network expects where the episode was cut off.
    gained = advantages(
        reward * config.reward_scale,
        jnp.zeros_like(reward),
        played.episode.mask,
        jnp.ones_like(reward),
        jnp.where(env.terminated(final), 0.0, last_value),
        config.gamma,
        1.0,
    )
    objective = env.objective(final)
    return Lesson(played.episode, Searched(played.extra, gained)), {
        "objective": objective,
        "objective_over_scale": objective / env.reward_scale(final),
        "truncated": ~env.terminated(final),
    }


def loss(
    config: Any, policy: MaskedCategorical, value: Array, searched: Searched
) -> tuple[Array, Metrics]:
    """The cross-entropy of the improved policies and the error of the value."""
    cross_entropy = -(searched.weights * policy.log_probs).sum(-1)
    value_loss = jnp.square(value - searched.gained)
    return cross_entropy + config.value_weight * value_loss, {
        "cross_entropy": cross_entropy,
        "entropy": policy.entropy(),
        "value_loss": value_loss,
    }


EXPERT_ITERATION = Algorithm(ExpertIterationConfig, play, loss)
