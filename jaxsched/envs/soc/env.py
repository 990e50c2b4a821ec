"""`SoC-v0`: give ready tasks of a stream of task graphs to processing elements, one decision per
step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core.environment import Scores, Source
from jaxsched.core.graph import GraphObservation
from jaxsched.core.rules import Rules, RulesEnvironment
from jaxsched.envs.soc import decisions, objectives, rules, views
from jaxsched.envs.soc.heuristics import RULES
from jaxsched.envs.soc.instances import to_host
from jaxsched.envs.soc.observation import frontier_observation
from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.sources import default_streams
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.types import LATEST, RUNNING, Instance, State
from jaxsched.envs.soc.validate import validate


@dataclasses.dataclass(frozen=True)
class SoC(RulesEnvironment):
    """A system on chip: a stream of task graphs, on processing elements (PEs) of different kinds.

    A task needs the data of its predecessors, which take time to move, and a PE that can run it; it
    is neither interrupted nor moved. Every ready task must be given a PE before time goes on; a bad
    choice queues.

    * Action i32[] by `view`: `joint`, entry * Q + PE, any ready task; `fifo`, a PE for the task
      that is ready longest (SoCRATES); `order`, an entry, whose PE `order_mapping` chooses
      (DeepSoCS). Entries are those of `Frontier`.
    * Observation: `GraphObservation` of the tasks that are ready, queued or running, PEs and jobs
      (`observation.py`).
    * A step takes at most one decision and passes at most one event; where an event comes first,
      `metrics["decision"]` is False and the action is ignored.
    * Objective by `reward`: summed latency (finish - arrival) of the jobs completed after the
      warm-up; for `makespan` the last finish; for `jobs_in_system` the integral of their number,
      which differs from summed latency in when it is charged.
    * Reward: decrease of the running objective, at most 0, divided by the summed critical paths of
      the jobs; the integer sum over an episode is -objective. `socrates`: -0.5 per us and 50 per
      completed job, on summed latency.
    * End: terminated when all jobs of the stream are complete; truncated at the horizon of the
      instance, if any.
    * Metrics: `num_completed`, `num_in_system`, `latency_in_system` (us so far of the jobs not
      complete), `held_back` (jobs that could not enter when they were due), `energy` (at the top
      operating point, unit of the platform).

    >>> import jax, jaxsched
    >>> env = jaxsched.make("SoC-v0", cap_mode="socrates")
    >>> state, timestep = env.reset(jax.random.key(0), env.default_source(jax.random.key(1)))
    >>> state, timestep = env.step(jax.random.key(2), state, 0)
    """

    id: ClassVar[str] = "SoC-v0"
    family: ClassVar[str] = "soc"
    rules: ClassVar[Rules] = rules

    settings: Settings = dataclasses.field(default_factory=Settings)

    @property
    def complete(self) -> bool:
        """No: every ready task is given a PE at once, and starts as soon as it can."""
        return False

    @property
    def default_source(self) -> Source:
        """Streams of 30 jobs on SoCRATES' platform for these settings; `streams` makes others."""
        return default_streams(self.settings)

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        """By id. In `fifo` they choose a PE for the first ready task, in `order` a task by their
        best PE for it.
        """
        return {name: functools.partial(self._scores, scores) for name, scores in RULES.items()}

    def _scores(self, scores: Callable[[State, Settings], Array], state: State) -> Array:
        return views.action_scores(state, self.settings, scores(state, self.settings))

    def max_steps(self, instance: Instance) -> int:
        """One decision and one retirement per task, one entry per job, padding included, and the
        horizon.

        With shared memory, once more per task: when its data reach the memory.
        """
        per_task = 3 if self.settings.communication == "shared_memory" else 2
        return instance.num_jobs * (per_task * instance.system.num_tasks + 1) + 1

    def observe(self, state: State) -> GraphObservation:
        return frontier_observation(state, self.settings, self.action_mask(state))

    def reward_scale(self, state: State) -> Array:
        return state.scale.astype(jnp.float32)

    def reward(self, state: State, after: State, delta: Array) -> Array:
        if self.settings.reward != "socrates":
            return super().reward(state, after, delta)
        completed = (after.num_completed - state.num_completed).astype(jnp.float32)
        return 50 * completed - 0.5 * (after.time - state.time).astype(jnp.float32)

    def clock(self, state: State) -> Array:
        return state.time

    def decides(self, state: State) -> Array:
        return decisions.decides(state) | state.done

    def cut_off(self, state: State) -> Array:
        return state.num_completed < state.instance.job_mask.sum(dtype=jnp.int32)

    def report(self, state: State) -> Mapping[str, Array]:
        jobs = state.jobs
        return {
            "num_completed": state.num_completed,
            "num_in_system": jobs.occupied.sum(dtype=jnp.int32),
            "latency_in_system": jnp.where(jobs.occupied, state.time - jobs.arrival, 0).sum(
                dtype=jnp.int32
            ),
            "held_back": state.held_back,
            "energy": state.energy,
        }

    def solution(self, state: State) -> Trace:
        return make_trace(state)

    def validate(self, instance: Instance, solution: Trace) -> list[str]:
        instance = jax.device_get(instance)
        platform, profiles = to_host(instance.system)
        real = np.asarray(instance.job_mask)
        return validate(
            platform,
            [profiles[p] for p in np.asarray(instance.profile)[real]],
            solution,
            communication=self.settings.communication,
            duration=durations(instance),
            arrivals=np.cumsum(instance.gap[real]).tolist(),
            max_jobs_in_system=int(instance.slot_mask.sum()),
            cap_mode=self.settings.cap_mode,
            redraw=instance.redraw[real].tolist(),
        )

    def measure(self, instance: Instance, solution: Trace) -> int:
        if self.settings.objective == "makespan":
            return solution.makespan
        warm_up = int(instance.warm_up)
        counted = [
            i
            for i, job in enumerate(solution.jobs)
            if job.finish is not None and job.finish >= warm_up
        ]
        if self.settings.objective == "latency":
            return sum(solution.jobs[i].latency or 0 for i in counted)
        leaves = dict.fromkeys(counted, 0)
        for row in solution.tasks:
            if row.job in leaves:
                leaves[row.job] = max(leaves[row.job], row.finish, row.start + 1)
        return sum(max(0, leaves[i] - max(solution.jobs[i].arrival, warm_up)) for i in counted)


