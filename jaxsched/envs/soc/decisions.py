"""A decision of DS3 (`rules.py`): which tasks wait for a PE, and what giving one does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxsched.core.arrays import put_add, take, take_row
from jaxsched.envs.soc.settings import PLANS, Settings
from jaxsched.envs.soc.types import LATEST, QUEUED, READY, RUNNING, Instance, State


def ready(state: State) -> Array:
    """bool[F]: tasks that wait for a decision."""
    return (state.frontier.status == READY) & (state.frontier.ready_time <= state.time)


def decides(state: State) -> Array:
    """bool[]: the scheduler is asked for one task."""
    return ~state.event & ready(state).any() & ~state.done


def able(state: State) -> Array:
    """bool[F, Q]: PEs that can run each ready task; all false where no decision is asked for."""
    return (ready(state) & decides(state))[:, None] & state.frontier.exec_mask


def first(mask: Array, seq: Array) -> Array:
    """bool[F]: the entry of `mask` with the smallest `seq` i32[F]; all false where there is
    none.
    """
    return mask & (seq == jnp.where(mask, seq, LATEST).min())


def transfer(state: State, settings: Settings) -> Array:
    """i32[F, Q]: us until the data of each ready task would be at each PE, decided now: C of the
    heuristics.
    """
    if settings.communication == "shared_memory":
        return state.frontier.arrival
    return jnp.maximum(state.frontier.arrival - state.time, 0)


def estimate(state: State, settings: Settings) -> Array:
    """i32[F, Q]: us until each ready task would finish on each PE, as EFT and ETF estimate it; 0
    where it cannot run.

    mean execution time + max(transfer, the PE's own estimate): later decisions and starts do not
    correct it.
    """
    wait = jnp.maximum(transfer(state, settings), (state.pe_estimate - state.time)[None])
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
            hit,
            by_job if settings.dispatch_order == "job_id" else state.num_dispatched,
            front.queue_key,
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
    """i32[]: us that a task takes; depends on the instance, the job, the task and the mean
    alone.
    """
    if instance.noise is None:
        return mean
    key = random.fold_in(random.fold_in(instance.noise.key, ordinal), task)
    expected = mean.astype(jnp.float32)
    drawn = jnp.round(
        expected + instance.noise.std * expected * random.normal(key, (), jnp.float32)
    )
    return jnp.where(mean > 0, jnp.maximum(drawn.astype(jnp.int32), 1), 0)


def plan_predecessor(
    state: State,
    settings: Settings,
    slot: Array,
    profile: Array,
    task: Array,
    pe: Array,
    mean: Array,
) -> tuple[Array, Array]:
    """i32[], bool[]: the task (slot * T + task) that the plan has before this one on its PE;
    whether to wait for it.

    `heft` and `peft`: the job's own task before it in the plan of the job alone. HEFT_RT: the one
    before it on the PE's timeline (`timeline`).
    """
    front, system = state.frontier, state.instance.system
    if settings.rule_in_force in PLANS:
        plan = jnp.int32(PLANS.index(str(settings.rule_in_force)))
        before = take(system.plan_predecessor, plan, profile, task)
        there = take(system.plan_mask, plan, profile, task)
        open_ = take(state.jobs.finish, slot, before) == LATEST
        return slot * system.num_tasks + before, there & open_
    # Positions on the timeline: the running task, the queue, what this call decided. Tasks of
    # length 0 of this call stand in front of the first longer one, whichever comes before them
    # stands in front of that too.
    here = (front.status >= QUEUED) & (front.pe == pe)
    now, queued = decided_now(state), here & (front.status == QUEUED)
    long = queued & (front.mean > 0)
    first_long = jnp.where(long & ~now, front.queue_key, LATEST).min()
    in_front = jnp.where(now, front.mean == 0, front.queue_key < first_long)
    here &= jnp.where(
        (mean == 0) | ~long.any(), (front.status == RUNNING) | in_front, ~now | (front.mean > 0)
    )
    position = jnp.where(queued, front.queue_key, -1)
    position = jnp.where(now, jnp.int32(2**30) + front.dispatch_seq, position)
    last = here & (position == jnp.where(here, position, -2).max())
    return jnp.where(last, front.slot * system.num_tasks + front.task, 0).sum(
        dtype=jnp.int32
    ), here.any()


def scan_etf_lb(state: State, settings: Settings) -> tuple[Array, Array, Array]:
    """Entry and PE, i32[], that ETF_LB picks, and its counters i32[Q] after the scan.

    It goes through the ready tasks in order. The best PE of a task is, of those with the smallest
    estimate, the one with the smallest counter; where it improves on the best so far, its counter
    goes up.
    """
    front = state.frontier
    waits, finish = ready(state), jnp.where(front.exec_mask, estimate(state, settings), LATEST)
    order = jnp.argsort(jnp.where(waits, front.ready_seq, LATEST)).astype(jnp.int32)
    counters = (
        jnp.zeros_like(state.pe_estimate) if state.num_improved is None else state.num_improved
    )

    def scan_entry(carry: tuple[Array, ...], entry: Array) -> tuple[tuple[Array, ...], None]:
        best, pick, pe, counters = carry
        row = take_row(finish, entry)
        shortest = row.min()
        mine = jnp.argmin(jnp.where(row == shortest, counters, LATEST)).astype(jnp.int32)
        improves = take(waits, entry) & (shortest < best)
        kept = (best, pick, pe, counters)
        new = (shortest, entry, mine, put_add(counters, 1, mine))
        return jax.tree.map(lambda a, b: jnp.where(improves, a, b), new, kept), None

    zero = jnp.zeros((), jnp.int32)
    start = (zero + LATEST, zero, zero, counters)
    (_, pick, pe, counters), _ = jax.lax.scan(scan_entry, start, order)
    return pick, pe, counters


def decided_now(state: State) -> Array:
    """bool[F]: tasks that were given a PE in this call of the scheduler."""
    return (state.frontier.status == QUEUED) & (state.frontier.dispatch_seq >= state.call_start)


def busy_pes(state: State) -> Array:
    """bool[Q]: PEs that run a task."""
    front = state.frontier
    here = front.pe[:, None] == jnp.arange(state.instance.system.num_pes, dtype=jnp.int32)[None]
    return (here & (front.status == RUNNING)[:, None]).any(0)


def timeline(state: State) -> tuple[Array, Array]:
    """i32[Q] both: when each PE is done with the task it runs, and with its queue too, as HEFT_RT
    plans it.

    The running task by its mean time, then one queued task directly after the other; transfers are
    ignored. There are no gaps, so that insertion is possible for a task of length 0 only, right
    after the running task.
    """
    front = state.frontier
    here = front.pe[:, None] == jnp.arange(state.instance.system.num_pes, dtype=jnp.int32)[None]
    running = here & (front.status == RUNNING)[:, None]
    free = jnp.maximum(
        jnp.where(running, (front.start + front.mean)[:, None], 0).max(0), state.time
    )
    queued = here & (front.status == QUEUED)[:, None]
    return free, free + jnp.where(queued, front.mean[:, None], 0).sum(0, dtype=jnp.int32)
