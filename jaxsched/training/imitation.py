"""Imitation of a priority rule, labelled in the states that the rule and the policy reach.

DAgger (Ross, Gordon & Bagnell 2011) without its growing data set: every update plays fresh
episodes, some by the rule and some by the policy, and the rule says in each of their states what it
would do. One update is one pure function.
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
from jaxsched.core.rollout import masked_argmax, unroll
from jaxsched.host.errors import UnknownNameError
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
from jaxsched.training.config import ImitationConfig


class Lessons(struct.PyTreeNode):
    """E episodes of T steps, with the rule's choice in each state."""

    instance: Any  # [E, ...]
    reset_key: Array  # [E]
    step_key: Array  # [E]
    action: Array  # i32[E, T]  played
    label: Array  # i32[E, T]  the rule's


def make_update(
    env: Environment,
    source: Source,
    apply: Apply,
    optimizer: optax.GradientTransformation,
    config: ImitationConfig,
    mesh: Mesh | None = None,
) -> Update:
    """One update: play, label, cross-entropy. jit it, scan it, vmap it over seeds."""
    if config.teacher not in env.heuristics:
        raise UnknownNameError("teacher", config.teacher, env.heuristics)
    scores = env.heuristics[config.teacher]

    def episode(params: Params, key: Array, update: Array, env_id: Array) -> tuple[Lessons, Array]:
        instance_key, reset_key, step_key = episode_keys(key, update, env_id)
        instance = source(instance_key)
        first, _ = env.reset(reset_key, instance)

        def act(key, current):
            observation = env.observe(current)
            label = masked_argmax(scores(current), observation.action_mask)
            policy = MaskedCategorical(apply(params, observation)[0], observation.action_mask)
            return jnp.where(env_id < config.num_own, policy.sample(key), label), label

        final, (_, action, label, _) = unroll(env, step_key, first, act, env.max_steps(instance))
        objective = env.objective(final).astype(jnp.float32)
        truncated = (~env.terminated(final)).astype(jnp.float32)
        figures = jnp.stack([objective, objective / env.reward_scale(first), truncated])
        return Lessons(instance, reset_key, step_key, action, label), figures

    def loss(params: Params, lessons: Lessons) -> tuple[Array, Metrics]:
        def evaluate(lesson):
            observation, mask = revisit(
                env, lesson.reset_key, lesson.step_key, lesson.instance, lesson.action
            )
            logits, _ = jax.vmap(apply, (None, 0))(params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            return policy.log_prob(lesson.label), policy.mode() == lesson.label, mask

        log_prob, agrees, mask = jax.vmap(evaluate)(lessons)
        count = jnp.maximum(mask.sum(), 1)
        cross_entropy = -jnp.where(mask, log_prob, 0).sum() / count
        return cross_entropy, {
            "cross_entropy": cross_entropy,
            "agreement": (agrees & mask).sum() / count,
        }

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        ids = env_ids(config.num_envs, mesh)
        play = jax.vmap(episode, (None, None, None, 0))
        lessons, figures = play(state.params, state.key, state.update, ids)
        state, metrics = gradient_steps(state, optimizer, loss, lessons, config, mesh)
        own = (ids < config.num_own)[:, None]
        # of the policy's own episodes
        mean = jnp.where(own, figures, 0).sum(0) / max(config.num_own, 1)
        return state, metrics | {
            "objective": mean[0],
            "objective_over_scale": mean[1],
            "truncated": mean[2],
        }

    return update
