"""Rules of DS3 as pure functions of one state: a decision gives one ready task a PE, and at most
one event passes.

DS3 (Arda et al., IEEE Trans. Computers 2020) runs through every microsecond t, in this order:

1. a job due exactly at t enters, if fewer jobs than the cap are in the system (`enters`);
2. tasks that finish at t retire, in the order in which they started; each releases the tasks that
   waited for it alone (`release`), in the order of their ids; the last task of a job completes it;
3. a job that was due before t, held back by the cap, enters if there is room now;
4. the scheduler gives every ready task a PE, one decision after the other (`assign`);
5. the data of these tasks start moving, and they join the queue;
6. one pass over the queue: a task starts if its data are there and its PE is free. A task that
   cannot start is skipped.

Nothing can change between two events, so time jumps (`advance`). Passes that find the scheduler
idle need no step: when the last ready task has its PE, the start that each PE makes next is known,
and stands if it comes before the next event. A task of length 0 starts and ends at t, but retires
at t + 1.

Transfers take volume // bandwidth us. `pe_to_pe`: they begin when the predecessor finishes.
`shared_memory`: the predecessor writes to the memory when it finishes; with all data there the task
is ready, and reads them from the decision on.

Arrivals by `cap_mode`: `ds3`, the next gap begins when a job enters; `socrates`, a job held back
asks again 1 us + `redraw` after the tick in which a place became free; `open`, gaps begin when a
job was due, and a place that is missing is counted from then on as part of its latency.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import take
from jaxsched.envs.soc.decisions import assign, ready
from jaxsched.envs.soc.events import enters, has_room, pass_event, retires
from jaxsched.envs.soc.objectives import elapsed_in_system, shortest_latency
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.types import (
    LATEST,
    QUEUED,
    READY,
    RUNNING,
    Frontier,
    Instance,
    Jobs,
    Record,
    State,
)
from jaxsched.envs.soc.views import action_mask, entry_and_pe


def init(instance: Instance, settings: Settings) -> State:
    """The empty system at time 0."""
    instance = jax.tree.map(jnp.asarray, instance)
    num_tasks, num_pes = instance.system.num_tasks, instance.system.num_pes
    num_jobs, num_slots, num_entries = instance.num_jobs, instance.num_slots, instance.num_entries

    def zeros(*shape: int, dtype=jnp.int32) -> Array:
        return jnp.zeros(shape, dtype)

    entries, per_pe = zeros(num_entries), zeros(num_entries, num_pes)
    record = Record(zeros(num_jobs * num_tasks, 3) + LATEST, zeros(num_jobs, 2) + LATEST)
    slots, zero = zeros(num_slots), zeros()
    state = State(
        instance=instance,
        time=zero,
        phase=zero,
        event=zeros(dtype=jnp.bool_),
        over=~instance.job_mask.any() | (instance.horizon <= 0),
        frontier=Frontier(
            *(entries, entries, entries, per_pe, per_pe.astype(jnp.bool_), per_pe),
            *[entries] * 9,
            plan_predecessor=entries if settings.plans else None,
            plan_wait=entries.astype(jnp.bool_) if settings.plans else None,
        ),
        jobs=Jobs(slots.astype(jnp.bool_), *[slots] * 6, *[zeros(num_slots, num_tasks)] * 2),
        pe_estimate=zeros(num_pes),
        next_job=zero,
        due=instance.gap[0],
        num_released=zero,
        num_dispatched=zero,
        call_start=zero,
        num_completed=zero,
        num_counted=zero,
        latency=zero,
        residence=zero,
        last_finish=zero,
        held_back=zero,
        energy=zeros(dtype=jnp.float32),
        baseline=zero,
        scale=jnp.maximum(shortest_latency(instance).sum(dtype=jnp.int32), 1),
        num_improved=zeros(num_pes) if settings.rule_in_force == "etf_lb" else None,
        record=record if settings.record else None,
    )
    return state.replace(event=enters(state, zeros(dtype=jnp.bool_)))


def legal(state: State, settings: Settings) -> Array:
    """bool[A]: the actions that may be taken, by `settings.view`; all false between decisions."""
    return action_mask(state, settings)


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """One step: the decision, if it is `legal`; then time moves, if nothing else happens now; then
    one event.

    An illegal action changes nothing; but where an event comes first, and no decision is asked
    for, a step passes it whatever the action is.
    """
    entry, pe = entry_and_pe(state, settings, action)
    state = assign(state, settings, entry, pe, legal)
    state = advance(state, ~state.event & ~ready(state).any() & ~state.done)
    return pass_event(state, settings)


def bound(state: State, settings: Settings) -> Array:
    """i32[]: running lower bound on the objective, non-decreasing and exact once done; its decrease
    is the reward.

    `latency`: finish - arrival, summed over the jobs completed after the warm-up. `jobs_in_system`:
    the integral of their number, which a job leaves when its last task retires. `makespan`: the
    last finish.
    """
    if settings.objective == "latency":
        return state.latency
    if settings.objective == "makespan":
        return state.last_finish
    return state.residence + elapsed_in_system(state)


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: no schedule is better. Sums: the critical paths; makespan: the latest of them, from
    its earliest entry.

    0 with a warm-up or a horizon, which leave out what is slow enough.
    """
    instance = jax.tree.map(jnp.asarray, instance)
    shortest = shortest_latency(instance)
    if settings.objective == "makespan":
        entry = jnp.cumsum(instance.gap, dtype=jnp.int32)
        value = jnp.where(instance.job_mask, entry + shortest, 0).max()
    else:
        value = shortest.sum(dtype=jnp.int32)
    return jnp.where((instance.warm_up > 0) | (instance.horizon < LATEST), 0, value)


def advance(state: State, moves: Array) -> State:
    """Go to the next tick in which something retires, enters or becomes ready; tasks start on
    the way.
    """
    front, instance = state.frontier, state.instance
    running, waiting = front.status == RUNNING, front.status == READY
    here = front.pe[:, None] == jnp.arange(instance.system.num_pes, dtype=jnp.int32)[None]  # [F, Q]
    free = ~(here & running[:, None]).any(0)
    queued = front.status == QUEUED
    if front.plan_wait is not None:
        queued &= ~front.plan_wait
    at = jnp.maximum(front.data_ready, state.time)
    # On each free PE: the earliest start, and among those the first in the queue.
    here &= queued[:, None] & free[None]
    here &= at[:, None] == jnp.where(here, at[:, None], LATEST).min(0)[None]
    here &= (
        front.queue_key[:, None] == jnp.where(here, front.queue_key[:, None], LATEST).min(0)[None]
    )
    chosen = here.any(1)

    start = jnp.where(chosen, at, front.start)
    next_retire = jnp.where(running | chosen, retires(front, start), LATEST).min()
    next_ready = jnp.where(waiting, front.ready_time, LATEST).min()
    may_enter = take(instance.job_mask, state.next_job) & has_room(state)
    next_entry = jnp.where(may_enter, jnp.maximum(state.due, state.time + 1), LATEST)
    then = jnp.minimum(
        jnp.minimum(next_retire, next_ready), jnp.minimum(next_entry, instance.horizon)
    )
    starts = moves & chosen & (at < then)
    return state.replace(
        time=jnp.where(moves, then, state.time),
        over=state.over | (moves & (then >= instance.horizon)),
        phase=jnp.where(moves, 0, state.phase),
        call_start=jnp.where(moves, state.num_dispatched, state.call_start),
        frontier=front.replace(
            status=jnp.where(starts, RUNNING, front.status),
            start=jnp.where(starts, at, front.start),
        ),
    )
