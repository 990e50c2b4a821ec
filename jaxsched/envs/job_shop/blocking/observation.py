"""What a policy sees of a blocking shop: jobs, machines, and who stands in whose way.

Nodes are the J jobs, then the M machines, with `wait` one more, the clock. Times are relative to
the clock, durations in units of the mean remaining duration, longer spans in units of (makespan
bound - clock), so two states with the same remaining problem look the same, whatever the date,
their time unit and their padding. What is not known yet does not show: a machine that will fail
looks like any other, and a repair under way looks as if it took its mean from now on. The README of
this folder lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.core.arrays import lookup, take_column
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.job_shop.blocking import rules
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.blocking.types import State
from jaxsched.envs.job_shop.observation import clip, with_clock

JOB, MACHINE = 0, 1  # node kinds
OTHER_JOB, COMPETES, WAITS_FOR, IN_THE_WAY = range(4)  # edge kinds


def frontier_observation(state: State, settings: Settings, mask: Array) -> GraphObservation:
    """`mask` bool[A]: legal actions. N = J + M nodes, E = J * J edges, A = J actions; with `wait`
    one more node, the clock, and one more action, the no-op.
    """
    instance, front = state.instance, rules.upcoming(state)
    num_jobs, num_machines = instance.num_jobs, instance.num_machines
    now = state.time
    end, down = expected_end(state)
    inside = state.at < num_machines
    alive = (front.mask | inside) & ~state.done  # jobs that are not gone
    num_alive = jnp.maximum(alive.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    work, ops_left = state.work_left.sum(dtype=jnp.int32), state.ops_left.sum(dtype=jnp.int32)
    unit = jnp.maximum(ops_left, 1).astype(jnp.float32) / jnp.maximum(work, 1).astype(jnp.float32)
    bound = jnp.where(state.done, now, rules.makespan_bound(state))
    span = 1.0 / jnp.maximum(bound - now, 1).astype(jnp.float32)
    machines = jnp.arange(num_machines, dtype=jnp.int32)

    left = jnp.maximum(end - now, 0)  # until it could move
    waits = front.mask & (end <= now)
    # [j, k]: k has the machine that j wants
    holds = front.mask[:, None] & (front.machine[:, None] == state.at[None])
    taken = holds.any(1)
    holder_left = jnp.where(holds, left, 0).max(1)
    holder_last = (holds & (~front.mask)[None]).any(1)
    rivals = (
        (front.machine[:, None] == front.machine[None])
        & front.mask[None]
        & front.mask[:, None]
        & ~np.eye(num_jobs, dtype=bool)
    )
    num_rivals = rivals.sum(1, dtype=jnp.int32)
    rival_tail = jnp.where(rivals, state.work_left, 0).max(1)
    wanted_by = holds & waits[:, None]  # [j, k]: j waits for the machine of k
    num_behind = wanted_by.sum(0, dtype=jnp.int32)
    at_machine = state.at[None] == machines[:, None]  # [M, J]
    wants_machine = front.machine[None] == machines[:, None]
    num_waiting = (wants_machine & waits[None]).sum(1, dtype=jnp.int32)

    has_second = state.ops_left > 1
    second = jnp.where(has_second, state.next_op + 1, instance.num_ops)
    second_machine = jnp.where(has_second, take_column(instance.machine, second), num_machines)
    second_duration = take_column(instance.duration, second)
    machine_left = jnp.where(at_machine, left, 0).max(1)
    is_taken = at_machine.any(1)

    load = lookup(state.load_left, front.machine)
    tail = state.work_left - front.duration
    # Whether the job after its move could go on: the machine it needs then is taken, and by whom
    # that waits for it.
    second_taken = lookup(is_taken.astype(jnp.int32), second_machine)
    on_circle = (holds & (second_machine[:, None] == state.at[None]).T).any(1)
    served = jnp.where(state.competes, front.machine, num_machines).min()
    jobs = [
        front.duration.astype(jnp.float32) * unit,
        left.astype(jnp.float32) * span,
        left.astype(jnp.float32) * unit,
        jnp.where(waits, now - state.ready, 0).astype(jnp.float32) * unit,
        state.work_left.astype(jnp.float32) * span,
        tail.astype(jnp.float32) * span,
        state.ops_left.astype(jnp.float32)
        * (num_alive / jnp.maximum(ops_left, 1).astype(jnp.float32)),
        load.astype(jnp.float32) * span,
        jnp.where(num_rivals > 0, (rival_tail - state.work_left).astype(jnp.float32) * span, 0),
        num_rivals.astype(jnp.float32) / num_alive,
        num_behind.astype(jnp.float32) / num_alive,
        second_duration.astype(jnp.float32) * unit,
        jnp.where(has_second, lookup(state.load_left, second_machine), 0).astype(jnp.float32)
        * span,
        lookup(machine_left, second_machine).astype(jnp.float32) * unit,
        second_taken,
        lookup(num_waiting, second_machine).astype(jnp.float32) / num_alive,
        inside,
        waits,
        taken,
        holder_left.astype(jnp.float32) * unit,
        holder_last,
        on_circle,
        state.competes,
        front.mask & (front.machine == served),
        jnp.broadcast_to(
            num_alive
            / (num_alive + instance.machine_mask.sum(dtype=jnp.int32).astype(jnp.float32)),
            (num_jobs,),
        ),
    ]
    of_machines = [
        machine_left.astype(jnp.float32) * span,
        machine_left.astype(jnp.float32) * unit,
        state.load_left.astype(jnp.float32) * span,
        (machine_left + state.load_left).astype(jnp.float32) * span,
        num_waiting.astype(jnp.float32) / num_alive,
        is_taken,
        (at_machine & waits[None]).any(1),
        machines == served,
        down,
        jnp.zeros(num_machines) if instance.windows is None else _next_window(state) * unit,
    ]
    shown = (
        instance.machine_mask
        & ((state.load_left > 0) | is_taken | wants_machine.any(1))
        & ~state.done
    )
    padding = ((0, len(jobs) - len(of_machines)), (0, 0))
    nodes = jnp.concatenate(
        [_stack(jobs, alive), jnp.pad(_stack(of_machines, shown), padding)], 1
    ).T

    pair = jnp.stack(
        [
            front.duration.astype(jnp.float32) * unit,
            (front.duration + tail).astype(jnp.float32) * span,
        ],
        -1,
    )
    receivers, senders = np.divmod(np.arange(num_jobs * num_jobs), num_jobs)
    kind = jnp.where(rivals, COMPETES, OTHER_JOB)
    kind = jnp.where(holds, WAITS_FOR, jnp.where(holds.T, IN_THE_WAY, kind))  # [receiver, sender]
    observation = GraphObservation(
        graph=make_graph(nodes, senders, receivers),
        node_mask=jnp.concatenate([alive, shown]),
        node_kind=jnp.asarray(
            np.repeat(np.array([JOB, MACHINE], np.int32), [num_jobs, num_machines])
        ),
        edge_mask=jnp.asarray(~np.eye(num_jobs, dtype=bool).ravel()),
        edge_kind=kind.astype(jnp.int32).ravel(),
        action_node=jnp.arange(num_jobs, dtype=jnp.int32),
        action_resource=num_jobs + jnp.minimum(front.machine, num_machines - 1),
        action_kind=jnp.zeros((num_jobs,), jnp.int32),
        action_features=clip(pair, front.mask[:, None]),
        action_mask=mask[:num_jobs],
        num_node_kinds=2,
        num_edge_kinds=4,
    )
    if not settings.wait:
        return observation
    until = jnp.where(state.done, 0, rules.to_come(state) - now)
    until = jnp.where(rules.to_come(state) == rules.LATEST, 0, until)
    share = state.competes.sum(dtype=jnp.int32).astype(jnp.float32) / num_alive
    observation = with_clock(
        observation,
        jnp.stack([until.astype(jnp.float32) * unit, until.astype(jnp.float32) * span, share]),
        ~state.done,
    )
    return observation.replace(action_mask=mask)


def expected_end(state: State) -> tuple[Array, Array]:
    """i32[J]: when each job could move, as far as is known; bool[M]: machines that are down."""
    instance, machines = state.instance, jnp.arange(state.instance.num_machines, dtype=jnp.int32)
    down = jnp.zeros(machines.shape, jnp.bool_)
    if instance.windows is not None:
        down = ((instance.windows.start <= state.time) & (state.time < instance.windows.end)).any(1)
    if state.record is None or instance.failures is None:
        return state.ready, down
    record, now = state.record, state.time
    # Repair times are geometric and forget: one that is under way takes its mean from now on,
    # whatever came before.
    failed = (record.fails <= now) & (now < state.ready)
    repair = state.ready - record.planned  # with what maintenance adds or takes
    mending = failed & (now < record.fails + repair)
    mean = jnp.round(instance.failures.mean_repair).astype(jnp.int32)
    guess = jnp.where(mending, now + mean + record.planned - record.fails, state.ready)
    end = jnp.where(state.next_op == 0, state.ready, jnp.where(failed, guess, record.planned))
    end = jnp.where(state.ready <= now, state.ready, end)
    return end, down | ((state.at == machines[:, None]) & mending).any(1)


def _next_window(state: State) -> Array:
    """i32[M]: ticks until the next maintenance begins, 0 where none will."""
    windows = state.instance.windows
    assert windows is not None
    start = jnp.where(
        (windows.start > state.time) & (windows.end > windows.start), windows.start, rules.LATEST
    ).min(1)
    return jnp.where(start < rules.LATEST, start - state.time, 0)


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[F, nodes], clipped, 0 where the node is not real."""
    return clip(jnp.stack([feature.astype(jnp.float32) for feature in features]), mask)
