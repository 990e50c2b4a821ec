"""PPO on whole episodes, one update as one pure function of the train state.

After Schulman et al. 2017, with generalised advantage estimation (Schulman et al. 2016). Episodes
are played to the end, so nothing is bootstrapped except lanes that were cut off (by a horizon, a
wrapper) or ran out of steps.
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
from jaxsched.core.rollout import unroll, vary_alike
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Apply, Params
from jaxsched.training.common import (
    Metrics,
    TrainState,
    Update,
    env_ids,
    episode_keys,
    gradient_steps,
    revisit,
)
from jaxsched.training.config import PPOConfig


class Episodes(struct.PyTreeNode):
    """E whole episodes of T steps; observations are recomputed from the actions."""

    instance: Any  # [E, ...]
    reset_key: Array  # [E]
    step_key: Array  # [E]
    action: Array  # i32[E, T]
    log_prob: Array  # f32[E, T]
    value: Array  # f32[E, T]
    reward: Array  # f32[E, T]
    mask: Array  # bool[E, T]  the step took a decision
    elapsed: Array  # i32[E, T]  ticks that passed in the step
    last_value: Array  # f32[E]  value of the final state, 0 where the episode terminated
    truncated: Array  # bool[E]  it did not
    objective: Array  # i32[E]
    scale: Array  # f32[E]  env.reward_scale


def collect(
    env: Environment, source: Source, apply: Apply, state: TrainState, ids: Array
) -> Episodes:
    """Play one sampled episode per environment id."""

    def episode(env_id):
        instance_key, reset_key, step_key = episode_keys(state.key, state.update, env_id)
        instance = source(instance_key)
        first, _ = env.reset(reset_key, instance)

        def act(key, current):
            observation = env.observe(current)
            logits, value = apply(state.params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            action = policy.sample(key)
            return action, (policy.log_prob(action), value)

        final, (_, action, (log_prob, value), timestep) = unroll(
            env, step_key, first, act, env.max_steps(instance)
        )
        terminated = env.terminated(final)
        _, last_value = apply(state.params, env.observe(final))
        return Episodes(
            instance=instance,
            reset_key=reset_key,
            step_key=step_key,
            action=action,
            log_prob=log_prob,
            value=value,
            reward=timestep.reward,
            mask=timestep.metrics["decision"],
            elapsed=timestep.elapsed,
            last_value=jnp.where(terminated, 0.0, last_value),
            truncated=~terminated,
            objective=env.objective(final),
            scale=env.reward_scale(first),
        )

    return jax.vmap(episode)(ids)


def advantages(
    reward: Array,
    value: Array,
    mask: Array,
    discount: Array,
    last_value: Array,
    gamma: float,
    gae_lambda: float,
) -> Array:
    """Generalised advantage estimates of the decisions of one episode: f32[T].

    `discount` f32[T] is for the time that passes in a step (a semi-Markov decision process):
    decisions at one moment count alike, whatever lies between two decisions counts by its time. A
    step without a decision (an event of the simulator) only passes its reward on; `gamma` is per
    decision.
    """

    def backward(carry, step):
        advantage, next_value = carry
        reward, value, mask, discount = step
        advantage, next_value = discount * advantage, discount * next_value
        decided = reward + gamma * next_value - value + gamma * gae_lambda * advantage
        advantage = jnp.where(mask, decided, advantage)
        next_value = jnp.where(mask, value, reward + next_value)
        return (advantage, next_value), advantage

    initial = vary_alike((jnp.zeros_like(last_value), last_value), reward, value, mask, discount)
    return jax.lax.scan(backward, initial, (reward, value, mask, discount), reverse=True)[1]


def masked_mean(x: Array, mask: Array) -> Array:
    """Mean over all entries where `mask`."""
    return jnp.where(mask, x, 0).sum() / jnp.maximum(mask.sum(), 1)


def make_update(
    env: Environment,
    source: Source,
    apply: Apply,
    optimizer: optax.GradientTransformation,
    config: PPOConfig,
    mesh: Mesh | None = None,
) -> Update:
    """One update: collect, advantages, minibatch epochs. jit it, scan it, vmap it over seeds."""

    def loss(params: Params, batch: tuple[Episodes, Array, Array]) -> tuple[Array, Metrics]:
        episodes, advantage, target = batch

        def evaluate(reset_key, step_key, instance, action):
            observation, _ = revisit(env, reset_key, step_key, instance, action)
            logits, value = jax.vmap(apply, (None, 0))(params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            return policy.log_prob(action), policy.entropy(), value

        log_prob, entropy, value = jax.vmap(evaluate)(
            episodes.reset_key, episodes.step_key, episodes.instance, episodes.action
        )
        log_ratio = jnp.where(episodes.mask, log_prob - episodes.log_prob, 0)
        ratio = jnp.exp(log_ratio)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        policy_loss = -masked_mean(
            jnp.minimum(ratio * advantage, clipped * advantage), episodes.mask
        )
        value_loss = masked_mean(jnp.square(value - target), episodes.mask)
        entropy = masked_mean(entropy, episodes.mask)
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": masked_mean(ratio - 1 - log_ratio, episodes.mask),
            "clip_fraction": masked_mean(
                (jnp.abs(ratio - 1) > config.clip).astype(jnp.float32), episodes.mask
            ),
        }
        total = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
        return total, metrics

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        episodes = collect(env, source, apply, state, env_ids(config.num_envs, mesh))
        reward = episodes.reward * config.reward_scale
        discount = jnp.float32(config.tick_gamma) ** episodes.elapsed
        estimate = jax.vmap(advantages, (0, 0, 0, 0, 0, None, None))
        advantage = estimate(
            reward,
            episodes.value,
            episodes.mask,
            discount,
            episodes.last_value,
            config.gamma,
            config.gae_lambda,
        )
        target = advantage + episodes.value
        mean = masked_mean(advantage, episodes.mask)
        deviation = jnp.sqrt(masked_mean(jnp.square(advantage - mean), episodes.mask))
        batch = (episodes, (advantage - mean) / (deviation + 1e-8), target)
        state, metrics = gradient_steps(state, optimizer, loss, batch, config, mesh)
        unexplained = masked_mean(jnp.square(advantage), episodes.mask)
        spread = masked_mean(jnp.square(target - masked_mean(target, episodes.mask)), episodes.mask)
        return state, metrics | {
            "objective": episodes.objective.astype(jnp.float32).mean(),
            "objective_over_scale": (episodes.objective / episodes.scale).mean(),
            "truncated": episodes.truncated.astype(jnp.float32).mean(),
            "explained_variance": 1 - unexplained / jnp.maximum(spread, 1e-8),
        }

    return update
