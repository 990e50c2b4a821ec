"""The frontier observation of static allocation: buffers left, the sections of time, who shares
one.

Nodes are the N buffers, then the S sections. Two buffers that are live at a common time are joined
by an edge, and each section with the next. Amounts of memory are in units of the bound on the peak
and relative to the lowest offset that a buffer can still get, so that two states with the same
remaining problem look alike whatever their units. The README of this folder lists the features.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsched.core.arrays import MAX, MIN, SUM, reduce_together
from jaxsched.core.graph import GraphObservation, make_graph
from jaxsched.envs.memory.allocation import rules
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.types import State

BUFFER, SECTION = 0, 1  # node kinds
SHARES, NEXT = 0, 1  # edge kinds
LIMIT = np.float32(10)  # features are clipped to +-LIMIT


def observe(state: State, mask: Array) -> GraphObservation:
    """`mask` bool[N]: legal actions. N + S nodes, N * N + 2 (S - 1) edges, N actions."""
    instance = state.instance
    num_buffers, num_sections = instance.num_buffers, instance.num_sections
    waiting = instance.buffer_mask & ~state.placed & ~state.done
    live = instance.live & waiting[:, None]
    bound = rules.bound(state, Settings())
    unit = 1.0 / jnp.maximum(bound, 1).astype(jnp.float32)
    size = jnp.where(waiting, instance.size, 0)
    many = live.astype(jnp.int32)

    # Few passes over [N, S]: most of the time goes there.
    crowd, busy = reduce_together([(SUM, many), (MAX, many)], 0)
    busy = busy > 0  # sections with something left
    length, floor, most, highest, summed, around = reduce_together(
        [
            (SUM, many),  # sections of each buffer
            (MAX, jnp.where(live, state.top[None], 0)),
            (MAX, jnp.where(live, state.left[None], 0)),  # what is left where most is
            (MAX, jnp.where(live, (state.top + state.left)[None], 0)),
            (SUM, jnp.where(live, state.left[None], 0).astype(jnp.float32)),
            (MAX, jnp.where(live, crowd[None], 0)),
        ],
        1,
    )
    offset = rules.offsets(state, floor)
    base = jnp.where(waiting, offset, rules.HIGHEST).min(initial=rules.HIGHEST)
    # The section that a buffer rests on: the highest of its own, of equal ones the first.
    section = jnp.arange(num_sections, dtype=jnp.int32)
    hole, support = reduce_together(
        [
            (SUM, jnp.where(live, (offset[:, None] - state.top[None]).astype(jnp.float32), 0)),
            (MIN, jnp.where(live & (state.top[None] == floor[:, None]), section, num_sections)),
        ],
        1,
    )
    support = jnp.where(support == num_sections, 0, support)
    largest, lowest = reduce_together(
        [
            (MAX, jnp.where(live, size[:, None], 0)),
            (MIN, jnp.where(live, offset[:, None], rules.HIGHEST)),
        ],
        0,
    )
    shares = instance.beside & waiting[:, None] & waiting[None]

    num_waiting = jnp.maximum(waiting.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    num_busy = jnp.maximum(busy.sum(dtype=jnp.int32), 1).astype(jnp.float32)
    length_or_one = jnp.maximum(length, 1).astype(jnp.float32)
    area = size.astype(jnp.float32) * length.astype(jnp.float32)
    after = offset + most  # the bound in its own sections once it is placed

    buffers = [
        size.astype(jnp.float32) * unit,
        length.astype(jnp.float32) / num_busy,
        area / jnp.maximum(area.max(initial=0), 1),
        (offset - base).astype(jnp.float32) * unit,
        (offset + size - base).astype(jnp.float32) * unit,
        hole / length_or_one * unit,
        hole / jnp.maximum(area, 1),
        most.astype(jnp.float32) * unit,
        summed / length_or_one * unit,
        (after - bound).astype(jnp.float32) * unit,
        (highest - bound).astype(jnp.float32) * unit,
        (floor - base).astype(jnp.float32) * unit,
        shares.sum(-1, dtype=jnp.int32).astype(jnp.float32) / num_waiting,
        around.astype(jnp.float32) / num_waiting,
        jnp.broadcast_to(num_waiting / (num_waiting + num_busy), (num_buffers,)),
    ]
    sections = [
        (state.top - base).astype(jnp.float32) * unit,
        state.left.astype(jnp.float32) * unit,
        (state.top + state.left - bound).astype(jnp.float32) * unit,
        crowd.astype(jnp.float32) / num_waiting,
        largest.astype(jnp.float32) * unit,
        (lowest - base).astype(jnp.float32) * unit,
    ]
    section_features = jnp.pad(_stack(sections, busy), ((0, len(buffers) - len(sections)), (0, 0)))
    nodes = jnp.concatenate([_stack(buffers, waiting), section_features], 1).T
    pair = jnp.stack(
        [jnp.maximum(after - bound, 0).astype(jnp.float32) * unit, hole / length_or_one * unit], -1
    )

    receivers, senders = np.divmod(np.arange(num_buffers * num_buffers), num_buffers)
    one, other = num_buffers + np.arange(num_sections - 1), num_buffers + np.arange(1, num_sections)
    return GraphObservation(
        graph=make_graph(
            nodes, np.concatenate([senders, one, other]), np.concatenate([receivers, other, one])
        ),
        node_mask=jnp.concatenate([waiting, busy]),
        node_kind=jnp.asarray(
            np.repeat(np.array([BUFFER, SECTION], np.int32), [num_buffers, num_sections])
        ),
        edge_mask=jnp.concatenate([shares.ravel(), jnp.ones((2 * len(one),), jnp.bool_)]),
        edge_kind=jnp.asarray(
            np.repeat(np.array([SHARES, NEXT], np.int32), [num_buffers * num_buffers, 2 * len(one)])
        ),
        action_node=jnp.arange(num_buffers, dtype=jnp.int32),
        action_resource=num_buffers + support,
        action_kind=jnp.zeros((num_buffers,), jnp.int32),
        action_features=_clip(pair, waiting[:, None]),
        action_mask=mask,
        num_node_kinds=2,
        num_edge_kinds=2,
    )


def _stack(features: list[Array], mask: Array) -> Array:
    """f32[F, nodes], clipped, 0 where the node is not real."""
    return _clip(jnp.stack([feature.astype(jnp.float32) for feature in features]), mask[None])


def _clip(features: Array, mask: Array) -> Array:
    return jnp.where(mask, lax.clamp(-LIMIT, features, LIMIT), 0.0)
