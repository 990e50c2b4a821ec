"""`MemoryMap-v0`: decide for every access of a program whether it finds its value in fast memory,
one per step.
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
from jaxsched.envs.memory.mapping import rules
from jaxsched.envs.memory.mapping.heuristics import SCORES
from jaxsched.envs.memory.mapping.observation import observe
from jaxsched.envs.memory.mapping.plan import Plan
from jaxsched.envs.memory.mapping.play import lower_bound
from jaxsched.envs.memory.mapping.replay import problem_of_instance
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.envs.memory.mapping.sources import random_programs
from jaxsched.envs.memory.mapping.types import Instance, State
from jaxsched.envs.memory.mapping.validate import measure, validate


@dataclasses.dataclass(frozen=True)
class MemoryMap(RulesEnvironment):
    """Memory mapping: which accesses of a program find their value in a small fast memory, so that
    it runs fastest.

    * Action: i32[], what the next access in program order does: 0 COPY (copy the value in, in
      time), 1 NOCOPY (it is there since its last access, or is written there), 2 DROP (use slow
      memory) (`rules.py`).
    * Observation: `GraphObservation` of the values still needed and the instructions around the
      current one (`mapping/observation.py`).
    * Reward: decrease of the program's latency, at least 0, divided by the latency with everything
      slow; the integer sum over an episode is `baseline - latency`. With `reward="memory_time"` the
      decrease of the summed time of all accesses instead, which also rewards accesses that
      computation hides.
    * End: when every access is decided; as infeasible at a dead end, where no action is legal,
      which takes back all reward. `backup.drop_backup` goes on from there.

    >>> import jax, jaxsched
    >>> env = jaxsched.make("MemoryMap-v0")
    >>> state, timestep = env.reset(jax.random.key(0), env.default_source(jax.random.key(1)))
    >>> state, timestep = env.step(jax.random.key(2), state, 2)
    """

    id: ClassVar[str] = "MemoryMap-v0"
    family: ClassVar[str] = "memory"
    improves: ClassVar[bool] = True

    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        """Yes: the optimum is the best that sequences of actions reach; addresses and windows
        follow from them.
        """
        return True

    @property
    def default_source(self) -> Source:
        """Random programs of 20 instructions with 60 accesses."""
        return random_programs(20)

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return SCORES

    def max_steps(self, instance: Instance) -> int:
        """Number of accesses, padding included."""
        return instance.num_accesses

    def observe(self, state: State) -> GraphObservation:
        return observe(state)

    def feasible(self, state: State) -> Array:
        return ~state.dead

    def reward(self, state: State, after: State, delta: Array) -> Array:
        if self.settings.reward == "elapsed":
            return super().reward(state, after, delta)
        saved = rules.memory_time(state) - rules.memory_time(after)
        total = jnp.maximum(rules.slow_time(state.instance), 1)
        return saved.astype(jnp.float32) / total.astype(jnp.float32)

    def clock(self, state: State) -> Array:
        """0: everything is decided before the program runs."""
        return jnp.zeros((), jnp.int32)

    def solution(self, state: State) -> Plan:
        return plan(state)

    def validate(self, instance: Instance, solution: Plan) -> list[str]:
        return validate(instance, solution)

    def measure(self, instance: Instance, solution: Plan) -> int:
        return measure(instance, solution)


def plan(state: State) -> Plan:
    """The plan of one finished, unbatched state, on the host, in ticks of the instance."""
    if not state.done:
        raise ValueError(f"the mapping is not finished: access {int(state.position)} is next")
    lower = lower_bound(problem_of_instance(state.instance))
    state = jax.tree.map(np.asarray, state)
    actions = tuple(state.action[: int(state.position)].tolist())
    latency = int(state.baseline if state.dead else state.latency)
    return Plan(actions, latency, int(state.baseline), lower, not state.dead, method="policy")
