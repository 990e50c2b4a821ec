"""Self-labelling: sample many solutions of an instance, imitate the best (Corsini et al., NeurIPS
2024, section 4).

No critic, no reward, no labels: the simulator is the teacher. One update is one pure function of
the train state.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array, random
from jax.sharding import Mesh

from jaxsched.core.environment import Environment, Source
from jaxsched.core.rollout import best_episode, outcome, unroll
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
    shard,
)
from jaxsched.training.config import SelfLabelingConfig


class Labels(struct.PyTreeNode):
    """The best sampled episode of each of B instances."""

    instance: Any  # [B, ...]
    reset_key: Array  # [B]
    step_key: Array  # [B]
    action: Array  # i32[B, T]


def make_update(
    env: Environment,
    source: Source,
    apply: Apply,
    optimizer: optax.GradientTransformation,
    config: SelfLabelingConfig,
    mesh: Mesh | None = None,
) -> Update:
    """One update: sample, pick the best, cross-entropy. jit it, scan it, vmap it over seeds."""

    def sample(params: Params, key: Array, reset_key: Array, instance: Any) -> tuple[Array, ...]:
        first, _ = env.reset(reset_key, instance)

        def act(key, current):
            observation = env.observe(current)
            logits, _ = apply(params, observation)
            return MaskedCategorical(logits, observation.action_mask).sample(
                key, config.temperature
            ), None

        final, (_, action, _, _) = unroll(env, key, first, act, env.max_steps(instance))
        objective = env.objective(final)
        return (
            action,
            outcome(env, final),
            objective,
            objective / env.reward_scale(first),
            env.terminated(final),
        )

    def loss(params: Params, labels: Labels) -> tuple[Array, Metrics]:
        def evaluate(reset_key, step_key, instance, action):
            observation, mask = revisit(env, reset_key, step_key, instance, action)
            logits, _ = jax.vmap(apply, (None, 0))(params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            return policy.log_prob(action), policy.entropy(), mask

        log_prob, entropy, mask = jax.vmap(evaluate)(
            labels.reset_key, labels.step_key, labels.instance, labels.action
        )
        count = jnp.maximum(mask.sum(), 1)
        cross_entropy = -jnp.where(mask, log_prob, 0).sum() / count
        return cross_entropy, {
            "cross_entropy": cross_entropy,
            "entropy": jnp.where(mask, entropy, 0).sum() / count,
        }

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        ids = env_ids(config.num_envs, mesh)
        instance_key, reset_key, step_key = jax.vmap(episode_keys, (None, None, 0))(
            state.key, state.update, ids
        )
        instances = jax.vmap(source)(instance_key)
        # [B, S]
        sample_keys = jax.vmap(lambda key: random.split(key, config.num_samples))(step_key)
        one = jax.vmap(sample, (None, 0, None, None))
        play = jax.vmap(one, (None, 0, 0, 0))
        action, ends, objective, ratio, terminated = play(
            state.params, sample_keys, reset_key, instances
        )
        # [B]  one that was cut off or failed teaches where no other is left
        best = best_episode(ends, objective)
        rows = jnp.arange(config.num_envs, dtype=jnp.int32)
        labels = Labels(instances, reset_key, sample_keys[rows, best], action[rows, best])
        state, metrics = gradient_steps(state, optimizer, loss, shard(labels, mesh), config, mesh)
        return state, metrics | {
            "objective": objective.astype(jnp.float32).mean(),
            "objective_over_scale": ratio.mean(),
            "best_over_scale": ratio[rows, best].mean(),
            "truncated": (~terminated).astype(jnp.float32).mean(),
        }

    return update
