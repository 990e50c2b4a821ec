"""Wrappers: an environment around an environment. Wrap instead of overriding."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, TimeStep
from jaxsched.core.sources import Pool


@struct.dataclass
class WrappedState:
    """A state with extra fields of a wrapper; reads through to the state inside."""

    inner: Any
    extra: Any

    @property
    def instance(self) -> Instance:
        return self.inner.instance

    @property
    def done(self) -> Array:
        return self.inner.done


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """Passes everything to `env`; functions of a state get the state inside."""

    env: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def observe(self, state: WrappedState) -> Any:
        return self.env.observe(state.inner)

    def action_mask(self, state: WrappedState) -> Array:
        return self.env.action_mask(state.inner)

    def objective(self, state: WrappedState) -> Array:
        return self.env.objective(state.inner)

    def solution(self, state: WrappedState) -> Any:
        return self.env.solution(state.inner)


class TimeLimit(Wrapper):
    """Truncates an episode after `limit` steps (default: `max_steps`); a truncated state takes no more actions."""

    def __init__(self, env: Environment | Wrapper, limit: int | None = None):
        super().__init__(env)
        object.__setattr__(self, "limit", limit)

    def reset(self, key: Array, instance: Instance) -> tuple[WrappedState, TimeStep]:
        state, timestep = self.env.reset(key, instance)
        return WrappedState(state, jnp.zeros((), jnp.int32)), timestep

    def step(self, key: Array, state: WrappedState, action: Array) -> tuple[WrappedState, TimeStep]:
        limit = self.limit or self.env.max_steps(state.instance)
        over = state.extra >= limit
        inner, timestep = self.env.step(key, state.inner, jnp.where(over, -1, action))  # -1 is illegal: a no-op
        num_steps = jnp.minimum(state.extra + 1, limit)
        return WrappedState(inner, num_steps), timestep.replace(truncated=(num_steps >= limit) & ~timestep.terminated)


@struct.dataclass
class Episode:
    """Running totals of one episode."""

    total_reward: Array  # f32[]
    num_decisions: Array  # i32[]
    elapsed: Array  # i32[]  ticks
    num_illegal: Array  # i32[]


class EpisodeStats(Wrapper):
    """Adds `metrics["episode"]` (an `Episode`): totals since reset, complete at the last step."""

    def __init__(self, env: Environment | Wrapper):
        super().__init__(env)

    def reset(self, key: Array, instance: Instance) -> tuple[WrappedState, TimeStep]:
        state, timestep = self.env.reset(key, instance)
        zero = jnp.zeros((), jnp.int32)
        episode = Episode(jnp.zeros((), jnp.float32), zero, zero, zero)
        return WrappedState(state, episode), timestep.replace(metrics=timestep.metrics | {"episode": episode})

    def step(self, key: Array, state: WrappedState, action: Array) -> tuple[WrappedState, TimeStep]:
        inner, timestep = self.env.step(key, state.inner, action)
        metrics = timestep.metrics
        episode = Episode(
            state.extra.total_reward + timestep.reward,
            state.extra.num_decisions + metrics["decision"].astype(jnp.int32),
            state.extra.elapsed + timestep.elapsed,
            state.extra.num_illegal + metrics["illegal"].astype(jnp.int32),
        )
        return WrappedState(inner, episode), timestep.replace(metrics=metrics | {"episode": episode})


class AutoReset(Wrapper):
    """Starts the next episode in the step that ends one: an endless stream over a `Pool`.

    `reset(key)` takes no instance. The state carries an index into the closed-over pool, not a copied instance. At
    an end, `timestep.observation` belongs to the new episode and `metrics["final_observation"]` to the old one;
    `reward`, `terminated` and `truncated` describe the step that ended it. Trainers of this package do not use it:
    with one decision per step episodes have a fixed length and are played whole.
    """

    def __init__(self, env: Environment | Wrapper, pool: Pool):
        super().__init__(env)
        object.__setattr__(self, "pool", pool)

    def reset(self, key: Array) -> tuple[WrappedState, TimeStep]:
        index_key, key = random.split(key)
        index = self.pool.sample_index(index_key)
        state, timestep = self.env.reset(key, self.pool.take(index))
        metrics = timestep.metrics | {"final_observation": timestep.observation}
        return WrappedState(_strip(state), index), timestep.replace(metrics=metrics)

    def full(self, state: WrappedState) -> Any:
        """The state of `env`, with its instance."""
        return _attach(state.inner, self.pool.take(state.extra))

    def step(self, key: Array, state: WrappedState, action: Array) -> tuple[WrappedState, TimeStep]:
        step_key, reset_key = random.split(key)
        after, timestep = self.env.step(step_key, self.full(state), action)
        fresh, first = self.reset(reset_key)
        over = timestep.terminated | timestep.truncated
        chosen = jax.tree.map(
            lambda new, old: jnp.where(over, new, old), fresh, WrappedState(_strip(after), state.extra)
        )
        observation = jax.tree.map(
            lambda new, old: jnp.where(over, new, old), first.observation, timestep.observation
        )
        metrics = timestep.metrics | {"final_observation": timestep.observation}
        return chosen, timestep.replace(observation=observation, metrics=metrics)

    def observe(self, state: WrappedState) -> Any:
        return self.env.observe(self.full(state))

    def action_mask(self, state: WrappedState) -> Array:
        return self.env.action_mask(self.full(state))

    def objective(self, state: WrappedState) -> Array:
        return self.env.objective(self.full(state))

    def solution(self, state: WrappedState) -> Any:
        return self.env.solution(self.full(state))


def _strip(state: Any) -> Any:
    if isinstance(state, WrappedState):
        return state.replace(inner=_strip(state.inner))
    return state.replace(instance=None)


def _attach(state: Any, instance: Instance) -> Any:
    if isinstance(state, WrappedState):
        return state.replace(inner=_attach(state.inner, instance))
    return state.replace(instance=instance)
