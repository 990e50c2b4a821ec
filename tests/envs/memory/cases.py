"""Random buffers for the tests of static allocation, as plain data, as `Buffers` and as padded
instances.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsched.core import InstanceError
from jaxsched.envs import memory
from tests.reference import allocation as reference

NUM_BUFFERS, NUM_SECTIONS, NUM_PINNED = 9, 12, 2  # random instances are padded to this one shape


def random_rows(
    rng: random.Random, most: int = NUM_BUFFERS, plain: bool = False
) -> list[dict[str, Any]]:
    """Dicts for `Buffers`: crowded lives, equal buffers; unless `plain` alignments, gaps and
    pinned buffers too.
    """
    horizon, unit, largest = rng.choice([3, 8, 30]), rng.choice([1, 1, 16]), rng.choice([2, 5, 40])
    rows: list[dict[str, Any]] = []
    pinned = []
    for i in range(rng.randint(1, most)):
        start = rng.randrange(horizon)
        end = start + rng.randint(1, max(1, horizon // 2))
        row: dict[str, Any] = {
            "id": f"b{i}",
            "start": start,
            "end": end,
            "size": unit * rng.randint(1, largest),
        }
        if rows and rng.random() < 0.2:
            row |= {name: rows[-1][name] for name in ("start", "end", "size")}
        if not plain:
            if rng.random() < 0.15:
                row["alignment"] = unit * rng.choice([2, 3, 4])
            if row["end"] - row["start"] > 2 and rng.random() < 0.25:
                begin = rng.randint(row["start"], row["end"] - 2)
                row["gaps"] = [(begin, rng.randint(begin + 1, row["end"] - 1))]
            if rng.random() < 0.15 and len(pinned) < NUM_PINNED:
                step = row.get("alignment", unit)
                row["offset"] = step * rng.randint(0, 2 * largest)
                pinned.append(row)
                try:
                    memory.Buffers(pinned)
                except InstanceError:
                    del row["offset"]
                    pinned.pop()
        rows.append(row)
    return rows


def small_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Five buffers, small enough for the exhaustive search of the simulator."""
    while True:
        rows = random_rows(rng, 5)
        if len(rows) == 5 and sum(row["size"] for row in rows) // memory.Buffers(rows).unit <= 20:
            return rows


def to_reference(rows: Sequence[dict[str, Any]], unit: int = 1) -> list[reference.Buffer]:
    """The same buffers for the simulator, in units of so much memory."""
    found = []
    for row in rows:
        at, lives = row["start"], []
        for begin, end in [*row.get("gaps", ()), (row["end"], row["end"])]:
            if at < begin:
                lives.append((at, begin))
            at = end
        pinned = row["offset"] // unit if "offset" in row else None
        alignment = max(row.get("alignment", 1) // unit, 1)
        found.append(reference.Buffer(tuple(lives), row["size"] // unit, alignment, pinned))
    return found


def padded(instance: memory.allocation.Instance) -> memory.allocation.Instance:
    """Zero-padded on the host to the shared shape: no program per size."""
    shapes = {
        "live": (NUM_BUFFERS, NUM_SECTIONS),
        "beside": (NUM_BUFFERS, NUM_BUFFERS),
        "section_mask": (NUM_SECTIONS,),
        "pinned_offset": (NUM_PINNED,),
        "pinned_size": (NUM_PINNED,),
        "pinned_live": (NUM_PINNED, NUM_SECTIONS),
        "capacity": (),
    }
    leaves = {}
    for name in instance.__dataclass_fields__:
        leaf, shape = np.asarray(getattr(instance, name)), shapes.get(name, (NUM_BUFFERS,))
        widths = [(0, b - a) for a, b in zip(leaf.shape, shape, strict=True)]
        leaves[name] = np.pad(leaf, widths) if widths else leaf
    return instance.replace(**leaves)


def stacked(instances: Sequence[memory.allocation.Instance]) -> memory.allocation.Instance:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(padded, instances))
