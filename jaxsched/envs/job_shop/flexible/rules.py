"""Rules of the flexible job shop as pure functions of one state: place a job's next operation on
one of its machines.

A decision picks a pair of a job and an eligible machine; the operation starts when both are free,
after all that the machine has. As one number the pair is `job * num_machines + machine`, with the
padded number. The candidate modes:

* `any`        every unfinished job on every eligible machine. Complete: some sequence reaches an optimum.
* `non_delay`  the pairs that can start earliest. May miss the optimum.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.core.arrays import put, put_add, take, take_row
from jaxsched.envs.job_shop.flexible.settings import Settings
from jaxsched.envs.job_shop.flexible.types import Instance, State

LATEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over times


class Frontier(struct.PyTreeNode):
    """The next operation of every job on every machine; zeros and False where the job is
    finished.
    """

    mask: Array  # bool[J]  unfinished jobs
    eligible: Array  # bool[J, M]
    duration: Array  # i32[J, M]  ticks, 0 where not eligible
    # i32[J, M]  when it would start if dispatched now, ticks; without meaning where not eligible
    start: Array


def init(instance: Instance, settings: Settings) -> State:
    """The empty schedule."""
    least = shortest(instance)
    only = instance.eligible_mask & (
        instance.eligible_mask.sum(-1, keepdims=True, dtype=jnp.int32) == 1
    )
    ops_left = instance.op_mask.sum(-1, dtype=jnp.int32)
    state = State(
        instance=instance,
        next_op=jnp.zeros_like(ops_left),
        ops_left=ops_left,
        job_ready=jnp.zeros_like(ops_left),
        machine_ready=jnp.zeros((instance.num_machines,), jnp.int32),
        work_left=least.sum(-1, dtype=jnp.int32),
        load_left=jnp.where(only, instance.duration, 0).sum((0, 1), dtype=jnp.int32),
        baseline=jnp.zeros((), jnp.int32),
        start=jnp.zeros_like(least),
        machine=jnp.zeros_like(least),
    )
    return state.replace(baseline=makespan_bound(state))


def shortest(instance: Instance) -> Array:
    """i32[J, K]: the duration of every operation on its fastest machine, 0 in padding."""
    return jnp.where(instance.op_mask, _least(instance.duration, instance.eligible_mask), 0)


def frontier(state: State) -> Frontier:
    """What could be dispatched now."""
    mask = state.ops_left > 0
    column = jnp.where(mask, state.next_op, state.instance.num_ops)  # out of range reads 0
    eligible = jax.vmap(take_row)(state.instance.eligible_mask, column)
    duration = jax.vmap(take_row)(state.instance.duration, column)
    return Frontier(
        mask, eligible, duration, jnp.maximum(state.job_ready[:, None], state.machine_ready[None])
    )


def clock(state: State) -> Array:
    """Smallest earliest start of a pair, the makespan at the end: i32[], non-decreasing."""
    return jnp.where(state.done, state.machine_ready.max(), _earliest(frontier(state)))


def legal(state: State, settings: Settings) -> Array:
    """bool[J * M]: pairs that may be dispatched; all false at the end."""
    front = frontier(state)
    if settings.candidates == "any":
        return front.eligible.ravel()
    return (front.eligible & (front.start == _earliest(front))).ravel()


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """Dispatch the pair `action` (i32[]); the same state where not `legal` (bool[])."""
    instance = state.instance
    num_jobs, num_ops, num_machines = instance.num_jobs, instance.num_ops, instance.num_machines
    # out of range reads 0, writes nothing
    action = jnp.where(legal, action, num_jobs * num_machines)
    job, machine = action // num_machines, action % num_machines
    op, ready = take(state.next_op, job), take(state.job_ready, job)
    row = job * num_ops + op
    eligible = take_row(instance.eligible_mask.reshape(-1, num_machines), row)
    durations = take_row(instance.duration.reshape(-1, num_machines), row)
    duration = take(durations, machine)
    least = jnp.where(eligible, durations, LATEST).min()  # LATEST where nothing is written
    forced = jnp.where(eligible.sum(dtype=jnp.int32) == 1, duration, 0)
    start = jnp.maximum(ready, take(state.machine_ready, machine))
    where = jnp.where(job < num_jobs, machine, num_machines)
    return state.replace(
        next_op=put_add(state.next_op, 1, job),
        ops_left=put_add(state.ops_left, -1, job),
        job_ready=put(state.job_ready, start + duration, job),
        machine_ready=put(state.machine_ready, start + duration, where),
        work_left=put_add(state.work_left, -least, job),
        load_left=put_add(state.load_left, -forced, where),
        start=put(state.start, start, job, op),
        machine=put(state.machine, machine, job, op),
    )


def bound(state: State, settings: Settings) -> Array:
    """i32[]: running lower bound on the makespan; see `makespan_bound`."""
    return makespan_bound(state)


def makespan_bound(state: State) -> Array:
    """i32[]: no completion ends before this; non-decreasing, the makespan at the end.

    Every job still needs its work, every machine the operations that only it can do, and all
    machines together all work, each operation on its fastest machine.
    """
    jobs = state.job_ready + state.work_left
    machines = state.machine_ready + state.load_left
    total = state.machine_ready.sum(dtype=jnp.int32) + state.work_left.sum(dtype=jnp.int32)
    return jnp.maximum(jnp.maximum(jobs.max(), machines.max()), _share(total, state.instance))


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: no schedule is better, whatever the candidates.

    The bound of the empty schedule, and for every machine the operations that only it can do,
    between their smallest head and their smallest tail.

    Head and tail: the job's work before and after an operation, each on its fastest machine. The
    single-machine bound of the literature with preemption ignored (Carlier 1982 relaxed).
    """
    least = shortest(instance)
    head = jnp.cumsum(least, -1, dtype=jnp.int32) - least
    tail = least.sum(-1, keepdims=True, dtype=jnp.int32) - head - least
    only = instance.eligible_mask & (
        instance.eligible_mask.sum(-1, keepdims=True, dtype=jnp.int32) == 1
    )
    here = jnp.moveaxis(only, -1, 0)  # [M, J, K]
    load = jnp.where(here, least, 0).sum((1, 2), dtype=jnp.int32)
    smallest_head = jnp.where(here, head, LATEST).min((1, 2))
    smallest_tail = jnp.where(here, tail, LATEST).min((1, 2))
    machines = jnp.where(here.any((1, 2)), load + smallest_head + smallest_tail, 0)
    return jnp.maximum(makespan_bound(init(instance, settings)), machines.max())


def _share(total: Array, instance: Instance) -> Array:
    """i32[]: `total` over the number of machines, rounded up."""
    num_machines = jnp.maximum(instance.machine_mask.sum(dtype=jnp.int32), 1)
    return (total + num_machines - 1) // num_machines


def _earliest(front: Frontier) -> Array:
    return jnp.where(front.eligible, front.start, LATEST).min()


def _least(duration: Array, eligible: Array) -> Array:
    """The smallest duration over the last axis among the eligible; 0 where there is none."""
    return jnp.where(eligible.any(-1), jnp.where(eligible, duration, LATEST).min(-1), 0)
