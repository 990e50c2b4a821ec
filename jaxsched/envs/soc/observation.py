"""The frontier observation: tasks that are ready, queued or running, PEs, jobs, and one node for
the whole system.

What a job still has to do shows in its tasks' look-ahead (`System.rank`, `System.optimistic`) and
in its own node. Times are relative to the clock and in units of the mean execution time of the
instance's system (`unit`), so that neither the date, the unit of time nor padding shows; what has
no bound is clipped. `rank` is the upward rank of HEFT: the time from a task's start to its job's
end on mean PEs, transfers included. Of running tasks only the mean time is known.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import lookup
from jaxsched.core.graph import Actions, GraphObservation, Nodes
from jaxsched.envs.soc.decisions import estimate, first, ready, timeline, transfer
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.types import EMPTY, LATEST, QUEUED, READY, RUNNING, State
from jaxsched.envs.soc.views import map_to_pe

# Of two live tasks of a job none needs the other, but they may have a successor in common.
RELATIONS = ("shares a successor", "queued at", "runs on", "part of", "able")
SHARES_SUCCESSOR, QUEUED_AT, RUNS_ON, PART_OF, ABLE = 1, 2, 3, 4, 5


class Scene(struct.PyTreeNode):
    """What more than one kind of node, the pairs or the relations show of a state."""

    unit: Array  # f32[]  1 / mean execution time, per us
    real: Array  # bool[F]  tasks in the system
    waits: Array  # bool[F]  of these, ready for a decision
    queued: Array  # bool[F]
    running: Array  # bool[F]
    pairs: Array  # bool[F, Q]  of a ready task and a PE that can run it
    finish: Array  # i32[F, Q]  estimated, us from the clock
    soonest: Array  # i32[F]  the least estimate of a ready task, us
    elapsed: Array  # i32[F]  since a running task started, us
    time_left: Array  # i32[F]  of a running task by its mean time, us
    data_wait: Array  # i32[F]  until the data of a queued task are there, us
    has_queued: Array  # bool[F, Q]  the task is queued at the PE
    runs: Array  # bool[F, Q]  the task runs on the PE
    queue_end: Array  # i32[Q]  until the PE has run its queue too, us
    inside: Array  # bool[F, W]  the task is part of the job
    index: Array  # i32[F]  row of the task in tables of all profiles' tasks, [P * T]
    rank: Array  # f32[F]  in units
    age: Array  # f32[W]  of the job, in units

    def units(self, values: Array) -> Array:
        """f32[...]: spans of time i32[...] in units of the mean execution time."""
        return values.astype(jnp.float32) * self.unit


def frontier_observation(state: State, settings: Settings, mask: Array) -> GraphObservation:
    """`mask` bool[A]: legal actions. N = F + Q + W + 1 nodes: entries, PEs, places of jobs, the
    system.

    Ready tasks are related to the PEs that can run them in `fifo` and `order` only: in `joint` the
    actions say so.
    """
    scene = _scene(state, settings)
    nodes = (
        graph.nodes("task", scene.real, _task_features(state, scene)),
        graph.nodes("pe", state.instance.system.pe_mask, _pe_features(state, scene)),
        graph.nodes("job", state.jobs.occupied, _job_features(state, scene)),
        _system_node(state, scene),
    )
    actions = _actions(state, settings, scene)
    relation = _relations(state, settings, scene, nodes)
    return GraphObservation(nodes, relation, (actions,), mask, RELATIONS)


def _scene(state: State, settings: Settings) -> Scene:
    front, system = state.frontier, state.instance.system
    unit = 1 / system.unit
    real, waits = front.status != EMPTY, ready(state)
    queued, running = front.status == QUEUED, front.status == RUNNING
    pairs = waits[:, None] & front.exec_mask
    finish = estimate(state, settings)
    elapsed = jnp.where(running, state.time - front.start, 0)
    here = front.pe[:, None] == jnp.arange(system.num_pes, dtype=jnp.int32)[None]
    places = jnp.arange(state.instance.num_slots, dtype=jnp.int32)
    index = lookup(state.jobs.profile, front.slot) * system.num_tasks + front.task
    return Scene(
        unit=unit,
        real=real,
        waits=waits,
        queued=queued,
        running=running,
        pairs=pairs,
        finish=finish,
        soonest=jnp.where(pairs, finish, LATEST).min(1),
        elapsed=elapsed,
        time_left=jnp.where(running, jnp.maximum(front.mean - elapsed, 0), 0),
        data_wait=jnp.where(queued, jnp.maximum(front.data_ready - state.time, 0), 0),
        has_queued=here & queued[:, None],
        runs=here & running[:, None],
        queue_end=timeline(state)[1] - state.time,
        inside=(front.slot[:, None] == places[None]) & real[:, None],
        index=index,
        rank=lookup(system.rank.ravel(), index) * unit,
        age=(state.time - state.jobs.arrival).astype(jnp.float32) * unit,
    )


def _task_features(state: State, scene: Scene) -> dict[str, Array]:
    """Of every task by name: where it stands, its times, and what comes after it."""
    front, system, units = state.frontier, state.instance.system, scene.units
    able, placed = front.exec_mask, scene.queued | scene.running
    num_able = jnp.maximum(able.sum(1, dtype=jnp.int32), 1).astype(jnp.float32)
    num_pes = jnp.maximum(system.pe_mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    tasks_left = jnp.maximum(lookup(state.jobs.num_left, front.slot), 1).astype(jnp.float32)
    descendants = lookup(system.num_descendants.ravel(), scene.index).astype(jnp.float32)
    return {
        "is ready": scene.waits,
        "is queued": scene.queued,
        "runs": scene.running,
        "data on the way to memory": (front.status == READY) & ~scene.waits,
        "is first in the ready list": first(scene.waits, front.ready_seq),
        "mean time / unit": units(front.exec_time.sum(1, dtype=jnp.int32)) / num_able,
        "shortest time / unit": units(jnp.where(able, front.exec_time, LATEST).min(1)),
        "able PEs / PEs": num_able / num_pes,
        "least finish / unit": jnp.where(scene.waits, units(scene.soonest), 0),
        "(now - ready time) / unit": units(state.time - front.ready_time),
        "(data there - now) / unit": units(scene.data_wait),
        "time on its PE / unit": jnp.where(placed, units(front.mean), 0),
        "time left on its PE / unit": units(scene.time_left),
        "elapsed / time on its PE": scene.elapsed / jnp.maximum(front.mean, 1),
        "rank / unit": scene.rank,
        "descendants / tasks left": descendants / tasks_left,
        "transfers to successors / unit": lookup(system.out_transfer.ravel(), scene.index)
        * scene.unit,
        "(now - arrival of its job) / unit": lookup(scene.age, front.slot),
    }


def _pe_features(state: State, scene: Scene) -> dict[str, Array]:
    """Of every PE by name: what it runs and what is queued there."""
    units = scene.units
    time_left = jnp.where(scene.runs, scene.time_left[:, None], 0).sum(0, dtype=jnp.int32)
    return {
        "runs a task": scene.runs.any(0),
        "time left of its task / unit": units(time_left),
        "queued tasks": scene.has_queued.sum(0, dtype=jnp.int32),
        "(end of its queue - now) / unit": units(scene.queue_end),
        "(estimate - now) / unit": units(jnp.maximum(state.pe_estimate - state.time, 0)),
        "time here / mean time": state.instance.system.speed,
        "longest wait for data / unit": units(
            jnp.where(scene.has_queued, scene.data_wait[:, None], 0).max(0)
        ),
    }


def _job_features(state: State, scene: Scene) -> dict[str, Array]:
    """Of every job by name: its age, and what is left of it."""
    jobs, system = state.jobs, state.instance.system
    num_tasks = jnp.maximum(lookup(system.num_tasks_of, jobs.profile), 1).astype(jnp.float32)
    tasks_left = jobs.num_left.astype(jnp.float32)
    not_live = (jobs.num_left - scene.inside.sum(0, dtype=jnp.int32)).astype(jnp.float32)
    live_rank = jnp.where(scene.inside, scene.rank[:, None], 0).max(0)
    rank = jnp.maximum(lookup(system.rank.max(1), jobs.profile) * scene.unit, 1e-3)
    return {
        "(now - arrival) / unit": scene.age,
        "(now - arrival) / rank": scene.age / rank,
        "tasks left / tasks": tasks_left / num_tasks,
        "tasks left / 10": tasks_left * 0.1,
        "tasks not yet live / tasks": not_live / num_tasks,
        "largest rank of a live task / unit": live_rank,
        "largest rank of a live task / rank": live_rank / rank,
        "is oldest": jobs.arrival == jnp.where(jobs.occupied, jobs.arrival, LATEST).min(),
    }


def _system_node(state: State, scene: Scene) -> Nodes:
    """The whole: how full it is, what is to come, and whether times are uncertain."""
    instance = state.instance
    places = instance.slot_mask.sum(dtype=jnp.int32)
    num_jobs, num_live, num_ready = (
        each.sum(dtype=jnp.int32) for each in (state.jobs.occupied, scene.real, scene.waits)
    )
    to_come = instance.job_mask.sum(dtype=jnp.int32) - state.next_job
    deviation = jnp.zeros(()) if instance.noise is None else instance.noise.std
    features = {
        "jobs / places": num_jobs / jnp.maximum(places, 1),
        "places / 10": places.astype(jnp.float32) * 0.1,
        "ready tasks / live tasks": num_ready / jnp.maximum(num_live, 1),
        "a job is due": (to_come > 0) & (state.due <= state.time),
        # More than ten look alike, so that short streams train for long ones.
        "min(jobs to come, 10) / 10": jnp.minimum(to_come, 10).astype(jnp.float32) * 0.1,
        "deviation of times / mean": deviation,
        "nothing runs": ~scene.running.any(),
    }
    return graph.nodes("system", jnp.ones((1,), jnp.bool_), features)


def _actions(state: State, settings: Settings, scene: Scene) -> Actions:
    """All pairs of a task and a PE; in `fifo` and `order` those of them that the view offers."""
    features = _pair_features(state, settings, scene)
    pairs = graph.actions("task", uses="pe", kinds=("assign",), mask=scene.pairs, features=features)
    if settings.view == "joint":
        return pairs
    assert pairs.features is not None
    num_entries, num_pes = scene.pairs.shape
    table = pairs.features.reshape(num_entries, num_pes, -1)
    pe_ids = jnp.arange(num_pes, dtype=jnp.int32)
    if settings.view == "fifo":
        oldest = first(scene.waits, state.frontier.ready_seq)
        # With nothing ready the actions are about the first entry, with features 0.
        node = jnp.broadcast_to(jnp.argmax(oldest).astype(jnp.int32), (num_pes,))
        rows = jnp.where(oldest[:, None, None], table, 0).sum(0)
        return pairs.replace(features=rows, node=node, resource=pe_ids)
    entries = jnp.arange(num_entries, dtype=jnp.int32)
    mapped = jax.vmap(lambda entry: map_to_pe(state, settings, entry))(entries)
    rows = jnp.where((mapped[:, None] == pe_ids[None])[..., None], table, 0).sum(1)
    return pairs.replace(features=rows, resource=mapped)


def _pair_features(state: State, settings: Settings, scene: Scene) -> dict[str, Array]:
    """Of every pair of a ready task and a PE that can run it, by name: when it would finish there,
    and the least time from then to the end of its job (PEFT).
    """
    units, system, finish = scene.units, state.instance.system, scene.finish
    after = lookup(system.optimistic.reshape(-1, system.num_pes), scene.index) * scene.unit
    ahead = units(finish) + after
    least_ahead = jnp.where(scene.pairs, ahead, jnp.inf).min(1)
    return {
        "time / unit": units(state.frontier.exec_time),
        "(data there - now) / unit": units(transfer(state, settings)),
        "(finish - now) / unit": units(finish),
        "(finish - least of the task) / unit": units(finish - scene.soonest[:, None]),
        "(finish - least of all) / unit": units(finish - scene.soonest.min()),
        "(finish + time after - now) / unit": ahead,
        "(finish + time after - least of the task) / unit": ahead - least_ahead[:, None],
        "(end of the PE's queue - now) / unit": units(scene.queue_end)[None],
    }


def _relations(state: State, settings: Settings, scene: Scene, nodes: tuple[Nodes, ...]) -> Array:
    """Tasks with each other, with their PE, and with their job, each both ways."""
    front, bits = state.frontier, state.instance.system.successor_bits
    bits = lookup(bits.reshape(-1, bits.shape[-1]), scene.index)
    common = (bits[:, None] & bits[None] != 0).any(-1)
    others = ~np.eye(len(front.slot), dtype=bool)
    shares = common & (front.slot[:, None] == front.slot[None]) & others
    placed = jnp.where(scene.runs, RUNS_ON, jnp.where(scene.has_queued, QUEUED_AT, 0))
    if settings.view != "joint":
        placed = jnp.where(scene.pairs, ABLE, placed)
    part = jnp.where(scene.inside, PART_OF, 0)
    blocks = {
        ("task", "task"): jnp.where(shares, SHARES_SUCCESSOR, 0),
        ("task", "pe"): placed,
        ("pe", "task"): placed.T,
        ("task", "job"): part,
        ("job", "task"): part.T,
    }
    return graph.relations(nodes, blocks)
