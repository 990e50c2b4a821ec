"""`BlockingJobShop-v0`: a shop without buffers, one decision per step wherever jobs compete for
a machine.
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
from jaxsched.envs.job_shop.blocking import rules
from jaxsched.envs.job_shop.blocking.heuristics import RULES, WAITING_RULES
from jaxsched.envs.job_shop.blocking.observation import frontier_observation
from jaxsched.envs.job_shop.blocking.realised import downtimes
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.blocking.sources import unbuffered
from jaxsched.envs.job_shop.blocking.types import Instance, Schedule, State
from jaxsched.envs.job_shop.blocking.validate import measure, validate
from jaxsched.envs.job_shop.sources import uniform
from jaxsched.host.errors import Infeasible


@dataclasses.dataclass(frozen=True)
class BlockingJobShop(RulesEnvironment):
    """The blocking job shop: no buffers, so a job keeps its machine until its next machine takes
    it.

    * Action: i32[], which of the jobs that compete for the machine served now moves to it; with
      `wait` also the no-op, `num_jobs` (padded). The lowest-numbered machine that is free, up and
      wanted is served, again after every move.
    * A step takes at most one decision; where one job alone competes, or jobs swap,
      `metrics["decision"]` is False and the action is ignored. Every step begins an operation, or
      declines a machine.
    * Observation: `GraphObservation` of jobs and machines (`observation.py`), legal actions in
      `action_mask`.
    * Objective: makespan. Reward: decrease of its bound, at most 0, divided by the bound at reset;
      the integer sum over an episode is `baseline - objective`. `reward="waiting"`: minus the jobs
      that wait times ticks, divided by that bound and the number of jobs.
    * End: when every operation has begun, or in a deadlock (`swap=False` only): not `feasible`, and
      its bound rises by the duration of all operations.
    * Interruptions are part of the instance (`Interruptions`); their draws are addressed, so every
      policy meets the same world.

    >>> import jax, jaxsched
    >>> from jaxsched.envs.job_shop import blocking
    >>> env = jaxsched.make("BlockingJobShop-v0")
    >>> state, timestep = env.reset(jax.random.key(0), blocking.load("ft06"))
    >>> state, timestep = env.step(jax.random.key(1), state, 2)
    """

    id: ClassVar[str] = "BlockingJobShop-v0"
    family: ClassVar[str] = "job_shop"
    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        """With `wait`, unless the look-ahead leaves out safe moves that it cannot prove safe."""
        return self.settings.wait and not self.settings.lookahead

    @property
    def default_source(self) -> Source:
        """10 x 10, durations uniform 1 to 99, random routes, never interrupted."""
        return unbuffered(uniform(10, 10))

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        return WAITING_RULES if self.settings.wait else RULES

    def max_steps(self, instance: Instance) -> int:
        """Number of operations, padding included: every step begins one. With windows, and their
        number.

        With `wait`, a machine is declined at most once for each job and event: at the start, an end
        of an operation, a release, an end of a window.
        """
        num_ops = instance.num_jobs * instance.num_ops
        num_windows = (
            0 if instance.windows is None else int(np.prod(instance.windows.start.shape[-2:]))
        )
        steps = num_ops + num_windows
        if self.settings.wait:
            steps += (1 + num_ops + instance.num_jobs + num_windows) * min(
                instance.num_jobs, instance.num_machines
            )
        return steps

    def observe(self, state: State) -> GraphObservation:
        return frontier_observation(state, self.settings, self.action_mask(state))

    def reward(self, state: State, after: State, delta: Array) -> Array:
        if self.settings.reward == "makespan":
            return super().reward(state, after, delta)
        num_jobs = jnp.maximum(state.instance.op_mask.any(-1).sum(dtype=jnp.int32), 1).astype(
            jnp.float32
        )
        return -rules.waiting(state, after).astype(jnp.float32) / (
            self.reward_scale(state) * num_jobs
        )

    def clock(self, state: State) -> Array:
        return state.time

    def decides(self, state: State) -> Array:
        return rules.decides(state, self.settings) | state.done

    def feasible(self, state: State) -> Array:
        return ~state.dead

    def solution(self, state: State) -> Schedule:
        return schedule(state)

    def validate(self, instance: Instance, solution: Schedule) -> list[str]:
        return validate(instance, solution, swap=self.settings.swap)

    def measure(self, instance: Instance, solution: Schedule) -> int:
        return measure(instance, solution)


def schedule(state: State) -> Schedule:
    """The schedule of one finished, unbatched state, on the host.

    Raises `Infeasible` for a deadlock, naming its circle of jobs and machines, `ValueError` for a
    state that goes on.
    """
    state = jax.device_get(state)
    if state.dead:
        raise Infeasible(deadlock(state), proved=False)
    if not state.done:
        raise ValueError(
            f"the schedule is not finished: {int(state.ops_left.sum())} operations are left"
        )
    lengths = state.instance.op_mask.sum(-1)
    start = [
        row[:length].tolist() for row, length in zip(state.start, lengths, strict=True) if length
    ]
    return Schedule(start=start, makespan=int(state.time), down=downtimes(state.instance, start))


def deadlock(state: State) -> str:
    """The circle of jobs and machines of a deadlocked state on the host, in one line."""
    instance = state.instance
    holder = {int(machine): job for job, machine in enumerate(state.at) if state.ops_left[job] > 0}
    wants = {
        job: int(instance.machine[job, state.next_op[job]])
        for job in holder.values()
        if job < len(state.at)
    }
    for first in sorted(wants):
        path = [first]
        while (after := holder.get(wants[path[-1]])) is not None and after not in path:
            path.append(after)
        if after == first and len(path) > 1:
            parts = [
                f"job {j} holds machine {int(state.at[j])} and needs machine {wants[j]}"
                for j in path
            ]
            return f"deadlock at time {int(state.time)}: " + "; ".join(parts)
    left = int(state.ops_left.sum())
    return f"deadlock at time {int(state.time)}: no job can move, {left} operations are left"
