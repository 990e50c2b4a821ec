"""What a policy sees of a blocking shop: jobs, machines, and who stands in whose way.

Nodes are the J jobs, then the M machines, with `wait` one more, the clock. Times are relative to
the clock, durations in units of the mean remaining duration (`unit`), longer times in units of
makespan bound - clock (`span`), so two states with the same remaining problem look the same,
whatever the date, their time unit and their padding. What is not known yet does not show: a machine
that will fail looks like any other, and a repair under way looks as if it took its mean from now
on.

In the names of features, jobs are those that are not gone, the end of a job is when it could move,
the holder is the job on the machine that a job needs next, and second is what a job does after its
next operation.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import lookup, take_column
from jaxsched.core.graph import Actions, GraphObservation, Nodes
from jaxsched.envs.job_shop.blocking import rules
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.blocking.types import State
from jaxsched.envs.job_shop.observation import Scale, clock_node

# competes: for the machine that both need next; waits for: it has the machine needed next
RELATIONS = ("other job", "competes", "waits for", "in the way")
OTHER_JOB, COMPETES, WAITS_FOR, IN_THE_WAY = 1, 2, 3, 4


class Places(struct.PyTreeNode):
    """Who is where, what each job needs next, and when it could move."""

    front: rules.Next
    second_machine: Array  # i32[J]  of the operation after the next one; M where there is none
    inside: Array  # bool[J]  jobs that hold a machine
    alive: Array  # bool[J]  jobs that are not gone
    num_alive: Array  # f32[]  at least 1
    left: Array  # i32[J]  ticks until the job could move, as far as is known
    waits: Array  # bool[J]  jobs that could move now if their next machine were free
    holds: Array  # bool[J, J]  [j, k]: k has the machine that j needs next
    rivals: Array  # bool[J, J]  two jobs that need the same machine next
    served: Array  # i32[]  the machine that jobs compete for now; M where there is none
    at_machine: Array  # bool[M, J]  the job holds the machine
    wants_machine: Array  # bool[M, J]  the job needs the machine next
    is_taken: Array  # bool[M]
    is_down: Array  # bool[M]
    machine_left: Array  # i32[M]  `left` of its job; 0 where it has none
    num_waiting: Array  # i32[M]  jobs that wait for it


def frontier_observation(state: State, settings: Settings, mask: Array) -> GraphObservation:
    """`mask` bool[A]: legal actions. N = J + M nodes, A = J actions; with `wait` one more node, the
    clock, and one more action, the no-op.
    """
    scale, places = _scale_of(state), _places_of(state)
    shown = (
        state.instance.machine_mask
        & ((state.load_left > 0) | places.is_taken | places.wants_machine.any(1))
        & ~state.done
    )
    jobs = graph.nodes("job", places.alive, _job_features(state, scale, places))
    machines = graph.nodes("machine", shown, _machine_features(state, scale, places))
    nodes, actions = (jobs, machines), (_moves(state, scale, places),)
    if settings.wait:
        clock, wait = _waiting(state, scale, places)
        nodes, actions = (*nodes, clock), (*actions, wait)
    relation = graph.relations(nodes, {("job", "job"): _between_jobs(places)})
    return GraphObservation(nodes, relation, actions, mask, RELATIONS)


def _scale_of(state: State) -> Scale:
    """Clock and units of a state."""
    now, work = state.time, state.work_left.sum(dtype=jnp.int32)
    unit = _number(state.ops_left) / jnp.maximum(work, 1).astype(jnp.float32)
    bound = jnp.where(state.done, now, rules.makespan_bound(state))
    return Scale(now, unit, 1.0 / jnp.maximum(bound - now, 1).astype(jnp.float32))


def _places_of(state: State) -> Places:
    num_machines, front = state.instance.num_machines, rules.upcoming(state)
    machines = jnp.arange(num_machines, dtype=jnp.int32)
    end, is_down = expected_end(state)
    inside = state.at < num_machines
    alive = (front.mask | inside) & ~state.done
    left = jnp.maximum(end - state.time, 0)
    waits = front.mask & (end <= state.time)
    both = front.mask[None] & front.mask[:, None] & ~np.eye(state.instance.num_jobs, dtype=bool)
    at_machine = state.at[None] == machines[:, None]
    wants_machine = front.machine[None] == machines[:, None]
    return Places(
        front=front,
        second_machine=_second_machine(state),
        inside=inside,
        alive=alive,
        num_alive=_number(alive),
        left=left,
        waits=waits,
        holds=front.mask[:, None] & (front.machine[:, None] == state.at[None]),
        rivals=both & (front.machine[:, None] == front.machine[None]),
        served=jnp.where(state.competes, front.machine, num_machines).min(),
        at_machine=at_machine,
        wants_machine=wants_machine,
        is_taken=at_machine.any(1),
        is_down=is_down,
        machine_left=jnp.where(at_machine, left[None], 0).max(1),
        num_waiting=(wants_machine & waits[None]).sum(1, dtype=jnp.int32),
    )


def _second_machine(state: State) -> Array:
    machine = take_column(state.instance.machine, state.next_op + 1)
    return jnp.where(state.ops_left > 1, machine, state.instance.num_machines)


def _job_features(state: State, scale: Scale, places: Places) -> dict[str, Array]:
    """Of every job by name: itself, those that need the same machine, the operation after the next
    one, and its place in the shop.
    """
    units, spans, num_alive = scale.units, scale.spans, places.num_alive
    front, waits = places.front, places.waits
    num_machines = state.instance.machine_mask.sum(dtype=jnp.int32).astype(jnp.float32)
    num_rivals = places.rivals.sum(1, dtype=jnp.int32)
    rival_work = jnp.where(places.rivals, state.work_left[None], 0).max(1)
    behind = places.holds & waits[:, None]  # [j, k]: j waits for the machine of k
    return {
        "duration / unit": units(front.duration),
        "(end - now) / span": spans(places.left),
        "(end - now) / unit": units(places.left),
        "waited / unit": units(jnp.where(waits, scale.now - state.ready, 0)),
        "work left / span": spans(state.work_left),
        "work after / span": spans(state.work_left - front.duration),
        "operations left / mean": state.ops_left.astype(jnp.float32)
        * (num_alive / _number(state.ops_left)),
        "machine load / span": spans(lookup(state.load_left, front.machine)),
        "(rival work left - work left) / span": spans(
            jnp.where(num_rivals > 0, rival_work - state.work_left, 0)
        ),
        "rivals / jobs": num_rivals.astype(jnp.float32) / num_alive,
        "jobs that wait for its machine / jobs": behind.sum(0, dtype=jnp.int32).astype(jnp.float32)
        / num_alive,
        **_second_features(state, scale, places),
        **_place_features(state, scale, places),
        "jobs / (jobs + machines)": num_alive / (num_alive + num_machines),
    }


def _second_features(state: State, scale: Scale, places: Places) -> dict[str, Array]:
    """Of every job by name: whether it could go on after its move."""
    instance, machine = state.instance, places.second_machine
    has_second = machine < instance.num_machines
    second = jnp.where(has_second, state.next_op + 1, instance.num_ops)
    left = lookup(places.machine_left, machine)
    num_waiting = lookup(places.num_waiting, machine).astype(jnp.float32)
    return {
        "second duration / unit": scale.units(take_column(instance.duration, second)),
        "second machine load / span": scale.spans(lookup(state.load_left, machine)),
        "(end on the second machine - now) / unit": scale.units(left),
        "second machine is taken": lookup(places.is_taken.astype(jnp.int32), machine),
        "jobs that wait for the second machine / jobs": num_waiting / places.num_alive,
    }


def _place_features(state: State, scale: Scale, places: Places) -> dict[str, Array]:
    """Of every job by name: where it is, and who stands in its way."""
    holds = places.holds
    holder_left = jnp.where(holds, places.left[None], 0).max(1)
    # [j, k]: after its move k needs the machine of j; or k leaves then, and j is outside
    returns = places.second_machine[None] == state.at[:, None]
    return {
        "holds a machine": places.inside,
        "waits": places.waits,
        "next machine is taken": holds.any(1),
        "(end of the holder - now) / unit": scale.units(holder_left),
        "the holder leaves then": (holds & ~places.front.mask[None]).any(1),
        "the holder needs its machine after": (holds & returns).any(1),
        "competes": state.competes,
        "needs the machine served": places.front.mask & (places.front.machine == places.served),
    }


def _machine_features(state: State, scale: Scale, places: Places) -> dict[str, Array]:
    """Of every machine by name: what it has to do, and the job that it has."""
    machines = jnp.arange(state.instance.num_machines, dtype=jnp.int32)
    left = places.machine_left
    return {
        "(end - now) / span": scale.spans(left),
        "(end - now) / unit": scale.units(left),
        "load left / span": scale.spans(state.load_left),
        "(end + load left - now) / span": scale.spans(left + state.load_left),
        "jobs that wait / jobs": places.num_waiting.astype(jnp.float32) / places.num_alive,
        "is taken": places.is_taken,
        "is taken by a job that waits": (places.at_machine & places.waits[None]).any(1),
        "is served": machines == places.served,
        "is down": places.is_down,
        "(next maintenance - now) / unit": scale.units(_next_window(state)),
    }


def _moves(state: State, scale: Scale, places: Places) -> Actions:
    """Each job to its next machine; a job that has none names the last one, to no effect."""
    front = places.front
    return graph.actions(
        "job",
        uses="machine",
        resource=jnp.minimum(front.machine, state.instance.num_machines - 1),
        kinds=("move",),
        mask=front.mask,
        features={
            "duration / unit": scale.units(front.duration),
            "work left / span": scale.spans(state.work_left),
        },
    )


def _waiting(state: State, scale: Scale, places: Places) -> tuple[Nodes, Actions]:
    """The clock as a node, and the no-op: how long the wait for the next event would be, and the
    share of jobs that compete.
    """
    event = rules.to_come(state)
    wait = jnp.where(state.done | (event == rules.LATEST), 0, event - scale.now)
    share = state.competes.sum(dtype=jnp.int32).astype(jnp.float32) / places.num_alive
    return clock_node(~state.done, scale.units(wait), scale.spans(wait), share)


def _between_jobs(places: Places) -> Array:
    """i32[J, J]: what each job (column) is to each job (row). Of two jobs that stand in each
    other's way each waits for the other.
    """
    holds, num_jobs = places.holds, places.alive.shape[0]
    relation = jnp.where(places.rivals, COMPETES, OTHER_JOB)
    relation = jnp.where(holds, WAITS_FOR, jnp.where(holds.T, IN_THE_WAY, relation))
    return jnp.where(np.eye(num_jobs, dtype=bool), 0, relation)


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
    return end, down | ((state.at[None] == machines[:, None]) & mending[None]).any(1)


def _next_window(state: State) -> Array:
    """i32[M]: ticks until the next maintenance begins, 0 where none will."""
    windows = state.instance.windows
    if windows is None:
        return jnp.zeros((state.instance.num_machines,), jnp.int32)
    start = jnp.where(
        (windows.start > state.time) & (windows.end > windows.start), windows.start, rules.LATEST
    ).min(1)
    return jnp.where(start < rules.LATEST, start - state.time, 0)


def _number(counts: Array) -> Array:
    """f32[]: how many there are, at least 1."""
    return jnp.maximum(counts.sum(dtype=jnp.int32), 1).astype(jnp.float32)
