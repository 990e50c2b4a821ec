"""The frontier observation in tail form: the next decision, a short look-ahead, and sums over what
remains.

Nodes are the J jobs, then the M machines. Times are relative to the clock, durations in units of
the mean remaining duration, longer spans in units of (makespan bound - clock), so two states with
the same remaining problem look the same, whatever the date, their time unit and their padding. Of
the past only waiting shows: how long a job or a machine has been idle at the clock. The README of
this folder lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import lookup, take_column
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.job_shop.rules import LATEST, Frontier, frontier, makespan_bound
from jaxsched.envs.job_shop.types import State

JOB, MACHINE = 0, 1  # node kinds
OTHER_JOB, COMPETES = 0, 1  # edge kinds
DISPATCH, WAIT = 0, 1  # action kinds
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def frontier_observation(state: State, mask: Array, dated: bool = False) -> GraphObservation:
    """`mask` bool[A]: legal actions. N = J + M nodes, E = J * J edges, A = J actions; in `event`
    one more node, the clock, and one more action, the no-op. `dated`: with features of due dates
    and weights.
    """
    instance = state.instance
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    front = frontier(state)
    open_ = front.mask  # unfinished jobs
    now = jnp.where(open_, front.start, LATEST).min()
    now = jnp.where(state.done, 0, now)
    num_open = jnp.maximum(open_.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    work, ops_left = state.work_left.sum(dtype=jnp.int32), state.ops_left.sum(dtype=jnp.int32)
    unit = jnp.maximum(ops_left, 1).astype(jnp.float32) / jnp.maximum(work, 1).astype(jnp.float32)
    span = 1.0 / jnp.maximum(makespan_bound(state) - now, 1).astype(jnp.float32)

    # The operation after the next one.
    has_second = state.ops_left > 1
    second = jnp.where(has_second, state.next_op + 1, instance.num_ops)
    second_machine = take_column(instance.machine, second)
    second_duration = take_column(instance.duration, second)

    tail = state.work_left - front.duration
    ids = jnp.where(open_, front.machine, num_machines)  # finished jobs wait nowhere
    num_rivals, rival_start, rival_tail, num_waiting, first_start = lax.platform_dependent(
        ids,
        front.start,
        tail,
        jnp.zeros((num_machines,), jnp.int32),
        cpu=_rivals_by_machine,
        default=_rivals_by_pair,
    )
    contested, is_wanted = num_rivals > 0, num_waiting > 0

    # Feature-major: each feature is one contiguous row, far quicker to write than a column.
    load = lookup(state.load_left, front.machine)
    end = front.start + front.duration
    jobs = [
        front.duration.astype(jnp.float32) * unit,
        (front.start - now).astype(jnp.float32) * span,
        (state.job_ready - now).astype(jnp.float32) * span,
        (front.machine_ready - now).astype(jnp.float32) * span,
        (front.start - state.job_ready).astype(jnp.float32) * unit,
        (front.start - front.machine_ready).astype(jnp.float32) * unit,
        state.work_left.astype(jnp.float32) * span,
        tail.astype(jnp.float32) * span,
        state.ops_left.astype(jnp.float32)
        * (num_open / jnp.maximum(ops_left, 1).astype(jnp.float32)),
        load.astype(jnp.float32) * span,
        (front.machine_ready + load - now).astype(jnp.float32) * span,
        (front.start + state.work_left - now).astype(jnp.float32) * span,
        jnp.where(contested, (front.start - rival_start).astype(jnp.float32) * unit, 0),
        jnp.where(contested, (rival_tail - tail).astype(jnp.float32) * span, 0),
        num_rivals.astype(jnp.float32) / num_open,
        second_duration.astype(jnp.float32) * unit,
        jnp.where(has_second, lookup(state.load_left, second_machine), 0).astype(jnp.float32)
        * span,
        jnp.where(has_second, lookup(state.machine_ready, second_machine) - end, 0).astype(
            jnp.float32
        )
        * span,
        (front.start == now).astype(jnp.float32),
        jnp.broadcast_to(
            num_open / (num_open + instance.machine_mask.sum(dtype=jnp.int32).astype(jnp.float32)),
            (num_jobs,),
        ),
    ]
    if dated:
        jobs += _due_features(state, open_, now, unit, span)
    machines = [
        (state.machine_ready - now).astype(jnp.float32) * span,
        state.load_left.astype(jnp.float32) * span,
        (state.machine_ready + state.load_left - now).astype(jnp.float32) * span,
        num_waiting.astype(jnp.float32) / num_open,
        jnp.where(is_wanted, (first_start - now).astype(jnp.float32) * span, 0),
        is_wanted.astype(jnp.float32),
    ]
    if state.slots is not None:
        # Idle time between placed operations, from the clock on: all of it, and the longest piece.
        free = jnp.maximum(
            jnp.concatenate([jnp.zeros((num_machines, 1), jnp.int32), state.slots.end[:, :-1]], 1),
            now,
        )
        gaps = jnp.where(state.slots.start < LATEST, jnp.maximum(state.slots.start - free, 0), 0)
        machines += [
            gaps.sum(-1, dtype=jnp.int32).astype(jnp.float32) * span,
            gaps.max(-1).astype(jnp.float32) * span,
        ]
    alive = instance.machine_mask & ((state.load_left > 0) | is_wanted)
    machine_features = jnp.pad(_stack(machines, alive), ((0, len(jobs) - len(machines)), (0, 0)))
    nodes = jnp.concatenate([_stack(jobs, open_), machine_features], 1).T

    # One select, not a stack: on a GPU a stack along the last axis is a kernel of its own.
    pair_features = jnp.where(
        np.array([True, False]),
        (front.duration.astype(jnp.float32) * unit)[:, None],
        ((end - now).astype(jnp.float32) * span)[:, None],
    )

    # Edges join the jobs pair by pair; finished jobs are masked nodes. Only their kind changes.
    receivers, senders = np.divmod(np.arange(num_jobs * num_jobs), num_jobs)
    same = lax.platform_dependent(
        front.machine, cpu=_equal_by_product, default=lambda ids: ids[:, None] == ids[None, :]
    )
    observation = GraphObservation(
        graph=make_graph(nodes, senders, receivers),
        # Not concatenated: on a GPU that is a kernel of its own.
        node_mask=jnp.pad(open_, (0, num_machines)) | jnp.pad(alive, (num_jobs, 0)),
        node_kind=jnp.asarray(
            np.repeat(np.array([JOB, MACHINE], np.int32), [num_jobs, num_machines])
        ),
        edge_mask=jnp.asarray(~np.eye(num_jobs, dtype=bool).ravel()),
        edge_kind=jnp.where(same, COMPETES, OTHER_JOB).astype(jnp.int32).ravel(),
        action_node=jnp.arange(num_jobs, dtype=jnp.int32),
        action_resource=num_jobs + front.machine,
        action_kind=jnp.full((num_jobs,), DISPATCH, jnp.int32),
        action_features=clip(pair_features, open_[:, None]),
        action_mask=mask,
        num_node_kinds=2,
        num_edge_kinds=2,
    )
    if state.floor is None:
        return observation
    return with_clock(observation, waiting(front, now, unit, span), ~state.done)


def _due_features(state: State, open_: Array, now: Array, unit: Array, span: Array) -> list[Array]:
    """Four of each job: its slack in both units, its weight over the mean, whether it has a due
    date.
    """
    instance = state.instance
    due = open_ & instance.due_mask
    slack = jnp.where(due, instance.due - now - state.work_left, 0)
    weight = jnp.where(due, instance.weight, 0)
    num_due = jnp.maximum(due.sum(dtype=jnp.int32), 1)
    mean = weight.sum(dtype=jnp.int32).astype(jnp.float32) / num_due.astype(jnp.float32)
    return [
        slack.astype(jnp.float32) * span,
        slack.astype(jnp.float32) * unit,
        weight.astype(jnp.float32) / jnp.maximum(mean, 1e-6),
        due,
    ]


def waiting(front: Frontier, now: Array, unit: Array, span: Array) -> Array:
    """f32[3] of the no-op: how long the wait would be in both units, and the share of jobs that
    can start now.
    """
    then = jnp.where(front.mask & (front.start > now), front.start, LATEST).min()
    wait = jnp.where(then < LATEST, then - now, 0)
    ready = (front.mask & (front.start == now)).sum(dtype=jnp.int32)
    return jnp.stack(
        [
            wait.astype(jnp.float32) * unit,
            wait.astype(jnp.float32) * span,
            ready / jnp.maximum(front.mask.sum(dtype=jnp.int32), 1),
        ]
    )


def with_clock(observation: GraphObservation, features: Array, mask: Array) -> GraphObservation:
    """The observation with a node for the clock, which the no-op is about. `features` f32[3]:
    see `waiting`.
    """
    clock = clip(features, mask)
    index = jnp.full((1,), observation.node_mask.shape[0], jnp.int32)
    padding = observation.nodes.shape[-1] - clock.shape[0]
    nodes = jnp.concatenate([observation.nodes, jnp.pad(clock, (0, padding))[None]])
    return observation.replace(
        graph=make_graph(nodes, observation.senders, observation.receivers),
        node_mask=jnp.append(observation.node_mask, mask),
        node_kind=jnp.append(observation.node_kind, observation.num_node_kinds),
        action_node=jnp.append(observation.action_node, index),
        action_resource=jnp.append(observation.action_resource, index),
        action_kind=jnp.append(observation.action_kind, WAIT),
        action_features=jnp.concatenate([observation.action_features, clock[None, :2]]),
        num_node_kinds=observation.num_node_kinds + 1,
        num_action_kinds=2,
    )


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[F, nodes], clipped, 0 where the node is not real."""
    return clip(jnp.stack([feature.astype(jnp.float32) for feature in features]), mask)