def durations(instance: Instance) -> Callable[[int, int, int], int] | None:
    """(job, task, PE) -> us that it takes, where there is noise; all of it is drawn at once."""
    if instance.noise is None:
        return None
    table = np.asarray(_durations(instance))
    return lambda job, task, pe: int(table[job, task, pe])


@jax.jit
def _durations(instance: Instance) -> Array:
    return objectives.drawn_times(jax.tree.map(jnp.asarray, instance))


def make_trace(
    state: State,
    platform: Platform | None = None,
    profiles: Sequence[Job] | None = None,
) -> Trace:
    """What happened in one unbatched simulation that is over, on the host; names are made up
    where none are given.
    """
    state = jax.device_get(state)
    record, front, instance = state.record, state.frontier, state.instance
    if record is None:
        raise ValueError("the environment was made with record=False")
    if not state.done:
        raise ValueError(
            f"the simulation is not over: {int(state.num_completed)} jobs are complete at {state.time} us"
        )
    if platform is None or profiles is None:
        platform, profiles = to_host(instance.system)
    complete_tasks = np.flatnonzero(record.tasks[:, 2] < LATEST)
    tasks: list[Any] = [
        (*divmod(int(row), instance.system.num_tasks), *record.tasks[row]) for row in complete_tasks
    ]
    for f in np.flatnonzero(front.status == RUNNING):
        job = state.jobs.ordinal[front.slot[f]]
        tasks.append(
            (job, front.task[f], front.pe[f], front.start[f], front.start[f] + front.duration[f])
        )
    jobs: list[Any] = []
    for arrival, end in record.jobs[record.jobs[:, 0] < LATEST]:
        jobs.append((arrival, end, end - arrival) if end < LATEST else (arrival, None, None))
    complete = state.num_completed >= instance.job_mask.sum()
    return Trace(
        tasks=tasks,
        jobs=jobs,
        platform=platform,
        profiles=[profiles[p] for p in instance.profile[: len(jobs)]],
        end=int(state.last_finish if complete else instance.horizon),
        warmup=int(instance.warm_up),
        held_back=int(state.held_back),
        dropped=int(instance.job_mask.sum()) - len(jobs),
    )
