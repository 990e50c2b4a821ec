"""`JobShop-v0`: dispatch one operation per step until every job is scheduled."""

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
from jaxsched.envs.job_shop import rules
from jaxsched.envs.job_shop.heuristics import RULES, WAITING_RULES
from jaxsched.envs.job_shop.observation import frontier_observation
from jaxsched.envs.job_shop.settings import CANDIDATES, Settings
from jaxsched.envs.job_shop.sources import uniform
from jaxsched.envs.job_shop.types import Instance, Schedule, State
from jaxsched.envs.job_shop.validate import measure, validate
from jaxsched.envs.job_shop.views import VIEWS


@dataclasses.dataclass(frozen=True)
class JobShop(RulesEnvironment):
    """The job shop: each job is a fixed route of operations, each machine does one operation at a
    time.

    * Action: i32[], the job whose next operation is placed; in `event` also the no-op, `num_jobs`
      (padded). The mode `candidates` says which jobs may be chosen and where the operation goes:
      `any`, `non_delay`, `insert`, `event` (`rules.py`).
    * Observation: `GraphObservation`, legal actions in `action_mask`. `frontier`: the jobs
      (`observation.py`, `look_ahead.py`); `operations`, `l2d` (in `insert`), `tassel` (in
      `event`): `views.py`.
    * Objective: `makespan`, `flow_time` or `weighted_tardiness`.
    * Reward: decrease of the bound on the objective, at most 0, divided by the bound at reset
      (weighted tardiness: by the weighted completion times of jobs that never wait); the integer
      sum over an episode is `baseline - objective`.
    * End: when every operation is placed.

    >>> import jax, jaxsched
    >>> from jaxsched.envs import job_shop
    >>> env = jaxsched.make("JobShop-v0")
    >>> state, timestep = env.reset(jax.random.key(0), job_shop.load("ft06"))
    >>> state, timestep = env.step(jax.random.key(1), state, 2)
    """

    id: ClassVar[str] = "JobShop-v0"
    family: ClassVar[str] = "job_shop"
    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        return CANDIDATES[self.settings.candidates]

    @property
    def default_source(self) -> Source:
        """10 x 10, durations uniform 1 to 99, random routes: Taillard's distribution at a size
        that trains quickly.
        """
        return uniform(10, 10)

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return WAITING_RULES if self.settings.candidates == "event" else RULES

    def max_steps(self, instance: Instance) -> int:
        """Number of operations, padding included. In `event` twice that, and the jobs.

        Every no-op moves the clock to another end of an operation or release date.
        """
        num_ops = instance.num_jobs * instance.num_ops
        if self.settings.candidates == "event":
            return 2 * num_ops + instance.num_jobs
        return num_ops

    def observe(self, state: State) -> GraphObservation:
        mask = self.action_mask(state)
        if self.settings.observation == "frontier":
            dated = self.settings.objective == "weighted_tardiness"
            return frontier_observation(state, mask, dated=dated)
        return VIEWS[self.settings.observation](state, mask)

    def reward_scale(self, state: State) -> Array:
        return state.scale.astype(jnp.float32)

    def clock(self, state: State) -> Array:
        return rules.clock(state)

    def solution(self, state: State) -> Schedule:
        return schedule(state)

    def validate(self, instance: Instance, solution: Schedule) -> list[str]:
        return validate(instance, solution)

    def measure(self, instance: Instance, solution: Schedule) -> int:
        return measure(instance, solution, self.settings.objective)


def schedule(state: State) -> Schedule:
    """The schedule of one finished, unbatched state, on the host."""
    state = jax.tree.map(np.asarray, state)
    if not state.done:
        raise ValueError(
            f"the schedule is not finished: {int(state.ops_left.sum())} operations are left"
        )
    lengths = state.instance.op_mask.sum(-1)
    start = [
        row[:length].tolist() for row, length in zip(state.start, lengths, strict=True) if length
    ]
    return Schedule(start=start, makespan=int(state.machine_ready.max()))
