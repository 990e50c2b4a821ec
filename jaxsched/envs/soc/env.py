"""`SoC-v0`: give ready tasks of a stream of task graphs to processing elements, one decision per step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core.environment import Environment, Scores, Source
from jaxsched.core.errors import UnknownNameError
from jaxsched.core.graph import GraphObservation
from jaxsched.envs.soc import objectives, rules
from jaxsched.envs.soc.heuristics import RULES, map_to_pe
from jaxsched.envs.soc.instances import to_host
from jaxsched.envs.soc.observation import frontier_observation
from jaxsched.envs.soc.platforms import Job, Platform
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.sources import PROFILES, streams
from jaxsched.envs.soc.trace import Trace
from jaxsched.envs.soc.types import LATEST, RUNNING, Instance, State
from jaxsched.envs.soc.validate import validate

VIEWS = ("joint", "fifo", "order")
ORDER_MAPPINGS = ("heft_rt", "eft")
REWARDS = ("latency", "jobs_in_system", "socrates", "makespan")


@dataclasses.dataclass(frozen=True)
class SoC(Environment):
    """A system on chip: a stream of task graphs, on processing elements (PEs) of different kinds.

    A task needs the data of its predecessors, which take time to move, and a PE that can run it; it is neither
    interrupted nor moved. Every ready task must be given a PE before time goes on; a bad choice queues.

    * Action i32[] by `view`: `joint`, entry * Q + PE, any ready task; `fifo`, a PE for the task that is ready longest
      (SoCRATES); `order`, an entry, whose PE `order_mapping` chooses (DeepSoCS). Entries are those of `Frontier`.
    * Observation: `GraphObservation` of the tasks that are ready, queued or running, PEs and jobs (`observation.py`).
    * A step takes at most one decision and passes at most one event; where an event comes first,
      `metrics["decision"]` is False and the action is ignored.
    * Objective by `rewards`: summed latency (finish - arrival) of the jobs completed after the warm-up; for `makespan`
      the last finish; for `jobs_in_system` the integral of their number, which differs from summed latency in when it
      is charged.
    * Reward: decrease of the running objective, at most 0, divided by the summed critical paths of the jobs; the
      integer sum over an episode is -objective. `socrates`: -0.5 per us and 50 per completed job, on summed latency.
    * End: terminated when all jobs of the stream are complete; truncated at the horizon of the instance, if any.
    * Metrics: `num_completed`, `num_in_system`, `latency_in_system` (us so far of the jobs not complete), `held_back`
      (jobs that could not enter when they were due), `energy` (at the top operating point, unit of the platform).

    `make` calls the field `rewards` `reward`, a name that here is a method of the protocol.

    >>> import jax, jaxsched
    >>> env = jaxsched.make("SoC-v0", cap_mode="socrates")
    >>> state, timestep = env.reset(jax.random.key(0), env.default_source(jax.random.key(1)))
    >>> state, timestep = env.step(jax.random.key(2), state, 0)
    """

    id: ClassVar[str] = "SoC-v0"
    family: ClassVar[str] = "soc"

    view: str = "joint"
    order_mapping: str = "heft_rt"
    rewards: str = "latency"
    rule_settings: Settings = dataclasses.field(default_factory=Settings)
    source: Source = dataclasses.field(default_factory=streams)
    record: bool = True  # of every task, which `solution` needs

    def __post_init__(self):
        for name, known in (("view", VIEWS), ("order_mapping", ORDER_MAPPINGS), ("rewards", REWARDS)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)

    @property
    def settings(self) -> dict[str, Any]:
        own = {"view": self.view, "order_mapping": self.order_mapping, "reward": self.rewards, "record": self.record}
        return own | dataclasses.asdict(self.rule_settings) | getattr(self.source, "settings", {})

    @property
    def complete(self) -> bool:
        """No: every ready task is given a PE at once, and starts as soon as it can."""
        return False

    @property
    def default_source(self) -> Source:
        """Streams of 30 jobs on SoCRATES' platform, unless `make` was told otherwise."""
        return self.source

    @property
    def heuristics(self) -> Mapping[str, Scores]:
        """By id. In `fifo` they choose a PE for the first ready task, in `order` a task by their best PE for it."""
        return {name: functools.partial(self._scores, scores) for name, scores in RULES.items()}

    def _scores(self, scores: Callable[[State, Settings], Array], state: State) -> Array:
        table = scores(state, self.rule_settings)
        if self.view == "joint":
            return table.ravel()
        if self.view == "order":
            return table.max(1)
        first = rules.first(rules.ready(state), state.frontier.ready_seq)
        return jnp.where(first[:, None], table, 0).sum(0, dtype=jnp.int32)

    @property
    def objective_id(self) -> str:
        """Which objective `objectives.bound` computes."""
        return "latency" if self.rewards == "socrates" else self.rewards

    def max_steps(self, instance: Instance) -> int:
        """One decision and one retirement per task, one entry per job, padding included, and the horizon.

        With shared memory, once more per task: when its data reach the memory.
        """
        per_task = 3 if self.rule_settings.communication == "shared_memory" else 2
        return instance.num_jobs * (per_task * instance.system.num_tasks + 1) + 1

    def init(self, key: Array, instance: Instance) -> State:
        state = rules.init(jax.tree.map(jnp.asarray, instance), self.rule_settings, self.record)
        return state.replace(scale=jnp.maximum(objectives.shortest_latency(state.instance).sum(dtype=jnp.int32), 1))

    def apply(self, key: Array, state: State, action: Array, legal: Array) -> State:
        num_pes = state.instance.system.num_pes
        if self.view == "joint":
            entry, pe = action // num_pes, action % num_pes
        elif self.view == "fifo":
            first = rules.first(rules.ready(state), state.frontier.ready_seq)
            entry, pe = jnp.argmax(first).astype(jnp.int32), action
        else:
            entry, pe = action, self._mapped(state, action)
        return rules.apply(state, self.rule_settings, entry, pe, legal)

    def _mapped(self, state: State, entry: Array) -> Array:
        """i32[]: the PE of an `order` decision."""
        return map_to_pe(state, self.rule_settings, self.order_mapping, entry)

    def action_mask(self, state: State) -> Array:
        legal = rules.legal(state)
        if self.view == "joint":
            return legal.ravel()
        if self.view == "order":
            return legal.any(1)
        return (legal & rules.first(rules.ready(state), state.frontier.ready_seq)[:, None]).any(0)

    def observe(self, state: State) -> GraphObservation:
        return frontier_observation(state, self.rule_settings, self.view, self.order_mapping, self.action_mask(state))

    def bound(self, state: State) -> Array:
        return objectives.bound(state, self.objective_id)

    def reward_scale(self, state: State) -> Array:
        return state.scale.astype(jnp.float32)

    def reward(self, state: State, after: State, delta: Array) -> Array:
        if self.rewards != "socrates":
            return super().reward(state, after, delta)
        completed = (after.num_completed - state.num_completed).astype(jnp.float32)
        return 50 * completed - 0.5 * (after.time - state.time).astype(jnp.float32)

    def clock(self, state: State) -> Array:
        return state.time

    def decides(self, state: State) -> Array:
        return rules.decides(state) | state.done

    def cut_off(self, state: State) -> Array:
        return state.num_completed < state.instance.job_mask.sum(dtype=jnp.int32)

    def report(self, state: State) -> Mapping[str, Array]:
        jobs = state.jobs
        return {
            "num_completed": state.num_completed,
            "num_in_system": jobs.occupied.sum(dtype=jnp.int32),
            "latency_in_system": jnp.where(jobs.occupied, state.time - jobs.arrival, 0).sum(dtype=jnp.int32),
            "held_back": state.held_back,
            "energy": state.energy,
        }

    def lower_bound(self, instance: Instance) -> Array:
        return objectives.lower_bound(jax.tree.map(jnp.asarray, instance), self.objective_id)

    def solution(self, state: State) -> Trace:
        return trace(state)

    def validate(self, instance: Instance, solution: Trace) -> list[str]:
        instance = jax.device_get(instance)
        platform, profiles = to_host(instance.system)
        real = np.asarray(instance.job_mask)
        return validate(
            platform,
            [profiles[p] for p in np.asarray(instance.profile)[real]],
            solution,
            communication=self.rule_settings.communication,
            duration=durations(instance),
            arrivals=np.cumsum(instance.gap[real]).tolist(),
            max_jobs_in_system=int(instance.slot_mask.sum()),
            cap_mode=self.rule_settings.cap_mode,
            redraw=instance.redraw[real].tolist(),
        )

    def measure(self, instance: Instance, solution: Trace) -> int:
        """From the trace: what `rewards` minimises."""
        warm_up = int(instance.warm_up)
        if self.objective_id == "makespan":
            return solution.makespan
        counted = [i for i, job in enumerate(solution.jobs) if job.finish is not None and job.finish >= warm_up]
        if self.objective_id == "latency":
            return sum(job.latency or 0 for job in solution.jobs if job.finish is not None and job.finish >= warm_up)
        leaves = dict.fromkeys(counted, 0)
        for row in solution.tasks:
            if row.job in leaves:
                leaves[row.job] = max(leaves[row.job], row.finish, row.start + 1)
        return sum(max(0, leaves[i] - max(solution.jobs[i].arrival, warm_up)) for i in counted)


