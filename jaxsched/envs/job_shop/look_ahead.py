"""What comes after the next operation of every job, as if nobody waited, and what every machine has
to expect of it: who sees it need not look along the routes.

A *visit* is one operation of a job on a machine, or several where the job comes back to it. A job
*arrives* at a visit when it has done what comes before it without waiting. A machine *ends* when it
has done all its load without idling; the later that is, the more critical is the machine. Ours.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxsched.core.arrays import MAX, MIN, SUM, at_max, lookup, reduce_together, take_column
from jaxsched.envs.job_shop.rules import LATEST, Frontier
from jaxsched.envs.job_shop.scale import Scale
from jaxsched.envs.job_shop.types import Instance, State

STEEPNESS = 8.0  # work on a machine that ends x spans before the bound counts exp(-8 x)


class Visits(struct.PyTreeNode):
    """The next visit of every job to every machine, after the job's next operation."""

    tail: Array  # i32[J, M]  work of the job from the visit on, ticks; -1: no visit
    work: Array  # i32[J, M]  its work on that machine from then on, ticks


def next_visits(instance: Instance, next_op: Array) -> Visits:
    """After the operations `next_op` i32[J]; of no meaning for a job that is finished."""
    duration = instance.duration
    before = jnp.cumsum(duration, -1, dtype=jnp.int32) - duration
    tail = duration.sum(-1, keepdims=True, dtype=jnp.int32) - before
    column = jnp.arange(instance.num_ops, dtype=jnp.int32)
    later = instance.op_mask & (column[None] > next_op[:, None])
    ids = jnp.arange(instance.num_machines, dtype=jnp.int32)
    machine = jnp.where(later, instance.machine, -1)
    here = machine[..., None] == ids[None, None]  # bool[J, K, M]
    tail = jnp.where(here, tail[..., None], -1)
    work = jnp.where(here, duration[..., None], 0)
    return Visits(*reduce_together([(MAX, tail), (SUM, work)], axis=1))


class Queues(struct.PyTreeNode):
    """What every machine has to expect; of no meaning where nothing more comes."""

    waiting: Array  # i32[M]  durations of the operations that are next and need it, ticks
    first: Array  # i32[M]  when it can start the next operation at the earliest, ticks
    bound: Array  # i32[M]  no schedule is shorter: the one-machine bound, ticks


def second_operation(state: State) -> tuple[Array, Array]:
    """i32[J] each: machine and duration of the operation after the next one; a machine out of range
    and 0 where there is none.
    """
    instance, there = state.instance, state.ops_left > 1
    column = jnp.where(there, state.next_op + 1, instance.num_ops)
    machine = jnp.where(there, take_column(instance.machine, column), instance.num_machines)
    return machine, take_column(instance.duration, column)


def look_ahead(state: State, front: Frontier, scale: Scale) -> dict[str, Array]:
    """Of every job by name: the most critical machine on its way, its work for critical machines,
    who arrives next at the machine that it needs now, who waits where, and by when all can be
    completed.
    """
    units, spans, until = scale.units, scale.spans, scale.until
    visits = next_visits(state.instance, state.next_op)
    tail, work = visits.tail, visits.work
    visit = front.mask[:, None] & (tail >= 0)  # bool[J, M]
    completion = front.start + state.work_left
    arrival = completion[:, None] - tail
    own_end = front.start + front.duration
    after = state.work_left - front.duration
    queues = _queues(state, front, jnp.where(visit, arrival, LATEST), visits)

    ready = jnp.broadcast_to(state.machine_ready, visit.shape)
    machine_end = state.machine_ready + state.load_left
    weight = jnp.exp(STEEPNESS * (jnp.minimum(until(machine_end), 1.0) - 1.0))[None]
    end, critical_arrival, critical_work, critical_ready, critical_start = at_max(
        jnp.where(visit, machine_end[None], -1),
        arrival,
        work,
        ready,
        jnp.broadcast_to(queues.first, visit.shape),
        axis=1,
    )
    goes_on = end >= 0
    weighted, bound, critical_bound = reduce_together(
        [
            (SUM, jnp.where(visit, weight * spans(work), 0.0)),
            (MAX, jnp.where(visit, ready + tail, 0)),
            (MAX, jnp.where(visit, queues.bound[None], scale.now)),
        ],
        axis=1,
        cpu_only=True,
    )

    next_arrival, next_tail = _next_arrival(front, visit, arrival, tail)
    comes = front.mask & (next_arrival < LATEST)
    second_machine, _ = second_operation(state)
    return {
        "(critical machine end - now) / span": until(jnp.where(goes_on, end, scale.now)),
        "(critical arrival - now) / span": until(jnp.where(goes_on, critical_arrival, scale.now)),
        "critical work / unit": units(jnp.where(goes_on, critical_work, 0)),
        "(critical machine ready - critical arrival) / span": spans(
            jnp.where(goes_on, critical_ready - critical_arrival, 0)
        ),
        "work weighted by machine end / span": weighted,
        "(next arrival - end) / unit": units(jnp.where(comes, next_arrival - own_end, 0)),
        "(next arrival's work - work after) / span": spans(jnp.where(comes, next_tail - after, 0)),
        "(completion bound - now) / span": until(jnp.maximum(completion, bound)),
        "second machine waiting / span": spans(lookup(queues.waiting, second_machine)),
        "(machine bound - now) / span": until(lookup(queues.bound, front.machine)),
        "(critical bound - now) / span": until(critical_bound),
        "(critical arrival - first start there) / span": spans(
            jnp.where(goes_on, critical_arrival - critical_start, 0)
        ),
        "(first start there - critical machine ready) / span": spans(
            jnp.where(goes_on, critical_start - critical_ready, 0)
        ),
    }


def _next_arrival(
    front: Frontier, visit: Array, arrival: Array, tail: Array
) -> tuple[Array, Array]:
    """i32[J]: when the first job that is not there yet arrives at the next machine of each job,
    and the work that it has left then, the most of several; `LATEST` where nobody comes.
    """
    sooner = jnp.where(visit, -arrival, -LATEST)
    first = sooner.max(0)
    most = jnp.where(sooner == first[None], tail, -1).max(0)
    return -lookup(first, front.machine), lookup(most, front.machine)


def _queues(state: State, front: Frontier, arrival: Array, visits: Visits) -> Queues:
    """`arrival` i32[J, M]: at the next visit, `LATEST` where there is none."""
    ids = jnp.arange(state.instance.num_machines, dtype=jnp.int32)
    needs = front.mask[:, None] & (front.machine[:, None] == ids[None])
    after = jnp.where(needs, (state.work_left - front.duration)[:, None], LATEST)
    later = jnp.where(arrival < LATEST, visits.tail - visits.work, LATEST)
    waiting, first, least = reduce_together(
        [
            (SUM, jnp.where(needs, front.duration[:, None], 0)),
            (MIN, jnp.where(needs, front.start[:, None], arrival)),
            (MIN, jnp.minimum(after, later)),
        ],
        axis=0,
        cpu_only=True,
    )
    comes = first < LATEST
    head = jnp.where(comes, jnp.maximum(state.machine_ready, first), state.machine_ready)
    return Queues(waiting, head, head + state.load_left + jnp.where(comes, least, 0))
