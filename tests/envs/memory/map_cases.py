"""Random programs for the tests of memory mapping, as plain dicts and as padded instances."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsched.core import pad_to
from jaxsched.envs import memory

# random programs are padded to this one shape
NUM_ACCESSES, NUM_VALUES, NUM_INSTRUCTIONS = 16, 10, 8


def random_program(rng: random.Random, most: int = NUM_ACCESSES) -> dict[str, Any]:
    """At most so many accesses: values read twice at once, alias groups, costs of 0, tight
    memory, odd alignments.
    """
    largest, alignment = rng.choice([1, 4, 9]), rng.choice([1, 1, 2, 3])
    num_inputs = rng.randint(1, 3)
    values = [
        {"id": f"v{i}", "size": rng.randint(1, largest), "input": True} for i in range(num_inputs)
    ]
    groups = rng.choice([0, 0, 2, 4])
    instructions: list[dict[str, Any]] = []
    left = rng.randint(min(3, most), most)
    while left > 0 and len(instructions) < NUM_INSTRUCTIONS:
        accesses = []
        for _ in range(min(rng.choice([0, 1, 1, 2, 3]), left)):
            near = values[-3:] if rng.random() < 0.6 else values
            accesses.append({"value": rng.choice(near)["id"], "kind": "read"})
        left -= len(accesses)
        if left and len(values) < NUM_VALUES and rng.random() < 0.8:
            values.append(
                {
                    "id": f"v{len(values)}",
                    "size": rng.randint(1, largest),
                    "output": rng.random() < 0.15,
                }
            )
            accesses.append({"value": values[-1]["id"], "kind": "write"})
            left -= 1
        for access in accesses:
            if groups and rng.random() < 0.3:
                access["alias"] = rng.randrange(groups)
        instructions.append(
            {"id": len(instructions), "compute": rng.choice([0, 0, 5, 40]), "accesses": accesses}
        )
    fast_cost = rng.choice([0, 1, 1])
    return {
        "values": values,
        "instructions": instructions,
        "capacity": rng.randint(1, 4 * largest * alignment),
        "alignment": alignment,
        "slow_cost": fast_cost + rng.choice([0, 2, 5, 9]),
        "fast_cost": fast_cost,
        "copy_cost": rng.choice([0, 1, 2, 5, 9]),
    }


def small_program(rng: random.Random, most: int = 9) -> dict[str, Any]:
    """With something to gain, and small enough for exhaustive search."""
    while True:
        program = random_program(rng, most)
        if (
            program["slow_cost"] > program["fast_cost"]
            and sum(len(i["accesses"]) for i in program["instructions"]) > 4
        ):
            return program


def instance_of(program: dict[str, Any]) -> memory.mapping.Instance:
    """Padded to the shared shape, on the host."""
    instance, _ = memory.mapping.to_instance(memory.Program.from_dict(program))
    sizes = {"is_input": NUM_VALUES, "value_mask": NUM_VALUES}
    sizes |= {"compute": NUM_INSTRUCTIONS, "instruction_mask": NUM_INSTRUCTIONS}
    shapes = {
        name: jax.ShapeDtypeStruct(
            () if name == "capacity" else (sizes.get(name, NUM_ACCESSES),), leaf.dtype
        )
        for name, leaf in vars(instance).items()
    }
    return pad_to(instance, instance.replace(**shapes))


def stacked(programs: Sequence[dict[str, Any]]) -> memory.mapping.Instance:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(instance_of, programs))
