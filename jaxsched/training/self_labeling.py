"""Self-labelling: sample many solutions of an instance, imitate the best (Corsini et al., NeurIPS 2024, section 4).

No critic, no reward, no labels: the simulator is the teacher. One update is one pure function of the train state. With
`num_generations` the samples are evolved before the best is imitated (`core/evolution.py`): expert iteration with a
search that asks no network.
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
from jaxsched.core.errors import UnknownNameError
from jaxsched.core.evolution import EvolutionConfig, begin, evolve
from jaxsched.core.rollout import unroll
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
    if config.num_generations and config.repair not in env.heuristics:
        raise UnknownNameError("repair", config.repair, env.heuristics)

    def sample(params: Params, key: Array, reset_key: Array, instance: Any) -> tuple[Array, Array, Array, Array]:
        first, _ = env.reset(reset_key, instance)

        def act(key, current):
            observation = env.observe(current)
            logits, _ = apply(params, observation)
            return MaskedCategorical(logits, observation.action_mask).sample(key, config.temperature), None

        final, (_, action, _, _) = unroll(env, key, first, act, env.max_steps(instance))
        unusable = ~final.done | ~env.feasible(final)  # never the teacher while another sample is usable
        objective = env.objective(final)
        cost = jnp.where(unusable, jnp.iinfo(jnp.int32).max, objective)
        return action, cost, objective, objective / env.reward_scale(first)

    def improve(key: Array, reset_key: Array, instance: Any, action: Array) -> tuple[Array, Array]:
        """The best descendant i32[T] of the samples i32[S, T], and its cost."""
        settings = EvolutionConfig(config.population, config.num_generations)
        repair = env.heuristics[config.repair]
        first = begin(env, repair, settings, reset_key, instance, action)
        last = evolve(env, repair, settings, reset_key, instance, key, first)
        return last.action[0], last.cost[0]

    def loss(params: Params, labels: Labels) -> tuple[Array, Metrics]:
        def evaluate(reset_key, step_key, instance, action):
            observation, mask = revisit(env, reset_key, step_key, instance, action)
            logits, _ = jax.vmap(apply, (None, 0))(params, observation)
            policy = MaskedCategorical(logits, observation.action_mask)
            return policy.log_prob(action), policy.entropy(), mask

        log_prob, entropy, mask = jax.vmap(evaluate)(labels.reset_key, labels.step_key, labels.instance, labels.action)
        count = jnp.maximum(mask.sum(), 1)
        cross_entropy = -jnp.where(mask, log_prob, 0).sum() / count
        return cross_entropy, {"cross_entropy": cross_entropy, "entropy": jnp.where(mask, entropy, 0).sum() / count}

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        ids = env_ids(config.num_envs, mesh)
        instance_key, reset_key, step_key = jax.vmap(episode_keys, (None, None, 0))(state.key, state.update, ids)
        instances = jax.vmap(source)(instance_key)
        sample_keys = jax.vmap(lambda key: random.split(key, config.num_samples))(step_key)  # [B, S]
        one = jax.vmap(sample, (None, 0, None, None))
        action, cost, objective, ratio = jax.vmap(one, (None, 0, 0, 0))(state.params, sample_keys, reset_key, instances)
        best = jnp.argmin(cost, -1)  # [B]
        rows = jnp.arange(config.num_envs, dtype=jnp.int32)
        label, figures = action[rows, best], {"best_over_scale": ratio.min(-1).mean()}
        if config.num_generations:
            evolved, evolved_cost = jax.vmap(improve)(step_key, reset_key, instances, action)
            better = evolved_cost < cost[rows, best]  # both may be unusable, and the first samples are seldom usable
            label = jnp.where(better[:, None], evolved, label)
            reached = jnp.where(better, evolved_cost, objective[rows, best])
            figures["evolved_over_scale"] = (reached * (ratio / objective)[:, 0]).mean()
        labels = Labels(instances, reset_key, sample_keys[rows, best], label)
        state, metrics = gradient_steps(state, optimizer, loss, shard(labels, mesh), config, mesh)
        figures |= {"objective": objective.astype(jnp.float32).mean(), "objective_over_scale": ratio.mean()}
        return state, metrics | figures

    return update
