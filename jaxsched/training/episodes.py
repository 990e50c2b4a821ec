"""Episodes as trainers keep them: played once, and read again for the gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, Source, State
from jaxsched.core.graph import GraphObservation
from jaxsched.core.rollout import dress, replay, reward_and_decision, unroll
from jaxsched.policies.network import example_observation

# key, state, observation -> action, and what else is worth keeping of the decision
Act = Callable[[Array, State, GraphObservation], tuple[Array, Any]]


class EpisodeKeys(struct.PyTreeNode):
    """The draws of one episode."""

    instance: Array
    reset: Array
    step: Array


def episode_keys(key: Array, update: Array, env_id: Array) -> EpisodeKeys:
    """Keys of one environment in one update: for its instance, its reset, and its steps."""
    keys = random.split(random.fold_in(random.fold_in(key, update), env_id), 3)
    return EpisodeKeys(keys[0], keys[1], keys[2])


class Episode(struct.PyTreeNode):
    """One episode of T steps, as it was played, and what a policy saw or what tells it."""

    instance: Instance
    reset_key: Array
    step_key: Array
    action: Array  # i32[T]
    mask: Array  # bool[T]  the step took a decision
    observation: GraphObservation | None  # [T, ...]; None: to be played again from the actions


class Played(struct.PyTreeNode):
    """An episode with what is known at its end."""

    episode: Episode
    extra: Any  # [T, ...]  of each decision, as the act said
    reward: Array  # f32[T]  of each step
    final: State


def play(
    env: Environment,
    instance: Instance,
    keys: EpisodeKeys,
    act: Act,
    *,
    keep: bool = True,
    look: bool = False,
) -> Played:
    """Play one episode of `max_steps` steps; with `look` one more, which is no decision and shows
    the final state. `keep`: with the observations.
    """

    def observe_and_act(key: Array, state: State) -> tuple[Array, Any]:
        observation = env.observe(state)
        action, extra = act(key, state, observation)
        return action, (extra, observation if keep else None)

    # Legal actions end an episode within `max_steps`, and an action after the end changes nothing.
    first, num_steps = env.init(keys.reset, instance), env.max_steps(instance) + look
    final, (action, (extra, observation), (reward, mask)) = unroll(
        env, keys.step, first, observe_and_act, num_steps, reward_and_decision
    )
    if look:
        mask = mask & (jnp.arange(len(mask), dtype=jnp.int32) < len(mask) - 1)
    episode = Episode(instance, keys.reset, keys.step, action, mask, observation)
    return Played(episode, extra, reward, final)


def revisit(
    env: Environment, instance: Instance, keys: EpisodeKeys, actions: Array, *, keep: bool = True
) -> Episode:
    """The episode of these actions i32[T]; `keep`: with the observations."""
    first = env.init(keys.reset, instance)
    _, (states, mask) = replay(env, keys.step, first, actions)
    observation = _see(env, states, instance) if keep else None
    return Episode(instance, keys.reset, keys.step, actions, mask, observation)


def observations(env: Environment, episode: Episode) -> GraphObservation:
    """What a policy saw in each step: kept, or observed again along the actions."""
    if episode.observation is not None:
        return episode.observation
    first = env.init(episode.reset_key, episode.instance)
    _, (states, _) = replay(env, episode.step_key, first, episode.action)
    return _see(env, states, episode.instance)


def _see(env: Environment, states: State, instance: Instance) -> GraphObservation:
    """The observations [T, ...] of states without their instance."""
    return jax.vmap(lambda bare: env.observe(dress(bare, instance)))(states)


def kept_bytes(env: Environment, source: Source, num_episodes: int) -> int:
    """Bytes of the observations of whole episodes, an estimate of what an update keeps."""
    instance = jax.eval_shape(source, random.key(0))
    seen = example_observation(env, source)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(seen))
    return num_episodes * env.max_steps(instance) * size
