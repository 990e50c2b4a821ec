"""The plan that every family's `rules.py` follows, and the environment that dresses such rules."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol

from jax import Array

from jaxsched.core.environment import Environment, Instance, State
from jaxsched.core.settings import Settings


class Rules(Protocol):
    """Five pure functions, without a word of reinforcement learning; a module `rules` provides
    them.
    """

    def init(self, instance: Instance, settings: Any) -> State:
        """The state before the first decision."""
        ...

    def legal(self, state: State, settings: Any) -> Array:
        """bool[A]: the actions that may be taken; all false once the problem is solved."""
        ...

    def apply(self, state: State, settings: Any, action: Array, legal: Array) -> State:
        """The state after `action` i32[]; the same state where `legal` bool[] is false."""
        ...

    def bound(self, state: State, settings: Any) -> Array:
        """i32[]: running lower bound on the objective, which equals it at the end."""
        ...

    def lower_bound(self, instance: Instance, settings: Any) -> Array:
        """i32[]: no solution of the instance is better."""
        ...


NO_SETTINGS = Settings()


@dataclasses.dataclass(frozen=True)
class RulesEnvironment(Environment):
    """An environment whose dynamics are the functions of a `rules` module under its `settings`.

    A subclass names both, and adds what rules have no word for: observation, solution, validator.

    >>> @dataclasses.dataclass(frozen=True)
    ... class JobShop(RulesEnvironment):
    ...     rules: ClassVar[Rules] = rules  # a module
    ...     settings: Settings = dataclasses.field(default_factory=Settings)  # of the problem
    """

    rules: ClassVar[Rules]

    settings: Settings = NO_SETTINGS  # pyright: ignore[reportIncompatibleMethodOverride]

    def init(self, key: Array, instance: Instance) -> State:
        return self.rules.init(instance, self.settings)

    def apply(self, key: Array, state: State, action: Array, legal: Array) -> State:
        return self.rules.apply(state, self.settings, action, legal)

    def action_mask(self, state: State) -> Array:
        return self.rules.legal(state, self.settings)

    def bound(self, state: State) -> Array:
        return self.rules.bound(state, self.settings)

    def lower_bound(self, instance: Instance) -> Array:
        return self.rules.lower_bound(instance, self.settings)
