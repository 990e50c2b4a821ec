"""The frontier observation in tail form: the next decision, a short look-ahead, and sums over what remains.

Nodes are the J jobs, then the M machines. Times are relative to the clock, durations in units of the mean remaining
duration, longer spans in units of (makespan bound - clock), so two states with the same remaining problem look the
same, whatever their history, their time unit and their padding. The README of this folder lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import jraph
import numpy as np
from jax import Array

from jaxsched.core.arrays import lookup, take_column
from jaxsched.core.graph import GraphObservation
from jaxsched.envs.job_shop.rules import LATEST, frontier, makespan_bound
from jaxsched.envs.job_shop.types import State

JOB, MACHINE = 0, 1  # node kinds
OTHER_JOB, COMPETES, SELF, NEXT_MACHINE, WANTED_BY = range(5)  # edge kinds, read at the receiver
NUM_FEATURES = 20
LIMIT = 10.0  # features are clipped to +-LIMIT


def frontier_observation(state: State, mask: Array) -> GraphObservation:
    """`mask` bool[J]: legal jobs. N = J + M nodes, E = J*J + 2 J + M edges, A = J actions."""
    instance = state.instance
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    front = frontier(state)
    open_ = front.mask  # unfinished jobs
    now = jnp.where(state.done, 0, jnp.where(open_, front.start, LATEST).min())
    num_open = jnp.maximum(open_.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    work, ops_left = state.work_left.sum(dtype=jnp.int32), state.ops_left.sum(dtype=jnp.int32)
    unit = jnp.maximum(ops_left, 1).astype(jnp.float32) / jnp.maximum(work, 1).astype(jnp.float32)
    span = 1.0 / jnp.maximum(makespan_bound(state) - now, 1).astype(jnp.float32)

    # The operation after the next one.
    second = jnp.where(state.ops_left > 1, state.next_op + 1, instance.num_ops)
    second_machine = take_column(instance.machine, second)
    second_duration = take_column(instance.duration, second)
    has_second = state.ops_left > 1

    # Rivals: other jobs whose next operation needs the same machine.
    same = (front.machine[:, None] == front.machine[None, :]) & open_[:, None] & open_[None, :]
    rivals = same & ~np.eye(num_jobs, dtype=bool)
    num_rivals = rivals.sum(-1, dtype=jnp.int32)
    tail = state.work_left - front.duration
    rival_start = jnp.where(rivals, front.start[None, :], LATEST).min(-1)
    rival_tail = jnp.where(rivals, tail[None, :], 0).max(-1)
    contested = num_rivals > 0

    load = lookup(state.load_left, front.machine)
    end = front.start + front.duration
    job_features = [
        front.duration * unit,
        (front.start - now) * span,
        (state.job_ready - now) * span,
        (front.machine_ready - now) * span,
        (front.start - state.job_ready) * unit,
        (front.start - front.machine_ready) * unit,
        state.work_left * span,
        tail * span,
        state.ops_left * (num_open / jnp.maximum(ops_left, 1)),
        load * span,
        (front.machine_ready + load - now) * span,
        (front.start + state.work_left - now) * span,
        jnp.where(contested, (front.start - rival_start) * unit, 0),
        jnp.where(contested, (rival_tail - tail) * span, 0),
        num_rivals / num_open,
        second_duration * unit,
        jnp.where(has_second, lookup(state.load_left, second_machine), 0) * span,
        jnp.where(has_second, lookup(state.machine_ready, second_machine) - end, 0) * span,
        (front.start == now).astype(jnp.float32),
        jnp.broadcast_to(num_open / (num_open + instance.machine_mask.sum()), (num_jobs,)),
    ]
    wanted = (front.machine[None, :] == jnp.arange(num_machines, dtype=jnp.int32)[:, None]) & open_[None, :]  # [M, J]
    is_wanted = wanted.any(-1)
    first_start = jnp.where(wanted, front.start[None, :], LATEST).min(-1)
    machine_features = [
        (state.machine_ready - now) * span,
        state.load_left * span,
        (state.machine_ready + state.load_left - now) * span,
        wanted.sum(-1, dtype=jnp.int32) / num_open,
        jnp.where(is_wanted, (first_start - now) * span, 0),
        is_wanted.astype(jnp.float32),
    ]
    machine_alive = instance.machine_mask & ((state.load_left > 0) | is_wanted)
    jobs = jnp.stack([feature.astype(jnp.float32) for feature in job_features], -1)
    machines = jnp.stack([feature.astype(jnp.float32) for feature in machine_features], -1)
    machines = jnp.pad(machines, ((0, 0), (0, NUM_FEATURES - len(machine_features))))
    node_mask = jnp.concatenate([open_, machine_alive])
    nodes = jnp.clip(jnp.concatenate([jobs, machines]), -LIMIT, LIMIT) * node_mask[:, None]

    # Edges: all pairs of jobs, each job with the machine of its next operation in both directions, machine loops.
    job_ids = np.arange(num_jobs, dtype=np.int32)
    machine_ids = num_jobs + np.arange(num_machines, dtype=np.int32)
    job_machine = num_jobs + front.machine
    receivers = jnp.concatenate([np.repeat(job_ids, num_jobs), job_ids, job_machine, machine_ids])
    senders = jnp.concatenate([np.tile(job_ids, num_jobs), job_machine, job_ids, machine_ids])
    pair_kind = jnp.where(np.eye(num_jobs, dtype=bool), SELF, jnp.where(same, COMPETES, OTHER_JOB))
    kinds = np.repeat(np.array([NEXT_MACHINE, WANTED_BY, SELF], np.int32), [num_jobs, num_jobs, num_machines])
    edge_kind = jnp.concatenate([pair_kind.astype(jnp.int32).ravel(), kinds])
    pair_mask = open_[:, None] & open_[None, :]
    edge_mask = jnp.concatenate([pair_mask.ravel(), open_, open_, machine_alive])
    return GraphObservation(
        graph=jraph.GraphsTuple(
            nodes=nodes,
            edges=None,
            receivers=receivers,
            senders=senders,
            globals=None,
            n_node=jnp.full((1,), num_jobs + num_machines, jnp.int32),
            n_edge=jnp.full((1,), receivers.shape[0], jnp.int32),
        ),
        node_mask=node_mask,
        node_kind=jnp.asarray(np.repeat(np.array([JOB, MACHINE], np.int32), [num_jobs, num_machines])),
        edge_mask=edge_mask,
        edge_kind=edge_kind,
        action_node=jnp.asarray(job_ids),
        action_resource=job_machine,
        action_kind=jnp.zeros((num_jobs,), jnp.int32),
        action_features=open_[:, None]
        * jnp.clip(jnp.stack([front.duration * unit, (end - now) * span], -1).astype(jnp.float32), -LIMIT, LIMIT),
        action_mask=mask,
        num_node_kinds=2,
        num_edge_kinds=5,
    )
