"""The other observations: the full graph of operations, and those of two published policies.

Each takes a state and the legal actions bool[A] and returns a `GraphObservation`. The frontier
observation in `observation.py` is the default; the README of this folder describes all four.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import lookup, take_column
from jaxsched.core.graph import Actions, Axis, Edges, GraphObservation, Nodes
from jaxsched.envs.job_shop.observation import waiting
from jaxsched.envs.job_shop.rules import LATEST, Frontier, frontier
from jaxsched.envs.job_shop.scale import Scale, scale_of
from jaxsched.envs.job_shop.types import Instance, State

ROUTE_RELATIONS = ("before on the route", "after on the route", "operation here", "its machine")
WINDOW = 5  # intervals a job shows in Tassel's observation: the last placed one and the next four


def operations_observation(state: State, mask: Array) -> GraphObservation:
    """Every unscheduled operation and every machine: N = J * K + M nodes, in `event` the clock.

    Relations as a list: along the route and back, from an operation to its machine and back. Axes:
    the operations of a job, and the next visit of every job to a machine. Action j is about the
    next operation of job j and uses its machine. Units as in the frontier observation. Ours.
    """
    instance = state.instance
    num_jobs, num_ops = instance.num_jobs, instance.num_ops
    front = frontier(state)
    scale = scale_of(state, front)
    column = jnp.arange(num_ops, dtype=jnp.int32)
    left = instance.op_mask & (column[None] >= state.next_op[:, None])
    ops = graph.nodes("operation", left.ravel(), _operation_features(state, front, scale, left))
    machines = _machine_nodes(state, scale, left)
    end = front.start + front.duration
    dispatch = graph.actions(
        "operation",
        uses="machine",
        node=num_ops * jnp.arange(num_jobs, dtype=jnp.int32)
        + jnp.minimum(state.next_op, num_ops - 1),
        resource=front.machine,
        kinds=("dispatch",),
        mask=front.mask,
        features={
            "duration / unit": scale.units(front.duration),
            "(end - now) / span": scale.until(end),
        },
    )
    nodes, actions = (ops, machines), (dispatch,)
    if state.floor is not None:
        clock, wait = waiting(state, front, scale)
        nodes, actions = (*nodes, clock), (*actions, wait)
    axes = _axes(state.instance, left)
    return GraphObservation(nodes, _routes(state), actions, mask, ROUTE_RELATIONS, axes)


def _axes(instance: Instance, left: Array) -> tuple[Axis, Axis]:
    """The operations `left` bool[J, K] along their jobs, J groups of K, and along their machines, M
    groups of J: where a job comes back to a machine, its later visits wait for their turn there.
    """
    num_jobs, num_ops = left.shape
    ids = jnp.arange(instance.num_machines, dtype=jnp.int32)
    column = jnp.arange(num_ops, dtype=jnp.int32)
    here = left[None] & (instance.machine[None] == ids[:, None, None])  # bool[M, J, K]
    visit = jnp.where(here, column[None, None], num_ops).min(-1)  # i32[M, J]
    first = num_ops * jnp.arange(num_jobs, dtype=jnp.int32)
    members = first[None] + jnp.minimum(visit, num_ops - 1)
    is_next = (here & (column[None, None] == visit[..., None])).any(0)
    nowhere = instance.num_machines * num_jobs
    job = jnp.arange(num_jobs, dtype=jnp.int32)[:, None]
    place = jnp.where(is_next, instance.machine * num_jobs + job, nowhere)
    return (
        Axis(left, name="job", about="operation", ordered=True),
        Axis(visit < num_ops, members, place.ravel(), name="machine", about="operation"),
    )


def _operation_features(
    state: State, front: Frontier, scale: Scale, left: Array
) -> dict[str, Array]:
    """Of every operation by name, as if its job never waited again: each [J * K]."""
    instance = state.instance
    duration = instance.duration
    before = jnp.cumsum(jnp.where(left, duration, 0), -1, dtype=jnp.int32) - duration
    start = jnp.where(left, front.start[:, None] + before, 0)
    machine_ready = lookup(state.machine_ready, instance.machine.ravel()).reshape(start.shape)
    load = lookup(state.load_left, instance.machine.ravel()).reshape(start.shape)
    column = jnp.arange(instance.num_ops, dtype=jnp.int32)[None]
    is_next = left & (column == state.next_op[:, None])
    features = {
        "duration / unit": scale.units(duration),
        "(start - now) / span": scale.until(start),
        "(start or machine ready - now) / span": scale.until(jnp.maximum(start, machine_ready)),
        "work from here / span": scale.spans(state.work_left[:, None] - before),
        "work after / span": scale.spans(state.work_left[:, None] - before - duration),
        "(job ready - now) / span": scale.until(state.job_ready)[:, None],
        "(machine ready - now) / span": scale.until(machine_ready),
        "machine load / span": scale.spans(load),
        "(start - start of next) / span": scale.spans(start - front.start[:, None]),
        "is next": is_next,
        "starts now": is_next & (front.start == scale.now)[:, None],
    }
    return {name: jnp.broadcast_to(x, left.shape).ravel() for name, x in features.items()}


def _machine_nodes(state: State, scale: Scale, left: Array) -> Nodes:
    instance, ids = state.instance, jnp.arange(state.instance.num_machines, dtype=jnp.int32)
    here = left[..., None] & (instance.machine[..., None] == ids[None, None])
    num_here = here.sum((0, 1), dtype=jnp.int32)
    ops_left = jnp.maximum(state.ops_left.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    features = {
        "(machine ready - now) / span": scale.until(state.machine_ready),
        "machine load / span": scale.spans(state.load_left),
        "(machine ready + load - now) / span": scale.until(state.machine_ready + state.load_left),
        "operations here / operations left": num_here.astype(jnp.float32) / ops_left,
    }
    return graph.nodes("machine", instance.machine_mask & (num_here > 0), features)


def _routes(state: State) -> Edges:
    """Operations with their neighbours on the route and with their machine, both ways."""
    instance = state.instance
    ops = np.arange(instance.op_mask.size, dtype=np.int32).reshape(instance.op_mask.shape)
    earlier, later = ops[:, :-1].ravel(), ops[:, 1:].ravel()
    machine = ops.size + instance.machine.ravel()
    numbers = np.arange(1, 5, dtype=np.int32)
    sizes = [earlier.size, earlier.size, ops.size, ops.size]
    return Edges(
        senders=jnp.concatenate([earlier, later, ops.ravel(), machine]),
        receivers=jnp.concatenate([later, earlier, machine, ops.ravel()]),
        relation=jnp.asarray(np.repeat(numbers, sizes)),
        mask=jnp.concatenate(
            [jnp.tile(instance.op_mask[:, 1:].ravel(), 2), jnp.tile(instance.op_mask.ravel(), 2)]
        ),
    )


def l2d_observation(state: State, mask: Array) -> GraphObservation:
    """The disjunctive graph of L2D (Zhang et al., NeurIPS 2020, section 4.1 and its code): N = J *
    K operations.

    Two features: lower bound of the end time / 1000, and whether the operation is placed, not
    clipped. Edges run from the operation before on the route and from the operation before on the
    machine once both are placed. Unlike the published code, which keeps the arc a -> b when a new
    operation comes between a and b, only the present neighbours are joined. Action j is about the
    next operation of job j.
    """
    instance, slots = state.instance, state.slots
    assert slots is not None
    assert slots.op is not None
    num_ops = instance.num_ops
    column = jnp.arange(num_ops, dtype=jnp.int32)
    placed = instance.op_mask & (column[None] < state.next_op[:, None])
    left = jnp.where(placed, 0, instance.duration)
    end = jnp.where(
        placed, state.start + instance.duration, state.job_ready[:, None] + jnp.cumsum(left, -1)
    )
    features = jnp.stack(
        [end.ravel().astype(jnp.float32) / np.float32(1000), placed.ravel().astype(jnp.float32)]
    )
    real = instance.op_mask.ravel()
    names = "bound on the end / 1000", "is placed"
    ops = np.arange(real.size, dtype=np.int32).reshape(instance.op_mask.shape)
    last = jnp.maximum(instance.op_mask.sum(-1, dtype=jnp.int32) - 1, 0)
    arcs = ops[:, 1:].size, slots.op[:, 1:].size
    edges = Edges(
        senders=jnp.concatenate([ops[:, :-1].ravel(), slots.op[:, :-1].ravel()]),
        receivers=jnp.concatenate([ops[:, 1:].ravel(), slots.op[:, 1:].ravel()]),
        relation=jnp.asarray(np.repeat(np.array([1, 2], np.int32), arcs)),
        mask=jnp.concatenate(
            [instance.op_mask[:, 1:].ravel(), (slots.start[:, 1:] < LATEST).ravel()]
        ),
    )
    return GraphObservation(
        nodes=(Nodes(jnp.where(real[None], features, 0).T, real, "operation", names),),
        relation=edges,
        actions=(
            graph.actions(
                "operation",
                node=jnp.asarray(ops[:, 0]) + jnp.minimum(state.next_op, last),
                kinds=("dispatch",),
            ),
        ),
        action_mask=mask,
        relation_names=("before on the route", "before on the machine"),
    )


def tassel_observation(state: State, mask: Array) -> GraphObservation:
    """The interval windows of Tassel, Gebser & Schekotihin (ICAPS 2023): J job nodes, then the
    clock for the no-op.

    A job shows five intervals, the last placed one and the next four, each with: fixed, lower bound
    of the start, duration, selectable now, is a start token, is an end token. Start bounds are
    standardised over what is shown, durations over the instance; neither is clipped. The 31st
    feature is the position of the job relative to the least advanced one, over the number of
    operations (the publication codes it by sinusoids). Relations: among legal jobs those of the
    same machine, and the clock with each legal job, both ways. The publication lets a transformer
    read the five intervals; here they are one vector for the same network as everywhere.
    """
    num_jobs = state.instance.num_jobs
    front, legal = frontier(state), mask[:num_jobs]
    same = (
        (front.machine[:, None] == front.machine[None])
        & (legal[:, None] & legal[None])
        & ~np.eye(num_jobs, dtype=bool)
    )
    jobs = _windows(state, front, legal)
    # A node without features: what it is says it all.
    clock = Nodes(jnp.zeros((1, 0), jnp.float32), ~state.done[None], "clock", ())
    blocks = {
        ("job", "job"): jnp.where(same, 1, 0),
        ("job", "clock"): jnp.where(legal, 2, 0)[:, None],
        ("clock", "job"): jnp.where(legal, 2, 0)[None],
    }
    nodes: tuple[Nodes, ...] = (jobs, clock)
    actions: tuple[Actions, ...] = (
        graph.actions("job", kinds=("dispatch",)),
        graph.actions("clock", kinds=("wait",)),
    )
    names = "same machine", "clock"
    return GraphObservation(nodes, graph.relations(nodes, blocks), actions, mask, names)


def _windows(state: State, front: Frontier, legal: Array) -> Nodes:
    """The jobs with five intervals each, see `tassel_observation`."""
    instance = state.instance
    length = state.next_op + state.ops_left
    real_job = length > 0
    rows, bound = [], state.job_ready
    for offset in range(-1, WINDOW - 1):
        index = state.next_op + offset
        exists = real_job & (index >= 0) & (index < length)
        column = jnp.where(exists, index, instance.num_ops)
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
    durations = jnp.stack([row[2] for row in rows])
    durations = _standardised(durations, exists, instance.duration, instance.op_mask)
    flags = jnp.stack([jnp.stack(row[3]) for row in rows]).astype(jnp.float32)  # [5, 4, J]
    features = jnp.concatenate([flags[:, :1], starts[:, None], durations[:, None], flags[:, 1:]], 1)
    behind = jnp.where(real_job, state.next_op, LATEST).min()
    position = jnp.where(real_job, state.next_op - behind, 0) / jnp.maximum(length.max(), 1)
    features = jnp.concatenate(
        [features.reshape(-1, features.shape[-1]), position[None].astype(jnp.float32)]
    )
    when = "last placed", "next", "second", "third", "fourth"
    what = "is fixed", "start", "duration", "can start now", "before the first", "after the last"
    names = *(f"{interval}: {each}" for interval in when for each in what), "position"
    return Nodes(jnp.where(real_job[None], features, 0).T, real_job, "job", names)


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
