"""The protocol: an `Environment` dresses a family's pure rules with observation, reward and end
flags.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax, random

from jaxsched.core.arrays import integer_scalar, take
from jaxsched.core.graph import GraphObservation, feature_names

Instance = Any  # a family's frozen dataclass of arrays
# a family's frozen dataclass with `.instance`, `.done`, `.baseline` and flax's `.replace`
State = Any
Source = Callable[[Array], Instance]  # key -> Instance: generates, samples a pool, or mixes
Policy = Callable[[Array, State, GraphObservation], Array]  # key, state, observation -> action
Scores = Callable[[State], Array]  # state -> f32[A] or i32[A], the highest legal score is taken


class TimeStep(struct.PyTreeNode):
    """What a step returns beside the state. `metrics` always hold decision, illegal, feasible
    and objective_delta.
    """

    observation: GraphObservation | Any
    reward: Array  # f32[]  objective_delta / reward_scale, unless the environment says otherwise
    terminated: Array  # bool[]  the problem is solved (or can no longer be)
    # bool[]  cut off by a limit of a wrapper or of the instance; bootstrap from `observation`
    truncated: Array
    elapsed: Array  # i32[]  ticks that passed in this step
    metrics: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Environment(abc.ABC):
    """A scheduling problem as a pure-functional decision process, one decision per step.

    Instances are data: an argument of `reset`, reached as `state.instance`. Environments are frozen
    and hashable (usable as static arguments of jit), hold settings only, and are final: vary them
    by fields or by wrapping. An illegal action, and any action after the end, changes nothing;
    `metrics["illegal"]` says so wherever `decides`. An end is terminated (the problem is solved, or
    can no longer be) or cut off by a limit: `state.done` says that there is an end,
    `terminated(state)` and `cut_off(state)` which. The default reward telescopes: the sum of
    `metrics["objective_delta"]` over an episode is exactly `baseline(instance) - objective(final
    state)` in integers; `reward` is a float32 copy divided by `reward_scale`.
    """

    id: ClassVar[str]
    family: ClassVar[str]
    # Whether decisions improve a complete solution: `bound` is its objective then, and falls.
    improves: ClassVar[bool] = False

    # What a family provides.

    @property
    @abc.abstractmethod
    def complete(self) -> bool:
        """Whether some sequence of legal actions reaches an optimum."""

    @property
    @abc.abstractmethod
    def default_source(self) -> Source:
        """Generator of the setting that the literature trains on."""

    @property
    @abc.abstractmethod
    def heuristics(self) -> Mapping[str, Scores]:
        """Priority rules by id; pass one to `greedy` or `randomised`."""

    @abc.abstractmethod
    def max_steps(self, instance: Instance) -> int:
        """Static bound on the steps of an episode of legal actions, from array shapes and
        settings.
        """

    @abc.abstractmethod
    def init(self, key: Array, instance: Instance) -> State:
        """The initial state."""

    @abc.abstractmethod
    def apply(self, key: Array, state: State, action: Array, legal: Array) -> State:
        """The state after `action`; the same state where not `legal`."""

    @abc.abstractmethod
    def observe(self, state: State) -> GraphObservation:
        """The graph a policy sees."""

    @abc.abstractmethod
    def action_mask(self, state: State) -> Array:
        """bool[A]: legal actions; all false when the episode is over."""

    @abc.abstractmethod
    def bound(self, state: State) -> Array:
        """i32[]: running lower bound on the objective; equals it at the end. Its decrease is the
        reward.

        Where the environment `improves`: the objective of the solution so far, which only falls.
        """

    @abc.abstractmethod
    def clock(self, state: State) -> Array:
        """i32[]: the present time in ticks, non-decreasing; `elapsed` is its difference."""

    @abc.abstractmethod
    def lower_bound(self, instance: Instance) -> Array:
        """i32[]: certificate, no solution is better."""

    @abc.abstractmethod
    def solution(self, state: State) -> Any:
        """The solution of one finished, unbatched state, on the host."""

    @abc.abstractmethod
    def validate(self, instance: Instance, solution: Any) -> list[str]:
        """What is wrong with a solution, found independently of the rules; empty = valid."""

    @abc.abstractmethod
    def measure(self, instance: Instance, solution: Any) -> int:
        """The objective of a valid solution, found independently of the rules."""

    def feasible(self, state: State) -> Array:
        """bool[]: a solution can still be reached; of a state that is over, `solution` returns
        one.
        """
        return jnp.ones((), jnp.bool_)

    def reward_scale(self, state: State) -> Array:
        """f32[]: what the reward is divided by, > 0 and constant over an episode; the baseline
        unless stated.
        """
        return jnp.maximum(state.baseline, 1).astype(jnp.float32)

    def decides(self, state: State) -> Array:
        """bool[]: the next step takes an action (false only where an event comes first)."""
        return jnp.ones((), jnp.bool_)

    def cut_off(self, state: State) -> Array:
        """bool[]: a state that is over was cut off before it was solved, by a horizon of its
        instance or a wrapper.

        Asked of a state that is not over, it says nothing.
        """
        return jnp.zeros((), jnp.bool_)

    def reward(self, state: State, after: State, delta: Array) -> Array:
        """f32[]: of the step from `state` to `after`, whose objective changed by -`delta` i32[];
        shaping goes here.
        """
        return delta.astype(jnp.float32) / self.reward_scale(state)

    def report(self, state: State) -> Mapping[str, Array]:
        """Further numbers about a state for `TimeStep.metrics`, by name."""
        return {}

    # What every family shares.

    def features(self) -> dict[str, tuple[str, ...]]:
        """The names of what a policy sees, by kind of node and form of action; nothing is computed."""
        return feature_names(
            jax.eval_shape(
                lambda key: self.observe(self.init(key, self.default_source(key))), random.key(0)
            )
        )

    @property
    def unwrapped(self) -> Environment:
        """The environment inside all wrappers; itself where there are none."""
        return self

    @property
    def settings(self) -> Any:
        """The settings by the names that `make` knows: `make(env.id, **env.settings)` is this
        environment.

        A record of them, where the environment follows the plan of `core.rules`; else its fields.
        """
        return dataclasses.asdict(self)

    def baseline(self, instance: Instance) -> Array:
        """i32[]: the running bound before the first decision, what the reward is measured
        against.
        """
        return self.bound(self.init(random.key(0), instance))

    def objective(self, state: State) -> Array:
        """i32[]: the objective of a finished state, minimised; the running bound before."""
        return self.bound(state)

    def terminated(self, state: State) -> Array:
        """bool[]: the state is over and was not cut off, so that nothing is left to gain or to
        lose.
        """
        return state.done & ~self.cut_off(state)

    def reset(self, key: Array, instance: Instance) -> tuple[State, TimeStep]:
        """Start an episode on `instance`."""
        state = self.init(key, instance)
        false, zero = jnp.zeros((), jnp.bool_), jnp.zeros((), jnp.int32)
        timestep = self._timestep(state, zero, zero, jnp.zeros((), jnp.float32), false, false)
        return state, timestep.replace(observation=self.observe(state))

    def step(self, key: Array, state: State, action: Array) -> tuple[State, TimeStep]:
        """Take `action` (i32[]); a no-op where it is illegal or the episode is over.

        Raises `TypeError` where it is not one integer, and `OverflowError` where it is known not to
        fit int32.
        """
        after, timestep = self.advance(key, state, action)
        return after, timestep.replace(observation=self.observe(after))

    def advance(self, key: Array, state: State, action: Array) -> tuple[State, TimeStep]:
        """`step` without the observation, which is None: for programs that observe on their own."""
        action = integer_scalar(action, "action")
        mask, decides = self.action_mask(state), self.decides(state)
        legal = (action >= 0) & take(mask, jnp.maximum(action, 0))
        after = self.apply(key, state, action, legal)
        before = self.bound(state), self.clock(state), ~legal & decides, decides & ~state.done
        # From here on nothing is read off the old state, so that the new one takes its place: XLA
        # copies, in every step of a scan, what a later kernel reads.
        bare, before = lax.optimization_barrier((after.replace(instance=None), before))
        after = bare.replace(instance=after.instance)
        bound, clock, illegal, decision = before
        delta = bound - self.bound(after)
        reward = self.reward(state, after, delta)
        elapsed = self.clock(after) - clock
        return after, self._timestep(after, delta, elapsed, reward, illegal, decision)

    def _timestep(self, state, delta, elapsed, reward, illegal, decision) -> TimeStep:
        metrics = {
            "decision": decision,
            "illegal": illegal,
            "feasible": self.feasible(state),
            "objective_delta": delta,
            **self.report(state),
        }
        terminated = self.terminated(state)
        return TimeStep(None, reward, terminated, state.done & ~terminated, elapsed, metrics)
