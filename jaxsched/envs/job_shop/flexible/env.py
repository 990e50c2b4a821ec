"""`FlexibleJobShop-v0`: dispatch one operation to one of its machines per step until every job
is scheduled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import numpy as np
from jax import Array

from jaxsched.core.environment import Scores, Source
from jaxsched.core.graph import GraphObservation
from jaxsched.core.rules import Rules, RulesEnvironment
from jaxsched.envs.job_shop.flexible import rules
from jaxsched.envs.job_shop.flexible.heuristics import RULES
from jaxsched.envs.job_shop.flexible.observation import frontier_observation
from jaxsched.envs.job_shop.flexible.settings import CANDIDATES, Settings
from jaxsched.envs.job_shop.flexible.sources import sd1
from jaxsched.envs.job_shop.flexible.types import Instance, Schedule, State
from jaxsched.envs.job_shop.flexible.validate import measure, validate


@dataclasses.dataclass(frozen=True)
class FlexibleJobShop(RulesEnvironment):
    """The flexible job shop: each operation of a job's route runs on one of several machines, at
    its own speed.

    * Action: i32[], the pair `job * num_machines + machine` (padded number) that is placed next,
      after all that the machine has. The mode `candidates` says which pairs may be chosen: `any`,
      `non_delay` (`rules.py`).
    * Observation: `GraphObservation` of jobs and machines, with features of every pair
      (`observation.py`); legal actions in `action_mask`.
    * Objective: the makespan.
    * Reward: decrease of the bound on it, at most 0, divided by the bound at reset; the integer sum
      over an episode is `baseline - makespan`.
    * End: when every operation is placed.

    >>> import jax, jaxsched
    >>> from jaxsched.envs.job_shop import flexible
    >>> env = jaxsched.make("FlexibleJobShop-v0")
    >>> instance = flexible.from_jobs([[[(0, 3), (1, 5)], [(1, 2)]], [[(0, 4)]]])
    >>> state, timestep = env.reset(jax.random.key(0), instance)
    >>> state, timestep = env.step(jax.random.key(1), state, 1)  # job 0 on machine 1
    """

    id: ClassVar[str] = "FlexibleJobShop-v0"
    family: ClassVar[str] = "job_shop"
    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        return CANDIDATES[self.settings.candidates]

    @property
    def default_source(self) -> Source:
        """SD1 at 10 x 5, the smallest of the sizes that the literature trains on."""
        return sd1(10, 5)

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return RULES

    def max_steps(self, instance: Instance) -> int:
        """Number of operations, padding included."""
        return instance.num_jobs * instance.num_ops

    def observe(self, state: State) -> GraphObservation:
        return frontier_observation(state, self.action_mask(state))

    def clock(self, state: State) -> Array:
        return rules.clock(state)

    def solution(self, state: State) -> Schedule:
        return schedule(state)

    def validate(self, instance: Instance, solution: Schedule) -> list[str]:
        return validate(instance, solution)

    def measure(self, instance: Instance, solution: Schedule) -> int:
        return measure(instance, solution)


def schedule(state: State) -> Schedule:
    """The schedule of one finished, unbatched state, on the host."""
    state = jax.tree.map(np.asarray, state)
    if not state.done:
        raise ValueError(
            f"the schedule is not finished: {int(state.ops_left.sum())} operations are left"
        )
    lengths = state.instance.op_mask.sum(-1)
    start, machine = (
        [row[:length].tolist() for row, length in zip(rows, lengths, strict=True) if length]
        for rows in (state.start, state.machine)
    )
    return Schedule(start=start, machine=machine, makespan=int(state.machine_ready.max()))
