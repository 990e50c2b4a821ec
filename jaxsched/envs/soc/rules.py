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

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxsched.core.arrays import lookup, put_add, put_row, take, take_row
from jaxsched.core.errors import UnknownNameError
from jaxsched.envs.soc.types import EMPTY, QUEUED, READY, RUNNING, Frontier, Instance, Jobs, Record, State

LATEST = jnp.iinfo(jnp.int32).max  # identity of a minimum over times
COMMUNICATION = ("pe_to_pe", "shared_memory")
CAP_MODES = ("ds3", "socrates", "open")
DISPATCH_ORDERS = ("job_id", "insertion")
PLANS = ("heft", "peft")  # of each job alone, in the order of `System.plan_pe`
HEFT_RT = ("heft_rt", "heft_rt_released")
RULES = (*HEFT_RT, *PLANS, "etf_lb")  # that keep books of their own


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compiled into the rules."""

    communication: str = "pe_to_pe"
    cap_mode: str = "ds3"
    dispatch_order: str = "job_id"  # the queue is sorted by job (DS3), or in order of decisions (SoCRATES, DASH-Sim)
    # Every decision, whoever takes it, also does what this rule does beyond its choice of a PE. HEFT_RT, HEFT, PEFT:
    # the task waits for the one before it in their plan. `etf_lb`: its counters go on.
    rule: str | None = None

    def __post_init__(self):
        for name, value, known in (
            ("communication", self.communication, COMMUNICATION),
            ("cap_mode", self.cap_mode, CAP_MODES),
            ("dispatch_order", self.dispatch_order, DISPATCH_ORDERS),
            ("rule", self.rule, (None, *RULES)),
        ):
            if value not in known:
                raise UnknownNameError(name, str(value), map(str, known))

    @property
    def plans(self) -> bool:
        """Tasks may have to wait for another one of their PE."""
        return self.rule in (*HEFT_RT, *PLANS)


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


def timeline(state: State) -> tuple[Array, Array]:
    """i32[Q] both: when each PE is done with the task it runs, and with its queue too, as HEFT_RT plans it.

    The running task by its mean time, then one queued task directly after the other; transfers are ignored. There are
    no gaps, so that insertion is possible for a task of length 0 only, right after the running task.
    """
    front = state.frontier
    here = front.pe[:, None] == jnp.arange(state.instance.system.num_pes, dtype=jnp.int32)
    running = here & (front.status == RUNNING)[:, None]
    free = jnp.maximum(jnp.where(running, (front.start + front.mean)[:, None], 0).max(0), state.time)
    queued = here & (front.status == QUEUED)[:, None]
    return free, free + jnp.where(queued, front.mean[:, None], 0).sum(0, dtype=jnp.int32)


def collision(state: State) -> Array:
    """i32[]: before when released HEFT_RT plans nothing, now or later.

    It plans all tasks of a call as a graph with an entry of length 0, which gets the id after the largest of theirs
    (ids count through the tasks of all jobs in the order in which they entered). If a task of that id is running or
    queued, the entry counts as planned already, and all wait for the end of that task.
    """
    front, system = state.frontier, state.instance.system
    listed = ready(state) | decided_now(state)
    ids = lookup(state.jobs.ordinal, front.slot) * system.num_tasks + front.task
    largest = jnp.where(listed, ids, -1).max()
    num_tasks = lookup(system.num_tasks_of, lookup(state.jobs.profile, front.slot))
    last = (listed & (ids == largest) & (front.task + 1 == num_tasks)).any()  # of its job: the next job's first task
    entry = jnp.where(last, (largest // system.num_tasks + 1) * system.num_tasks, largest + 1)
    queued = (front.status == QUEUED) & ~listed
    same = (front.pe[:, None] == front.pe) & queued & (front.queue_key <= front.queue_key[:, None])
    free, _ = timeline(state)
    end = lookup(free, front.pe) + jnp.where(same, front.mean, 0).sum(1, dtype=jnp.int32)
    end = jnp.where(front.status == RUNNING, front.start + front.mean, end)
    return jnp.maximum(jnp.where((ids == entry) & ((front.status == RUNNING) | queued), end, 0).max(), state.time)


def map_to_pe(state: State, settings: Settings, mapping: str, entry: Array) -> Array:
    """i32[]: the PE on which the ready task in `entry` finishes first, by HEFT_RT's timelines or EFT's estimate."""
    time, able = take_row(state.frontier.exec_time, entry), take_row(state.frontier.exec_mask, entry)
    if mapping == "heft_rt":
        free, end = timeline(state)
        finish = time + jnp.where(time == 0, free, end)
    else:
        finish = take_row(estimate(state, settings), entry)
    return jnp.argmin(jnp.where(able, finish, LATEST)).astype(jnp.int32)


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


def retires(front: Frontier, start: Array) -> Array:
    """i32[F]: when each task retires if it starts at `start`."""
    return start + jnp.maximum(front.duration, 1)


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


# ----------------------------------------------------------------------------------------------------------- events


def free_slots(state: State) -> Array:
    """bool[W]: places that a job can take."""
    return state.instance.slot_mask & ~state.jobs.occupied


def has_room(state: State) -> Array:
    """bool[]: fewer jobs are in the system than the cap."""
    return free_slots(state).any()


def enters(state: State, retiring: Array) -> Array:
    """bool[]: the next job enters the system now; `retiring`: tasks are still to retire in this tick.

    Due exactly now, it enters before they do, if there is room. Due before, it enters after them. A job due now that
    found no room polls again in the next tick. A job that follows one held back without a gap enters with it.
    """
    on_time = (state.due == state.time) & (state.phase == 0)
    late = ~retiring & ((state.due < state.time) | ((state.due == state.time) & (state.phase == 2)))
    return take(state.instance.job_mask, state.next_job) & has_room(state) & (on_time | late) & ~state.done


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
    """Let one job enter or one task retire, if that is due now. Either releases tasks of one job."""
    event = next_event(state, settings)
    front = state.frontier
    front = front.replace(status=jnp.where(event.entry, EMPTY, front.status))
    if front.plan_wait is not None:
        was_it = event.retire & (front.plan_predecessor == event.slot * state.instance.system.num_tasks + event.task)
        front = front.replace(plan_wait=front.plan_wait & ~was_it)
    state = account(state, settings, event)
    state = state.replace(frontier=front, jobs=update_jobs(state.jobs, event))
    state = release(state, settings, event)
    later = retiring_now(state).any()
    return state.replace(event=later | enters(state, later))


def next_event(state: State, settings: Settings) -> Event:
    """What happens first of what is due now; tasks retire in the order of their starts, then of the queue."""
    front, jobs, instance, system = state.frontier, state.jobs, state.instance, state.instance.system
    retiring = retiring_now(state)
    enter = enters(state, retiring.any())
    retire = retiring.any() & ~enter
    retiring &= front.start == jnp.where(retiring, front.start, LATEST).min()
    retiring &= (front.queue_key == jnp.where(retiring, front.queue_key, LATEST).min()) & retire

    def of_retiring(values: Array) -> Array:
        return jnp.where(retiring, values, 0).sum(dtype=jnp.int32)

    start = of_retiring(front.start)
    finish = start + of_retiring(front.duration)
    slot = jnp.where(enter, jnp.argmax(free_slots(state)).astype(jnp.int32), of_retiring(front.slot))
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
        task=jnp.where(retire, of_retiring(front.task), system.num_tasks),
        pe=of_retiring(front.pe),
        start=start,
        finish=finish,
        end=jnp.where(enter, 0, jnp.maximum(take(jobs.end, slot), finish)),
    )


def update_jobs(jobs: Jobs, event: Event) -> Jobs:
    """The places after `event`. They are so few that masked writes are the quicker ones everywhere."""
    here = jnp.arange(jobs.ordinal.shape[0], dtype=jnp.int32) == event.slot  # [W]
    task = here[:, None] & (jnp.arange(jobs.pe.shape[1], dtype=jnp.int32) == event.task)  # [W, T]
    return Jobs(
        occupied=jnp.where(here, ~event.complete, jobs.occupied),
        ordinal=jnp.where(here, event.ordinal, jobs.ordinal),
        profile=jnp.where(here, event.profile, jobs.profile),
        arrival=jnp.where(here, event.arrival, jobs.arrival),
        num_left=jnp.where(here, event.num_left, jobs.num_left),
        num_decided=jnp.where(here & event.enter, 0, jobs.num_decided),
        end=jnp.where(here, event.end, jobs.end),
        pe=jnp.where(task, event.pe, jobs.pe),
        finish=jnp.where((here & event.enter)[:, None], LATEST, jnp.where(task, event.finish, jobs.finish)),
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
    energy = take(system.power, event.profile, event.task, event.pe) * (event.finish - event.start).astype(jnp.float32)
    late = event.enter & (state.due < state.time)
    num_completed = state.num_completed + event.complete
    return state.replace(
        over=state.over | (num_completed >= instance.job_mask.sum(dtype=jnp.int32)),
        phase=jnp.where(event.retire, 1, jnp.where(late, 2, state.phase)),
        next_job=state.next_job + event.enter,
        due=due,
        num_completed=num_completed,
        num_counted=state.num_counted + counts,
        latency=state.latency + jnp.where(counts, event.end - event.arrival, 0),
        residence=state.residence + jnp.where(event.complete, stayed, 0),
        last_finish=jnp.maximum(state.last_finish, jnp.where(event.retire, event.finish, 0)),
        held_back=state.held_back + held_back,
        energy=state.energy + jnp.where(event.retire, energy, 0),
        record=None if state.record is None else write_record(state.record, event, system.num_tasks),
    )


def write_record(record: Record, event: Event, num_tasks: int) -> Record:
    """With what the event tells."""
    num_jobs = record.jobs.shape[0]
    task = jnp.where(event.retire, event.ordinal * num_tasks + event.task, num_jobs * num_tasks)
    job = jnp.where(event.enter | event.complete, event.ordinal, num_jobs)
    return Record(
        tasks=put_row(record.tasks, jnp.stack([event.pe, event.start, event.finish]), task),
        jobs=put_row(record.jobs, jnp.stack([event.arrival, jnp.where(event.enter, LATEST, event.end)]), job),
    )


def release(state: State, settings: Settings, event: Event) -> State:
    """Add to the ready list the heads of the job that enters, or what waited for nothing but the task that retires.

    When the data of a task are where is known once its predecessors are complete: it is computed here, once per task.
    """
    front, system, shared = state.frontier, state.instance.system, settings.communication == "shared_memory"
    num_tasks, num_pes, slot, profile = system.num_tasks, system.num_pes, event.slot, event.profile
    index = profile * num_tasks + jnp.where(event.retire, event.task, 0)
    next_tasks = jnp.where(event.enter, take_row(system.head, profile), take_row(_rows(system.successor), index))
    mask = jnp.where(event.enter, take_row(system.head_mask, profile), take_row(_rows(system.successor_mask), index))
    mask &= event.enter | event.retire  # [S]

    take_rows = jax.vmap(take_row, (None, 0))
    index = profile * num_tasks + next_tasks
    before = take_rows(_rows(system.predecessor), index)  # [S, D]
    volume = take_rows(_rows(system.volume), index)
    is_before = take_rows(_rows(system.predecessor_mask), index)
    finish = lookup(take_row(state.jobs.finish, slot), before.ravel()).reshape(before.shape)
    pe = lookup(take_row(state.jobs.pe, slot), before.ravel())
    mask &= (~is_before | (finish < LATEST)).all(-1)
    finish = jnp.where(is_before, finish, 0)

    if shared:
        written = finish + _transfer(volume, lookup(system.to_memory, pe).reshape(before.shape))
        ready_time = jnp.maximum(jnp.where(is_before, written, 0).max(-1), state.time)
        arrival = _transfer(volume[..., None], system.from_memory)
    else:
        ready_time = jnp.broadcast_to(state.time, mask.shape)
        arrival = finish[..., None] + _transfer(
            volume[..., None], take_rows(system.bandwidth, pe).reshape(*before.shape, num_pes)
        )
    arrival = jnp.where(is_before[..., None], arrival, 0).max(1)  # [S, Q]

    # The k-th of them goes to the k-th empty entry.
    rank = jnp.cumsum(mask, dtype=jnp.int32) - 1  # [S]
    empty = state.instance.entry_mask & (front.status == EMPTY)
    place = jnp.cumsum(empty, dtype=jnp.int32) - 1  # [F]
    goes = mask & empty[:, None] & (place[:, None] == rank)  # [F, S]
    new = goes.any(1)
    source = jnp.where(goes, jnp.arange(mask.shape[0], dtype=jnp.int32), 0).sum(-1, dtype=jnp.int32)
    # Heads are ready when their job enters, before the tasks whose data reach the memory in the same tick.
    seq = state.num_released + place - jnp.where(event.enter & shared, jnp.int32(2**30), 0)

    def write(values: Array, old: Array) -> Array:
        return jnp.where(new, values, old)

    def write_rows(values: Array, old: Array) -> Array:
        return jnp.where(new[:, None], take_rows(values, source), old)

    front = front.replace(
        status=write(jnp.full_like(front.status, READY), front.status),
        slot=write(slot, front.slot),
        task=write(lookup(next_tasks, source), front.task),
        exec_time=write_rows(take_rows(_rows(system.exec_time), index), front.exec_time),
        exec_mask=write_rows(take_rows(_rows(system.exec_mask), index), front.exec_mask),
        arrival=write_rows(arrival, front.arrival),
        ready_time=write(lookup(ready_time, source), front.ready_time),
        ready_seq=write(seq, front.ready_seq),
    )
    return state.replace(frontier=front, num_released=state.num_released + mask.sum(dtype=jnp.int32))


def _rows(table: Array) -> Array:
    """[P, T, X] as [P * T, X]."""
    return table.reshape(-1, table.shape[-1])


def _transfer(volume: Array, bandwidth: Array) -> Array:
    """i32[...]: whole us; padding has no bandwidth."""
    return volume // jnp.maximum(bandwidth, 1)
