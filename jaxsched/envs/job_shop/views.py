"""The other observations: the full graph of operations, and those of two published policies.

Each takes a state and the legal actions bool[A] and returns a `GraphObservation`. The frontier
observation in `observation.py` is the default; the README of this folder describes all four.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core.arrays import lookup, take_column
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.job_shop.observation import clip, waiting, with_clock
from jaxsched.envs.job_shop.rules import LATEST, clock, frontier, makespan_bound
from jaxsched.envs.job_shop.types import State

WINDOW = 5  # intervals a job shows in Tassel's observation: the last placed one and the next four


def operations_observation(state: State, mask: Array) -> GraphObservation:
    """Every unscheduled operation (kind 0) and every machine (kind 1): N = J * K + M nodes.

    Edges: along the route (kind 0) and back (1), from an operation to its machine (2) and back (3).
    Action j is about the next operation of job j and uses its machine. Units as in the frontier
    observation. Ours.
    """
    instance = state.instance
    num_jobs, num_ops, num_machines = instance.num_jobs, instance.num_ops, instance.num_machines
    front, now = frontier(state), jnp.where(state.done, 0, clock(state))
    column = jnp.arange(num_ops, dtype=jnp.int32)
    left = instance.op_mask & (column[None] >= state.next_op[:, None])
    is_next = left & (column[None] == state.next_op[:, None])
    work, ops_left = state.work_left.sum(dtype=jnp.int32), state.ops_left.sum(dtype=jnp.int32)
    unit = jnp.maximum(ops_left, 1).astype(jnp.float32) / jnp.maximum(work, 1).astype(jnp.float32)
    span = 1.0 / jnp.maximum(makespan_bound(state) - now, 1).astype(jnp.float32)

    before = (
        jnp.cumsum(jnp.where(left, instance.duration, 0), -1, dtype=jnp.int32) - instance.duration
    )
    start = jnp.where(left, front.start[:, None] + before, 0)  # if the job never waits again
    machine_ready = lookup(state.machine_ready, instance.machine.ravel()).reshape(start.shape)
    load = lookup(state.load_left, instance.machine.ravel()).reshape(start.shape)
    num_here = (
        left[..., None] & (instance.machine[..., None] == jnp.arange(num_machines)[None, None])
    ).sum((0, 1))
    features = [
        instance.duration.astype(jnp.float32) * unit,
        (start - now).astype(jnp.float32) * span,
        (jnp.maximum(start, machine_ready) - now).astype(jnp.float32) * span,
        (state.work_left[:, None] - before).astype(jnp.float32) * span,
        (state.work_left[:, None] - before - instance.duration).astype(jnp.float32) * span,
        (state.job_ready[:, None] - now).astype(jnp.float32) * span,
        (machine_ready - now).astype(jnp.float32) * span,
        load.astype(jnp.float32) * span,
        (start - front.start[:, None]).astype(jnp.float32) * span,
        is_next,
        is_next & (front.start == now)[:, None],
    ]
    machines = [
        jnp.zeros((num_machines,), jnp.int32),
        (state.machine_ready - now).astype(jnp.float32) * span,
        state.load_left.astype(jnp.float32) * span,
        (state.machine_ready + state.load_left - now).astype(jnp.float32) * span,
        num_here / jnp.maximum(ops_left, 1),
    ]
    alive = instance.machine_mask & (num_here > 0)
    rows = [
        jnp.broadcast_to(feature, left.shape).astype(jnp.float32).ravel() for feature in features
    ]
    nodes = clip(jnp.stack(rows), left.ravel())
    machine_nodes = clip(jnp.stack([feature.astype(jnp.float32) for feature in machines]), alive)
    machine_nodes = jnp.pad(machine_nodes, ((0, len(features) - len(machines)), (0, 0)))

    ops = np.arange(num_jobs * num_ops, dtype=np.int32).reshape(num_jobs, num_ops)
    earlier, later = ops[:, :-1].ravel(), ops[:, 1:].ravel()
    machine_node = num_jobs * num_ops + instance.machine.ravel()
    kinds = np.repeat(
        np.arange(4, dtype=np.int32), [earlier.size, earlier.size, ops.size, ops.size]
    )
    end = front.start + front.duration
    observation = GraphObservation(
        graph=make_graph(
            jnp.concatenate([nodes, machine_nodes], 1).T,
            jnp.concatenate([earlier, later, ops.ravel(), machine_node]),
            jnp.concatenate([later, earlier, machine_node, ops.ravel()]),
        ),
        node_mask=jnp.concatenate([left.ravel(), alive]),
        node_kind=jnp.asarray(np.repeat(np.array([0, 1], np.int32), [ops.size, num_machines])),
        edge_mask=jnp.concatenate(
            [jnp.tile(instance.op_mask[:, 1:].ravel(), 2), jnp.tile(instance.op_mask.ravel(), 2)]
        ),
        edge_kind=jnp.asarray(kinds),
        action_node=jnp.asarray(ops[:, 0]) + jnp.minimum(state.next_op, num_ops - 1),
        action_resource=num_jobs * num_ops + front.machine,
        action_kind=jnp.zeros((num_jobs,), jnp.int32),
        action_features=clip(
            jnp.stack(
                [front.duration.astype(jnp.float32) * unit, (end - now).astype(jnp.float32) * span],
                1,
            ),
            front.mask[:, None],
        ),
        action_mask=mask,
        num_node_kinds=2,
        num_edge_kinds=4,
    )
    if state.floor is None:
        return observation
    return with_clock(observation, waiting(front, now, unit, span), ~state.done)


def l2d_observation(state: State, mask: Array) -> GraphObservation:
    """The disjunctive graph of L2D (Zhang et al., NeurIPS 2020, section 4.1 and its code): N = J *
    K operations.

    Two features: lower bound of the end time / 1000, and whether the operation is placed. Edges run
    from the operation before on the route (kind 0) and from the operation before on the machine
    once both are placed (kind 1). Unlike the published code, which keeps the arc a -> b when a new
    operation comes between a and b, only the present neighbours are joined. Action j is about the
    next operation of job j; the pair features are empty (one zero).
    """
    instance, slots = state.instance, state.slots
    assert slots is not None
    assert slots.op is not None
    num_jobs, num_ops = instance.num_jobs, instance.num_ops
    column = jnp.arange(num_ops, dtype=jnp.int32)
    placed = instance.op_mask & (column[None] < state.next_op[:, None])
    left = jnp.where(placed, 0, instance.duration)
    end = jnp.where(
        placed, state.start + instance.duration, state.job_ready[:, None] + jnp.cumsum(left, -1)
    )
    nodes = jnp.stack(
        [end.ravel().astype(jnp.float32) / np.float32(1000), placed.ravel().astype(jnp.float32)]
    )
    ops = np.arange(num_jobs * num_ops, dtype=np.int32).reshape(num_jobs, num_ops)
    first = jnp.asarray(ops[:, 0])
    action_node = first + jnp.minimum(
        state.next_op, jnp.maximum(instance.op_mask.sum(-1, dtype=jnp.int32) - 1, 0)
    )
    arcs = ops.size - num_jobs, slots.op[:, 1:].size
    return GraphObservation(
        graph=make_graph(
            jnp.where(instance.op_mask.ravel(), nodes, 0).T,
            jnp.concatenate([ops[:, :-1].ravel(), slots.op[:, :-1].ravel()]),
            jnp.concatenate([ops[:, 1:].ravel(), slots.op[:, 1:].ravel()]),
        ),
        node_mask=instance.op_mask.ravel(),
        node_kind=jnp.zeros((ops.size,), jnp.int32),
        edge_mask=jnp.concatenate(
            [instance.op_mask[:, 1:].ravel(), (slots.start[:, 1:] < LATEST).ravel()]
        ),
        edge_kind=jnp.asarray(np.repeat(np.array([0, 1], np.int32), arcs)),
        action_node=action_node,
        action_resource=action_node,
        action_kind=jnp.zeros((num_jobs,), jnp.int32),
        action_features=jnp.zeros((num_jobs, 1), jnp.float32),
        action_mask=mask,
        num_edge_kinds=2,
    )


def tassel_observation(state: State, mask: Array) -> GraphObservation:
    """The interval windows of Tassel, Gebser & Schekotihin (ICAPS 2023): J job nodes, then the
    clock for the no-op.

    A job shows five intervals, the last placed one and the next four, each with: fixed, lower bound
    of the start, duration, selectable now, is a start token, is an end token. Start bounds are
    standardised over what is shown, durations over the instance. The 31st feature is the position
    of the job relative to the least advanced one, over the number of operations (the publication
    codes it by sinusoids). Edges: among legal jobs those of the same machine (kind 0), and the
    clock to each legal job and back (kind 1). The publication lets a transformer read the five
    intervals; here they are one vector for the same network as everywhere.
    """
    instance = state.instance
    num_jobs, num_ops = instance.num_jobs, instance.num_ops
    front, legal = frontier(state), mask[:num_jobs]
    length = state.next_op + state.ops_left
    real_job = length > 0

    rows, bound = [], state.job_ready
    for offset in range(-1, WINDOW - 1):
        index = state.next_op + offset
        exists = real_job & (index >= 0) & (index < length)
        column = jnp.where(exists, index, num_ops)
        duration = take_column(instance.duration, column)
        if offset < 0:
            start = take_column(state.start, column)
        else:
            ready = lookup(state.machine_ready, take_column(instance.machine, column))
            start = front.start if offset == 0 else jnp.maximum(bound, ready)
            start = jnp.where(exists, start, 0)
            bound = start + duration
        flags = [exists & (offset < 0), exists & (offset == 0) & legal, real_job & (index < 0)]
        rows.append((exists, start, duration, [*flags, real_job & (index >= length)]))

    exists = jnp.stack([row[0] for row in rows])  # [5, J], as all below
    starts = _standardised(jnp.stack([row[1] for row in rows]), exists)
    durations = jnp.where(
        exists,
        _standardised(
            jnp.stack([row[2] for row in rows]), exists, instance.duration, instance.op_mask
        ),
        0,
    )
    flags = jnp.stack([jnp.stack(row[3]) for row in rows]).astype(jnp.float32)  # [5, 4, J]
    features = jnp.concatenate([flags[:, :1], starts[:, None], durations[:, None], flags[:, 1:]], 1)
    behind = jnp.where(real_job, state.next_op, LATEST).min()
    position = jnp.where(real_job, state.next_op - behind, 0) / jnp.maximum(length.max(), 1)
    nodes = jnp.concatenate([features.reshape(-1, num_jobs), position[None].astype(jnp.float32)])

    alive = ~state.done
    job, other = np.divmod(np.arange(num_jobs * num_jobs), num_jobs)
    jobs, noop = np.arange(num_jobs), np.full(num_jobs, num_jobs)
    same = (
        (front.machine[:, None] == front.machine[None])
        & (legal[:, None] & legal[None])
        & ~np.eye(num_jobs, dtype=bool)
    )
    return GraphObservation(
        graph=make_graph(
            jnp.concatenate(
                [jnp.where(real_job, nodes, 0).T, jnp.zeros((1, nodes.shape[0]), jnp.float32)]
            ),
            np.concatenate([other, jobs, noop]),
            np.concatenate([job, noop, jobs]),
        ),
        node_mask=jnp.append(real_job, alive),
        node_kind=jnp.asarray(np.append(np.zeros(num_jobs, np.int32), np.int32(1))),
        edge_mask=jnp.concatenate([same.ravel(), legal, legal]),
        edge_kind=jnp.asarray(
            np.repeat(np.array([0, 1], np.int32), [num_jobs * num_jobs, 2 * num_jobs])
        ),
        action_node=jnp.arange(num_jobs + 1, dtype=jnp.int32),
        action_resource=jnp.arange(num_jobs + 1, dtype=jnp.int32),
        action_kind=jnp.asarray(np.append(np.zeros(num_jobs, np.int32), np.int32(1))),
        action_features=jnp.zeros((num_jobs + 1, 1), jnp.float32),
        action_mask=mask,
        num_node_kinds=2,
        num_edge_kinds=2,
        num_action_kinds=2,
    )


def _standardised(
    values: Array, mask: Array, over: Array | None = None, over_mask: Array | None = None
) -> Array:
    """`values` with mean 0 and deviation 1 over `over` (default: themselves); 0 where masked.
    f32, same shape.
    """
    over, over_mask = (values, mask) if over is None or over_mask is None else (over, over_mask)
    count = jnp.maximum(over_mask.sum(), 1).astype(jnp.float32)
    mean = jnp.where(over_mask, over, 0).astype(jnp.float32).sum() / count
    spread = jnp.sqrt(jnp.where(over_mask, (over.astype(jnp.float32) - mean) ** 2, 0).sum() / count)
    return jnp.where(mask, (values.astype(jnp.float32) - mean) / jnp.maximum(spread, 1e-6), 0)


# by the name of the setting `observation`
VIEWS: dict[str, Callable[[State, Array], GraphObservation]] = {
    "operations": operations_observation,
    "l2d": l2d_observation,
    "tassel": tassel_observation,
}
