"""Rules of the blocking job shop as pure functions of one state: no buffers, so a job keeps its
machine until it moves.

At each moment the lowest-numbered machine that is free, up and wanted by a job is served; one
competitor moves without a decision, of several the decision picks one. The machine it leaves is
free at once, and the machines are looked through again. When none is served, jobs whose next
operation is on the machine they hold go on there, and jobs that wait for each other in a circle
swap, if their machines are up. When nothing moves, time goes to the next moment at which something
does (`settle`), so every step begins at least one operation.

`wait`: a decision may also decline, and the machine stays free until the next event or competitor;
a single competitor is a decision too. Only while some operation, repair or release is still to
come. Without `swap` a circle of jobs is a deadlock and ends the episode. `lookahead` (without
`swap`) excludes moves after which no order is left in which the jobs could leave one after the
other (the banker's algorithm, Dijkstra 1965): such a shop cannot deadlock.

A machine that is down takes no job; one may leave it. The running operation resumes when it is up
again.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.core.arrays import lookup, segment_sum, take_column
from jaxsched.envs.job_shop import rules as classic
from jaxsched.envs.job_shop import settings as classic_settings
from jaxsched.envs.job_shop.blocking.failures import draw_failure, work_before_failure
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.blocking.types import Instance, Record, State, Windows
from jaxsched.envs.job_shop.types import undated

LATEST = jnp.iinfo(jnp.int32).max  # never; identity of a minimum over times


class Next(struct.PyTreeNode):
    """The next operation of every job; zeros where there is none (mask False), but machine M."""

    mask: Array  # bool[J]
    machine: Array  # i32[J]
    duration: Array  # i32[J]  ticks


def init(instance: Instance, settings: Settings) -> State:
    """The empty shop at the first moment at which something can move."""
    ops_left = instance.op_mask.sum(-1, dtype=jnp.int32)
    num_machines, zero = instance.num_machines, jnp.zeros((), jnp.int32)
    none, machines = jnp.zeros(ops_left.shape, jnp.bool_), jnp.zeros((num_machines,), jnp.int32)
    state = State(
        instance=instance,
        time=zero,
        next_op=jnp.zeros_like(ops_left),
        ops_left=ops_left,
        at=jnp.full_like(ops_left, num_machines),
        ready=jnp.where(ops_left > 0, instance.release, 0),
        work_left=instance.duration.sum(-1, dtype=jnp.int32),
        load_left=segment_sum(instance.duration.ravel(), instance.machine.ravel(), num_machines),
        competes=none,
        swaps=none,
        dead=jnp.zeros((), jnp.bool_),
        start=jnp.zeros_like(instance.duration),
        baseline=zero,
        declined=machines.astype(jnp.bool_) if settings.wait else None,
        record=None
        if instance.failures is None
        else Record(jnp.zeros_like(ops_left), jnp.full_like(ops_left, LATEST), machines),
    )
    state = settle(state, settings)
    return state.replace(baseline=makespan_bound(state))


def upcoming(state: State) -> Next:
    """What each job does next."""
    instance, mask = state.instance, state.ops_left > 0
    column = jnp.where(mask, state.next_op, instance.num_ops)  # out of range reads 0
    machine = jnp.where(mask, take_column(instance.machine, column), instance.num_machines)
    return Next(mask, machine, take_column(instance.duration, column))


def to_come(state: State) -> Array:
    """i32[]: the next end of an operation, release, or end of a running maintenance; LATEST
    where there is none.
    """
    when = jnp.where(state.ready > state.time, state.ready, LATEST).min()
    windows = state.instance.windows
    if windows is not None:
        running = (windows.start <= state.time) & (windows.end > state.time)
        when = jnp.minimum(when, jnp.where(running, windows.end, LATEST).min())
    return when


def may_wait(state: State, settings: Settings) -> Array:
    """bool[]: the machine that is served may be declined."""
    if not settings.wait:
        return jnp.zeros((), jnp.bool_)
    return state.competes.any() & (to_come(state) < LATEST)


def decides(state: State, settings: Settings) -> Array:
    """bool[]: there is something to choose."""
    return (
        state.competes.sum(dtype=jnp.int32) + may_wait(state, settings).astype(jnp.int32) > 1
    ) & ~state.done


def legal(state: State, settings: Settings) -> Array:
    """bool[J], with `wait` bool[J + 1]: who may move, then the no-op; all false where there is
    nothing to choose.
    """
    ask = decides(state, settings)
    jobs = state.competes & ask
    return jnp.append(jobs, may_wait(state, settings) & ask) if settings.wait else jobs


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    """One step: the decision, or the only competitor, or the jobs that swap; then time goes on if
    nothing moves now.

    `action` i32[] counts only where something is to be decided and it is `legal`, otherwise the
    state is unchanged.
    """
    instance, front = state.instance, upcoming(state)
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    jobs, machines = (
        jnp.arange(num_jobs, dtype=jnp.int32),
        jnp.arange(num_machines, dtype=jnp.int32),
    )
    ask = decides(state, settings)
    go = (legal | ~ask) & ~state.done
    chosen = (state.competes & (~ask | (jobs == action))) | state.swaps
    moves = chosen & go  # bool[J]

    enters = moves[None] & (front.machine[None] == machines[:, None])  # bool[M, J]
    end, record = _work(state, front, moves, enters.any(1))
    state = state.replace(
        next_op=state.next_op + moves.astype(jnp.int32),
        ops_left=state.ops_left - moves.astype(jnp.int32),
        at=jnp.where(moves, front.machine, state.at),
        ready=jnp.where(moves, end, state.ready),
        work_left=state.work_left - jnp.where(moves, front.duration, 0),
        load_left=state.load_left - jnp.where(enters, front.duration, 0).sum(1, dtype=jnp.int32),
        start=jnp.where(
            moves[:, None]
            & (jnp.arange(instance.num_ops, dtype=jnp.int32)[None] == state.next_op[:, None]),
            state.time,
            state.start,
        ),
        record=record,
    )
    if state.declined is not None:
        served = (state.competes[None] & (front.machine[None] == machines[:, None])).any(1)
        after = upcoming(state)
        arrives = (moves & (state.ready <= state.time))[None] & (
            after.machine[None] == machines[:, None]
        )
        waits = go & ask & (action == num_jobs)
        state = state.replace(declined=(state.declined | (served & waits)) & ~arrives.any(1))
    return settle(state, settings)


def _work(state: State, front: Next, moves: Array, begins: Array) -> tuple[Array, Record | None]:
    """i32[J]: when the next operation of each job ends if it begins now; and the record with
    those that do.
    """
    instance, record, began = (
        state.instance,
        state.record,
        jnp.broadcast_to(state.time, front.machine.shape),
    )
    planned = _pause(instance.windows, front.machine, began, front.duration)
    if instance.failures is None or record is None:
        return planned, None
    ordinal = lookup(record.num_begun, front.machine)
    drawn = jax.vmap(draw_failure, (None, 0, 0))(instance.failures, front.machine, ordinal)
    worked = work_before_failure(drawn.share, front.duration)
    fails = drawn.fails & (front.duration > 0)
    breaks = _pause(instance.windows, front.machine, began, worked, through=True)
    end = _pause(instance.windows, front.machine, breaks + drawn.repair, front.duration - worked)
    record = Record(
        planned=jnp.where(moves, planned, record.planned),
        fails=jnp.where(moves, jnp.where(fails, breaks, LATEST), record.fails),
        num_begun=record.num_begun + begins.astype(jnp.int32),
    )
    return jnp.where(fails, end, planned), record


def _pause(
    windows: Windows | None, machine: Array, began: Array, work: Array, through: bool = False
) -> Array:
    """i32[J]: when `work` ticks on `machine` are done that begin at `began`, with pauses for
    maintenance.

    `through`: when the tick after them begins.
    """
    if windows is None:
        return began + work
    start = jnp.maximum(_rows(windows.start, machine), began[:, None])  # [J, W]
    length = jnp.maximum(_rows(windows.end, machine) - start, 0)
    before = jnp.cumsum(length, 1, dtype=jnp.int32) - length
    worked = start - began[:, None] - before  # when the window begins
    met = worked < (work + int(through))[:, None]
    return began + work + jnp.where(met, length, 0).sum(1, dtype=jnp.int32)


def _up(windows: Windows | None, machine: Array, time: Array) -> Array:
    """i32[J]: the first moment from `time` on at which each machine is up; LATEST stays."""
    if windows is None:
        return time
    start, end = _rows(windows.start, machine), _rows(windows.end, machine)
    down = (start <= time[:, None]) & (time[:, None] < end)
    return jnp.where(time < LATEST, jnp.maximum(time, jnp.where(down, end, 0).max(1)), LATEST)


def _rows(table: Array, machine: Array) -> Array:
    """i32[J, W]: the row of each machine; zeros beyond the last."""
    hit = machine[:, None] == jnp.arange(table.shape[0], dtype=jnp.int32)[None]  # [J, M]
    return jnp.where(hit[..., None], table[None], 0).sum(1, dtype=jnp.int32)


def settle(state: State, settings: Settings) -> State:
    """Go to the next moment at which something moves, and say what: `competes`, or else `swaps`.

    Nothing changes where something moves now.
    """
    instance, front = state.instance, upcoming(state)
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    windows, jobs = instance.windows, jnp.arange(num_jobs, dtype=jnp.int32)
    # [j, k]: k has the machine that j wants
    holds = front.mask[:, None] & (front.machine[:, None] == state.at[None])
    # A job that has begun its last operation leaves when it ends; others only by moving on
    # themselves.
    leaves = jnp.where(front.mask, LATEST, state.ready)
    free = jnp.where(holds, leaves, 0).max(1)
    # whom each job waits for; J: nobody
    ahead = jnp.where(holds & front.mask[None], jobs, num_jobs).min(1)
    here = ahead == jobs
    own = jnp.maximum(state.time, state.ready)  # when it could move, if it could
    when = _up(windows, front.machine, jnp.maximum(own, free))
    when = jnp.where(front.mask & ~here, when, LATEST)
    if settings.lookahead:
        when = jnp.where(_safe(state, front), when, LATEST)
    declined = state.declined
    if declined is not None:
        passed = (lookup(declined.astype(jnp.int32), front.machine) > 0) & (when <= state.time)
        later = jnp.broadcast_to(to_come(state), when.shape)
        when = jnp.where(passed, _up(windows, front.machine, later), when)

    # only who holds a machine can be waited for
    ahead = jnp.where(state.at < num_machines, ahead, num_jobs)
    turn = jnp.where(here, own, _up(windows, front.machine, own))
    on_circle, together = circles(ahead, turn, min(num_jobs, num_machines))
    dead = jnp.zeros((), jnp.bool_)
    if not settings.swap:
        dead = (on_circle & ~here).any()
        on_circle &= here
    together = jnp.where(on_circle, together, LATEST)
    following = jnp.minimum(when, together).min()
    over = ~front.mask.any()
    dead = state.dead | dead | (~over & (following == LATEST))
    time = jnp.where(
        dead, state.time, jnp.where(over, jnp.maximum(state.time, state.ready.max()), following)
    )

    wanted = (when <= time) & ~over & ~dead
    served = jnp.where(wanted, front.machine, num_machines).min()
    swaps = (together <= time) & ~over & ~dead & ~wanted.any()
    # those that went to `time` may still have to wait for another machine of their circle
    if windows is not None:
        down = jnp.where(
            ~here & (_up(windows, front.machine, jnp.broadcast_to(time, own.shape)) > time),
            LATEST,
            0,
        )
        swaps &= circles(ahead, down, min(num_jobs, num_machines))[1] == 0
    return state.replace(
        time=time,
        at=jnp.where(~front.mask & (state.ready <= time), num_machines, state.at),
        competes=wanted & (front.machine == served),
        swaps=swaps,
        dead=dead,
        declined=None if declined is None else declined & (time == state.time),
    )


def circles(ahead: Array, value: Array, longest: int) -> tuple[Array, Array]:
    """bool[J], i32[J]: which jobs lie on a circle of `ahead` (i32[J], J: nobody), the largest
    `value` around it.

    Pointer jumping: after log2(longest) doublings every path of `longest` jobs has been walked, and
    ends on a circle or with nobody.
    """
    num_jobs = ahead.shape[0]
    for _ in range(max(longest - 1, 1).bit_length()):
        someone = ahead < num_jobs
        value = jnp.maximum(value, jnp.where(someone, lookup(value, ahead), 0))
        ahead = jnp.where(someone, lookup(ahead, ahead), num_jobs)
    return (ahead[:, None] == jnp.arange(num_jobs, dtype=jnp.int32)[None]).any(0), value


def _safe(state: State, front: Next) -> Array:
    """bool[J]: after the move of each job, the jobs in the shop could still leave it one after
    the other.
    """
    instance = state.instance
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    machines, ops = (
        jnp.arange(num_machines, dtype=jnp.int32),
        jnp.arange(instance.num_ops, dtype=jnp.int32),
    )
    # [J, K, M]
    uses = instance.op_mask[..., None] & (instance.machine[..., None] == machines[None, None])

    def needs(first: Array) -> Array:
        return (uses & (ops[None] >= first[:, None])[..., None]).any(1)  # [J, M]

    now, then = needs(state.next_op), needs(state.next_op + 1)
    held = state.at[:, None] == machines[None]

    def safe(job: Array) -> Array:
        moved = (jnp.arange(num_jobs, dtype=jnp.int32) == job)[:, None]
        need = jnp.where(moved, then, now)
        have = jnp.where(moved, front.machine[:, None] == machines[None], held)
        have &= front.mask[:, None] | moved  # the others are about to leave
        inside = have.any(1)

        def leave(_: int, out: Array) -> Array:
            taken = (have & ~out[:, None]).any(0)
            return out | (inside & ~(need & taken[None] & ~have).any(1))

        out = jax.lax.fori_loop(0, min(num_jobs, num_machines), leave, jnp.zeros_like(inside))
        return (out | ~inside).all()

    return jax.vmap(safe)(jnp.arange(num_jobs, dtype=jnp.int32))


def known_end(state: State) -> Array:
    """i32[J]: `ready` as known at `time`: a failure, and how long the repair takes, shows when
    it happens.
    """
    if state.record is None:
        return state.ready
    known = (state.record.fails <= state.time) | (state.next_op == 0)
    return jnp.where(known, state.ready, state.record.planned)


def bound(state: State, settings: Settings) -> Array:
    """i32[]: running lower bound on the makespan; see `makespan_bound`."""
    return makespan_bound(state)


def makespan_bound(state: State) -> Array:
    """i32[]: every job still needs its work, every machine its load; non-decreasing, the makespan
    at the end.

    A deadlock costs, on top of the bound at that moment, the durations of all operations: more than
    any schedule that no interruption delays.
    """
    open_, end = state.ops_left > 0, known_end(state)
    end = jnp.where(open_, jnp.maximum(state.time, end), end)
    machines = jnp.arange(state.instance.num_machines, dtype=jnp.int32)
    free = jnp.where(state.at[None] == machines[:, None], end, 0).max(1)
    loads = jnp.where(state.load_left > 0, jnp.maximum(state.time, free) + state.load_left, 0)
    found = jnp.maximum((end + state.work_left).max(), loads.max())
    total = state.instance.duration.sum(dtype=jnp.int32)
    return found + jnp.where(state.dead, jnp.minimum(total, LATEST - found), 0)


def lower_bound(instance: Instance, settings: Settings) -> Array:
    """i32[]: no schedule is better, whatever interrupts it: the bound of the shop with buffers."""
    return classic.lower_bound(undated(instance), classic_settings.Settings())


def waiting(state: State, after: State) -> Array:
    """i32[]: jobs that waited, in the shop or outside, times ticks, in the step from `state` to
    `after`.
    """
    since = jnp.maximum(state.time, after.ready)
    waits = jnp.where(after.ops_left > 0, jnp.maximum(after.time - since, 0), 0)
    return waits.sum(dtype=jnp.int32)
