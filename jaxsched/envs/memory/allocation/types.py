"""Data of `StaticAllocation-v0`: the instance and the state of a partial plan.

Shapes: `N` buffers to place, `S` sections of time, `F` pinned buffers, all padded with zeros and a
False mask. Sizes and offsets are in units, time is a set of sections: the moments at which the
largest sets of buffers are live. What happens in between constrains nothing, so the environment
never sees it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flax import struct
from jax import Array

from jaxsched.envs.memory.types import Buffers
from jaxsched.host.checks import INT32_MAX
from jaxsched.host.errors import InstanceError

MAX_CELLS = 2**26  # buffers times sections, or buffers squared
MAX_GAPPED = 2**12  # sections among which those of buffers with gaps are compared


class Instance(struct.PyTreeNode):
    """Buffers to place, and those that are pinned."""

    size: Array  # i32[N]  units; 0 in padding
    alignment: Array  # i32[N]  units; offsets are multiples of it; 0 in padding
    start: Array  # i32[N]  ticks since the first start
    duration: Array  # i32[N]  ticks that it is live
    live: Array  # bool[N, S]  it is live in the section
    beside: Array  # bool[N, N]  two different buffers that are live at a common time
    # i32[N]  the last buffer before it of equal size, alignment and life; itself where none
    twin: Array
    buffer_mask: Array  # bool[N]  real buffers
    section_mask: Array  # bool[S]  real sections
    pinned_offset: Array  # i32[F]  units
    pinned_size: Array  # i32[F]  units; 0 in padding
    pinned_live: Array  # bool[F, S]
    capacity: Array  # i32[]  units; 2**31 - 1 where there is none

    @property
    def num_buffers(self) -> int:
        """Padded number of buffers to place, a static Python int."""
        return self.live.shape[-2]

    @property
    def num_sections(self) -> int:
        """Padded number of sections, a static Python int."""
        return self.live.shape[-1]


class State(struct.PyTreeNode):
    """A partial plan: what is placed where, and the skyline of it."""

    instance: Instance
    placed: Array  # bool[N]
    offset: Array  # i32[N]  units; 0 where not (yet) placed
    # i32[S]  highest end of a placed buffer live in the section; pinned ones do not count
    top: Array
    left: Array  # i32[S]  summed size of the buffers live in the section that are not placed
    lower: Array  # i32[]  lower bound of the instance
    baseline: Array  # i32[]  bound before the first decision
    overflow: Array  # bool[]  `fit` only: no completion keeps within the capacity
    left_to_place: Array  # i32[]

    @property
    def done(self) -> Array:
        """bool[]: every buffer is placed, or the capacity is exceeded."""
        return (self.left_to_place == 0) | self.overflow


def to_instance(buffers: Buffers, capacity: int | None = None) -> Instance:
    """The buffers as an instance, on the host; `capacity` in the units of the buffers.

    Buffers keep their order, pinned ones set apart. Raises `InstanceError` where offsets could
    exceed int32 in units, the span of time does, or there are more than 2**26 pairs of buffers, or
    of buffers and sections.
    """
    unit, pinned = buffers.unit, buffers.pinned
    offset, size = buffers.offset // unit, buffers.size // unit
    alignment = np.where(buffers.alignment > 1, buffers.alignment // unit, 1)
    worst = int((offset + size)[pinned].max(initial=0)) + sum(
        map(int, (size + alignment - 1)[~pinned])
    )
    if worst > INT32_MAX:
        raise InstanceError(
            f"offsets may reach {worst} in units of {unit}, beyond int32: round sizes up to an alignment, "
            "or use the heuristics of `allocate`"
        )
    segment, begin, end = buffers.segments()
    origin = int(begin.min(initial=0))
    scale = math.gcd(*map(int, {*(begin - origin).tolist(), *(end - origin).tolist()})) or 1
    if int(end.max(initial=0) - origin) // scale > INT32_MAX:
        raise InstanceError("the lives span more than int32 ticks")
    live = _sections(len(buffers), segment, begin, end)
    beside = live[~pinned].astype(np.float32) @ live[~pinned].T.astype(np.float32) > 0
    np.fill_diagonal(beside, False)
    duration = np.zeros(len(buffers), np.int64)
    np.add.at(duration, segment, (end - begin) // scale)

    seen: dict[tuple, int] = {}
    twin = np.zeros(int((~pinned).sum()), np.int32)
    for row, i in enumerate(np.flatnonzero(~pinned)):
        alike = (int(size[i]), int(alignment[i]), live[i].tobytes())
        twin[row] = seen.get(alike, row)
        seen[alike] = row
    fields: dict[str, Any] = {
        "size": size[~pinned].astype(np.int32),
        "alignment": alignment[~pinned].astype(np.int32),
        "start": ((buffers.starts()[~pinned] - origin) // scale).astype(np.int32),
        "duration": duration[~pinned].astype(np.int32),
        "live": live[~pinned],
        "beside": beside,
        "twin": twin,
        "buffer_mask": np.ones(len(twin), np.bool_),
        "section_mask": np.ones(live.shape[1], np.bool_),
        "pinned_offset": offset[pinned].astype(np.int32),
        "pinned_size": size[pinned].astype(np.int32),
        "pinned_live": live[pinned],
        "capacity": np.asarray(
            INT32_MAX if capacity is None else min(capacity // unit, INT32_MAX), np.int32
        ),
    }
    return Instance(**fields)


def to_buffers(instance: Instance) -> Buffers:
    """The buffers of an instance on the host, in units and sections; padding is dropped.

    Those to place come first, in their order, pinned ones behind; their positions are their ids.
    """
    sections = np.asarray(instance.section_mask)
    rows: list[dict[str, Any]] = []
    for i in np.flatnonzero(instance.buffer_mask).tolist():
        fixed = {"size": int(instance.size[i]), "alignment": int(instance.alignment[i])}
        rows.append(_life(np.asarray(instance.live[i])[sections]) | fixed)
    for i in np.flatnonzero(np.asarray(instance.pinned_size) > 0).tolist():
        fixed = {"size": int(instance.pinned_size[i]), "offset": int(instance.pinned_offset[i])}
        rows.append(_life(np.asarray(instance.pinned_live[i])[sections]) | fixed)
    return Buffers(row | {"id": i} for i, row in enumerate(rows))


def _life(live: np.ndarray) -> dict[str, Any]:
    """Start, end and gaps of a buffer that is live in these sections."""
    edges = np.flatnonzero(np.diff(live.astype(np.int8), prepend=0, append=0)).tolist()
    gaps = list(zip(edges[1:-1:2], edges[2:-1:2], strict=True))
    return {"start": edges[0], "end": edges[-1], "gaps": gaps}


def _sections(
    num_buffers: int, segment: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """bool[N, S]: who is live in each section, ascending in time; sets that others contain are left
    out.

    A largest set is complete when the last of it starts, and the first to end after that ends
    before anybody else starts: among the times of starts, those after which an end comes next.
    """
    starts, ends = np.unique(begin), np.unique(end)
    following = np.append(starts[1:], np.iinfo(np.int64).max)
    chosen = starts[
        ends[np.minimum(np.searchsorted(ends, starts, "right"), len(ends) - 1)] <= following
    ]
    if num_buffers * max(num_buffers, len(chosen)) > MAX_CELLS:
        raise InstanceError(
            f"{num_buffers} buffers in {len(chosen)} sections: too many, more than {MAX_CELLS} pairs"
        )
    live = np.zeros((num_buffers, len(chosen)), np.bool_)
    first, last = np.searchsorted(chosen, begin), np.searchsorted(chosen, end)
    for i, a, b in zip(segment, first, last, strict=True):
        live[i, a:b] = True
    # with gaps a set may be part of another
    if len(segment) > num_buffers and len(chosen) <= MAX_GAPPED:
        shared = live.T.astype(np.float32) @ live.astype(np.float32)
        inside = shared == np.diag(shared)[:, None]  # [S, S] the first is part of the second
        index = np.arange(len(chosen))
        live = live[:, ~(inside & ~(inside.T & (index[:, None] <= index))).any(1)]
    return live
