"""The frontier observation in tail form: the next decision, a short look-ahead, and sums over what
remains.

Nodes are the J jobs, then the M machines; actions are all J * M pairs. Times are relative to the
clock, durations in units of the mean remaining shortest duration, longer spans in units of
(makespan bound - clock), so two states with the same remaining problem look the same, whatever the
date, their time unit and their padding. Of the past only waiting shows: how long a job or a machine
has been idle at the clock. The README of this folder lists the features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import take_row
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.job_shop.flexible.rules import LATEST, frontier, makespan_bound
from jaxsched.envs.job_shop.flexible.types import State

JOB, MACHINE = 0, 1  # node kinds
OTHER_JOB, COMPETES, OTHER_MACHINE, ELIGIBLE = 0, 1, 2, 3  # edge kinds
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def frontier_observation(state: State, mask: Array) -> GraphObservation:
    """`mask` bool[J * M]: legal actions. N = J + M nodes, A = J * M actions, E = J * J + M * M +
    2 * J * M edges.
    """
    instance = state.instance
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    front = frontier(state)
    open_, pairs = front.mask, front.eligible
    now = jnp.where(pairs, front.start, LATEST).min()
    now = jnp.where(state.done, 0, now)
    real_machines = jnp.maximum(instance.machine_mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    num_open = jnp.maximum(open_.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    work, ops_left = state.work_left.sum(dtype=jnp.int32), state.ops_left.sum(dtype=jnp.int32)
    num_left = jnp.maximum(ops_left, 1).astype(jnp.float32)
    unit = num_left / jnp.maximum(work, 1).astype(jnp.float32)
    span = 1.0 / jnp.maximum(makespan_bound(state) - now, 1).astype(jnp.float32)

    # Of every job over its machines.
    count = _number(pairs, 1)
    end = front.start + front.duration  # [J, M]
    shortest, longest = _least(front.duration, pairs), jnp.where(pairs, front.duration, 0).max(1)
    # 0 where not eligible
    mean = front.duration.sum(1, dtype=jnp.int32).astype(jnp.float32) / count
    start, first_end = _least(front.start, pairs), _least(end, pairs)
    best = pairs & (end == first_end[:, None])
    only_best = best & (best.sum(1, keepdims=True, dtype=jnp.int32) == 1)
    second_end = _least(end, pairs & ~only_best)
    # [J, M]
    elsewhere = jnp.where(only_best & (count > 1)[:, None], second_end[:, None], first_end[:, None])
    tail = state.work_left - shortest

    # The operation after the next one.
    has_second = state.ops_left > 1
    second = jnp.where(has_second, state.next_op + 1, instance.num_ops)
    then_pairs = jax.vmap(take_row)(instance.eligible_mask, second)
    then_shortest = _least(jax.vmap(take_row)(instance.duration, second), then_pairs)
    then_ready = _least(jnp.broadcast_to(state.machine_ready, pairs.shape), then_pairs)

    # What may come to each machine: the unscheduled work, each operation in equal parts on its
    # machines.
    ahead = (
        instance.eligible_mask
        & (jnp.arange(instance.num_ops)[None] >= state.next_op[:, None])[..., None]
    )
    share = (
        jnp.where(ahead, instance.duration, 0).astype(jnp.float32) / _number(ahead, -1)[..., None]
    )
    expected = share.sum((0, 1))  # f32[M]
    may_come = ahead.sum((0, 1), dtype=jnp.int32)

    # Of every machine over the jobs that can use it next.
    waiting = pairs.sum(0, dtype=jnp.int32)  # [M]
    is_wanted = waiting > 0
    wants_most = best.sum(0, dtype=jnp.int32).astype(jnp.float32) / num_open
    first_start, least_here = _least(front.start, pairs, 0), _least(front.duration, pairs, 0)
    last_tail = jnp.where(pairs, tail[:, None], 0).max(0)
    rivals = pairs.astype(jnp.int32) * (waiting - 1)[None]  # [J, M]

    # Feature-major: each feature is one contiguous row, far quicker to write than a column.
    jobs = [
        shortest.astype(jnp.float32) * unit,
        mean * unit,
        (longest - shortest).astype(jnp.float32) * unit,
        count / real_machines,
        1.0 / count,
        (start - now).astype(jnp.float32) * span,
        (first_end - now).astype(jnp.float32) * span,
        (state.job_ready - now).astype(jnp.float32) * span,
        (start - state.job_ready).astype(jnp.float32) * unit,
        state.work_left.astype(jnp.float32) * span,
        tail.astype(jnp.float32) * span,
        (first_end + tail - now).astype(jnp.float32) * span,
        state.ops_left.astype(jnp.float32) * (num_open / num_left),
        rivals.sum(1, dtype=jnp.int32).astype(jnp.float32) / count / num_open,
        then_shortest.astype(jnp.float32) * unit,
        then_pairs.sum(1, dtype=jnp.int32).astype(jnp.float32) / real_machines,
        jnp.where(has_second, then_ready - first_end, 0).astype(jnp.float32) * span,
        jnp.where(then_pairs, expected, 0).sum(1) / _number(then_pairs, 1) * span,
        jnp.broadcast_to(num_open / (num_open + real_machines), (num_jobs,)),
    ]
    machines = [
        (state.machine_ready - now).astype(jnp.float32) * span,
        state.load_left.astype(jnp.float32) * span,
        expected * span,
        ((state.machine_ready - now).astype(jnp.float32) + expected) * span,
        may_come.astype(jnp.float32) / num_left,
        waiting.astype(jnp.float32) / num_open,
        wants_most,
        jnp.where(is_wanted, first_start - now, 0).astype(jnp.float32) * span,
        jnp.where(is_wanted, least_here, 0).astype(jnp.float32) * unit,
        last_tail.astype(jnp.float32) * span,
        is_wanted,
    ]
    both = [  # of every pair, [J, M]
        front.duration.astype(jnp.float32) * unit,
        (front.duration - shortest[:, None]).astype(jnp.float32) * unit,
        (front.duration - least_here[None]).astype(jnp.float32) * unit,
        front.duration.astype(jnp.float32) / jnp.maximum(mean, 1e-6)[:, None] - 1,
        (front.start - now).astype(jnp.float32) * span,
        (front.start - now).astype(jnp.float32) * unit,
        (end - now).astype(jnp.float32) * span,
        (end - now).astype(jnp.float32) * unit,
        (end - elsewhere).astype(jnp.float32) * unit,
        (front.start - state.job_ready[:, None]).astype(jnp.float32) * unit,
        (front.start - state.machine_ready[None]).astype(jnp.float32) * unit,
        (end + tail[:, None] - now).astype(jnp.float32) * span,
        (last_tail[None] - tail[:, None]).astype(jnp.float32) * span,
        ((front.start - now).astype(jnp.float32) + expected[None]) * span,
        rivals.astype(jnp.float32) / num_open,
        front.start == now,
    ]
    alive = instance.machine_mask & (may_come > 0)
    machine_features = jnp.pad(_stack(machines, alive), ((0, len(jobs) - len(machines)), (0, 0)))
    nodes = jnp.concatenate([_stack(jobs, open_), machine_features], 1).T
    pair_features = _stack(both, pairs).reshape(len(both), -1).T

    # Edges join jobs with jobs and machines with machines, all of them, and jobs with the machines
    # that they can use.
    job_ids, machine_ids = np.arange(num_jobs), num_jobs + np.arange(num_machines)
    groups = [
        _product(job_ids, job_ids),
        _product(machine_ids, machine_ids),
        _product(job_ids, machine_ids),
    ]
    groups.append(groups[2][::-1])
    senders, receivers = np.concatenate(groups, 1).astype(np.int32)
    share_machine = (pairs[:, None] & pairs[None]).any(-1)  # [J, J]
    can = pairs.ravel()
    return GraphObservation(
        graph=make_graph(nodes, senders, receivers),
        node_mask=jnp.concatenate([open_, alive]),
        node_kind=jnp.asarray(
            np.repeat(np.array([JOB, MACHINE], np.int32), [num_jobs, num_machines])
        ),
        edge_mask=jnp.concatenate(
            [
                ~np.eye(num_jobs, dtype=bool).ravel(),
                ~np.eye(num_machines, dtype=bool).ravel(),
                can,
                can,
            ]
        ),
        edge_kind=jnp.concatenate(
            [
                jnp.where(share_machine, COMPETES, OTHER_JOB).astype(jnp.int32).ravel(),
                np.full(num_machines**2, OTHER_MACHINE, np.int32),
                np.full(2 * num_jobs * num_machines, ELIGIBLE, np.int32),
            ]
        ),
        action_node=jnp.asarray(np.repeat(job_ids, num_machines).astype(np.int32)),
        action_resource=jnp.asarray(np.tile(machine_ids, num_jobs).astype(np.int32)),
        action_kind=jnp.zeros(mask.shape, jnp.int32),
        action_features=pair_features,
        action_mask=mask,
        num_node_kinds=2,
        num_edge_kinds=4,
    )


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[2, n]: all pairs."""
    return np.stack([np.repeat(first, len(second)), np.tile(second, len(first))])


def _number(mask: Array, axis: int) -> Array:
    """f32: how many there are, at least 1."""
    return jnp.maximum(mask.sum(axis, dtype=jnp.int32), 1).astype(jnp.float32)


def _least(values: Array, mask: Array, axis: int = 1) -> Array:
    """The smallest value among those that count; 0 where there is none."""
    return jnp.where(mask.any(axis), jnp.where(mask, values, LATEST).min(axis), 0)


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[F, ...], clipped, 0 where not real."""
    stacked = jnp.stack([feature.astype(jnp.float32) for feature in features])
    return jnp.where(mask, lax.clamp(-LIMIT, stacked, LIMIT), 0.0)