def clip(features: Array, mask: Array) -> Array:
    """`features` within +-LIMIT, 0 where not real."""
    return jnp.where(mask, lax.clamp(-LIMIT, features, LIMIT), 0.0)


def _equal_by_product(ids: Array) -> Array:
    """bool[J, J]: which of `ids` i32[J], below 2**24, are equal; their differences as a product of
    rank two.

    XLA fuses nothing with a product on a CPU. Compared directly, the flat list of the pairs divides
    to find its row and column at every entry, which takes longer than the whole product.
    """
    ids = ids.astype(jnp.float32)
    one = jnp.ones_like(ids)
    return (
        jnp.matmul(
            jnp.stack([ids, one], 1), jnp.stack([one, -ids]), precision=lax.Precision.HIGHEST
        )
        == 0
    )


# For each job: how many other jobs need its next machine next, the earliest start among them, the
# longest tail among them; for each machine: how many jobs need it next, and the earliest start
# among them. `ids` i32[J] is the machine, or num_machines for a finished job. Extremes over nobody
# are LATEST and 0.


def _rivals_by_machine(ids: Array, start: Array, tail: Array, zeros: Array) -> tuple[Array, ...]:
    """Scatters into machines, the quicker form on a CPU: the best two of a machine tell the best
    among the others.
    """
    waiting = zeros.at[ids].add(1, mode="drop")
    late = jnp.full_like(zeros, LATEST)

    def others(values, start_from, put, identity):
        best = put(start_from, values)
        leads = values == best.at[ids].get(mode="fill", fill_value=0)
        leaders = zeros.at[ids].add(leads.astype(jnp.int32), mode="drop")
        runner_up = put(start_from, jnp.where(leads, identity, values))
        alone = leads & (leaders.at[ids].get(mode="fill", fill_value=0) == 1)
        return best, jnp.where(
            alone, runner_up.at[ids].get(mode="fill", fill_value=0), best.at[ids].get(mode="clip")
        )

    first, rival_start = others(
        start, late, lambda table, x: table.at[ids].min(x, mode="drop"), LATEST
    )
    _, rival_tail = others(tail, zeros, lambda table, x: table.at[ids].max(x, mode="drop"), 0)
    num_rivals = jnp.maximum(waiting.at[ids].get(mode="fill", fill_value=0) - 1, 0)
    here = num_rivals > 0
    return (
        num_rivals,
        jnp.where(here, rival_start, LATEST),
        jnp.where(here, rival_tail, 0),
        waiting,
        first,
    )


def _rivals_by_pair(ids: Array, start: Array, tail: Array, zeros: Array) -> tuple[Array, ...]:
    """Masked reductions over pairs, the form that fuses on GPU and TPU."""
    rivals = (
        (ids[:, None] == ids[None, :])
        & ~np.eye(ids.shape[0], dtype=bool)
        & (ids < zeros.shape[0])[:, None]
    )
    here = ids[None, :] == jnp.arange(zeros.shape[0], dtype=jnp.int32)[:, None]  # [M, J]
    return (
        rivals.sum(-1, dtype=jnp.int32),
        jnp.where(rivals, start[None, :], LATEST).min(-1),
        jnp.where(rivals, tail[None, :], 0).max(-1),
        here.sum(-1, dtype=jnp.int32),
        jnp.where(here, start[None, :], LATEST).min(-1),
    )
