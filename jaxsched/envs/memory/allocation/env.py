"""`StaticAllocation-v0`: give buffers their addresses, one per step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core.environment import Scores, Source
from jaxsched.core.graph import GraphObservation
from jaxsched.core.rules import Rules, RulesEnvironment
from jaxsched.envs.memory.allocation import rules
from jaxsched.envs.memory.allocation.heuristics import SCORES
from jaxsched.envs.memory.allocation.observation import observe
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.sources import random_lives
from jaxsched.envs.memory.allocation.types import Instance, State
from jaxsched.envs.memory.allocation.validate import measure, validate
from jaxsched.envs.memory.types import Plan


@dataclasses.dataclass(frozen=True)
class StaticAllocation(RulesEnvironment):
    """Static allocation: buffers live at the same time must not overlap in address; the highest
    address counts.

    * Action: i32[], the next buffer. It goes onto the skyline: to the lowest offset at or above all
      its placed neighbours that is aligned and keeps clear of pinned ones (`rules.py`). Of equal
      buffers only the first is legal.
    * Observation: `GraphObservation` of the buffers left and the sections of time
      (`allocation/observation.py`).
    * Reward: decrease of the bound on the peak, at most 0, divided by the bound at reset; the
      integer sum over an episode is `baseline - peak`.
    * End: when every buffer is placed. With `goal="fit"` also, as infeasible, once no completion
      keeps within the instance's `capacity`.

    >>> import jax, jaxsched
    >>> from jaxsched.envs import memory
    >>> env = jaxsched.make("StaticAllocation-v0")
    >>> buffers = memory.Buffers([{"id": i, "start": i, "end": i + 2, "size": 4} for i in range(5)])
    >>> state, timestep = env.reset(jax.random.key(0), memory.allocation.to_instance(buffers))
    >>> state, timestep = env.step(jax.random.key(1), state, 2)
    """

    id: ClassVar[str] = "StaticAllocation-v0"
    family: ClassVar[str] = "memory"

    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        return True

    @property
    def default_source(self) -> Source:
        """64 random lives: the size that trains quickly."""
        return random_lives(64)

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return SCORES

    def max_steps(self, instance: Instance) -> int:
        """Number of buffers, padding included."""
        return instance.num_buffers

    def observe(self, state: State) -> GraphObservation:
        return observe(state, self.action_mask(state))

    def feasible(self, state: State) -> Array:
        return ~state.overflow

    def clock(self, state: State) -> Array:
        """0: no time passes while addresses are given out."""
        return jnp.zeros((), jnp.int32)

    def solution(self, state: State) -> Plan:
        return plan(state)

    def validate(self, instance: Instance, solution: Plan) -> list[str]:
        return validate(instance, solution)

    def measure(self, instance: Instance, solution: Plan) -> int:
        return measure(instance, solution)


def plan(state: State) -> Plan:
    """The plan of one finished, unbatched state, on the host: offsets in units of the buffers that
    are not pinned.
    """
    state = jax.tree.map(np.asarray, state)
    if state.left_to_place:
        raise ValueError(f"the plan is not finished: {int(state.left_to_place)} buffers are left")
    instance = state.instance
    offsets = np.asarray(state.offset[instance.buffer_mask], np.int64)
    ends = np.concatenate([state.top, instance.pinned_offset + instance.pinned_size])
    peak, lower = int(ends.max(initial=0)), int(state.lower)
    return Plan(offsets, peak, lower, peak == lower, method="policy")
