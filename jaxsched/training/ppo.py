"""PPO on whole episodes.

After Schulman et al. 2017, with generalised advantage estimation (Schulman et al. 2016). Episodes
are played to the end, so nothing is bootstrapped except lanes that were cut off (by a horizon, a
wrapper) or ran out of steps.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.core.rollout import vary_alike
from jaxsched.policies.distribution import MaskedCategorical
from jaxsched.policies.network import Params
from jaxsched.training.config import PPOConfig
from jaxsched.training.episodes import EpisodeKeys
from jaxsched.training.episodes import play as play_episode
from jaxsched.training.update import Algorithm, Lesson, Metrics, Task, mean_metrics


class Decision(struct.PyTreeNode):
    """What PPO knows of a decision, [T]; the last step of an episode only looks at its end."""

    action: Array  # i32[T]
    log_prob: Array  # f32[T]  when it was taken
    value: Array  # f32[T]  as estimated then
    advantage: Array  # f32[T]  standardised over all decisions of the update
    target: Array  # f32[T]  of the value


def play(task: Task, params: Params, keys: EpisodeKeys, env_id: Array) -> tuple[Lesson, Metrics]:
    """One sampled episode with the advantages of its decisions."""
    env, config = task.env, task.config

    def act(key, state, observation):
        logits, value = task.apply(params, observation)
        policy = MaskedCategorical(logits, observation.action_mask)
        action = policy.sample(key)
        return action, (policy.log_prob(action), value, env.clock(state))

    instance = task.source(keys.instance)
    keep = config.keep == "observations"
    played = play_episode(env, instance, keys, act, keep=keep, look=True)
    (log_prob, value, clock), final, mask = played.extra, played.final, played.episode.mask
    # The last step looks at the end: nothing happens in it.
    happens = jnp.arange(len(mask), dtype=jnp.int32) < len(mask) - 1
    reward = jnp.where(happens, played.reward * config.reward_scale, 0)
    elapsed = jnp.diff(clock, append=clock[-1:])
    last_value = jnp.where(env.terminated(final), 0.0, value[-1])
    discount = config.tick_gamma ** elapsed.astype(jnp.float32)
    advantage = advantages(
        reward, value, mask, discount, last_value, config.gamma, config.gae_lambda
    )
    action = played.episode.action
    decision = Decision(action, log_prob, value, advantage, advantage + value)
    objective = env.objective(final)
    return Lesson(played.episode, decision), {
        "objective": objective,
        "objective_over_scale": objective / env.reward_scale(final),
        "truncated": ~env.terminated(final),
    }


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


def finish(task: Task, lessons: Lesson, figures: Metrics) -> tuple[Lesson, Metrics]:
    """Advantages with mean 0 and deviation 1 over all decisions of the update."""
    decision, mask = lessons.target, lessons.episode.mask
    mean = masked_mean(decision.advantage, mask)
    deviation = jnp.sqrt(masked_mean(jnp.square(decision.advantage - mean), mask))
    standardised = (decision.advantage - mean) / (deviation + 1e-8)
    unexplained = masked_mean(jnp.square(decision.advantage), mask)
    spread = masked_mean(jnp.square(decision.target - masked_mean(decision.target, mask)), mask)
    lessons = lessons.replace(target=decision.replace(advantage=standardised))
    lessons, metrics = mean_metrics(task, lessons, figures)
    return lessons, metrics | {"explained_variance": 1 - unexplained / jnp.maximum(spread, 1e-8)}


def masked_mean(x: Array, mask: Array) -> Array:
    """Mean over all entries where `mask`."""
    return jnp.where(mask, x, 0).sum() / jnp.maximum(mask.sum(), 1)


def loss(
    config: Any, policy: MaskedCategorical, value: Array, decision: Decision
) -> tuple[Array, Metrics]:
    """The clipped surrogate, the error of the value and the entropy of every decision."""
    log_ratio = policy.log_prob(decision.action) - decision.log_prob
    ratio, entropy = jnp.exp(log_ratio), policy.entropy()
    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    policy_loss = -jnp.minimum(ratio * decision.advantage, clipped * decision.advantage)
    value_loss = jnp.square(value - decision.target)
    total = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": ratio - 1 - log_ratio,
        "clip_fraction": jnp.abs(ratio - 1) > config.clip,
    }


PPO = Algorithm(PPOConfig, play, loss, finish)
