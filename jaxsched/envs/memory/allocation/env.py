"""`StaticAllocation-v0`: give buffers their addresses, one per step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core.environment import Environment, Scores, Source
from jaxsched.core.errors import UnknownNameError
from jaxsched.core.graph import GraphObservation
from jaxsched.envs.memory.allocation import rules as rules
from jaxsched.envs.memory.allocation.heuristics import SCORES
from jaxsched.envs.memory.allocation.observation import observe
from jaxsched.envs.memory.allocation.sources import random_lives
from jaxsched.envs.memory.allocation.types import AllocationInstance, AllocationState
from jaxsched.envs.memory.allocation.validate import measure_allocation, validate_allocation
from jaxsched.envs.memory.types import Plan

GOALS = ("peak", "fit")


@dataclasses.dataclass(frozen=True)
class StaticAllocation(Environment):
    """Static allocation: buffers live at the same time must not overlap in address; the highest address counts.

    * Action: i32[], the next buffer. It goes onto the skyline: to the lowest offset at or above all its placed
      neighbours that is aligned and keeps clear of pinned ones (`rules.py`). Of equal buffers only the first is legal.
    * Observation: `GraphObservation` of the buffers left and the sections of time (`allocation/observation.py`).
    * Reward: decrease of the bound on the peak, at most 0, divided by the bound at reset; the integer sum over an
      episode is `baseline - peak`.
    * End: when every buffer is placed. With `goal="fit"` also, as infeasible, once no completion keeps within the
      instance's `capacity`.

    >>> import jax, jaxsched
    >>> from jaxsched.envs import memory
    >>> env = jaxsched.make("StaticAllocation-v0")
    >>> buffers = memory.Buffers([{"id": i, "start": i, "end": i + 2, "size": 4} for i in range(5)])
    >>> state, timestep = env.reset(jax.random.key(0), memory.to_instance(buffers))
    >>> state, timestep = env.step(jax.random.key(1), state, 2)
    """

    id: ClassVar[str] = "StaticAllocation-v0"
    family: ClassVar[str] = "memory"

    goal: str = "peak"

    def __post_init__(self):
        if self.goal not in GOALS:
            raise UnknownNameError("goal", self.goal, GOALS)

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

    def max_steps(self, instance: AllocationInstance) -> int:
        """Number of buffers, padding included."""
        return instance.num_buffers

    def init(self, key: Array, instance: AllocationInstance) -> AllocationState:
        return rules.init(instance, self.goal == "fit")

    def apply(self, key: Array, state: AllocationState, action: Array, legal: Array) -> AllocationState:
        return rules.apply(state, jnp.where(legal, action, state.instance.num_buffers), self.goal == "fit")

    def action_mask(self, state: AllocationState) -> Array:
        return rules.legal(state)

    def observe(self, state: AllocationState) -> GraphObservation:
        return observe(state, self.action_mask(state))

    def bound(self, state: AllocationState) -> Array:
        return rules.bound(state)

    def feasible(self, state: AllocationState) -> Array:
        return ~state.overflow

    def clock(self, state: AllocationState) -> Array:
        """0: no time passes while addresses are given out."""
        return jnp.zeros((), jnp.int32)

    def lower_bound(self, instance: AllocationInstance) -> Array:
        return rules.lower_bound(instance)

    def solution(self, state: AllocationState) -> Plan:
        return plan(state)

    def validate(self, instance: AllocationInstance, solution: Plan) -> list[str]:
        return validate_allocation(instance, solution)

    def measure(self, instance: AllocationInstance, solution: Plan) -> int:
        return measure_allocation(instance, solution)


def plan(state: AllocationState) -> Plan:
    """The plan of one finished, unbatched state, on the host: offsets in units of the buffers that are not pinned."""
    state = jax.tree.map(np.asarray, state)
    if state.left_to_place:
        raise ValueError(f"the plan is not finished: {int(state.left_to_place)} buffers are left")
    instance = state.instance
    offsets = np.asarray(state.offset[instance.buffer_mask], np.int64)
    ends = np.concatenate([state.top, instance.pinned_offset + instance.pinned_size])
    peak, lower = int(ends.max(initial=0)), int(state.lower)
    return Plan(offsets, peak, lower, peak == lower, method="policy")
