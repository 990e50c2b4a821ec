"""Rules of DS3 as pure functions of one state: a decision gives one ready task a PE, and at most one event passes.

DS3 (Arda et al., IEEE Trans. Computers 2020) runs through every microsecond t, in this order:

1. a job due exactly at t enters, if fewer jobs than the cap are in the system (`enters`);
2. tasks that finish at t retire, in the order in which they started; each releases the tasks that waited for it alone
   (`release`), in the order of their ids; the last task of a job completes it;
3. a job that was due before t, held back by the cap, enters if there is room now;
4. the scheduler gives every ready task a PE, one decision after the other (`assign`);
5. the data of these tasks start moving, and they join the queue;
6. one pass over the queue: a task starts if its data are there and its PE is free. A task that cannot start is skipped.

Nothing can change between two events, so time jumps (`advance`). Passes that find the scheduler idle need no step: when
the last ready task has its PE, the start that each PE makes next is known, and stands if it comes before the next
event. A task of length 0 starts and ends at t, but retires at t + 1.

Transfers take volume // bandwidth us. `pe_to_pe`: they begin when the predecessor finishes. `shared_memory`: the
predecessor writes to the memory when it finishes; with all data there the task is ready, and reads them from the
decision on.

Arrivals by `cap_mode`: `ds3`, the next gap begins when a job enters; `socrates`, a job held back asks again
1 us + `redraw` after the tick in which a place became free; `open`, gaps begin when a job was due, and a place that is
missing is counted from then on as part of its latency.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxsched.core.arrays import put_add, take, take_row
from jaxsched.envs.soc.events import enters, has_room, pass_event, retires
from jaxsched.envs.soc.settings import PLANS, Settings
from jaxsched.envs.soc.types import LATEST, QUEUED, READY, RUNNING, Frontier, Instance, Jobs, Record, State


def init(instance: Instance, settings: Settings, record: bool = True) -> State:
    """The empty system at time 0."""
    num_tasks, num_pes = instance.system.num_tasks, instance.system.num_pes
    num_jobs, num_slots, num_entries = instance.num_jobs, instance.num_slots, instance.num_entries

    def zeros(*shape: int, dtype=jnp.int32) -> Array:
        return jnp.zeros(shape, dtype)

    entries, per_pe = zeros(num_entries), zeros(num_entries, num_pes)
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
        scale=zero + 1,
        num_improved=zeros(num_pes) if settings.rule == "etf_lb" else None,
        record=Record(zeros(num_jobs * num_tasks, 3) + LATEST, zeros(num_jobs, 2) + LATEST) if record else None,
    )
    return state.replace(event=enters(state, zeros(dtype=jnp.bool_)))


def ready(state: State) -> Array:
    """bool[F]: tasks that wait for a decision."""
    return (state.frontier.status == READY) & (state.frontier.ready_time <= state.time)


def decides(state: State) -> Array:
    """bool[]: the scheduler is asked for one task."""
    return ~state.event & ready(state).any() & ~state.done


def legal(state: State) -> Array:
    """bool[F, Q]: PEs that can run each ready task; all false where no decision is asked for."""
    return (ready(state) & decides(state))[:, None] & state.frontier.exec_mask


def first(mask: Array, seq: Array) -> Array:
    """bool[F]: the entry of `mask` with the smallest `seq` i32[F]; all false where there is none."""
    return mask & (seq == jnp.where(mask, seq, LATEST).min())


def apply(state: State, settings: Settings, entry: Array, pe: Array, legal: Array) -> State:
    """One step: the decision, if it is `legal`; then time moves, if nothing else happens now; then one event."""
    state = assign(state, settings, entry, pe, legal)
    state = advance(state, ~state.event & ~ready(state).any() & ~state.done)
    return pass_event(state, settings)


# ------------------------------------------------------------------------------------------------------- decisions


def transfer(state: State, settings: Settings) -> Array:
    """i32[F, Q]: us until the data of each ready task would be at each PE, decided now: C of the heuristics."""
    if settings.communication == "shared_memory":
        return state.frontier.arrival
    return jnp.maximum(state.frontier.arrival - state.time, 0)


def estimate(state: State, settings: Settings) -> Array:
    """i32[F, Q]: us until each ready task would finish on each PE, as EFT and ETF estimate it; 0 where it cannot run.

    mean execution time + max(transfer, the PE's own estimate): later decisions and starts do not correct it.
    """
    wait = jnp.maximum(transfer(state, settings), state.pe_estimate - state.time)
    return jnp.where(state.frontier.exec_mask, state.frontier.exec_time + wait, 0)


def assign(state: State, settings: Settings, entry: Array, pe: Array, legal: Array) -> State:
    """Give the ready task in `entry` the PE `pe`, i32[] both; unchanged where not `legal`."""
    front, instance = state.frontier, state.instance
    hit = legal & (jnp.arange(instance.num_entries, dtype=jnp.int32) == entry)  # [F]
    entry, pe = jnp.where(legal, entry, 0), jnp.where(legal, pe, 0)
    slot, task = take(front.slot, entry), take(front.task, entry)
    mean = take(front.exec_time, entry, pe)
    wait = take(transfer(state, settings), entry, pe)
    ordinal, profile = take(state.jobs.ordinal, slot), take(state.jobs.profile, slot)
    ahead = take(state.jobs.num_decided, slot)
    by_job = ordinal * instance.system.num_tasks + ahead  # as sorted by job, then by decision
    busy = take(state.pe_estimate, pe) - state.time
    front = front.replace(
        status=jnp.where(hit, QUEUED, front.status),
        pe=jnp.where(hit, pe, front.pe),
        mean=jnp.where(hit, mean, front.mean),
        data_ready=jnp.where(hit, state.time + wait, front.data_ready),
        duration=jnp.where(hit, draw_duration(instance, ordinal, task, mean), front.duration),
        dispatch_seq=jnp.where(hit, state.num_dispatched, front.dispatch_seq),
        queue_key=jnp.where(
            hit, by_job if settings.dispatch_order == "job_id" else state.num_dispatched, front.queue_key
        ),
    )
    if front.plan_predecessor is not None and front.plan_wait is not None:
        predecessor, wait_for = plan_predecessor(state, settings, slot, profile, task, pe, mean)
        front = front.replace(
            plan_predecessor=jnp.where(hit, predecessor, front.plan_predecessor),
            plan_wait=jnp.where(hit, wait_for, front.plan_wait),
        )
    one = legal.astype(jnp.int32)
    return state.replace(
        frontier=front,
        jobs=state.jobs.replace(num_decided=put_add(state.jobs.num_decided, one, slot)),
        pe_estimate=jnp.where(
            legal & (jnp.arange(instance.system.num_pes, dtype=jnp.int32) == pe),
            state.time + mean + jnp.maximum(wait, busy),
            state.pe_estimate,
        ),
        num_dispatched=state.num_dispatched + one,
        num_improved=None
        if state.num_improved is None
        else jnp.where(legal, scan_etf_lb(state, settings)[2], state.num_improved),
    )


def draw_duration(instance: Instance, ordinal: Array, task: Array, mean: Array) -> Array:
    """i32[]: us that a task takes; depends on the instance, the job, the task and the mean alone."""
    if instance.noise is None:
        return mean
    key = random.fold_in(random.fold_in(instance.noise.key, ordinal), task)
    expected = mean.astype(jnp.float32)
    drawn = jnp.round(expected + instance.noise.std * expected * random.normal(key, (), jnp.float32))
    return jnp.where(mean > 0, jnp.maximum(drawn.astype(jnp.int32), 1), 0)


def plan_predecessor(
    state: State, settings: Settings, slot: Array, profile: Array, task: Array, pe: Array, mean: Array
) -> tuple[Array, Array]:
    """i32[], bool[]: the task (slot * T + task) that the plan has before this one on its PE; whether to wait for it.

    `heft` and `peft`: the job's own task before it in the plan of the job alone. HEFT_RT: the one before it on the PE's
    timeline (`timeline`).
    """
    front, system = state.frontier, state.instance.system
    if settings.rule in PLANS:
        plan = jnp.int32(PLANS.index(str(settings.rule)))
        before = take(system.plan_predecessor, plan, profile, task)
        there = take(system.plan_mask, plan, profile, task)
        open_ = take(state.jobs.finish, slot, before) == LATEST
        return slot * system.num_tasks + before, there & open_
    # Positions on the timeline: the running task, the queue, what this call decided. Tasks of length 0 of this call
    # stand in front of the first longer one, whichever comes before them stands in front of that too.
    here = (front.status >= QUEUED) & (front.pe == pe)
    now, queued = decided_now(state), here & (front.status == QUEUED)
    long = queued & (front.mean > 0)
    first_long = jnp.where(long & ~now, front.queue_key, LATEST).min()
    in_front = jnp.where(now, front.mean == 0, front.queue_key < first_long)
    here &= jnp.where((mean == 0) | ~long.any(), (front.status == RUNNING) | in_front, ~now | (front.mean > 0))
    position = jnp.where(queued, front.queue_key, -1)
    position = jnp.where(now, jnp.int32(2**30) + front.dispatch_seq, position)
    last = here & (position == jnp.where(here, position, -2).max())
    return jnp.where(last, front.slot * system.num_tasks + front.task, 0).sum(dtype=jnp.int32), here.any()


def scan_etf_lb(state: State, settings: Settings) -> tuple[Array, Array, Array]:
    """Entry and PE, i32[], that ETF_LB picks, and its counters i32[Q] after the scan.

    It goes through the ready tasks in order. The best PE of a task is, of those with the smallest estimate, the one
    with the smallest counter; where it improves on the best so far, its counter goes up.
    """
    front = state.frontier
    waits, finish = ready(state), jnp.where(front.exec_mask, estimate(state, settings), LATEST)
    order = jnp.argsort(jnp.where(waits, front.ready_seq, LATEST)).astype(jnp.int32)
    counters = jnp.zeros_like(state.pe_estimate) if state.num_improved is None else state.num_improved

    def look(carry: tuple[Array, ...], entry: Array) -> tuple[tuple[Array, ...], None]:
        best, pick, pe, counters = carry
        row = take_row(finish, entry)
        shortest = row.min()
        mine = jnp.argmin(jnp.where(row == shortest, counters, LATEST)).astype(jnp.int32)
        improves = take(waits, entry) & (shortest < best)
        kept = (best, pick, pe, counters)
        new = (shortest, entry, mine, put_add(counters, 1, mine))
        return jax.tree.map(lambda a, b: jnp.where(improves, a, b), new, kept), None

    zero = jnp.zeros((), jnp.int32)
    (_, pick, pe, counters), _ = jax.lax.scan(look, (zero + LATEST, zero, zero, counters), order)
    return pick, pe, counters


def decided_now(state: State) -> Array:
    """bool[F]: tasks that were given a PE in this call of the scheduler."""
    return (state.frontier.status == QUEUED) & (state.frontier.dispatch_seq >= state.call_start)


# ------------------------------------------------------------------------------------------------------------- time


def busy_pes(state: State) -> Array:
    """bool[Q]: PEs that run a task."""
    front = state.frontier
    here = front.pe[:, None] == jnp.arange(state.instance.system.num_pes, dtype=jnp.int32)
    return (here & (front.status == RUNNING)[:, None]).any(0)


def advance(state: State, moves: Array) -> State:
    """Go to the next tick in which something retires, enters or becomes ready; tasks start on the way."""
    front, instance = state.frontier, state.instance
    running, waiting = front.status == RUNNING, front.status == READY
    here = front.pe[:, None] == jnp.arange(instance.system.num_pes, dtype=jnp.int32)  # [F, Q]
    free = ~(here & running[:, None]).any(0)
    queued = front.status == QUEUED
    if front.plan_wait is not None:
        queued &= ~front.plan_wait
    at = jnp.maximum(front.data_ready, state.time)
    # On each free PE: the earliest start, and among those the first in the queue.
    here &= queued[:, None] & free
    here &= at[:, None] == jnp.where(here, at[:, None], LATEST).min(0)
    here &= front.queue_key[:, None] == jnp.where(here, front.queue_key[:, None], LATEST).min(0)
    chosen = here.any(1)

    start = jnp.where(chosen, at, front.start)
    next_retire = jnp.where(running | chosen, retires(front, start), LATEST).min()
    next_ready = jnp.where(waiting, front.ready_time, LATEST).min()
    may_enter = take(instance.job_mask, state.next_job) & has_room(state)
    next_entry = jnp.where(may_enter, jnp.maximum(state.due, state.time + 1), LATEST)
    then = jnp.minimum(jnp.minimum(next_retire, next_ready), jnp.minimum(next_entry, instance.horizon))
    starts = moves & chosen & (at < then)
    return state.replace(
        time=jnp.where(moves, then, state.time),
        over=state.over | (moves & (then >= instance.horizon)),
        phase=jnp.where(moves, 0, state.phase),
        call_start=jnp.where(moves, state.num_dispatched, state.call_start),
        frontier=front.replace(
            status=jnp.where(starts, RUNNING, front.status), start=jnp.where(starts, at, front.start)
        ),
    )
