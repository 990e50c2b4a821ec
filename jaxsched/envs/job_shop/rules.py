"""Rules of the job shop as pure functions of one state: dispatch a job's next operation at the end of its machine.

A decision picks a job; its next operation starts at max(end of the job's previous operation, end of the machine's
last one). The candidate modes differ only in which jobs may be picked (`legal`):

* `any`        every unfinished job. Complete: some sequence reaches an optimum.
* `non_delay`  the jobs whose next operation can start earliest. Generates non-delay schedules; may miss the optimum.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.core.arrays import lookup, put, put_add, segment_sum, take, take_column
from jaxsched.envs.job_shop.types import Instance, State

CANDIDATES = {"any": True, "non_delay": False}  # mode -> complete
LATEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over times, never stored


class Frontier(struct.PyTreeNode):
    """The next operation of every job; zeros where the job is finished (mask False)."""

    mask: Array  # bool[J]  unfinished jobs
    machine: Array  # i32[J]
    duration: Array  # i32[J]  ticks
    machine_ready: Array  # i32[J]  when that machine is free, ticks
    start: Array  # i32[J]  earliest start when appended now, ticks


def init(instance: Instance) -> State:
    """The empty schedule."""
    ops_left = instance.op_mask.sum(-1, dtype=jnp.int32)
    num_machines = instance.num_machines
    state = State(
        instance=instance,
        next_op=jnp.zeros_like(ops_left),
        ops_left=ops_left,
        job_ready=instance.release,
        machine_ready=jnp.zeros((num_machines,), jnp.int32),
        work_left=instance.duration.sum(-1, dtype=jnp.int32),
        load_left=segment_sum(instance.duration.ravel(), instance.machine.ravel(), num_machines),
        baseline=jnp.zeros((), jnp.int32),
        start=jnp.zeros_like(instance.duration),
    )
    return state.replace(baseline=makespan_bound(state))


def frontier(state: State) -> Frontier:
    """What could be dispatched now."""
    mask = state.ops_left > 0
    column = jnp.where(mask, state.next_op, state.instance.num_ops)  # out of range reads 0
    machine = take_column(state.instance.machine, column)
    machine_ready = lookup(state.machine_ready, machine)
    return Frontier(
        mask=mask,
        machine=machine,
        duration=take_column(state.instance.duration, column),
        machine_ready=machine_ready,
        start=jnp.maximum(state.job_ready, machine_ready),
    )


def clock(state: State) -> Array:
    """Smallest earliest start of an unfinished job, the makespan at the end: i32[], non-decreasing."""
    front = frontier(state)
    earliest = jnp.where(front.mask, front.start, LATEST).min()
    return jnp.where(state.done, state.machine_ready.max(), earliest)


def legal(state: State, candidates: str) -> Array:
    """bool[J]: jobs that may be dispatched; all false at the end."""
    if candidates == "any":
        return state.ops_left > 0
    front = frontier(state)
    return front.mask & (front.start == jnp.where(front.mask, front.start, LATEST).min())


def apply(state: State, job: Array) -> State:
    """Dispatch the next operation of `job` (i32[]); out of range or finished: the state is returned unchanged."""
    instance = state.instance
    op = take(state.next_op, job)
    job = jnp.where(take(state.ops_left, job) > 0, job, instance.num_jobs)  # out of range writes nothing
    machine = take(instance.machine, job, op)
    duration = take(instance.duration, job, op)
    start = jnp.maximum(take(state.job_ready, job), take(state.machine_ready, machine))
    end = start + duration
    machine = jnp.where(job < instance.num_jobs, machine, instance.num_machines)
    return state.replace(
        next_op=put_add(state.next_op, 1, job),
        ops_left=put_add(state.ops_left, -1, job),
        job_ready=put(state.job_ready, end, job),
        machine_ready=put(state.machine_ready, end, machine),
        work_left=put_add(state.work_left, -duration, job),
        load_left=put_add(state.load_left, -duration, machine),
        start=put(state.start, start, job, op),
    )


def makespan_bound(state: State) -> Array:
    """i32[]: every job still needs its work, every machine its load; non-decreasing, the makespan at the end."""
    return jnp.maximum((state.job_ready + state.work_left).max(), (state.machine_ready + state.load_left).max())


def lower_bound(instance: Instance) -> Array:
    """i32[]: longest job, and per machine its load between the smallest head and the smallest tail.

    The single-machine bound of the literature with preemption ignored (Carlier 1982 relaxed): head = release and
    work before an operation, tail = work after it.
    """
    before = jnp.cumsum(instance.duration, -1, dtype=jnp.int32) - instance.duration
    head = instance.release[:, None] + before
    tail = instance.duration.sum(-1, keepdims=True, dtype=jnp.int32) - before - instance.duration
    here = instance.op_mask & (instance.machine == jnp.arange(instance.num_machines)[:, None, None])  # [M, J, K]
    load = jnp.where(here, instance.duration, 0).sum((1, 2), dtype=jnp.int32)
    smallest_head = jnp.where(here, head, LATEST).min((1, 2))
    smallest_tail = jnp.where(here, tail, LATEST).min((1, 2))
    machines = jnp.where(here.any((1, 2)), load + smallest_head + smallest_tail, 0)
    return jnp.maximum(makespan_bound(init(instance)), machines.max())
