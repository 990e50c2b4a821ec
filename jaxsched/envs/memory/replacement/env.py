"""`TensorReplacement-v0`: order operators and decide what stays in fast memory, one operator or victim per step."""

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
from jaxsched.envs.memory.replacement import rules as rules
from jaxsched.envs.memory.replacement.heuristics import SCORES, Played
from jaxsched.envs.memory.replacement.observation import observe
from jaxsched.envs.memory.replacement.sources import default_programs
from jaxsched.envs.memory.replacement.types import (
    PLACEMENTS,
    SCHEDULES,
    ReplacementInstance,
    ReplacementPlan,
    ReplacementState,
    assemble,
    to_graph,
    traffic_of,
)
from jaxsched.envs.memory.replacement.validate import validate_replacement


@dataclasses.dataclass(frozen=True)
class TensorReplacement(Environment):
    """Tensor replacement: operators run within a small fast memory; what is moved to and from off-chip memory counts.

    * Action: i32[], one head for two phases. `a < N` chooses the next operator, which runs at once if its inputs and
      outputs fit beside what is resident. Otherwise `N + a` evicts tensor a, again and again until they fit; inputs of
      the operator may be victims too. `schedule="fixed"`: the only operator to choose is the next one in the order
      given; `"free"`: any whose inputs were made. `placement="bytes"`: sizes are summed; `"address"`: tensors that
      enter go largest first into the smallest gap that holds them, and stay there until they leave.
    * Observation: `GraphObservation` of operators left, tensors alive and the memory (`replacement/observation.py`).
    * Reward: minus the bytes that an eviction costs, the spill unless a copy exists and the retrieve that it makes
      certain, divided by the size of all tensors; the integer sum over an episode is minus the traffic.
    * End: when every operator ran; at once, as infeasible, if some operator alone exceeds the capacity.

    >>> import jax, jaxsched
    >>> from jaxsched.envs import memory
    >>> env = jaxsched.make("TensorReplacement-v0", schedule="fixed")
    >>> graph = memory.Graph.from_dict({
    ...     "tensors": [{"id": "x", "size": 4, "backed": True}, {"id": "y", "size": 4}, {"id": "z", "size": 2}],
    ...     "ops": [{"id": 0, "inputs": ["x"], "outputs": ["y"]}, {"id": 1, "inputs": ["y"], "outputs": ["z"]}],
    ... })
    >>> state, timestep = env.reset(jax.random.key(0), memory.replacement_instance(graph, capacity=8))
    >>> state, timestep = env.step(jax.random.key(1), state, 0)
    """

    id: ClassVar[str] = "TensorReplacement-v0"
    family: ClassVar[str] = "memory"

    schedule: str = "free"
    placement: str = "bytes"

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", self.schedule, SCHEDULES)
        if self.placement not in PLACEMENTS:
            raise UnknownNameError("placement", self.placement, PLACEMENTS)

    @property
    def complete(self) -> bool:
        """With bytes: to evict late, and only what an optimal plan does without, moves no more than it does."""
        return self.placement == "bytes"

    @property
    def default_source(self) -> Source:
        """Small programs of all kinds at random capacities."""
        return default_programs()

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return SCORES

    def max_steps(self, instance: ReplacementInstance) -> int:
        """Operators plus reads, padding included: between two evictions of a tensor, and after each, it is read."""
        return instance.num_ops + instance.read_op.shape[-1]

    def init(self, key: Array, instance: ReplacementInstance) -> ReplacementState:
        return rules.init(instance)

    def apply(self, key: Array, state: ReplacementState, action: Array, legal: Array) -> ReplacementState:
        return rules.apply(state, action, legal, self.placement == "address")

    def action_mask(self, state: ReplacementState) -> Array:
        return rules.legal(state, self.schedule == "free")

    def observe(self, state: ReplacementState) -> GraphObservation:
        return observe(state, self.action_mask(state), self.placement == "address")

    def bound(self, state: ReplacementState) -> Array:
        return rules.bound(state)

    def reward_scale(self, state: ReplacementState) -> Array:
        """f32[]: size of all tensors."""
        return jnp.maximum(state.instance.size.sum(dtype=jnp.int32), 1).astype(jnp.float32)

    def feasible(self, state: ReplacementState) -> Array:
        return ~state.stuck

    def clock(self, state: ReplacementState) -> Array:
        """Operators that ran."""
        return (state.instance.op_mask & state.ran).sum(dtype=jnp.int32)

    def lower_bound(self, instance: ReplacementInstance) -> Array:
        return rules.lower_bound(instance, self.schedule == "free")

    def solution(self, state: ReplacementState) -> ReplacementPlan:
        return plan(state, self.schedule, self.placement)

    def validate(self, instance: ReplacementInstance, solution: ReplacementPlan) -> list[str]:
        return validate_replacement(instance, solution)

    def measure(self, instance: ReplacementInstance, solution: ReplacementPlan) -> int:
        """Bytes spilled and retrieved in the steps, in units, without the first load of each backed tensor."""
        size, backed = np.asarray(instance.size).tolist(), np.asarray(instance.backed).tolist()
        loaded: set[int] = set()
        moved = 0
        for step in solution.steps:
            moved += sum(size[a] for a in step["spill"])
            for a in step["retrieve"]:
                moved += size[a] if not backed[a] or a in loaded else 0
                loaded.add(a)
        return moved


def plan(state: ReplacementState, schedule: str, placement: str) -> ReplacementPlan:
    """The plan of one finished, unbatched state, on the host; ids are indices, amounts are in units."""
    state = jax.tree.map(np.asarray, state)
    if state.stuck or state.left_to_run:
        raise ValueError(f"the plan is not finished: {int(state.left_to_run)} operators are left")
    instance, graph = state.instance, to_graph(state.instance)
    order, retrieved, address = played(state, placement)
    traffic, compulsory = traffic_of(graph, retrieved)
    lower = int(rules.lower_bound(jax.tree.map(jnp.asarray, instance), schedule == "free"))
    return ReplacementPlan(
        steps=assemble(graph, order, retrieved, address),
        traffic=traffic,
        bound=lower,
        proved=traffic == lower,
        capacity=int(instance.capacity),
        schedule=schedule,
        placement=placement,
        compulsory=compulsory,
        method="policy",
    )


def played(state: ReplacementState, placement: str) -> Played:
    """What a finished, unbatched state on the host records, in indices and units."""
    slot, mask = state.instance.slot, state.instance.slot_mask
    order = np.argsort(state.ran_at[state.instance.op_mask]).tolist()
    retrieved = [slot[op][state.retrieved[op]].tolist() for op in order]
    address = [
        dict(zip(slot[op][mask[op]].tolist(), state.address[op][mask[op]].tolist(), strict=True)) for op in order
    ]
    return Played(order, retrieved, address if placement == "address" else None)