def make_soc(
    view: str = "joint",
    order_mapping: str = "heft_rt",
    cap_mode: str = "ds3",
    communication: str = "pe_to_pe",
    dispatch_order: str = "job_id",
    rule: str | None = None,
    reward: str = "latency",
    record: bool = True,
    platform: str | Platform = "socrates_top",
    profiles: Sequence[str | Job] = PROFILES,
    num_jobs: int | None = 30,
    horizon: int | None = None,
    scale: float | Sequence[float] = 25.0,
    cap: int | Sequence[int] | None = None,
    steady: bool | None = None,
    **stream: Any,
) -> SoC:
    """What `jaxsched.make("SoC-v0", ...)` calls. From `platform` on, the settings are those of the default source.

    `cap` defaults to 3, in `open` loop, where it is the number of places, to 16; `steady` to True, in `open` to False.
    With a `horizon`, `num_jobs` defaults to as many jobs as can enter. `order` with `order_mapping="heft_rt"` keeps the
    order of that rule's plan. `stream`: further arguments of `sources.streams`.
    """
    if view == "order" and order_mapping == "heft_rt" and rule is None:
        rule = "heft_rt"
    open_loop = cap_mode == "open"
    return SoC(
        view=view,
        order_mapping=order_mapping,
        rewards=reward,
        rule_settings=Settings(communication, cap_mode, dispatch_order, rule),
        source=streams(
            platform,
            profiles,
            num_jobs=num_jobs if horizon is None or num_jobs != 30 else None,
            horizon=horizon,
            scale=scale,
            cap=(16 if open_loop else 3) if cap is None else cap,
            steady=not open_loop if steady is None else steady,
            communication=communication,
            **stream,
        ),
        record=record,
    )


