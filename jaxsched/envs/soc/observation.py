"""The frontier observation: tasks that are ready, queued or running, PEs, jobs, and one node for
the whole system.

What a job still has to do shows in its tasks' look-ahead (`System.rank`, `System.optimistic`) and
in its own node. Times are relative to the clock and in units of the mean execution time of the
instance's system, so that neither the date, the unit of time nor padding shows; what has no bound
is clipped. Of running tasks only the mean time is known. The README of this folder lists the
features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import lookup, take_row
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.soc.decisions import estimate, first, ready, timeline, transfer
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.types import EMPTY, LATEST, QUEUED, READY, RUNNING, State
from jaxsched.envs.soc.views import map_to_pe

TASK, PE, JOB, SYSTEM = 0, 1, 2, 3  # node kinds
SHARES_SUCCESSOR, QUEUED_AT, RUNS_ON, PART_OF, ABLE = 0, 1, 2, 3, 4  # edge kinds
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def frontier_observation(state: State, settings: Settings, mask: Array) -> GraphObservation:
    """`mask` bool[A]: legal actions. N = F + Q + W + 1 nodes: entries, PEs, places of jobs, the
    system.

    E = F * F + 4 * F edges, in `fifo` and `order` 2 * F * Q more: in `joint` the actions are those
    edges.
    """
    front, jobs, instance, system = (
        state.frontier,
        state.jobs,
        state.instance,
        state.instance.system,
    )
    num_entries, num_pes, num_slots, num_tasks = (
        instance.num_entries,
        system.num_pes,
        instance.num_slots,
        system.num_tasks,
    )
    unit = 1 / system.unit

    def us(values: Array) -> Array:
        return values.astype(jnp.float32) * unit

    real, waits = front.status != EMPTY, ready(state)
    queued, running = front.status == QUEUED, front.status == RUNNING
    able = front.exec_mask
    profile = lookup(jobs.profile, front.slot)
    index = profile * num_tasks + front.task  # [F] into [P * T]
    take_rows = jax.vmap(take_row, (None, 0))

    # Pairs of a ready task and a PE.
    finish = estimate(state, settings)  # [F, Q]
    pairs = waits[:, None] & able
    ahead = us(finish) + take_rows(system.optimistic.reshape(-1, num_pes), index) * unit
    soonest = jnp.where(pairs, finish, LATEST).min(1)  # [F]
    soonest_of_all = soonest.min()
    least = jnp.where(pairs, ahead, jnp.inf).min(1)
    _, end = timeline(state)
    pair_features = [
        us(front.exec_time),
        us(transfer(state, settings)),
        us(finish),
        us(finish - soonest[:, None]),
        us(finish - soonest_of_all),
        ahead,
        ahead - least[:, None],
        jnp.broadcast_to(us(end - state.time), pairs.shape),
    ]
    pair_features = _stack(pair_features, pairs)  # [8, F, Q]

    num_able = jnp.maximum(able.sum(1, dtype=jnp.int32), 1).astype(jnp.float32)
    elapsed = jnp.where(running, state.time - front.start, 0)
    rank = lookup(system.rank.ravel(), index) * unit
    left = jnp.maximum(lookup(jobs.num_left, front.slot), 1).astype(jnp.float32)
    age = us(state.time - jobs.arrival)  # [W]
    tasks = [
        waits,
        queued,
        running,
        (front.status == READY) & ~waits,
        first(waits, front.ready_seq),
        us(front.exec_time.sum(1, dtype=jnp.int32)) / num_able,
        us(jnp.where(able, front.exec_time, LATEST).min(1)),
        num_able / jnp.maximum(system.pe_mask.sum(dtype=jnp.int32), 1).astype(jnp.float32),
        jnp.where(waits, us(soonest), 0),
        us(state.time - front.ready_time),
        jnp.where(queued, us(jnp.maximum(front.data_ready - state.time, 0)), 0),
        jnp.where(queued | running, us(front.mean), 0),
        jnp.where(running, us(jnp.maximum(front.mean - elapsed, 0)), 0),
        elapsed / jnp.maximum(front.mean, 1),
        rank,
        lookup(system.num_descendants.ravel(), index).astype(jnp.float32) / left,
        lookup(system.out_transfer.ravel(), index) * unit,
        lookup(age, front.slot),
    ]

    pe_ids = jnp.arange(num_pes, dtype=jnp.int32)
    here = front.pe[:, None] == pe_ids[None]
    runs, has_queue = here & running[:, None], here & queued[:, None]
    pes = [
        runs.any(0),
        us(
            jnp.where(runs, jnp.maximum(front.mean - elapsed, 0)[:, None], 0).sum(
                0, dtype=jnp.int32
            )
        ),
        has_queue.sum(0, dtype=jnp.int32),
        us(end - state.time),
        us(jnp.maximum(state.pe_estimate - state.time, 0)),
        system.speed,
        us(jnp.where(has_queue, jnp.maximum(front.data_ready - state.time, 0)[:, None], 0).max(0)),
    ]

    slot_ids = jnp.arange(num_slots, dtype=jnp.int32)
    inside = (front.slot[:, None] == slot_ids[None]) & real[:, None]  # [F, W]
    total = jnp.maximum(lookup(system.num_tasks_of, jobs.profile), 1).astype(jnp.float32)
    longest = jnp.where(inside, rank[:, None], 0).max(0)
    whole = lookup(system.rank.max(1), jobs.profile) * unit
    oldest = jnp.where(jobs.occupied, jobs.arrival, LATEST).min()
    job_features = [
        age,
        age / jnp.maximum(whole, 1e-3),
        jobs.num_left.astype(jnp.float32) / total,
        jobs.num_left.astype(jnp.float32) * 0.1,
        (jobs.num_left - inside.sum(0, dtype=jnp.int32)).astype(jnp.float32) / total,
        longest,
        longest / jnp.maximum(whole, 1e-3),
        jobs.arrival == oldest,
    ]

    places = instance.slot_mask.sum(dtype=jnp.int32)
    inside_now, total_jobs = (
        jobs.occupied.sum(dtype=jnp.int32),
        instance.job_mask.sum(dtype=jnp.int32),
    )
    to_come = total_jobs - state.next_job
    system_features = [
        inside_now / jnp.maximum(places, 1),
        places.astype(jnp.float32) * 0.1,
        waits.sum(dtype=jnp.int32) / jnp.maximum(real.sum(dtype=jnp.int32), 1),
        (to_come > 0) & (state.due <= state.time),
        # More than ten look alike, so that short streams train for long ones.
        jnp.minimum(to_come, 10).astype(jnp.float32) * 0.1,
        jnp.zeros(()) if instance.noise is None else instance.noise.std,
        (~running.any()),
    ]
    system_node = jnp.stack([value.astype(jnp.float32) for value in system_features])[:, None]

    alive = jnp.ones((1,), jnp.bool_)
    masks = [real, system.pe_mask, jobs.occupied, alive]
    num_features = max(map(len, (tasks, pes, job_features, system_features)))
    blocks = [
        _stack(tasks, real),
        _stack(pes, system.pe_mask),
        _stack(job_features, jobs.occupied),
        clip(system_node, alive),
    ]
    nodes = jnp.concatenate(
        [jnp.pad(block, ((0, num_features - len(block)), (0, 0))) for block in blocks], 1
    ).T

    # Edges. Of two live tasks of a job none needs the other, but they may have a successor in
    # common.
    # [F, B]
    bits = take_rows(system.successor_bits.reshape(num_tasks * system.rank.shape[0], -1), index)
    common = (bits[:, None] & bits[None, :] != 0).any(-1)
    shares = common & (front.slot[:, None] == front.slot[None]) & ~np.eye(num_entries, dtype=bool)
    entries = np.arange(num_entries, dtype=np.int32)
    receivers, senders = np.divmod(
        np.arange(num_entries * num_entries, dtype=np.int32), num_entries
    )
    on_pe = num_entries + front.pe
    at_job = num_entries + num_pes + front.slot
    placed = queued | running
    kind = jnp.where(running, RUNS_ON, QUEUED_AT).astype(jnp.int32)
    part = jnp.full((num_entries,), PART_OF, jnp.int32)
    parts = [
        (
            senders,
            receivers,
            shares.ravel(),
            jnp.full((num_entries**2,), SHARES_SUCCESSOR, jnp.int32),
        ),
        (entries, on_pe, placed, kind),
        (on_pe, entries, placed, kind),
        (entries, at_job, real, part),
        (at_job, entries, real, part),
    ]
    if settings.view != "joint":
        task, pe = (ids.ravel().astype(np.int32) for ids in np.indices((num_entries, num_pes)))
        can = pairs.ravel()
        kinds = jnp.full(can.shape, ABLE, jnp.int32)
        parts += [(task, num_entries + pe, can, kinds), (num_entries + pe, task, can, kinds)]
    senders, receivers, edge_mask, edge_kind = (
        jnp.concatenate(each) for each in zip(*parts, strict=True)
    )

    if settings.view == "joint":
        action_node = jnp.asarray(np.repeat(entries, num_pes))
        action_resource = jnp.asarray(
            np.tile(num_entries + np.arange(num_pes, dtype=np.int32), num_entries)
        )
        features = pair_features.reshape(len(pair_features), -1).T
    elif settings.view == "fifo":
        oldest_task = first(waits, front.ready_seq)
        # With nothing ready the actions point at the first entry, with features 0.
        action_node = jnp.full((num_pes,), 0, jnp.int32) + jnp.argmax(oldest_task).astype(jnp.int32)
        action_resource = num_entries + pe_ids
        features = jnp.where(oldest_task[:, None], pair_features, 0).sum(1).T
    else:
        mapped = jax.vmap(lambda entry: map_to_pe(state, settings, entry))(jnp.asarray(entries))
        action_node, action_resource = jnp.asarray(entries), num_entries + mapped
        features = jnp.where(mapped[:, None] == pe_ids[None], pair_features, 0).sum(2).T
    return GraphObservation(
        graph=make_graph(nodes, senders, receivers),
        node_mask=jnp.concatenate(masks),
        node_kind=jnp.asarray(
            np.repeat(
                np.array([TASK, PE, JOB, SYSTEM], np.int32), [num_entries, num_pes, num_slots, 1]
            )
        ),
        edge_mask=edge_mask,
        edge_kind=edge_kind,
        action_node=action_node,
        action_resource=action_resource,
        action_kind=jnp.zeros(mask.shape, jnp.int32),
        action_features=features,
        action_mask=mask,
        num_node_kinds=4,
        num_edge_kinds=5,
    )


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[K, ...], clipped, 0 where not real. Feature-major: each feature is one contiguous row,
    quick to write.
    """
    return clip(jnp.stack([feature.astype(jnp.float32) for feature in features]), mask)


def clip(features: Array, mask: Array) -> Array:
    """`features` within +-LIMIT, 0 where not real."""
    return jnp.where(mask, lax.clamp(-LIMIT, features, LIMIT), 0.0)
