"""`JobShop-v0`: dispatch one operation per step until every job is scheduled; minimise the makespan."""

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
from jaxsched.envs.job_shop import rules
from jaxsched.envs.job_shop.heuristics import RULES
from jaxsched.envs.job_shop.observation import frontier_observation
from jaxsched.envs.job_shop.sources import uniform
from jaxsched.envs.job_shop.types import Instance, Schedule, State
from jaxsched.envs.job_shop.validate import validate


@dataclasses.dataclass(frozen=True)
class JobShop(Environment):
    """The job shop: each job is a fixed route of operations, each machine does one operation at a time.

    * Action: i32[], the job whose next operation is appended to its machine. `candidates` says which jobs may be
      chosen: `any` unfinished job (complete), or `non_delay` (only those that can start earliest; not complete).
    * Observation: `GraphObservation` of jobs and machines (`observation.py`), legal jobs in `action_mask`.
    * Reward: decrease of the makespan bound, at most 0, divided by the bound at reset; the integer sum over an
      episode is `baseline - makespan`.
    * End: after as many legal decisions as the instance has operations.

    >>> import jax, jaxsched
    >>> from jaxsched.envs import job_shop
    >>> env = jaxsched.make("JobShop-v0")
    >>> state, timestep = env.reset(jax.random.key(0), job_shop.load("ft06"))
    >>> state, timestep = env.step(jax.random.key(1), state, 2)
    """

    id: ClassVar[str] = "JobShop-v0"
    family: ClassVar[str] = "job_shop"

    candidates: str = "any"

    def __post_init__(self):
        if self.candidates not in rules.CANDIDATES:
            raise UnknownNameError("candidates", self.candidates, rules.CANDIDATES)

    @property
    def complete(self) -> bool:
        return rules.CANDIDATES[self.candidates]

    @property
    def default_source(self) -> Source:
        """10 x 10, durations uniform 1 to 99, random routes: Taillard's distribution at a size that trains quickly."""
        return uniform(10, 10)

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return RULES

    def max_steps(self, instance: Instance) -> int:
        """Number of operations, padding included."""
        return instance.num_jobs * instance.num_ops

    def init(self, key: Array, instance: Instance) -> State:
        return rules.init(instance)

    def apply(self, key: Array, state: State, action: Array, legal: Array) -> State:
        return rules.apply(state, jnp.where(legal, action, state.instance.num_jobs))

    def action_mask(self, state: State) -> Array:
        return rules.legal(state, self.candidates)

    def observe(self, state: State) -> GraphObservation:
        return frontier_observation(state, self.action_mask(state))

    def bound(self, state: State) -> Array:
        return rules.makespan_bound(state)

    def clock(self, state: State) -> Array:
        return rules.clock(state)

    def lower_bound(self, instance: Instance) -> Array:
        return rules.lower_bound(instance)

    def solution(self, state: State) -> Schedule:
        return schedule(state)

    def validate(self, instance: Instance, solution: Schedule) -> list[str]:
        return validate(instance, solution)


def schedule(state: State) -> Schedule:
    """The schedule of one finished, unbatched state, on the host."""
    state = jax.tree.map(np.asarray, state)
    if not state.done:
        raise ValueError(f"the schedule is not finished: {int(state.ops_left.sum())} operations are left")
    lengths = state.instance.op_mask.sum(-1)
    start = [row[:length].tolist() for row, length in zip(state.start, lengths, strict=True) if length]
    return Schedule(start=start, makespan=int(state.machine_ready.max()))
