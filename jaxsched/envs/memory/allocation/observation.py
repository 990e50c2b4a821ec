"""The frontier observation of static allocation: buffers left, the sections of time, who shares
one.

Nodes are the N buffers and the S sections. Two buffers that are live at a common time are related,
and each section with the next. Amounts of memory are in units of the bound on the peak (`bound`)
and offsets relative to the lowest that a buffer left can still get (`base`), so that two states
with the same remaining problem look alike whatever their units. A buffer placed next would go onto
the highest end below it, its floor, or above that where alignment or a pinned buffer asks for it.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from jaxsched.core import graph
from jaxsched.core.arrays import MAX, MIN, SUM, reduce_together
from jaxsched.core.graph import GraphObservation
from jaxsched.envs.memory.allocation import rules
from jaxsched.envs.memory.allocation.settings import Settings
from jaxsched.envs.memory.allocation.types import State

RELATIONS = ("shares a section", "next")  # next: the section before or after
SHARES, NEXT = 1, 2


class Outlook(struct.PyTreeNode):
    """What the features are made of: where each buffer left would go, and what its sections still
    hold. Sums and extremes of a buffer are over its sections, those of a section over its buffers
    left.
    """

    bound: Array  # i32[]  of the peak
    base: Array  # i32[]  the lowest offset that a buffer left can get
    # Of the buffers.
    waiting: Array  # bool[N]  real and left to place
    size: Array  # i32[N]  0 where not left
    length: Array  # i32[N]  sections
    floor: Array  # i32[N]  the highest end of a placed buffer
    offset: Array  # i32[N]  where it would go
    most: Array  # i32[N]  the most that is left to place
    highest: Array  # i32[N]  the highest end plus what is left
    summed: Array  # f32[N]  what is left to place, summed
    around: Array  # i32[N]  the most buffers left
    hole: Array  # f32[N]  the memory below it that nothing could use any more, summed
    support: Array  # i32[N]  the section that it rests on: of the highest ones the first
    # Of the sections.
    busy: Array  # bool[S]  with something left
    crowd: Array  # i32[S]  buffers left
    largest: Array  # i32[S]  the largest size
    lowest: Array  # i32[S]  the lowest offset that one could get

    def amounts(self, values: Array) -> Array:
        """f32[...]: memory, i32 or f32, in units of the bound."""
        unit = 1.0 / jnp.maximum(self.bound, 1).astype(jnp.float32)
        return values.astype(jnp.float32) * unit

    def above_base(self, offsets: Array) -> Array:
        """f32[...]: from the base to `offsets` i32[...], like `amounts`."""
        return self.amounts(offsets - self.base)

    def above_bound(self, offsets: Array) -> Array:
        """f32[...]: from the bound to `offsets` i32[...], like `amounts`."""
        return self.amounts(offsets - self.bound)

    @property
    def num_waiting(self) -> Array:
        """f32[]: buffers left, at least 1."""
        return _number(self.waiting)

    @property
    def num_busy(self) -> Array:
        """f32[]: sections with something left, at least 1."""
        return _number(self.busy)

    @property
    def after(self) -> Array:
        """i32[N]: the bound in its own sections once it is placed."""
        return self.offset + self.most

    @property
    def mean_hole(self) -> Array:
        """f32[N]: the memory below it that nothing could use any more, mean over its sections."""
        return self.hole / jnp.maximum(self.length, 1).astype(jnp.float32)


def observe(state: State, mask: Array) -> GraphObservation:
    """`mask` bool[N]: legal actions. N + S nodes, N actions: action i places buffer i, which uses
    the section that it rests on.
    """
    outlook = _outlook(state)
    instance, waiting = state.instance, outlook.waiting
    shares = instance.beside & waiting[:, None] & waiting[None]
    buffers = graph.nodes("buffer", waiting, _buffer_features(outlook, shares))
    sections = graph.nodes("section", outlook.busy, _section_features(state, outlook))
    growth = jnp.maximum(outlook.after - outlook.bound, 0)
    place = graph.actions(
        "buffer",
        uses="section",
        resource=outlook.support,
        kinds=("place",),
        mask=waiting,
        features={
            "growth of the bound / bound": outlook.amounts(growth),
            "mean hole below / bound": outlook.amounts(outlook.mean_hole),
        },
    )
    nodes = buffers, sections
    number = np.arange(instance.num_sections)
    beside = np.abs(number[:, None] - number[None]) == 1
    blocks = {
        ("buffer", "buffer"): jnp.where(shares, SHARES, 0),
        ("section", "section"): np.where(beside, NEXT, 0),
    }
    return GraphObservation(nodes, graph.relations(nodes, blocks), (place,), mask, RELATIONS)


def _buffer_features(outlook: Outlook, shares: Array) -> dict[str, Array]:
    """Of every buffer by name: itself, where it would go, and what is left beside it. `shares`
    bool[N, N]: pairs of buffers left that are live at a common time.
    """
    amounts, num_waiting = outlook.amounts, outlook.num_waiting
    offset, size, length = outlook.offset, outlook.size, outlook.length
    area = size.astype(jnp.float32) * length.astype(jnp.float32)
    mean_left = outlook.summed / jnp.maximum(length, 1).astype(jnp.float32)
    neighbours = shares.sum(-1, dtype=jnp.int32).astype(jnp.float32)
    return {
        "size / bound": amounts(size),
        "sections / sections left": length.astype(jnp.float32) / outlook.num_busy,
        "area / largest area": area / jnp.maximum(area.max(initial=0), 1),
        "(offset - base) / bound": outlook.above_base(offset),
        "(end - base) / bound": outlook.above_base(offset + size),
        "mean hole below / bound": amounts(outlook.mean_hole),
        "hole below / area": outlook.hole / jnp.maximum(area, 1),
        "most left in its sections / bound": amounts(outlook.most),
        "mean left in its sections / bound": amounts(mean_left),
        "(offset + most left - bound) / bound": outlook.above_bound(outlook.after),
        "(bound of its sections - bound) / bound": outlook.above_bound(outlook.highest),
        "(floor - base) / bound": outlook.above_base(outlook.floor),
        "neighbours left / buffers left": neighbours / num_waiting,
        "most buffers left in a section / buffers left": (
            outlook.around.astype(jnp.float32) / num_waiting
        ),
        "buffers left / (buffers + sections left)": num_waiting / (num_waiting + outlook.num_busy),
    }


def _section_features(state: State, outlook: Outlook) -> dict[str, Array]:
    """Of every section by name: what is placed there, and who is left."""
    crowd = outlook.crowd.astype(jnp.float32)
    return {
        "(highest end - base) / bound": outlook.above_base(state.top),
        "left / bound": outlook.amounts(state.left),
        "(highest end + left - bound) / bound": outlook.above_bound(state.top + state.left),
        "buffers left here / buffers left": crowd / outlook.num_waiting,
        "largest size / bound": outlook.amounts(outlook.largest),
        "(lowest offset - base) / bound": outlook.above_base(outlook.lowest),
    }


def _outlook(state: State) -> Outlook:
    """In few passes over [N, S]: most of the time goes there."""
    instance, num_sections = state.instance, state.instance.num_sections
    waiting = instance.buffer_mask & ~state.placed & ~state.done
    live = instance.live & waiting[:, None]
    size = jnp.where(waiting, instance.size, 0)
    many = live.astype(jnp.int32)
    crowd, busy = reduce_together([(SUM, many), (MAX, many)], 0)
    length, floor, most, highest, summed, around = reduce_together(
        [
            (SUM, many),
            (MAX, jnp.where(live, state.top[None], 0)),
            (MAX, jnp.where(live, state.left[None], 0)),
            (MAX, jnp.where(live, (state.top + state.left)[None], 0)),
            (SUM, jnp.where(live, state.left[None], 0).astype(jnp.float32)),
            (MAX, jnp.where(live, crowd[None], 0)),
        ],
        1,
    )
    offset = rules.offsets(state, floor)
    rests = live & (state.top[None] == floor[:, None])
    section = jnp.arange(num_sections, dtype=jnp.int32)[None]
    below = (offset[:, None] - state.top[None]).astype(jnp.float32)
    hole, support = reduce_together(
        [(SUM, jnp.where(live, below, 0)), (MIN, jnp.where(rests, section, num_sections))], 1
    )
    largest, lowest = reduce_together(
        [
            (MAX, jnp.where(live, size[:, None], 0)),
            (MIN, jnp.where(live, offset[:, None], rules.HIGHEST)),
        ],
        0,
    )
    return Outlook(
        bound=rules.bound(state, Settings()),
        base=jnp.where(waiting, offset, rules.HIGHEST).min(initial=rules.HIGHEST),
        waiting=waiting,
        size=size,
        length=length,
        floor=floor,
        offset=offset,
        most=most,
        highest=highest,
        summed=summed,
        around=around,
        hole=hole,
        support=jnp.where(support == num_sections, 0, support),
        busy=busy > 0,
        crowd=crowd,
        largest=largest,
        lowest=lowest,
    )


def _number(mask: Array) -> Array:
    """f32[]: how many are true, at least 1."""
    return jnp.maximum(mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
