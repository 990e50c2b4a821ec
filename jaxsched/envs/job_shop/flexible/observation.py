"""The frontier observation in tail form: the next decision, a short look-ahead, and sums over what
remains.

Nodes are the J jobs, then the M machines; actions are all J * M pairs. Times are relative to the
clock, durations in units of the mean remaining shortest duration (`unit`), longer times in units of
makespan bound - clock (`span`), so two states with the same remaining problem look the same,
whatever the date, their time unit and their padding. Of the past only waiting shows: how long a job
or a machine has been idle at the clock.

In the names of features, the first end of a job is that on the best of its machines, the work after
is what a job has left after its next operation, each operation on its fastest machine, and the
expected load of a machine is the unscheduled work, each operation in equal parts on its machines.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import take_row
from jaxsched.core.graph import Actions, Blocks, GraphObservation
from jaxsched.envs.job_shop.flexible.rules import LATEST, Frontier, frontier, makespan_bound
from jaxsched.envs.job_shop.flexible.types import State
from jaxsched.envs.job_shop.observation import Scale

# competes: the next operations of both have a machine in common
RELATIONS = ("other job", "competes", "other machine", "eligible")
OTHER_JOB, COMPETES, OTHER_MACHINE, ELIGIBLE = 1, 2, 3, 4


class Outlook(struct.PyTreeNode):
    """What jobs and machines have to expect of each other, read by the features of both and of
    their pairs.
    """

    num_open: Array  # f32[]  unfinished jobs, at least 1
    num_machines: Array  # f32[]  real machines, at least 1
    num_left: Array  # f32[]  unscheduled operations, at least 1
    # Of the next operation of every job, over its machines.
    num_eligible: Array  # f32[J]  machines, at least 1
    shortest: Array  # i32[J]  ticks
    mean: Array  # f32[J]  ticks
    end: Array  # i32[J, M]  if dispatched now; without meaning where not eligible
    first_end: Array  # i32[J]
    work_after: Array  # i32[J]  ticks
    # Of every machine, over the jobs that can use it next and the operations that may come.
    num_waiting: Array  # i32[M]
    rivals: Array  # i32[J, M]  other jobs that can use the machine next; 0 where not eligible
    least_here: Array  # i32[M]  shortest duration among those jobs, ticks
    longest_after: Array  # i32[M]  longest work after among those jobs, ticks
    may_come: Array  # i32[M]  operations
    expected: Array  # f32[M]  ticks


def frontier_observation(state: State, mask: Array) -> GraphObservation:
    """`mask` bool[J * M]: legal actions. N = J + M nodes, A = J * M actions."""
    front = frontier(state)
    scale, outlook = _scale_of(state, front), _outlook_of(state, front)
    alive = state.instance.machine_mask & (outlook.may_come > 0)
    nodes = (
        graph.nodes("job", front.mask, _job_features(state, front, scale, outlook)),
        graph.nodes("machine", alive, _machine_features(state, front, scale, outlook)),
    )
    actions = (_dispatches(state, front, scale, outlook),)
    relation = graph.relations(nodes, _blocks(front))
    return GraphObservation(nodes, relation, actions, mask, RELATIONS)


def _scale_of(state: State, front: Frontier) -> Scale:
    """Clock and units of a state: the unit is the mean of the shortest durations."""
    now = jnp.where(state.done, 0, jnp.where(front.eligible, front.start, LATEST).min())
    work = state.work_left.sum(dtype=jnp.int32)
    unit = _number(state.ops_left) / jnp.maximum(work, 1).astype(jnp.float32)
    span = 1.0 / jnp.maximum(makespan_bound(state) - now, 1).astype(jnp.float32)
    return Scale(now, unit, span)


def _outlook_of(state: State, front: Frontier) -> Outlook:
    instance, pairs = state.instance, front.eligible
    num_eligible = _number(pairs, 1)
    shortest, end = _least(front.duration, pairs), front.start + front.duration
    work_after = state.work_left - shortest
    column = jnp.arange(instance.num_ops, dtype=jnp.int32)
    left = column[None] >= state.next_op[:, None]
    ahead = instance.eligible_mask & left[..., None]  # [J, K, M]
    share = (
        jnp.where(ahead, instance.duration, 0).astype(jnp.float32) / _number(ahead, -1)[..., None]
    )
    num_waiting = pairs.sum(0, dtype=jnp.int32)
    return Outlook(
        num_open=_number(front.mask),
        num_machines=_number(instance.machine_mask),
        num_left=_number(state.ops_left),
        num_eligible=num_eligible,
        shortest=shortest,
        # a duration is 0 where not eligible
        mean=front.duration.sum(1, dtype=jnp.int32).astype(jnp.float32) / num_eligible,
        end=end,
        first_end=_least(end, pairs),
        work_after=work_after,
        num_waiting=num_waiting,
        rivals=pairs.astype(jnp.int32) * (num_waiting - 1)[None],
        least_here=_least(front.duration, pairs, 0),
        longest_after=jnp.where(pairs, work_after[:, None], 0).max(0),
        may_come=ahead.sum((0, 1), dtype=jnp.int32),
        expected=share.sum((0, 1)),
    )


def _job_features(
    state: State, front: Frontier, scale: Scale, outlook: Outlook
) -> dict[str, Array]:
    """Of every job by name: its next operation over all machines that can do it, the one after,
    and sums over what remains.
    """
    instance, pairs = state.instance, front.eligible
    units, spans, until = scale.units, scale.spans, scale.until
    num_open, num_machines = outlook.num_open, outlook.num_machines
    first_end, work_after = outlook.first_end, outlook.work_after
    longest = jnp.where(pairs, front.duration, 0).max(1)
    start = _least(front.start, pairs)
    num_rivals = outlook.rivals.sum(1, dtype=jnp.int32).astype(jnp.float32)

    # Of the operation after the next one.
    has_second = state.ops_left > 1
    second = jnp.where(has_second, state.next_op + 1, instance.num_ops)
    second_pairs = jax.vmap(take_row)(instance.eligible_mask, second)
    second_duration = _least(jax.vmap(take_row)(instance.duration, second), second_pairs)
    num_second = second_pairs.sum(1, dtype=jnp.int32).astype(jnp.float32)
    second_ready = _least(jnp.broadcast_to(state.machine_ready[None], pairs.shape), second_pairs)
    second_load = jnp.where(second_pairs, outlook.expected[None], 0).sum(1)
    return {
        "shortest duration / unit": units(outlook.shortest),
        "mean duration / unit": outlook.mean * scale.unit,
        "(longest - shortest duration) / unit": units(longest - outlook.shortest),
        "its machines / machines": outlook.num_eligible / num_machines,
        "1 / its machines": 1.0 / outlook.num_eligible,
        "(start - now) / span": until(start),
        "(first end - now) / span": until(first_end),
        "(job ready - now) / span": until(state.job_ready),
        "(start - job ready) / unit": units(start - state.job_ready),
        "work left / span": spans(state.work_left),
        "work after / span": spans(work_after),
        "(first end + work after - now) / span": until(first_end + work_after),
        "operations left / mean": state.ops_left.astype(jnp.float32)
        * (num_open / outlook.num_left),
        "rivals per machine / open jobs": num_rivals / outlook.num_eligible / num_open,
        "shortest second duration / unit": units(second_duration),
        "second machines / machines": num_second / num_machines,
        "(second machine ready - first end) / span": spans(
            jnp.where(has_second, second_ready - first_end, 0)
        ),
        "expected load per second machine / span": second_load
        / jnp.maximum(num_second, 1)
        * scale.span,
        "open jobs / (open jobs + machines)": num_open / (num_open + num_machines),
    }


def _machine_features(
    state: State, front: Frontier, scale: Scale, outlook: Outlook
) -> dict[str, Array]:
    """Of every machine by name: what it has to do, and the jobs that can use it next."""
    pairs, expected, now = front.eligible, outlook.expected, scale.now
    is_wanted = outlook.num_waiting > 0
    first_start = jnp.where(is_wanted, _least(front.start, pairs, 0) - now, 0)
    num_best = _best(front, outlook).sum(0, dtype=jnp.int32)
    ready = (state.machine_ready - now).astype(jnp.float32)
    return {
        "(machine ready - now) / span": ready * scale.span,
        "load that only it can do / span": scale.spans(state.load_left),
        "expected load / span": expected * scale.span,
        "(machine ready + expected load - now) / span": (ready + expected) * scale.span,
        "operations that may come / operations left": outlook.may_come.astype(jnp.float32)
        / outlook.num_left,
        "jobs that can use it next / open jobs": outlook.num_waiting.astype(jnp.float32)
        / outlook.num_open,
        "jobs that end first here / open jobs": num_best.astype(jnp.float32) / outlook.num_open,
        "(first start - now) / span": scale.spans(first_start),
        "shortest duration / unit": scale.units(outlook.least_here),
        "longest work after / span": scale.spans(outlook.longest_after),
        "is wanted": is_wanted,
    }


def _dispatches(state: State, front: Frontier, scale: Scale, outlook: Outlook) -> Actions:
    """All pairs of a job and a machine; features are of those that are possible."""
    pairs, start, duration, end = front.eligible, front.start, front.duration, outlook.end
    units, spans, until, now = scale.units, scale.spans, scale.until, scale.now
    work_after = outlook.work_after[:, None]

    # The first end of the job on another machine, or on this one where there is no other.
    best, first_end = _best(front, outlook), outlook.first_end[:, None]
    only_best = best & (best.sum(1, keepdims=True, dtype=jnp.int32) == 1)
    second_end = _least(end, pairs & ~only_best)[:, None]
    has_other = (outlook.num_eligible > 1)[:, None]
    other_end = jnp.where(only_best & has_other, second_end, first_end)

    mean = jnp.maximum(outlook.mean, 1e-6)[:, None]
    with_load = (start - now).astype(jnp.float32) + outlook.expected[None]
    features = {
        "duration / unit": units(duration),
        "(duration - shortest of the job) / unit": units(duration - outlook.shortest[:, None]),
        "(duration - shortest here) / unit": units(duration - outlook.least_here[None]),
        "duration / mean of the job - 1": duration.astype(jnp.float32) / mean - 1,
        "(start - now) / span": until(start),
        "(start - now) / unit": units(start - now),
        "(end - now) / span": until(end),
        "(end - now) / unit": units(end - now),
        "(end - first end elsewhere) / unit": units(end - other_end),
        "(start - job ready) / unit": units(start - state.job_ready[:, None]),
        "(start - machine ready) / unit": units(start - state.machine_ready[None]),
        "(end + work after - now) / span": until(end + work_after),
        "(longest work after here - work after) / span": spans(
            outlook.longest_after[None] - work_after
        ),
        "(start + expected load - now) / span": with_load * scale.span,
        "rivals / open jobs": outlook.rivals.astype(jnp.float32) / outlook.num_open,
        "starts now": start == now,
    }
    return graph.actions("job", uses="machine", kinds=("dispatch",), mask=pairs, features=features)


def _blocks(front: Frontier) -> Blocks:
    """All jobs among each other, all machines among each other, and jobs with the machines that
    they can use next.
    """
    pairs = front.eligible
    num_jobs, num_machines = pairs.shape
    shared = (pairs[:, None] & pairs[None]).any(-1) & ~np.eye(num_jobs, dtype=bool)
    eligible = jnp.where(pairs, ELIGIBLE, 0)
    return {
        ("job", "job"): jnp.where(shared, COMPETES, _others(num_jobs, OTHER_JOB)),
        ("machine", "machine"): _others(num_machines, OTHER_MACHINE),
        ("job", "machine"): eligible,
        ("machine", "job"): eligible.T,
    }


def _others(size: int, relation: int) -> np.ndarray:
    """i32[size, size]: `relation` between any two nodes, none of a node to itself."""
    return np.where(np.eye(size, dtype=bool), 0, relation).astype(np.int32)


def _best(front: Frontier, outlook: Outlook) -> Array:
    """bool[J, M]: where the next operation of each job would end first."""
    return front.eligible & (outlook.end == outlook.first_end[:, None])


def _number(counts: Array, axis: int | None = None) -> Array:
    """f32[...]: how many there are, at least 1."""
    return jnp.maximum(counts.sum(axis, dtype=jnp.int32), 1).astype(jnp.float32)


def _least(values: Array, mask: Array, axis: int = 1) -> Array:
    """The smallest value among those that count; 0 where there is none."""
    return jnp.where(mask.any(axis), jnp.where(mask, values, LATEST).min(axis), 0)
