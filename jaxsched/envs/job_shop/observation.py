"""The frontier observation in tail form: the next decision, a short look-ahead, and sums over what
remains.

Nodes are the J jobs; a machine shows in the features of the jobs that need it next. Times are
relative to the clock, durations in units of the mean remaining duration (`unit`), longer times in
units of makespan bound - clock (`span`), so two states with the same remaining problem look the
same, whatever the date, their time unit and their padding. Of the past only waiting shows: how long
a job or a machine has been idle at the clock.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import MAX, MIN, SUM, lookup, reduce_together
from jaxsched.core.graph import Actions, GraphObservation, Nodes
from jaxsched.envs.job_shop.look_ahead import look_ahead, second_operation
from jaxsched.envs.job_shop.rules import LATEST, Frontier, frontier
from jaxsched.envs.job_shop.scale import Scale, scale_of
from jaxsched.envs.job_shop.types import State

RELATIONS = ("other job", "competes")  # competes: for the machine that both need next
OTHER_JOB, COMPETES = 1, 2


def frontier_observation(state: State, mask: Array, dated: bool = False) -> GraphObservation:
    """`mask` bool[A]: legal actions. N = J nodes, A = J actions; in `event` one more node, the
    clock, and one more action, the no-op. `dated`: with features of due dates and weights.
    """
    front = frontier(state)
    scale = scale_of(state, front)
    itself = np.eye(state.instance.num_jobs, dtype=bool)
    rivals = (front.machine[:, None] == front.machine[None]) & ~itself
    features = _job_features(state, front, scale, rivals) | look_ahead(state, front, scale)
    if dated:
        features |= _due_features(state, front, scale)
    if state.slots is not None:
        features |= _gap_features(state, front, scale)
    jobs = graph.nodes("job", front.mask, features)
    nodes, actions = (jobs,), (graph.actions("job", kinds=("dispatch",)),)
    if state.floor is not None:
        clock, wait = waiting(state, front, scale)
        nodes, actions = (*nodes, clock), (*actions, wait)
    others = np.where(itself, 0, OTHER_JOB).astype(np.int32)
    blocks = {("job", "job"): jnp.where(rivals, COMPETES, others)}
    return GraphObservation(nodes, graph.relations(nodes, blocks), actions, mask, RELATIONS)


def _job_features(state: State, front: Frontier, scale: Scale, rivals: Array) -> dict[str, Array]:
    """Of every job by name: its next operation, who else needs that machine, the one after, and
    sums over what remains.
    """
    instance = state.instance
    now, units, spans, until = scale.now, scale.units, scale.spans, scale.until
    num_open = _number(front.mask)
    num_machines = instance.machine_mask.sum(dtype=jnp.int32).astype(jnp.float32)
    mean_left = jnp.maximum(state.ops_left.sum(dtype=jnp.int32), 1).astype(jnp.float32) / num_open
    end = front.start + front.duration
    after = state.work_left - front.duration
    load, completion = lookup(state.load_left, front.machine), front.start + state.work_left

    # Of the jobs that need the same machine next; the relation is symmetric.
    rivals = rivals & front.mask[None]
    later_end = jnp.maximum(end[:, None], front.start[None]) + state.work_left[None]
    num_rivals, rival_start, rival_after, rival_work, rival_end = reduce_together(
        [
            (SUM, rivals.astype(jnp.int32)),
            (MIN, jnp.where(rivals, front.start[None], LATEST)),
            (MAX, jnp.where(rivals, after[None], 0)),
            (SUM, jnp.where(rivals, front.duration[None], 0)),
            (MAX, jnp.where(rivals, later_end, 0)),
        ],
        axis=1,
        cpu_only=True,
    )
    contested = num_rivals > 0

    second_machine, second_duration = second_operation(state)
    second_load = lookup(state.load_left, second_machine)
    second_ready = lookup(state.machine_ready, second_machine) - end
    second_ready = jnp.where(state.ops_left > 1, second_ready, 0)
    return {
        "duration / unit": units(front.duration),
        "(start - now) / span": until(front.start),
        "(job ready - now) / span": until(state.job_ready),
        "(machine ready - now) / span": until(front.machine_ready),
        "(start - job ready) / unit": units(front.start - state.job_ready),
        "(start - machine ready) / unit": units(front.start - front.machine_ready),
        "work left / span": spans(state.work_left),
        "work after / span": spans(after),
        "operations left / mean": state.ops_left.astype(jnp.float32) / mean_left,
        "machine load / span": spans(load),
        "(machine ready + load - now) / span": until(front.machine_ready + load),
        "(start + work left - now) / span": until(completion),
        "(start - rival start) / unit": units(jnp.where(contested, front.start - rival_start, 0)),
        "(rival work after - work after) / span": spans(
            jnp.where(contested, rival_after - after, 0)
        ),
        "rivals' durations / span": spans(rival_work),
        # If the job goes first and no rival waits for anything else.
        "(rivals' completion - now) / span": until(jnp.maximum(completion, rival_end)),
        "rivals / open jobs": num_rivals.astype(jnp.float32) / num_open,
        "second duration / unit": units(second_duration),
        "second machine load / span": spans(second_load),
        "(second machine ready - end) / span": spans(second_ready),
        "starts now": front.start == now,
        "open jobs / (open jobs + machines)": num_open / (num_open + num_machines),
    }


def _number(mask: Array) -> Array:
    """f32[]: how many there are, at least 1."""
    return jnp.maximum(mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)


def _due_features(state: State, front: Frontier, scale: Scale) -> dict[str, Array]:
    """Of every job by name: its slack in both units, its weight over the mean, whether it has a
    due date.
    """
    instance = state.instance
    due = front.mask & instance.due_mask
    slack = jnp.where(due, instance.due - scale.now - state.work_left, 0)
    weight = jnp.where(due, instance.weight, 0)
    mean = weight.sum(dtype=jnp.int32).astype(jnp.float32) / _number(due)
    return {
        "slack / span": scale.spans(slack),
        "slack / unit": scale.units(slack),
        "weight / mean": weight.astype(jnp.float32) / jnp.maximum(mean, 1e-6),
        "has a due date": due,
    }


def _gap_features(state: State, front: Frontier, scale: Scale) -> dict[str, Array]:
    """In `insert`, of every job by name: idle time between placed operations of its next machine
    from the clock on, all of it and the longest piece.
    """
    slots = state.slots
    assert slots is not None
    before = jnp.pad(slots.end[:, :-1], ((0, 0), (1, 0)))
    free = jnp.maximum(slots.start - jnp.maximum(before, scale.now), 0)
    gaps = jnp.where(slots.start < LATEST, free, 0)
    return {
        "machine gaps / span": scale.spans(lookup(gaps.sum(-1, dtype=jnp.int32), front.machine)),
        "longest machine gap / span": scale.spans(lookup(gaps.max(-1), front.machine)),
    }


def waiting(state: State, front: Frontier, scale: Scale) -> tuple[Nodes, Actions]:
    """The clock as a node, and the no-op, which is about it: how long the wait would be, and the
    share of jobs that can start now.
    """
    then = jnp.where(front.mask & (front.start > scale.now), front.start, LATEST).min()
    wait = jnp.where(then < LATEST, then - scale.now, 0)
    ready = (front.mask & (front.start == scale.now)).sum(dtype=jnp.int32)
    share = ready.astype(jnp.float32) / _number(front.mask)
    return clock_node(~state.done, scale.units(wait), scale.spans(wait), share)


def clock_node(mask: Array, wait: Array, long_wait: Array, share: Array) -> tuple[Nodes, Actions]:
    """The clock as a node, and the no-op, which is about it, from three numbers: see `waiting`."""
    features = {"wait / unit": wait, "wait / span": long_wait, "jobs that can start / jobs": share}
    return graph.nodes("clock", mask[None], features), graph.actions("clock", kinds=("wait",))
