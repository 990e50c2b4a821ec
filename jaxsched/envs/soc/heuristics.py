"""Schedulers of the literature as scores of a state, the highest legal score first.

In DS3 a scheduler is called once per tick, with the list of all ready tasks; here it is asked for
one task after the other, and decides as the joint call would. Times are integers. Scores are
graded, so that they can be sampled: within the task, or the tasks, that a rule would decide next,
PEs score by the time it minimises; the rule's own choice, ties included, is one above all that are
as good. Estimates and transfers: `decisions.py`.

CPU, MET, STF, EFT, ETF: Arda et al. (DS3), IEEE Trans. Computers 2020. HEFT: Topcuoglu, Hariri &
Wu, IEEE TPDS 2002. PEFT: Arabnejad & Barbosa, IEEE TPDS 2014. HEFT_RT: HEFT at run time, of
DASH-Sim; "HEFT" of DeepSoCS and SoCRATES.
"""

from __future__ import annotations

import types
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import lookup, take
from jaxsched.envs.soc.decisions import (
    busy_pes,
    decided_now,
    estimate,
    first,
    ready,
    scan_etf_lb,
    timeline,
)
from jaxsched.envs.soc.settings import PLANS, Settings
from jaxsched.envs.soc.types import LATEST, QUEUED, RUNNING, State


def cpu(state: State, settings: Settings) -> Array:
    """The first PE that can run the first ready task (DS3: PE 0). i32[F, Q]."""
    shape = state.frontier.exec_time.shape
    return _score_first_task(state, jnp.broadcast_to(_pe_ids(state), shape))


def met(state: State, settings: Settings) -> Array:
    """Minimum execution time of the first ready task. i32[F, Q].

    Of several such PEs, some of them busy, as many are dropped as are busy, from the first busy one
    on (all of DS3's busy PEs where they are adjacent); of the rest, the one that was given fewest
    tasks in this call.
    """
    time, able = state.frontier.exec_time, _first_able(state)
    shortest = able & (time == jnp.where(able, time, LATEST).min())  # in one row
    busy = shortest & busy_pes(state)[None]
    num_busy = busy.sum(dtype=jnp.int32)
    place = jnp.cumsum(shortest, 1, dtype=jnp.int32)  # among the candidates
    first_busy = jnp.where(busy, place, LATEST).min()
    some = (num_busy > 0) & (num_busy < shortest.sum(dtype=jnp.int32))
    kept = shortest & ~(some & (place >= first_busy) & (place - first_busy < num_busy))
    pe = state.frontier.pe[:, None] == _pe_ids(state)[None]
    given = (pe & decided_now(state)[:, None]).sum(0, dtype=jnp.int32)
    fewest = kept & (given == jnp.where(kept, given, LATEST).min())[None]
    return _score(time, able, fewest)


def stf(state: State, settings: Settings) -> Array:
    """Minimum execution time of the first ready task, ties to the lowest PE (as DS3's STF
    behaves). i32[F, Q].
    """
    return _score_first_task(state, state.frontier.exec_time)


def eft(state: State, settings: Settings) -> Array:
    """Earliest estimated finish time of the first ready task. i32[F, Q]."""
    return _score_first_task(state, estimate(state, settings))


def etf(state: State, settings: Settings) -> Array:
    """Earliest estimated finish time over all ready tasks and PEs; ties to the first task, the
    lowest PE. i32[F, Q].
    """
    finish, able = estimate(state, settings), _able(state)
    best = able & (finish == jnp.where(able, finish, LATEST).min())
    return _score(finish, able, best & first(best.any(1), state.frontier.ready_seq)[:, None])


def etf_lb(state: State, settings: Settings) -> Array:
    """ETF, ties to the PE of the smallest counter (`scan_etf_lb`; `rule="etf_lb"`). i32[F, Q]."""
    entry, pe, _ = scan_etf_lb(state, settings)
    entries = jnp.arange(state.instance.num_entries, dtype=jnp.int32)[:, None]
    return _score(
        estimate(state, settings), _able(state), (entries == entry) & (_pe_ids(state) == pe)[None]
    )


def heft_rt(state: State, settings: Settings) -> Array:
    """The ready task of the largest mean time, where its PE's timeline lets it finish first. i32[F,
    Q].

    Published code has two slips that are repaired here and kept in `heft_rt_released`.
    `rule="heft_rt"` adds the order of the plan.
    """
    front, waits = state.frontier, ready(state)
    mean = _mean(state)
    longest = waits & (mean == jnp.where(waits, mean, -1.0).max())
    free, end = timeline(state)
    finish = front.exec_time + jnp.where(front.exec_time == 0, free, end) - state.time
    return _score_task(state, first(longest, front.ready_seq), finish)


def heft_rt_released(state: State, settings: Settings) -> Array:
    """HEFT_RT with the slips of the code released with DASH-Sim and SoCRATES. i32[F, Q].

    Of several tasks of the largest mean time the first is planned last, and all of them may have to
    wait for a task that has to do with none (`collision`). Meant for tasks of length 1 or more.
    `rule="heft_rt_released"` adds the order of the plan.
    """
    front, waits, now = state.frontier, ready(state), decided_now(state)
    mean, listed = _mean(state), waits | now
    largest = listed & (mean == jnp.where(listed, mean, -1.0).max())
    longest = waits & (mean == jnp.where(waits, mean, -1.0).max())
    others = longest & ~first(largest, front.ready_seq)
    longest = jnp.where(others.any(), others, longest)
    _, end = timeline(state)
    here = (front.pe[:, None] == _pe_ids(state)[None]) & now[:, None]
    # in this call, behind all else
    planned = jnp.where(here, front.mean[:, None], 0).sum(0, dtype=jnp.int32)
    end = jnp.maximum(end - planned, collision(state)) + planned
    return _score_task(
        state, first(longest, front.ready_seq), front.exec_time + end[None] - state.time
    )