def durations(instance: Instance) -> Callable[[int, int, int], int] | None:
    """(job, task, PE) -> us that it takes, where there is noise; all of it is drawn at once."""
    if instance.noise is None:
        return None
    table = np.asarray(_durations(instance))
    return lambda job, task, pe: int(table[job, task, pe])


@jax.jit
def _durations(instance: Instance) -> Array:
    return objectives.drawn_times(jax.tree.map(jnp.asarray, instance))


def trace(state: State, platform: Platform | None = None, profiles: Sequence[Job] | None = None) -> Trace:
    """What happened in one unbatched simulation that is over, on the host; names are made up where none are given."""
    state = jax.device_get(state)
    record, front, instance = state.record, state.frontier, state.instance
    if record is None:
        raise ValueError("the environment was made with record=False")
    if not state.done:
        raise ValueError(f"the simulation is not over: {int(state.num_completed)} jobs are complete at {state.time} us")
    if platform is None or profiles is None:
        platform, profiles = to_host(instance.system)
    complete_tasks = np.flatnonzero(record.tasks[:, 2] < LATEST)
    tasks: list[Any] = [(*divmod(int(row), instance.system.num_tasks), *record.tasks[row]) for row in complete_tasks]
    for f in np.flatnonzero(front.status == RUNNING):
        job = state.jobs.ordinal[front.slot[f]]
        tasks.append((job, front.task[f], front.pe[f], front.start[f], front.start[f] + front.duration[f]))
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
