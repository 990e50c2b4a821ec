"""Rules of the job shop as pure functions of one state: place a job's next operation on its
machine.

A decision picks a job. The candidate modes differ in who may be picked and in where the operation
goes:

* `any`        every unfinished job; appended to its machine. Complete: some sequence reaches an optimum.
* `non_delay`  the jobs whose next operation can start earliest; appended. May miss the optimum.
* `insert`     every unfinished job; put into the first gap of its machine that is long enough, else appended (the left
               shift of L2D, Zhang et al., NeurIPS 2020). Complete.
* `event`      the jobs that can start at the clock, or the no-op `num_jobs`, which waits until the second distinct
               earliest start (Tassel, Gebser & Schekotihin, ICAPS 2023). Complete.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from jaxsched.core.arrays import (
    lookup,
    put,
    put_add,
    put_row,
    segment_sum,
    take,
    take_column,
    take_row,
)
from jaxsched.envs.job_shop.settings import Settings
from jaxsched.envs.job_shop.types import Instance, Slots, State

LATEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over times; stored in empty slots only


class Frontier(struct.PyTreeNode):
    """The next operation of every job; zeros where the job is finished (mask False)."""

    mask: Array  # bool[J]  unfinished jobs
    machine: Array  # i32[J]
    duration: Array  # i32[J]  ticks
    machine_ready: Array  # i32[J]  when the last operation of that machine ends, ticks
    start: Array  # i32[J]  when it would start if dispatched now, ticks


def init(instance: Instance, settings: Settings) -> State:
    """The empty schedule."""
    ops_left = instance.op_mask.sum(-1, dtype=jnp.int32)
    num_machines, zero = instance.num_machines, jnp.zeros((), jnp.int32)
    shape = num_machines, instance.num_jobs * (settings.max_visits or instance.num_ops)
    empty = jnp.full(shape, LATEST, jnp.int32)
    record_ops = settings.observation == "l2d"  # its arcs join neighbours on a machine
    slots = Slots(empty, empty, jnp.zeros(shape, jnp.int32) if record_ops else None)
    state = State(
        instance=instance,
        next_op=jnp.zeros_like(ops_left),
        ops_left=ops_left,
        job_ready=instance.release,
        machine_ready=jnp.zeros((num_machines,), jnp.int32),
        work_left=instance.duration.sum(-1, dtype=jnp.int32),
        load_left=segment_sum(instance.duration.ravel(), instance.machine.ravel(), num_machines),
        baseline=zero,
        scale=zero,
        start=jnp.zeros_like(instance.duration),
        slots=slots if settings.candidates == "insert" else None,
        floor=zero if settings.candidates == "event" else None,
    )
    # The bound on the tardiness is often 0; the weighted completion times of the jobs with a due
    # date are not.
    weighted = (jnp.where(instance.due_mask, instance.weight, 0) * completion_bound(state)).sum(
        dtype=jnp.int32
    )
    baseline = bound(state, settings)
    scale = weighted if settings.objective == "weighted_tardiness" else baseline
    return state.replace(baseline=baseline, scale=jnp.maximum(scale, 1))


def frontier(state: State) -> Frontier:
    """What could be dispatched now."""
    mask = state.ops_left > 0
    column = jnp.where(mask, state.next_op, state.instance.num_ops)  # out of range reads 0
    machine = take_column(state.instance.machine, column)
    duration = take_column(state.instance.duration, column)
    machine_ready = lookup(state.machine_ready, machine)
    start = jnp.maximum(state.job_ready, machine_ready)
    if state.slots is not None:
        take_rows = jax.vmap(take_row, (None, 0))
        starts, ends = take_rows(state.slots.start, machine), take_rows(state.slots.end, machine)
        start = jax.vmap(_gap)(starts, ends, state.job_ready, machine_ready, duration)[1]
    if state.floor is not None:
        start = jnp.maximum(start, state.floor)
    return Frontier(mask, machine, duration, machine_ready, start)


def clock(state: State) -> Array:
    """Smallest earliest start of an unfinished job, the makespan at the end: i32[],
    non-decreasing.
    """
    return jnp.where(state.done, state.machine_ready.max(), _earliest(frontier(state), -1))


def legal(state: State, settings: Settings) -> Array:
    """bool[J], in `event` bool[J + 1]: jobs that may be dispatched, then the no-op; all false at
    the end.
    """
    if settings.candidates in ("any", "insert"):
        return state.ops_left > 0
    front = frontier(state)
    now = _earliest(front, -1)
    jobs = front.mask & (front.start == now)
    if settings.candidates == "event":
        return jnp.append(jobs, _earliest(front, now) < LATEST)
    return jobs


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """Dispatch the next operation of the job `action` (i32[]), or wait; the same state where not
    `legal` (bool[]).
    """
    instance, slots, floor = state.instance, state.slots, state.floor
    job = jnp.where(legal, action, instance.num_jobs + 1)  # out of range writes nothing
    op, waits = take(state.next_op, job), job == instance.num_jobs
    ready = take(state.job_ready, job)
    machine, duration, machine_ready = lax.platform_dependent(
        state, job, cpu=_next_operation, default=_next_of_frontier
    )
    start = jnp.maximum(ready, machine_ready)
    if floor is not None:
        start = jnp.maximum(start, floor)
        front = frontier(state)
        then = _earliest(front, _earliest(front, -1))
        floor = jnp.where(waits, then, floor)
    where = jnp.where(job < instance.num_jobs, machine, instance.num_machines)
    if slots is not None:
        starts, ends = take_row(slots.start, machine), take_row(slots.end, machine)
        slot, start = _gap(starts, ends, ready, machine_ready, duration)
        slots = Slots(
            start=put_row(slots.start, _insert(starts, start, slot), where),
            end=put_row(slots.end, _insert(ends, start + duration, slot), where),
            op=slots.op
            if slots.op is None
            else put_row(
                slots.op,
                _insert(take_row(slots.op, machine), job * instance.num_ops + op, slot),
                where,
            ),
        )
    end = start + duration
    last = end if slots is None else jnp.maximum(end, machine_ready)
    return state.replace(
        next_op=put_add(state.next_op, 1, job),
        ops_left=put_add(state.ops_left, -1, job),
        job_ready=put(state.job_ready, end, job),
        machine_ready=put(state.machine_ready, last, where),
        work_left=put_add(state.work_left, -duration, job),
        load_left=put_add(state.load_left, -duration, where),
        start=put(state.start, start, job, op),
        slots=slots,
        floor=floor,
    )


def _next_operation(state: State, job: Array) -> tuple[Array, Array, Array]:
    """i32[]: machine and duration of the next operation of `job`, and when that machine is ready;
    of no meaning where the job is finished.
    """
    op = take(state.next_op, job)
    machine = take(state.instance.machine, job, op)
    duration = take(state.instance.duration, job, op)
    return machine, duration, take(state.machine_ready, machine)


def _next_of_frontier(state: State, job: Array) -> tuple[Array, Array, Array]:
    """The same by way of all jobs, of which a policy knows it already: fewer kernels on a GPU."""
    front = frontier(state)
    return take(front.machine, job), take(front.duration, job), take(front.machine_ready, job)


def _earliest(front: Frontier, after: Array | int) -> Array:
    """i32[]: the smallest start of an unfinished job beyond `after`; LATEST where there is none."""
    return jnp.where(front.mask & (front.start > after), front.start, LATEST).min()


def _gap(
    starts: Array, ends: Array, ready: Array, machine_ready: Array, duration: Array
) -> tuple[Array, Array]:
    """Where an operation goes on a machine with these slots i32[S]: slot and start; slot S:
    appended, all are taken.
    """
    # start in front of slot k
    before = jnp.maximum(ready, jnp.concatenate([jnp.zeros((1,), jnp.int32), ends[:-1]]))
    fits = before <= starts - duration
    found, slot = fits.any(), jnp.argmax(fits).astype(jnp.int32)
    start = jnp.where(found, take(before, slot), jnp.maximum(ready, machine_ready))
    return jnp.where(found, slot, starts.shape[0]), start


def _insert(row: Array, value: Array, slot: Array) -> Array:
    """`row` [S] with `value` at `slot` and what stood there and after it one further; the last
    one drops out.
    """
    index = jnp.arange(row.shape[0], dtype=jnp.int32)
    later = jnp.concatenate([row[:1], row[:-1]])
    return jnp.where(index < slot, row, jnp.where(index == slot, value, later))


def completion_bound(state: State) -> Array:
    """i32[J]: no job is completed before this, its work follows its last operation; exact once
    done, 0 in padding.
    """
    ready = state.job_ready
    if state.floor is not None:
        ready = jnp.where(state.ops_left > 0, jnp.maximum(ready, state.floor), ready)
    return ready + state.work_left


def makespan_bound(state: State) -> Array:
    """i32[]: every job still needs its work, every machine its load; non-decreasing, the makespan
    at the end.

    In `insert` the load may go into gaps, so that only the jobs count: the end-time bounds of L2D.
    """
    jobs = completion_bound(state).max()
    if state.slots is not None:
        return jobs
    ready = state.machine_ready
    if state.floor is not None:
        ready = jnp.where(state.load_left > 0, jnp.maximum(ready, state.floor), ready)
    return jnp.maximum(jobs, (ready + state.load_left).max())


def bound(state: State, settings: Settings) -> Array:
    """i32[]: running lower bound on the objective, non-decreasing and exact once done; its decrease
    is the reward.

    `flow_time` sums completion - release over the jobs, `weighted_tardiness` weight * max(0,
    completion - due date) over the jobs with a due date.
    """
    if settings.objective == "makespan":
        return makespan_bound(state)
    instance, completion = state.instance, completion_bound(state)
    if settings.objective == "flow_time":
        return (completion - instance.release).sum(dtype=jnp.int32)
    late = jnp.where(instance.due_mask, jnp.maximum(completion - instance.due, 0), 0)
    return (instance.weight * late).sum(dtype=jnp.int32)


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: no schedule is better, whatever the candidates.

    For the makespan the longest job, and per machine its load between the smallest head and the
    smallest tail; for the sums, every job without waiting.

    The single-machine bound of the literature with preemption ignored (Carlier 1982 relaxed): head
    = release and work before an operation, tail = work after it.
    """
    appended = Settings(objective=settings.objective)  # its bound holds for all candidates
    root = bound(init(instance, appended), appended)
    if settings.objective != "makespan":
        return root
    before = jnp.cumsum(instance.duration, -1, dtype=jnp.int32) - instance.duration
    head = instance.release[:, None] + before
    tail = instance.duration.sum(-1, keepdims=True, dtype=jnp.int32) - before - instance.duration
    machines = jnp.arange(instance.num_machines, dtype=jnp.int32)[:, None, None]
    here = instance.op_mask[None] & (instance.machine[None] == machines)  # bool[M, J, K]
    load = jnp.where(here, instance.duration, 0).sum((1, 2), dtype=jnp.int32)
    smallest_head = jnp.where(here, head, LATEST).min((1, 2))
    smallest_tail = jnp.where(here, tail, LATEST).min((1, 2))
    machines = jnp.where(here.any((1, 2)), load + smallest_head + smallest_tail, 0)
    return jnp.maximum(root, machines.max())