def collision(state: State) -> Array:
    """i32[]: before when released HEFT_RT plans nothing, now or later.

    It plans all tasks of a call as a graph with an entry of length 0, which gets the id after the
    largest of theirs (ids count through the tasks of all jobs in the order in which they entered).
    If a task of that id is running or queued, the entry counts as planned already, and all wait for
    the end of that task.
    """
    front, system = state.frontier, state.instance.system
    listed = ready(state) | decided_now(state)
    ids = lookup(state.jobs.ordinal, front.slot) * system.num_tasks + front.task
    largest = jnp.where(listed, ids, -1).max()
    num_tasks = lookup(system.num_tasks_of, lookup(state.jobs.profile, front.slot))
    # of its job: the next job's first task
    last = (listed & (ids == largest) & (front.task + 1 == num_tasks)).any()
    entry = jnp.where(last, (largest // system.num_tasks + 1) * system.num_tasks, largest + 1)
    queued = (front.status == QUEUED) & ~listed
    same = (
        (front.pe[:, None] == front.pe[None])
        & queued[None]
        & (front.queue_key[None] <= front.queue_key[:, None])
    )
    free, _ = timeline(state)
    end = lookup(free, front.pe) + jnp.where(same, front.mean, 0).sum(1, dtype=jnp.int32)
    end = jnp.where(front.status == RUNNING, front.start + front.mean, end)
    return jnp.maximum(
        jnp.where((ids == entry) & ((front.status == RUNNING) | queued), end, 0).max(), state.time
    )


def heft(state: State, settings: Settings) -> Array:
    """The PE that HEFT plans for the first ready task, its job alone on the platform. i32[F, Q]."""
    return _planned(state, PLANS.index("heft"))


def peft(state: State, settings: Settings) -> Array:
    """The PE that PEFT plans for the first ready task, its job alone on the platform. i32[F, Q]."""
    return _planned(state, PLANS.index("peft"))


def random(state: State, settings: Settings) -> Array:
    """Equal scores: sampled by `randomised`, a uniformly random legal action. i32[F, Q]."""
    return jnp.zeros_like(state.frontier.exec_time)


def _mean(state: State) -> Array:
    """f32[F]: the mean time of each task over the PEs that can run it."""
    front = state.frontier
    num_able = jnp.maximum(front.exec_mask.sum(1, dtype=jnp.int32), 1)
    return front.exec_time.sum(1, dtype=jnp.int32).astype(jnp.float32) / num_able.astype(
        jnp.float32
    )


def _pe_ids(state: State) -> Array:
    return jnp.arange(state.instance.system.num_pes, dtype=jnp.int32)


def _able(state: State) -> Array:
    return ready(state)[:, None] & state.frontier.exec_mask


def _first_able(state: State) -> Array:
    return first(ready(state), state.frontier.ready_seq)[:, None] & state.frontier.exec_mask


def _score(cost: Array, able: Array, choice: Array) -> Array:
    """i32[F, Q]: less cost is better, the choice is best; what is not `able` comes after all that
    is.

    Where several PEs of one task are the choice, the lowest index wins.
    """
    least = jnp.where(able, cost, LATEST).min()
    value = jnp.where(able, -2 * jnp.minimum(cost - least, 2**27), 0)
    return jnp.where(choice, 1, jnp.where(able, value, 2 * value.min() - 2))


def _score_task(state: State, task: Array, cost: Array) -> Array:
    """Scores of a rule that decides `task` bool[F] (one entry) next: the PE of least cost, ties
    to the lowest.
    """
    able = task[:, None] & state.frontier.exec_mask
    return _score(cost, able, able & (cost == jnp.where(able, cost, LATEST).min()))


def _score_first_task(state: State, cost: Array) -> Array:
    return _score_task(state, first(ready(state), state.frontier.ready_seq), cost)


def _planned(state: State, plan: int) -> Array:
    front, system = state.frontier, state.instance.system
    task = first(ready(state), front.ready_seq)

    def value_of_task(values: Array) -> Array:
        return jnp.where(task, values, 0).sum(dtype=jnp.int32)

    slot = value_of_task(front.slot)
    profile = take(state.jobs.profile, slot)
    pe = take(system.plan_pe, jnp.int32(plan), profile, value_of_task(front.task))
    other = (_pe_ids(state) != pe).astype(jnp.int32)
    return _score_task(state, task, jnp.broadcast_to(other, front.exec_time.shape))


RULES: types.MappingProxyType[str, Callable[[State, Settings], Array]] = types.MappingProxyType(
    {
        "cpu": cpu,
        "met": met,
        "stf": stf,
        "eft": eft,
        "etf": etf,
        "etf_lb": etf_lb,
        "heft_rt": heft_rt,
        "heft_rt_released": heft_rt_released,
        "heft": heft,
        "peft": peft,
        "random": random,
    }
)
