"""Random graphs for the tests of tensor replacement, as plain data, for the simulator and as
padded instances.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsched.envs import memory
from tests.reference import replacement as reference

# random instances are padded to this one shape
NUM_OPS, NUM_TENSORS, NUM_READS, NUM_SLOTS = 7, 12, 14, 4


def random_graph(
    rng: random.Random, most: int = NUM_OPS, reads: int = 2, longest: int | None = None
) -> dict[str, Any]:
    """Operators with up to two inputs and two outputs, a few backed tensors, in an order that
    runs.
    """
    largest = longest or rng.choice([3, 6, 9])
    num_ops = rng.randint(min(4, most), most)
    tensors: list[dict[str, Any]] = []

    def tensor(backed: bool) -> int:
        row: dict[str, Any] = {"id": len(tensors), "size": rng.randint(1, largest)}
        tensors.append(row | ({"backed": True} if backed else {}))
        return len(tensors) - 1

    ids = [tensor(True) for _ in range(rng.randint(0, 3))]
    ops = []
    for op in range(num_ops):
        count = min(rng.randint(0 if rng.random() < 0.2 else 1, reads), len(ids))
        inputs = rng.sample(ids, count)
        room = NUM_TENSORS - len(tensors) - (num_ops - op - 1)
        outputs = [tensor(False) for _ in range(2 if rng.random() < 0.2 and room > 1 else 1)]
        ids += outputs
        ops.append({"id": f"op{op}", "inputs": inputs, "outputs": outputs})
    return {"tensors": tensors, "ops": ops}


def random_capacity(rng: random.Random, graph: dict[str, Any], stuck: bool = False) -> int:
    """Often the largest working set, else a little more; with `stuck` now and then less."""
    least = memory.Graph.from_dict(graph).largest_working_set()
    if stuck and rng.random() < 0.05:
        return least - 1
    return least + rng.choice([0, 0, 1, 2, 4])


def to_reference(graph: dict[str, Any], capacity: int) -> reference.Problem:
    """For the simulator."""
    index = {row["id"]: a for a, row in enumerate(graph["tensors"])}
    return reference.Problem(
        [row["size"] for row in graph["tensors"]],
        [row.get("backed", False) for row in graph["tensors"]],
        [
            ([index[a] for a in op["inputs"]], [index[a] for a in op["outputs"]])
            for op in graph["ops"]
        ],
        capacity,
    )


def padded(instance: memory.replacement.Instance) -> memory.replacement.Instance:
    """Zero-padded on the host to the shared shape: no program per size."""
    by_name = {
        "reads": (NUM_OPS, NUM_TENSORS),
        "op_mask": (NUM_OPS,),
        "read_op": (NUM_READS,),
        "read_tensor": (NUM_READS,),
        "read_mask": (NUM_READS,),
        "slot": (NUM_OPS, NUM_SLOTS),
        "slot_mask": (NUM_OPS, NUM_SLOTS),
        "capacity": (),
    }
    leaves = {}
    for name in instance.__dataclass_fields__:
        leaf, shape = np.asarray(getattr(instance, name)), by_name.get(name, (NUM_TENSORS,))
        widths = [(0, b - a) for a, b in zip(leaf.shape, shape, strict=True)]
        leaves[name] = np.pad(leaf, widths) if widths else leaf
    return instance.replace(**leaves)


def stacked(instances: Sequence[memory.replacement.Instance]) -> memory.replacement.Instance:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(padded, instances))
