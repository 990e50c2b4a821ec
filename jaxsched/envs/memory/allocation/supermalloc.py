"""OmniMalloc's SuperMalloc as a back end: an anytime branch and bound in C++
(github.com/fpedd/omnimalloc).
"""

from __future__ import annotations

import numpy as np

from jaxsched.envs.memory.types import Buffers
from jaxsched.host.errors import InstanceError


def solve(
    buffers: Buffers, *, time_limit: float, num_workers: int | None = None
) -> tuple[np.ndarray, int]:
    """Offsets i64[N], and a lower bound: the peak where SuperMalloc says that nothing is below it,
    else 0.

    It reads sizes and lives only. Raises `InstanceError` for pinned buffers, gaps and alignments
    that sizes do not keep by themselves, and `ImportError` where OmniMalloc is not installed.
    """
    unit = buffers.unit
    for what, faulty in (
        ("is pinned", buffers.pinned),
        ("has gaps", np.array([bool(gaps) for gaps in buffers.gaps], np.bool_)),
        (
            "has an alignment that others' sizes are no multiples of",
            (buffers.alignment > 1) & (buffers.alignment > unit),
        ),
    ):
        if faulty.any():
            name = buffers.ids[int(np.argmax(faulty))]
            raise InstanceError(
                f"OmniMalloc takes sizes and lives only, but buffer {name!r} {what}"
            )
    try:
        from omnimalloc import Allocation
        from omnimalloc.allocators.supermalloc import SupermallocAllocator
    except ImportError:
        raise ImportError(
            'method omnimalloc needs OmniMalloc: pip install "jaxsched[omnimalloc]"'
        ) from None
    origin = int(buffers.start.min(initial=0))  # its times count from 0
    rows = zip(buffers.start.tolist(), buffers.end.tolist(), buffers.size.tolist(), strict=True)
    allocations = tuple(
        Allocation(id=i, size=size // unit, start=start - origin, end=end - origin)
        for i, (start, end, size) in enumerate(rows)
    )
    found = SupermallocAllocator(timeout=time_limit, num_threads=num_workers).solve(allocations)
    offsets = np.zeros(len(buffers), np.int64)
    for allocation in found.allocations:
        assert allocation.offset is not None  # a solution places all
        offsets[int(allocation.id)] = allocation.offset * unit
    return offsets, found.peak * unit if found.proved_optimal else 0
