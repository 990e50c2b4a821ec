"""The judges of finished plans: NumPy on the host, written from the problem statement, not from the
rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsched.envs.memory.allocation.types import Instance
from jaxsched.envs.memory.types import Buffers, Plan

_MOST = 20  # faults listed


def verify_allocation(buffers: Buffers, plan: Plan) -> list[str]:
    """Everything wrong with a plan of the buffers, in the user's units, one line each (20 at
    most).
    """
    faults = _malformed(plan.offsets, len(buffers))
    if faults:
        return faults
    offset = np.asarray(plan.offsets, np.int64)
    step = max(int(plan.alignment), 1)
    size = (buffers.size + step - 1) // step * step
    end = offset + size
    name = [repr(id) for id in buffers.ids]
    for i in np.flatnonzero((offset % buffers.alignment != 0) | (offset % step != 0)):
        faults.append(
            f"buffer {name[i]} at {offset[i]}: not a multiple of {np.lcm(buffers.alignment[i], step)}"
        )
    for i in np.flatnonzero(buffers.pinned & (offset != buffers.offset)):
        faults.append(
            f"buffer {name[i]} is pinned at {buffers.offset[i]}, but the plan has it at {offset[i]}"
        )

    # Sweep the lives: a buffer that comes to life is compared with all that are live then.
    pieces = []
    for i in range(len(buffers)):
        at = int(buffers.start[i])
        for gap_start, gap_end in (*buffers.gaps[i], (int(buffers.end[i]), int(buffers.end[i]))):
            if at < gap_start:
                pieces.append((at, gap_start, i))
            at = gap_end
    # ends first
    events = sorted(
        [(begin, 1, i) for begin, _, i in pieces] + [(stop, 0, i) for _, stop, i in pieces]
    )
    live, total, most, clashes = np.zeros(len(buffers), np.bool_), 0, 0, set()
    for _, begins, i in events:
        total += int(size[i]) if begins else -int(size[i])
        most = max(most, total)
        if begins:
            ids = np.flatnonzero(live)
            for j in ids[(offset[ids] < end[i]) & (offset[i] < end[ids])]:
                clashes.add((min(i, int(j)), max(i, int(j))))
        live[i] = bool(begins)
    for i, j in sorted(clashes):
        one, other = f"{name[i]} [{offset[i]}, {end[i]})", f"{name[j]} [{offset[j]}, {end[j]})"
        faults.append(f"buffers {one} and {other} overlap while both are live")
    return (faults + _claims(plan, int(end.max(initial=0)), most))[:_MOST]


def _claims(plan: Plan, highest: int, most: int) -> list[str]:
    faults = []
    if plan.peak != highest:
        faults.append(f"the peak is given as {plan.peak}, but the highest end is {highest}")
    if plan.lower_bound > plan.peak:
        faults.append(f"the lower bound {plan.lower_bound} is above the peak {plan.peak}")
    if plan.lower_bound < most:
        faults.append(f"the lower bound {plan.lower_bound} is below the largest live size {most}")
    if plan.proved != (plan.lower_bound == plan.peak):
        faults.append(
            f"proved is {plan.proved}, with a peak of {plan.peak} and a lower bound of {plan.lower_bound}"
        )
    return faults


def validate(instance: Instance, plan: Plan) -> list[str]:
    """Everything wrong with the plan of an instance, in its units: offsets of the real buffers that
    are not pinned.
    """
    real = np.asarray(instance.buffer_mask)
    faults = _malformed(plan.offsets, int(real.sum()))
    if faults:
        return faults
    fixed = np.asarray(instance.pinned_size) > 0
    offset = np.concatenate([plan.offsets, np.asarray(instance.pinned_offset)[fixed]]).astype(
        np.int64
    )
    size = np.concatenate(
        [np.asarray(instance.size)[real], np.asarray(instance.pinned_size)[fixed]]
    ).astype(np.int64)
    live = np.concatenate(
        [np.asarray(instance.live)[real], np.asarray(instance.pinned_live)[fixed]]
    ).astype(np.int64)
    alignment = np.asarray(instance.alignment)[real]
    for i in np.flatnonzero(np.asarray(plan.offsets) % np.maximum(alignment, 1)):
        faults.append(f"buffer {i} at {plan.offsets[i]}: not a multiple of {alignment[i]}")
    low, high = offset, offset + size
    clash = np.triu((live @ live.T > 0) & (low[:, None] < high) & (low < high[:, None]), 1)
    for i, j in np.argwhere(clash):
        faults.append(
            f"buffers {i} [{low[i]}, {high[i]}) and {j} [{low[j]}, {high[j]}) overlap while both are live"
        )
    most = int((live * size[:, None]).sum(0).max(initial=0))
    return (faults + _claims(plan, int(high.max(initial=0)), most))[:_MOST]


def measure(instance: Instance, plan: Plan) -> int:
    """The peak of a valid plan of an instance, in its units, from its offsets alone."""
    size = np.asarray(instance.size, np.int64)[np.asarray(instance.buffer_mask)]
    pinned = np.asarray(instance.pinned_offset, np.int64) + np.asarray(instance.pinned_size)
    return int(max(np.max(np.asarray(plan.offsets) + size, initial=0), np.max(pinned, initial=0)))


def _malformed(offsets: Any, expected: int) -> list[str]:
    """Missing, surplus or non-integer offsets; nothing else can be judged while there are any."""
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) != expected:
        return [f"{expected} buffers, but offsets of shape {array.shape}"]
    if expected and not np.issubdtype(array.dtype, np.integer):
        return [f"offsets are {array.dtype}, not integers"]
    negative = [f"offset {value} is negative" for value in array[array < 0]]
    return negative[:_MOST]
