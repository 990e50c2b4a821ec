"""Wrappers: an environment around an environment. Wrap instead of overriding."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, random

from jaxsched.core.arrays import integer_scalar
from jaxsched.core.environment import Environment, Instance, Scores, Source, State, TimeStep
from jaxsched.core.graph import GraphObservation, feature_names
from jaxsched.core.sources import Pool
from jaxsched.host.errors import UnknownNameError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WrappedState:
    """A state with extra data of a wrapper; what it does not have itself is read and replaced in
    the state inside.
    """

    inner: Any
    extra: Any

    def replace(self, **changes: Any) -> WrappedState:
        own = {name: changes.pop(name) for name in ("inner", "extra") if name in changes}
        if changes:
            own["inner"] = own.get("inner", self.inner).replace(**changes)
        return dataclasses.replace(self, **own)

    def __getattr__(self, name: str) -> Any:
        # not there (yet): do not look for it in itself
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)


@dataclasses.dataclass(frozen=True)
class Wrapper(Environment):
    """An environment that plays `env`: what takes a state asks `env` about the state inside.

    A wrapper overrides `init` and `apply`, and what it answers otherwise; `reset`, `step` and
    whoever plays an `Environment` follow from that. Attributes that are not of the protocol are
    those of `env`.
    """

    env: Environment  # may be a wrapper itself

    def __post_init__(self):
        if not isinstance(self.env, Environment):
            raise TypeError(
                f"{type(self).__name__} wraps an Environment, got {type(self.env).__name__}"
            )

    def __getattr__(self, name: str) -> Any:
        if name == "env" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)

    def full(self, state: WrappedState) -> State:
        """The state of `env`, with its instance."""
        return state.inner

    def init(self, key: Array, instance: Instance) -> WrappedState:
        return WrappedState(self.env.init(key, instance), None)

    def apply(self, key: Array, state: WrappedState, action: Array, legal: Array) -> WrappedState:
        return state.replace(inner=self.env.apply(key, self.full(state), action, legal))

    # All the rest is passed on.

    @property
    def unwrapped(self) -> Environment:
        return self.env.unwrapped

    @property
    def settings(self) -> Any:
        """Those of the environment inside: what `make` knows, and what a policy is trained for."""
        return self.env.settings

    @property
    def improves(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.env.improves

    @property
    def complete(self) -> bool:
        return self.env.complete

    @property
    def default_source(self) -> Source:
        return self.env.default_source

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return {
            name: functools.partial(self._scores, scores)
            for name, scores in self.env.heuristics.items()
        }

    def _scores(self, scores: Scores, state: WrappedState) -> Array:
        return scores(self.full(state))

    def max_steps(self, instance: Instance) -> int:
        return self.env.max_steps(instance)

    def baseline(self, instance: Instance) -> Array:
        return self.env.baseline(instance)

    def lower_bound(self, instance: Instance) -> Array:
        return self.env.lower_bound(instance)

    def validate(self, instance: Instance, solution: Any) -> list[str]:
        return self.env.validate(instance, solution)

    def measure(self, instance: Instance, solution: Any) -> int:
        return self.env.measure(instance, solution)

    def observe(self, state: WrappedState) -> GraphObservation:
        return self.env.observe(self.full(state))

    def action_mask(self, state: WrappedState) -> Array:
        return self.env.action_mask(self.full(state))

    def decides(self, state: WrappedState) -> Array:
        return self.env.decides(self.full(state))

    def cut_off(self, state: WrappedState) -> Array:
        return self.env.cut_off(self.full(state))

    def feasible(self, state: WrappedState) -> Array:
        return self.env.feasible(self.full(state))

    def bound(self, state: WrappedState) -> Array:
        return self.env.bound(self.full(state))

    def objective(self, state: WrappedState) -> Array:
        return self.env.objective(self.full(state))

    def clock(self, state: WrappedState) -> Array:
        return self.env.clock(self.full(state))

    def reward_scale(self, state: WrappedState) -> Array:
        return self.env.reward_scale(self.full(state))

    def reward(self, state: WrappedState, after: WrappedState, delta: Array) -> Array:
        return self.env.reward(self.full(state), self.full(after), delta)

    def report(self, state: WrappedState) -> Mapping[str, Any]:
        return self.env.report(self.full(state))

    def solution(self, state: WrappedState) -> Any:
        return self.env.solution(self.full(state))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LimitedState(WrappedState):
    """A state and in `extra` the number of steps that are left, i32[]."""

    @property
    def done(self) -> Array:
        """bool[]: the episode is over, or no steps are left."""
        return self.inner.done | (self.extra <= 0)


@dataclasses.dataclass(frozen=True)
class TimeLimit(Wrapper):
    """Cuts an episode off after `limit` steps (default: `max_steps`), illegal ones included.

    A state that was cut off is `done`, takes no decision and has no legal action; it is not
    `feasible`, since it will not become a solution. An episode that ends in its last step is not
    cut off.
    """

    limit: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.limit is not None:
            object.__setattr__(self, "limit", operator.index(self.limit))
            if self.limit < 1:
                raise ValueError(f"limit must be at least 1, got {self.limit}")

    @property
    def complete(self) -> bool:
        """Only without a limit of its own, which may cut off what leads to an optimum."""
        return self.limit is None and self.env.complete

    def max_steps(self, instance: Instance) -> int:
        most = self.env.max_steps(instance)
        return most if self.limit is None else min(self.limit, most)

    def init(self, key: Array, instance: Instance) -> LimitedState:
        return LimitedState(
            self.env.init(key, instance), jnp.full((), self.max_steps(instance), jnp.int32)
        )

    def apply(self, key: Array, state: WrappedState, action: Array, legal: Array) -> LimitedState:
        over = state.done
        after = self.env.apply(key, state.inner, action, legal)
        # Where a step passes an event, `env` would go on without a decision.
        inner = jax.tree.map(
            lambda new, old: old if new is old else jnp.where(over, old, new), after, state.inner
        )
        return LimitedState(inner, state.extra - (~over).astype(jnp.int32))

    def _stopped(self, state: WrappedState) -> Array:
        """bool[]: it is this limit that ended the episode."""
        return (state.extra <= 0) & ~state.inner.done

    def observe(self, state: WrappedState) -> GraphObservation:
        observation = self.env.observe(state.inner)
        return observation.replace(action_mask=observation.action_mask & ~self._stopped(state))

    def action_mask(self, state: WrappedState) -> Array:
        return self.env.action_mask(state.inner) & ~self._stopped(state)

    def decides(self, state: WrappedState) -> Array:
        return self.env.decides(state.inner) & ~self._stopped(state)

    def cut_off(self, state: WrappedState) -> Array:
        return self._stopped(state) | self.env.cut_off(state.inner)

    def feasible(self, state: WrappedState) -> Array:
        return self.env.feasible(state.inner) & ~self._stopped(state)


@dataclasses.dataclass(frozen=True)
class HideFeatures(Wrapper):
    """Sets features of the observation to 0, so that a network of the same size does without them.

    `hidden` holds pairs of a kind of nodes or a form of actions, as `features()` names them, and of
    the features of it to hide; a mapping is taken as well. Raises `UnknownNameError` for a kind,
    form or feature that is not there.
    """

    hidden: Iterable[tuple[str, Iterable[str]]] | Mapping[str, Iterable[str]] = ()

    def __post_init__(self):
        super().__post_init__()
        pairs = self.hidden.items() if isinstance(self.hidden, Mapping) else self.hidden
        hidden = tuple((kind, tuple(names)) for kind, names in pairs)
        known = self.env.features()
        for kind, names in hidden:
            if kind not in known:
                raise UnknownNameError("kind of nodes or form of actions", kind, known)
            for name in names:
                if name not in known[kind]:
                    raise UnknownNameError(f"feature of {kind}", name, known[kind])
        object.__setattr__(self, "hidden", hidden)

    def observe(self, state: WrappedState) -> GraphObservation:
        seen = super().observe(state)
        kinds = iter(feature_names(seen))  # of all nodes, then of the actions that have features
        nodes = tuple(self._without(part, next(kinds)) for part in seen.nodes)
        actions = tuple(
            self._without(group, next(kinds)) if group.names else group for group in seen.actions
        )
        return seen.replace(nodes=nodes, actions=actions)

    def _without(self, part: Any, kind: str) -> Any:
        """Nodes or actions without the hidden features of their kind or form."""
        names = {name for each, names in self.hidden if each == kind for name in names}
        if not names:
            return part
        is_shown = np.array([name not in names for name in part.names])
        return part.replace(features=jnp.where(is_shown, part.features, np.float32(0)))


class Episode(struct.PyTreeNode):
    """Running totals of one episode."""

    total_reward: Array  # f32[]
    num_decisions: Array  # i32[]
    elapsed: Array  # i32[]  ticks
    num_illegal: Array  # i32[]  decisions that were illegal


@dataclasses.dataclass(frozen=True)
class EpisodeStats(Wrapper):
    """Adds `metrics["episode"]` (an `Episode`): totals since reset, complete at the last step."""

    def init(self, key: Array, instance: Instance) -> WrappedState:
        zero = jnp.zeros((), jnp.int32)
        return WrappedState(
            self.env.init(key, instance), Episode(jnp.zeros((), jnp.float32), zero, zero, zero)
        )

    def apply(self, key: Array, state: WrappedState, action: Array, legal: Array) -> WrappedState:
        after = super().apply(key, state, action, legal)
        decision = self.decides(state) & ~state.done
        total: Episode = state.extra
        return after.replace(
            extra=Episode(
                total_reward=total.total_reward
                + self.reward(state, after, self.bound(state) - self.bound(after)),
                num_decisions=total.num_decisions + decision.astype(jnp.int32),
                elapsed=total.elapsed + self.clock(after) - self.clock(state),
                num_illegal=total.num_illegal + (decision & ~legal).astype(jnp.int32),
            )
        )

    def report(self, state: WrappedState) -> Mapping[str, Any]:
        return {**super().report(state), "episode": state.extra}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StreamState(WrappedState):
    """A state without its instance, and in `extra` the index of that instance in the pool, i32[].

    The index is what `AutoReset` takes for an instance. It changes from episode to episode, so it
    stays in the carry of a scan that keeps the instance outside: `replace(instance=...)` leaves it
    as it is.
    """

    @property
    def instance(self) -> Array:
        """i32[]: index of the present instance."""
        return self.extra

    def replace(self, **changes: Any) -> WrappedState:
        changes.pop("instance", None)
        return super().replace(**changes)


@dataclasses.dataclass(frozen=True)
class AutoReset(Wrapper):
    """Starts the next episode in the step that ends one: an endless stream over a `Pool`.

    Its instances are indices into the pool, which the state carries instead of a copied instance;
    `reset(key)` draws one, `reset(key, index)` takes it. At an end, `timestep.observation` and the
    state belong to the new episode, and `metrics["final_observation"]` to the old one; `reward`,
    `terminated`, `truncated` and the other metrics describe the step that ended it. `apply` does
    not start anew, so a search ends with the episode that it begins in. Trainers of this package do
    not use it: with one decision per step episodes have a fixed length and are played whole.
    """

    pool: Pool

    @property
    def default_source(self) -> Source:
        """Indices into the pool."""
        return self.pool.sample_index

    def full(self, state: WrappedState) -> State:
        return state.inner.replace(instance=self.pool.take(state.extra))

    def init(self, key: Array, instance: Array) -> StreamState:
        return StreamState(
            self.env.init(key, self.pool.take(instance)).replace(instance=None), instance
        )

    def apply(self, key: Array, state: WrappedState, action: Array, legal: Array) -> WrappedState:
        return state.replace(
            inner=self.env.apply(key, self.full(state), action, legal).replace(instance=None)
        )

    def max_steps(self, instance: Array) -> int:
        return self.env.max_steps(self.pool.take(0))

    def baseline(self, instance: Array) -> Array:
        return self.env.baseline(self.pool.take(instance))

    def lower_bound(self, instance: Array) -> Array:
        return self.env.lower_bound(self.pool.take(instance))

    def validate(self, instance: Array, solution: Any) -> list[str]:
        return self.env.validate(self.pool.take(instance), solution)

    def measure(self, instance: Array, solution: Any) -> int:
        return self.env.measure(self.pool.take(instance), solution)

    def reset(self, key: Array, instance: Array | None = None) -> tuple[State, TimeStep]:
        index_key, key = random.split(key)
        if instance is None:
            index = self.pool.sample_index(index_key)
        else:
            index = integer_scalar(instance, "index into the pool")
        state, timestep = super().reset(key, index)
        metrics = timestep.metrics | {"final_observation": timestep.observation}
        return state, timestep.replace(metrics=metrics)

    def advance(self, key: Array, state: StreamState, action: Array) -> tuple[State, TimeStep]:
        after, timestep = self.step(key, state, action)
        return after, timestep.replace(observation=None)

    def step(self, key: Array, state: StreamState, action: Array) -> tuple[State, TimeStep]:
        step_key, reset_key = random.split(key)
        after, timestep = super().advance(step_key, state, action)
        timestep = timestep.replace(observation=self.observe(after))
        fresh, first = self.reset(reset_key)
        over = timestep.terminated | timestep.truncated
        chosen, observation = jax.tree.map(
            lambda new, old: jnp.where(over, new, old),
            (fresh, first.observation),
            (after, timestep.observation),
        )
        metrics = timestep.metrics | {"final_observation": timestep.observation}
        return chosen, timestep.replace(observation=observation, metrics=metrics)
