"""`TensorReplacement-v0`: order operators and decide what stays in fast memory, one operator or
victim per step.
"""

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
from jaxsched.envs.memory.replacement import rules
from jaxsched.envs.memory.replacement.heuristics import SCORES, Played
from jaxsched.envs.memory.replacement.observation import observe
from jaxsched.envs.memory.replacement.settings import Settings
from jaxsched.envs.memory.replacement.sources import default_programs
from jaxsched.envs.memory.replacement.types import (
    Instance,
    Plan,
    State,
    assemble,
    to_graph,
    traffic_of,
)
from jaxsched.envs.memory.replacement.validate import measure, validate


@dataclasses.dataclass(frozen=True)
class TensorReplacement(RulesEnvironment):
    """Tensor replacement: operators run within a small fast memory; what is moved to and from
    off-chip memory counts.

    * Action: i32[], one head for two phases. `a < N` chooses the next operator, which runs at once
      if its inputs and outputs fit beside what is resident. Otherwise `N + a` evicts tensor a,
      again and again until they fit; inputs of the operator may be victims too. `schedule="fixed"`:
      the only operator to choose is the next one in the order given; `"free"`: any whose inputs
      were made. `placement="bytes"`: sizes are summed; `"address"`: tensors that enter go largest
      first into the smallest gap that holds them, and stay there until they leave.
    * Observation: `GraphObservation` of operators left, tensors alive and the memory
      (`replacement/observation.py`).
    * Reward: minus the bytes that an eviction costs, the spill unless a copy exists and the
      retrieve that it makes certain, divided by the size of all tensors; the integer sum over an
      episode is minus the traffic.
    * End: when every operator ran; at once, as infeasible, if some operator alone exceeds the
      capacity.

    >>> import jax, jaxsched
    >>> from jaxsched.envs import memory
    >>> env = jaxsched.make("TensorReplacement-v0", schedule="fixed")
    >>> graph = memory.Graph.from_dict({
    ...     "tensors": [{"id": "x", "size": 4, "backed": True}, {"id": "y", "size": 4}, {"id": "z", "size": 2}],
    ...     "ops": [{"id": 0, "inputs": ["x"], "outputs": ["y"]}, {"id": 1, "inputs": ["y"], "outputs": ["z"]}],
    ... })
    >>> state, timestep = env.reset(jax.random.key(0), memory.allocation.to_instance(graph, capacity=8))
    >>> state, timestep = env.step(jax.random.key(1), state, 0)
    """

    id: ClassVar[str] = "TensorReplacement-v0"
    family: ClassVar[str] = "memory"

    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        """With bytes: to evict late, and only what an optimal plan does without, moves no more than
        it does.
        """
        return self.settings.placement == "bytes"

    @property
    def default_source(self) -> Source:
        """Small programs of all kinds at random capacities."""
        return default_programs()

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return SCORES

    def max_steps(self, instance: Instance) -> int:
        """Operators plus reads, padding included: between two evictions of a tensor, and after
        each, it is read.
        """
        return instance.num_ops + instance.read_op.shape[-1]

    def observe(self, state: State) -> GraphObservation:
        return observe(state, self.action_mask(state), self.settings.placement == "address")

    def reward_scale(self, state: State) -> Array:
        """f32[]: size of all tensors."""
        return jnp.maximum(state.instance.size.sum(dtype=jnp.int32), 1).astype(jnp.float32)

    def feasible(self, state: State) -> Array:
        return ~state.stuck

    def clock(self, state: State) -> Array:
        """Operators that ran."""
        return (state.instance.op_mask & state.ran).sum(dtype=jnp.int32)

    def solution(self, state: State) -> Plan:
        return plan(state, self.settings)

    def validate(self, instance: Instance, solution: Plan) -> list[str]:
        return validate(instance, solution)

    def measure(self, instance: Instance, solution: Plan) -> int:
        return measure(instance, solution)


def plan(state: State, settings: Settings) -> Plan:
    """The plan of one finished, unbatched state, on the host; ids are indices, amounts are in
    units.
    """
    state = jax.tree.map(np.asarray, state)
    if state.stuck or state.left_to_run:
        raise ValueError(f"the plan is not finished: {int(state.left_to_run)} operators are left")
    instance, graph = state.instance, to_graph(state.instance)
    order, retrieved, address = played(state, settings.placement)
    traffic, compulsory = traffic_of(graph, retrieved)
    lower = int(rules.lower_bound(jax.tree.map(jnp.asarray, instance), settings))
    return Plan(
        steps=assemble(graph, order, retrieved, address),
        traffic=traffic,
        bound=lower,
        proved=traffic == lower,
        capacity=int(instance.capacity),
        schedule=settings.schedule,
        placement=settings.placement,
        compulsory=compulsory,
        method="policy",
    )


def played(state: State, placement: str) -> Played:
    """What a finished, unbatched state on the host records, in indices and units."""
    slot, mask = state.instance.slot, state.instance.slot_mask
    order = np.argsort(state.ran_at[state.instance.op_mask]).tolist()
    retrieved = [slot[op][state.retrieved[op]].tolist() for op in order]
    address = [
        dict(zip(slot[op][mask[op]].tolist(), state.address[op][mask[op]].tolist(), strict=True))
        for op in order
    ]
    return Played(order, retrieved, address if placement == "address" else None)
