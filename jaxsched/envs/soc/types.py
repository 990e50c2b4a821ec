"""Data of the SoC family on the device: the system, the stream of jobs, the state of a simulation.

Shapes: `P` job profiles, `T` tasks of a profile, `Q` processing elements (PEs), `D` predecessors of
a task, `S` successors of a task (and heads of a profile), `N` jobs of the stream, `W` places for
jobs in the system, `F` entries for tasks in the system that are ready, queued or running; all
padded. Padding is zeros with a False mask, so instances of different sizes are padded leaf by leaf
(`jaxsched.core.pad_stack`). Time unit: one microsecond (us).
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jax import Array

LATEST = jnp.iinfo(jnp.int32).max  # us: not yet; the identity of a minimum over times
EMPTY, READY, QUEUED, RUNNING = 0, 1, 2, 3  # `Frontier.status`


class System(struct.PyTreeNode):
    """A platform and the job profiles that run on it: everything that does not depend on the
    stream.
    """

    # i32[P, T, Q]  us of the task on the PE, the mean where there is noise; 0 where it cannot run
    exec_time: Array
    exec_mask: Array  # bool[P, T, Q]  the PE can run the task
    # f32[P, T, Q]  what one us of it costs, in the unit of the platform; 0 where nothing is stated
    power: Array
    task_mask: Array  # bool[P, T]  real tasks, a prefix of each row
    num_tasks_of: Array  # i32[P]  their number
    predecessor: Array  # i32[P, T, D]  task ids
    volume: Array  # i32[P, T, D]  data units that come from the predecessor
    predecessor_mask: Array  # bool[P, T, D]
    successor: Array  # i32[P, T, S]  task ids, rising
    successor_mask: Array  # bool[P, T, S]
    head: Array  # i32[P, S]  tasks without predecessors, rising
    head_mask: Array  # bool[P, S]
    # What observations look ahead with; transfers at the mean bandwidth between different PEs.
    # f32[P, T]  upward rank of HEFT: mean time, transfers included, from its start to the job's
    # end, us
    rank: Array
    # f32[P, T, Q]  optimistic cost table of PEFT: least time after the task ends on the PE, us
    optimistic: Array
    out_transfer: Array  # f32[P, T]  us to send to all successors
    num_descendants: Array  # i32[P, T]
    successor_bits: Array  # u32[P, T, B]  bit k % 32 of word k // 32: task k is a successor
    speed: Array  # f32[Q]  mean over the tasks that the PE can run of its time over their mean time
    unit: Array  # f32[]  mean execution time over all tasks and PEs, us, > 0
    plan_pe: Array  # i32[L, P, T]  PE in the plan of the job alone; L = 2 plans: HEFT, PEFT
    plan_predecessor: Array  # i32[L, P, T]  the job's task just before it on that PE
    plan_mask: Array  # bool[L, P, T]  there is one
    profile_mask: Array  # bool[P]
    pe_mask: Array  # bool[Q]
    bandwidth: Array  # i32[Q, Q]  data units per us from PE to PE, > 0 between real ones
    # i32[Q]  data units per us from the PE to the shared memory, > 0 for real ones
    to_memory: Array
    from_memory: Array  # i32[Q]  data units per us from the shared memory to the PE

    @property
    def num_tasks(self) -> int:
        """T, a static Python int."""
        return self.exec_time.shape[-2]

    @property
    def num_pes(self) -> int:
        """Q, a static Python int."""
        return self.exec_time.shape[-1]


class Noise(struct.PyTreeNode):
    """Execution times drawn as max(1, round(Normal(mean, std * mean))), addressed by job ordinal
    and task.
    """

    key: Array  # key[]
    std: Array  # f32[]  relative to the mean


class Instance(struct.PyTreeNode):
    """A system and the stream of jobs that it meets. All draws are made: every policy meets the
    same world.
    """

    system: System
    profile: Array  # i32[N]  profile of each job, by ordinal
    # i32[N]  us from the job before it (from 0 for the first); `rules.py` says from which of its
    # times
    gap: Array
    redraw: Array  # i32[N]  `socrates` only: us until a job that was held back asks again, less one
    job_mask: Array  # bool[N]  real jobs, a prefix
    slot_mask: Array  # bool[W]  real places: the cap on jobs in the system is their number
    # bool[F]  real entries; enough for all tasks that can be ready, queued or running at once
    entry_mask: Array
    horizon: Array  # i32[]  us; the simulation is cut off there. The largest int32: never
    warm_up: Array  # i32[]  us; jobs that finish before it do not count
    noise: Noise | None = None  # None: execution times are the means

    @property
    def num_jobs(self) -> int:
        """N, a static Python int."""
        return self.profile.shape[-1]

    @property
    def num_slots(self) -> int:
        """W, a static Python int."""
        return self.slot_mask.shape[-1]

    @property
    def num_entries(self) -> int:
        """F, a static Python int."""
        return self.entry_mask.shape[-1]


class Frontier(struct.PyTreeNode):
    """The tasks that are ready, queued at a PE or running, one entry each, in no order. Empty
    entries hold rubbish.
    """

    status: Array  # i32[F]  EMPTY, READY, QUEUED, RUNNING
    slot: Array  # i32[F]  place of its job
    task: Array  # i32[F]  task id in its profile
    exec_time: Array  # i32[F, Q]  us on each PE, 0 where it cannot run
    exec_mask: Array  # bool[F, Q]
    # i32[F, Q]  when its data are at the PE; with shared memory: us from the decision until they
    # are
    arrival: Array
    ready_time: Array  # i32[F]  when it was (with shared memory: will be) ready, us
    ready_seq: Array  # i32[F]  position in the list of ready tasks
    # Of tasks with a PE, those queued and running:
    pe: Array  # i32[F]
    mean: Array  # i32[F]  its execution time there, us
    data_ready: Array  # i32[F]  when its data are there, us
    duration: Array  # i32[F]  us it will run: drawn where there is noise, unknown to schedulers
    dispatch_seq: Array  # i32[F]  how many tasks were given a PE before it
    queue_key: Array  # i32[F]  position in the queue of tasks that have a PE
    start: Array  # i32[F]  us, once running
    # With a rule that plans: the task before it on its PE, which must be complete too.
    plan_predecessor: Array | None = None  # i32[F]  slot * T + task of that one
    plan_wait: Array | None = None  # bool[F]  it is not complete yet


class Jobs(struct.PyTreeNode):
    """The jobs in the system, one place each. Free places hold rubbish."""

    occupied: Array  # bool[W]
    ordinal: Array  # i32[W]
    profile: Array  # i32[W]
    arrival: Array  # i32[W]  when it entered (open loop: when it was due), us
    num_left: Array  # i32[W]  tasks not yet complete
    num_decided: Array  # i32[W]  tasks that were given a PE
    end: Array  # i32[W]  the latest finish of its complete tasks, us
    pe: Array  # i32[W, T]  PE of each complete task
    finish: Array  # i32[W, T]  finish of each complete task, us; the largest int32 while it is not


class Record(struct.PyTreeNode):
    """What happened, by job ordinal; the largest int32 where it has not. In two tables: fewer
    writes a step.
    """

    # i32[N * T, 3]  row ordinal * T + task: PE, start and finish (us) of each complete task
    tasks: Array
    jobs: Array  # i32[N, 2]  arrival and finish of each job, us


class State(struct.PyTreeNode):
    """A simulation between two events of one microsecond, or at a decision."""

    instance: Instance
    time: Array  # i32[]  us
    # i32[]  of this tick: 0 before anything retired, 1 after, 2 after a job that was held back
    # entered
    phase: Array
    event: Array  # bool[]  something else happens at `time` before the next decision
    over: Array  # bool[]  all jobs are complete, or the horizon is reached
    frontier: Frontier
    jobs: Jobs
    pe_estimate: Array  # i32[Q]  when each PE is free, as EFT and ETF estimate it, us
    next_job: Array  # i32[]  ordinal of the job that enters next
    due: Array  # i32[]  when it asks to enter, us
    num_released: Array  # i32[]  tasks that became ready so far
    num_dispatched: Array  # i32[]  tasks that were given a PE so far
    call_start: Array  # i32[]  `num_dispatched` when this tick began
    num_completed: Array  # i32[]  jobs
    num_counted: Array  # i32[]  jobs completed after the warm-up
    latency: Array  # i32[]  us, summed over those
    residence: Array  # i32[]  us, summed over those: until they left the system
    last_finish: Array  # i32[]  us
    held_back: Array  # i32[]  jobs that could not enter when they were due
    energy: Array  # f32[]  power times time of the complete tasks
    baseline: Array  # i32[]  bound on the objective before the first step
    scale: Array  # i32[]  what rewards are divided by, > 0
    # i32[Q]  rule `etf_lb`: how often each PE was the best so far in its scans
    num_improved: Array | None = None
    record: Record | None = None

    @property
    def done(self) -> Array:
        """bool[]: all jobs are complete, or the horizon is reached."""
        return self.over
