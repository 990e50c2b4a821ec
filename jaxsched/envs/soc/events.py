"""Events of DS3, one at a time: a job enters, or a task retires; either releases tasks of one
job (`rules.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import lookup, put_row, take, take_row
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.types import EMPTY, LATEST, READY, RUNNING, Frontier, Jobs, Record, State


def free_slots(state: State) -> Array:
    """bool[W]: places that a job can take."""
    return state.instance.slot_mask & ~state.jobs.occupied


def has_room(state: State) -> Array:
    """bool[]: fewer jobs are in the system than the cap."""
    return free_slots(state).any()


def enters(state: State, retiring: Array) -> Array:
    """bool[]: the next job enters the system now; `retiring`: tasks are still to retire in this
    tick.

    Due exactly now, it enters before they do, if there is room. Due before, it enters after them. A
    job due now that found no room polls again in the next tick. A job that follows one held back
    without a gap enters with it.
    """
    on_time = (state.due == state.time) & (state.phase == 0)
    late = ~retiring & ((state.due < state.time) | ((state.due == state.time) & (state.phase == 2)))
    return (
        take(state.instance.job_mask, state.next_job)
        & has_room(state)
        & (on_time | late)
        & ~state.done
    )


def retires(front: Frontier, start: Array) -> Array:
    """i32[F]: when each task retires if it starts at `start`."""
    return start + jnp.maximum(front.duration, 1)


def retiring_now(state: State) -> Array:
    """bool[F]: tasks that still have to retire in this tick."""
    front = state.frontier
    return (front.status == RUNNING) & (retires(front, front.start) == state.time) & ~state.done


class Event(NamedTuple):
    """One job enters, or one task retires, or neither: scalars, rubbish where they do not apply."""

    enter: Array  # bool[]
    retire: Array  # bool[]
    complete: Array  # bool[]  the task that retires is the last one of its job
    entry: Array  # bool[F]  where the task was
    slot: Array  # i32[]  place of the job; W where there is no event
    ordinal: Array  # i32[]
    profile: Array  # i32[]
    arrival: Array  # i32[]  us
    num_left: Array  # i32[]  tasks of the job not complete after the event
    task: Array  # i32[]  T where none retires
    pe: Array  # i32[]
    start: Array  # i32[]  us
    finish: Array  # i32[]  us
    end: Array  # i32[]  the latest finish in the job, us


def pass_event(state: State, settings: Settings) -> State:
    """Let one job enter or one task retire, if that is due now. Either releases tasks of one
    job.
    """
    event = next_event(state, settings)
    front = state.frontier
    front = front.replace(status=jnp.where(event.entry, EMPTY, front.status))
    if front.plan_wait is not None:
        was_it = event.retire & (
            front.plan_predecessor == event.slot * state.instance.system.num_tasks + event.task
        )
        front = front.replace(plan_wait=front.plan_wait & ~was_it)
    state = account(state, settings, event)
    state = state.replace(frontier=front, jobs=update_jobs(state.jobs, event))
    state = release(state, settings, event)
    later = retiring_now(state).any()
    return state.replace(event=later | enters(state, later))


def next_event(state: State, settings: Settings) -> Event:
    """What happens first of what is due now; tasks retire in the order of their starts, then of
    the queue.
    """
    front, jobs, instance, system = (
        state.frontier,
        state.jobs,
        state.instance,
        state.instance.system,
    )
    retiring = retiring_now(state)
    enter = enters(state, retiring.any())
    retire = retiring.any() & ~enter
    retiring &= front.start == jnp.where(retiring, front.start, LATEST).min()
    retiring &= (front.queue_key == jnp.where(retiring, front.queue_key, LATEST).min()) & retire

    def value_of_retiring(values: Array) -> Array:
        return jnp.where(retiring, values, 0).sum(dtype=jnp.int32)

    start = value_of_retiring(front.start)
    finish = start + value_of_retiring(front.duration)
    free = jnp.argmax(free_slots(state)).astype(jnp.int32)
    slot = jnp.where(enter, free, value_of_retiring(front.slot))
    slot = jnp.where(enter | retire, slot, instance.num_slots)  # out of range writes nothing
    profile = jnp.where(enter, take(instance.profile, state.next_job), take(jobs.profile, slot))
    num_left = jnp.where(enter, take(system.num_tasks_of, profile), take(jobs.num_left, slot) - 1)
    asked = state.due if settings.cap_mode == "open" else state.time
    return Event(
        enter=enter,
        retire=retire,
        complete=retire & (num_left == 0),
        entry=retiring,
        slot=slot,
        ordinal=jnp.where(enter, state.next_job, take(jobs.ordinal, slot)),
        profile=profile,
        arrival=jnp.where(enter, asked, take(jobs.arrival, slot)),
        num_left=num_left,
        task=jnp.where(retire, value_of_retiring(front.task), system.num_tasks),
        pe=value_of_retiring(front.pe),
        start=start,
        finish=finish,
        end=jnp.where(enter, 0, jnp.maximum(take(jobs.end, slot), finish)),
    )


def update_jobs(jobs: Jobs, event: Event) -> Jobs:
    """The places after `event`. They are so few that masked writes are the quicker ones
    everywhere.
    """
    here = jnp.arange(jobs.ordinal.shape[0], dtype=jnp.int32) == event.slot  # [W]
    # [W, T]
    task = here[:, None] & (jnp.arange(jobs.pe.shape[1], dtype=jnp.int32) == event.task)[None]
    return Jobs(
        occupied=jnp.where(here, ~event.complete, jobs.occupied),
        ordinal=jnp.where(here, event.ordinal, jobs.ordinal),
        profile=jnp.where(here, event.profile, jobs.profile),
        arrival=jnp.where(here, event.arrival, jobs.arrival),
        num_left=jnp.where(here, event.num_left, jobs.num_left),
        num_decided=jnp.where(here & event.enter, 0, jobs.num_decided),
        end=jnp.where(here, event.end, jobs.end),
        pe=jnp.where(task, event.pe, jobs.pe),
        finish=jnp.where(
            (here & event.enter)[:, None], LATEST, jnp.where(task, event.finish, jobs.finish)
        ),
    )


def account(state: State, settings: Settings, event: Event) -> State:
    """Sums, the record, and when the next job asks to enter."""
    instance, system = state.instance, state.instance.system
    counts = event.complete & (event.end >= instance.warm_up)
    stayed = jnp.maximum(state.time - jnp.maximum(event.arrival, instance.warm_up), 0)
    # Its first poll failed, and so did all since then. (`has_room`: before the event.)
    waits = ~has_room(state) & (state.due <= state.time) & take(instance.job_mask, state.next_job)
    due, held_back = state.due, event.enter & (state.due < state.time)
    if settings.cap_mode == "socrates":
        held_back = event.complete & waits
        due = jnp.where(held_back, state.time + 1 + take(instance.redraw, state.next_job), due)
    due = jnp.where(event.enter, event.arrival + take(instance.gap, state.next_job + 1), due)
    energy = take(system.power, event.profile, event.task, event.pe) * (
        event.finish - event.start
    ).astype(jnp.float32)
    late = event.enter & (state.due < state.time)
    num_completed = state.num_completed + event.complete.astype(jnp.int32)
    return state.replace(
        over=state.over | (num_completed >= instance.job_mask.sum(dtype=jnp.int32)),
        phase=jnp.where(event.retire, 1, jnp.where(late, 2, state.phase)),
        next_job=state.next_job + event.enter.astype(jnp.int32),
        due=due,
        num_completed=num_completed,
        num_counted=state.num_counted + counts.astype(jnp.int32),
        latency=state.latency + jnp.where(counts, event.end - event.arrival, 0),
        residence=state.residence + jnp.where(event.complete, stayed, 0),
        last_finish=jnp.maximum(state.last_finish, jnp.where(event.retire, event.finish, 0)),
        held_back=state.held_back + held_back.astype(jnp.int32),
        energy=state.energy + jnp.where(event.retire, energy, 0),
        record=None
        if state.record is None
        else write_record(state.record, event, system.num_tasks),
    )


def write_record(record: Record, event: Event, num_tasks: int) -> Record:
    """With what the event tells."""
    num_jobs = record.jobs.shape[0]
    task = jnp.where(event.retire, event.ordinal * num_tasks + event.task, num_jobs * num_tasks)
    job = jnp.where(event.enter | event.complete, event.ordinal, num_jobs)
    return Record(
        tasks=put_row(record.tasks, jnp.stack([event.pe, event.start, event.finish]), task),
        jobs=put_row(
            record.jobs, jnp.stack([event.arrival, jnp.where(event.enter, LATEST, event.end)]), job
        ),
    )


def release(state: State, settings: Settings, event: Event) -> State:
    """Add to the ready list the heads of the job that enters, or what waited for nothing but the
    task that retires.

    When the data of a task are where is known once its predecessors are complete: it is computed
    here, once per task.
    """
    front, system = state.frontier, state.instance.system
    task, mask = _waiting(state, event)
    row = event.profile * system.num_tasks + task  # of the tables, [S]
    data = _inputs(state, event, row)
    mask &= (~data.mask | (data.finish < LATEST)).all(-1)
    ready_time, arrival = _arrivals(state, settings, data)

    # The k-th of them goes to the k-th empty entry.
    rank = jnp.cumsum(mask, dtype=jnp.int32) - 1  # [S]
    empty = state.instance.entry_mask & (front.status == EMPTY)
    place = jnp.cumsum(empty, dtype=jnp.int32) - 1  # [F]
    goes = mask[None] & empty[:, None] & (place[:, None] == rank[None])  # [F, S]
    new = goes.any(1)
    source = jnp.where(goes, jnp.arange(mask.shape[0], dtype=jnp.int32), 0).sum(-1, dtype=jnp.int32)
    # Heads are ready when their job enters, before the tasks whose data reach the memory in the
    # same tick.
    shared = settings.communication == "shared_memory"
    seq = state.num_released + place - jnp.where(event.enter & shared, jnp.int32(2**30), 0)

    def write(values: Array, old: Array) -> Array:
        return jnp.where(new, values, old)

    def write_rows(values: Array, old: Array) -> Array:
        return jnp.where(new[:, None], _take_rows(values, source), old)

    front = front.replace(
        status=write(jnp.full_like(front.status, READY), front.status),
        slot=write(event.slot, front.slot),
        task=write(lookup(task, source), front.task),
        exec_time=write_rows(_take_rows(_rows(system.exec_time), row), front.exec_time),
        exec_mask=write_rows(_take_rows(_rows(system.exec_mask), row), front.exec_mask),
        arrival=write_rows(arrival, front.arrival),
        ready_time=write(lookup(ready_time, source), front.ready_time),
        ready_seq=write(seq, front.ready_seq),
    )
    return state.replace(
        frontier=front, num_released=state.num_released + mask.sum(dtype=jnp.int32)
    )


def _waiting(state: State, event: Event) -> tuple[Array, Array]:
    """i32[S], bool[S]: tasks that the event may release: heads of the job that enters, successors
    of the task that retires.
    """
    system, profile = state.instance.system, event.profile
    row = profile * system.num_tasks + jnp.where(event.retire, event.task, 0)
    task = jnp.where(
        event.enter, take_row(system.head, profile), take_row(_rows(system.successor), row)
    )
    mask = jnp.where(
        event.enter,
        take_row(system.head_mask, profile),
        take_row(_rows(system.successor_mask), row),
    )
    return task, mask & (event.enter | event.retire)


class _Inputs(NamedTuple):
    """Data that tasks get from their predecessors."""

    mask: Array  # bool[S, D]
    volume: Array  # i32[S, D]
    finish: Array  # i32[S, D]  of the predecessor, us; LATEST where that is not complete
    pe: Array  # i32[S * D]  of the predecessor


def _inputs(state: State, event: Event, row: Array) -> _Inputs:
    """Of the tasks in the rows i32[S] of the tables, in the job of the event."""
    system, jobs = state.instance.system, state.jobs
    before = _take_rows(_rows(system.predecessor), row)  # [S, D]
    volume = _take_rows(_rows(system.volume), row)
    mask = _take_rows(_rows(system.predecessor_mask), row)
    finish = lookup(take_row(jobs.finish, event.slot), before.ravel()).reshape(before.shape)
    return _Inputs(mask, volume, finish, lookup(take_row(jobs.pe, event.slot), before.ravel()))


def _arrivals(state: State, settings: Settings, data: _Inputs) -> tuple[Array, Array]:
    """i32[S], i32[S, Q]: when tasks are ready, and when their data are at each PE, as fields of
    `Frontier`.
    """
    system, shape = state.instance.system, data.mask.shape
    finish = jnp.where(data.mask, data.finish, 0)
    if settings.communication == "shared_memory":
        to_memory = lookup(system.to_memory, data.pe).reshape(shape)
        written = finish + _transfer(data.volume, to_memory)
        ready_time = jnp.maximum(jnp.where(data.mask, written, 0).max(-1), state.time)
        arrival = _transfer(data.volume[..., None], system.from_memory[None, None])
    else:
        ready_time = jnp.broadcast_to(state.time, shape[:1])
        bandwidth = _take_rows(system.bandwidth, data.pe).reshape(*shape, system.num_pes)
        arrival = finish[..., None] + _transfer(data.volume[..., None], bandwidth)
    return ready_time, jnp.where(data.mask[..., None], arrival, 0).max(1)


def _take_rows(table: Array, rows: Array) -> Array:
    return jax.vmap(take_row, (None, 0))(table, rows)


def _rows(table: Array) -> Array:
    """[P, T, X] as [P * T, X]."""
    return table.reshape(-1, table.shape[-1])


def _transfer(volume: Array, bandwidth: Array) -> Array:
    """i32[...]: whole us; padding has no bandwidth."""
    return volume // jnp.maximum(bandwidth, 1)
