"""Wrappers: an environment around an environment. Wrap instead of overriding."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.environment import Instance, TimeStep
from jaxsched.core.sources import Pool


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WrappedState:
    """A state with extra data of a wrapper; what it does not have itself is read and replaced in the state inside."""

    inner: Any
    extra: Any

    def replace(self, **changes: Any) -> WrappedState:
        own = {name: changes.pop(name) for name in ("inner", "extra") if name in changes}
        if changes:
            own["inner"] = own.get("inner", self.inner).replace(**changes)
        return dataclasses.replace(self, **own)

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # not there (yet): do not look for it in itself
            raise AttributeError(name)
        return getattr(self.inner, name)


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """Passes everything to `env`; functions of a state get the state inside."""

    env: Any  # an Environment or a Wrapper

    def __getattr__(self, name: str) -> Any:
        if name == "env" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)

    def observe(self, state: WrappedState) -> Any:
        return self.env.observe(state.inner)

    def action_mask(self, state: WrappedState) -> Array:
        return self.env.action_mask(state.inner)

    def objective(self, state: WrappedState) -> Array:
        return self.env.objective(state.inner)

    def cut_off(self, state: WrappedState) -> Array:
        return self.env.cut_off(state.inner)

    def solution(self, state: WrappedState) -> Any:
        return self.env.solution(state.inner)


@dataclasses.dataclass(frozen=True)
class TimeLimit(Wrapper):
    """Truncates an episode after `limit` steps (default: `max_steps`); a truncated state takes no more actions."""

    limit: int | None = None

    def reset(self, key: Array, instance: Instance) -> tuple[WrappedState, TimeStep]:
        state, timestep = self.env.reset(key, instance)
        return WrappedState(state, jnp.zeros((), jnp.int32)), timestep

    def step(self, key: Array, state: WrappedState, action: Array) -> tuple[WrappedState, TimeStep]:
        limit = self.limit or self.env.max_steps(state.instance)
        over = state.extra >= limit
        inner, timestep = self.env.step(key, state.inner, jnp.where(over, -1, action))  # -1 is illegal: a no-op
        num_steps = jnp.minimum(state.extra + 1, limit)
        over_now = timestep.truncated | (num_steps >= limit)
        return WrappedState(inner, num_steps), timestep.replace(truncated=over_now & ~timestep.terminated)


class Episode(struct.PyTreeNode):
    """Running totals of one episode."""

    total_reward: Array  # f32[]
    num_decisions: Array  # i32[]
    elapsed: Array  # i32[]  ticks
    num_illegal: Array  # i32[]


@dataclasses.dataclass(frozen=True)
class EpisodeStats(Wrapper):
    """Adds `metrics["episode"]` (an `Episode`): totals since reset, complete at the last step."""

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


@dataclasses.dataclass(frozen=True)
class AutoReset(Wrapper):
    """Starts the next episode in the step that ends one: an endless stream over a `Pool`.

    `reset(key)` takes no instance. The state carries an index into the closed-over pool, not a copied instance. At
    an end, `timestep.observation` belongs to the new episode and `metrics["final_observation"]` to the old one;
    `reward`, `terminated` and `truncated` describe the step that ended it. Trainers of this package do not use it:
    with one decision per step episodes have a fixed length and are played whole.
    """

    pool: Pool

    def reset(self, key: Array) -> tuple[WrappedState, TimeStep]:
        index_key, key = random.split(key)
        index = self.pool.sample_index(index_key)
        state, timestep = self.env.reset(key, self.pool.take(index))
        metrics = timestep.metrics | {"final_observation": timestep.observation}
        return WrappedState(state.replace(instance=None), index), timestep.replace(metrics=metrics)

    def full(self, state: WrappedState) -> Any:
        """The state of `env`, with its instance."""
        return state.inner.replace(instance=self.pool.take(state.extra))

    def step(self, key: Array, state: WrappedState, action: Array) -> tuple[WrappedState, TimeStep]:
        step_key, reset_key = random.split(key)
        after, timestep = self.env.step(step_key, self.full(state), action)
        fresh, first = self.reset(reset_key)
        over = timestep.terminated | timestep.truncated
        going_on = WrappedState(after.replace(instance=None), state.extra)
        chosen, observation = jax.tree.map(
            lambda new, old: jnp.where(over, new, old), (fresh, first.observation), (going_on, timestep.observation)
        )
        metrics = timestep.metrics | {"final_observation": timestep.observation}
        return chosen, timestep.replace(observation=observation, metrics=metrics)

    def observe(self, state: WrappedState) -> Any:
        return self.env.observe(self.full(state))

    def action_mask(self, state: WrappedState) -> Array:
        return self.env.action_mask(self.full(state))

    def objective(self, state: WrappedState) -> Array:
        return self.env.objective(self.full(state))

    def cut_off(self, state: WrappedState) -> Array:
        return self.env.cut_off(self.full(state))

    def solution(self, state: WrappedState) -> Any:
        return self.env.solution(self.full(state))
