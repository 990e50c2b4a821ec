"""Expert iteration: plan before every decision, imitate the plans (Anthony et al. 2017; Danihelka
et al. 2022).

What mallocMuZero does (Wang et al. 2023), with the exact simulator in the place of a learned model.
One update plays whole episodes by Gumbel search, then fits the policy to the improved policies of
the searches and the value to what the episodes gained. It starts best from a trained policy.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh

from jaxsched.core.environment import Environment, Source
from jaxsched.core.rollout import unroll
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Apply, Params
from jaxsched.search.planning import PlanningConfig, plan, rekey
from jaxsched.training.common import (
    Metrics,
    TrainState,
    Update,
    env_ids,
    episode_keys,
    gradient_steps,
    revisit,
)
from jaxsched.training.config import ExpertIterationConfig
from jaxsched.training.ppo import advantages, masked_mean


class Searched(struct.PyTreeNode):
    """E episodes of T steps with what the search said in each state."""

    instance: Any  # [E, ...]
    reset_key: Array  # [E]
    step_key: Array  # [E]
    action: Array  # i32[E, T]
    weights: Array  # f32[E, T, A]  the improved policy
    gained: Array  # f32[E, T]  reward from each step to the end


def make_update(
    env: Environment,
    source: Source,
    apply: Apply,
    optimizer: optax.GradientTransformation,
    config: ExpertIterationConfig,
    mesh: Mesh | None = None,
) -> Update:
    """One update: search, cross-entropy, value. jit it, scan it, vmap it over seeds. Needs mctx."""
    planning = PlanningConfig(
        num_simulations=config.num_simulations,
        num_considered=config.num_considered,
        value_scale=config.value_scale,
        rescale_values=config.rescale_values,
        gamma=config.gamma,
        reward_scale=config.reward_scale,
    )

    def episode(params: Params, key: Array, update: Array, env_id: Array) -> tuple[Searched, Array]:
        instance_key, reset_key, step_key = episode_keys(key, update, env_id)
        instance = source(instance_key)
        first, _ = env.reset(reset_key, instance)

        def act(key, current):
            search_key, world_key = jax.random.split(key)
            # noise to come is not foreseen
            blind = current.replace(instance=rekey(world_key, instance))
            planned = plan(
                env,
                apply,
                params,
                search_key,
                jax.tree.map(lambda leaf: leaf[None], blind),
                planning,
            )
            return planned.action[0], planned.weights[0]

        final, (_, action, weights, timestep) = unroll(
            env, step_key, first, act, env.max_steps(instance)
        )
        terminated = env.terminated(final)
        _, last_value = apply(params, env.observe(final))
        zeros, ones = jnp.zeros_like(timestep.reward), jnp.ones_like(timestep.reward)
        # With values of 0 and lambda 1 an advantage is the discounted reward to the end of the
        # episode, and from there on what the network expects where the episode was cut off.
        gained = advantages(
            timestep.reward * config.reward_scale,
            zeros,
            timestep.metrics["decision"],
            ones,
            jnp.where(terminated, 0.0, last_value),
            config.gamma,
            1.0,
        )
        objective = env.objective(final)
        truncated = (~terminated).astype(jnp.float32)
        figures = jnp.stack(
            [objective.astype(jnp.float32), objective / env.reward_scale(first), truncated]
        )
        return Searched(instance, reset_key, step_key, action, weights, gained), figures

    def loss(params: Params, episodes: Searched) -> tuple[Array, Metrics]:
        def evaluate(episode):
            observation, mask = revisit(
                env, episode.reset_key, episode.step_key, episode.instance, episode.action
            )
            logits, value = jax.vmap(apply, (None, 0))(params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            cross_entropy = -(episode.weights * policy.log_probs).sum(-1)
            return cross_entropy, policy.entropy(), jnp.square(value - episode.gained), mask

        cross_entropy, entropy, error, mask = jax.vmap(evaluate)(episodes)
        metrics = {
            "cross_entropy": masked_mean(cross_entropy, mask),
            "entropy": masked_mean(entropy, mask),
            "value_loss": masked_mean(error, mask),
        }
        return metrics["cross_entropy"] + config.value_weight * metrics["value_loss"], metrics

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        ids = env_ids(config.num_envs, mesh)
        play = jax.vmap(episode, (None, None, None, 0))
        episodes, figures = play(state.params, state.key, state.update, ids)
        state, metrics = gradient_steps(state, optimizer, loss, episodes, config, mesh)
        objective, ratio, truncated = figures.mean(0)
        return state, metrics | {
            "objective": objective,
            "objective_over_scale": ratio,
            "truncated": truncated,
        }

    return update
