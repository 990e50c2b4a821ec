"""Random programs for memory mapping: small ones in pure JAX, and those of generated graphs on the
host.

Both distributions are ours. Fast memory costs 1 tick per byte (or unit), slow memory and copies 5
to 30, fast memory holds 5 to 50 % of what is live at most, and computation takes up to 1.25 times
what an instruction's accesses take from slow memory, so that most instructions wait for memory.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsched.envs.memory.graphs import Graph, draw_program, live_ranges
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.types import Instance
from jaxsched.envs.memory.types import lower_bound

# Per cent, ticks per unit, per cent; inclusive.
CAPACITY, RATIO, COMPUTE = (5, 50), (5, 30), (0, 125)


@dataclasses.dataclass(frozen=True)
class RandomPrograms:
    """Random programs; see `random_programs` for the fields. Three accesses per instruction, static
    shapes.
    """

    num_instructions: int
    num_inputs: int
    capacity: tuple[int, int]
    ratio: tuple[int, int]
    compute: tuple[int, int]
    alias_percent: int

    def __post_init__(self):
        if self.num_instructions < 1 or self.num_inputs < 2:
            raise ValueError("need at least one instruction and two inputs")
        for name in ("capacity", "ratio", "compute"):
            low, high = getattr(self, name)
            if not int(name == "ratio") <= low <= high <= 1000:
                raise ValueError(
                    f"{name} needs low <= high within [{int(name == 'ratio')}, 1000], got {low}, {high}"
                )
        if not 0 <= self.alias_percent <= 100:
            raise ValueError(f"alias_percent is in [0, 100], got {self.alias_percent}")
        if self.num_instructions > 1000:
            raise ValueError("at most 1000 instructions: more could exceed int32")

    def __call__(self, key: Array) -> Instance:
        """An instance drawn with `key`; the same one with x64 on or off, jitted or not."""
        keys = jax.random.split(key, 8)
        num, num_values = self.num_instructions, self.num_inputs + self.num_instructions

        def draw(key: Array, shape: tuple[int, ...], low: Any, high: Any) -> Array:
            return jax.random.randint(key, shape, low, high, jnp.int32)

        # Each instruction reads two values and writes one: the nearer of two random ones, and any
        # other.
        known = self.num_inputs + jnp.arange(num, dtype=jnp.int32)
        near = known - 1 - draw(keys[0], (2, num), 0, known[None]).min(0)
        other = (near + 1 + draw(keys[1], (num,), 0, known - 1)) % known
        value = jnp.stack([near, other, known], -1).ravel()
        time = jnp.repeat(jnp.arange(num, dtype=jnp.int32), 3, total_repeat_length=3 * num)
        is_write = jnp.arange(3 * num, dtype=jnp.int32) % 3 == 2
        octave = draw(keys[2], (num_values,), 0, 6)  # sizes are about log-uniform in [1, 64)
        size = (1 << octave) + draw(keys[3], (num_values,), 0, 1 << octave)
        width = size[value]

        ids = jnp.arange(num_values, dtype=jnp.int32)
        reads = (value[None] == ids[:, None]) & (~is_write)[None]  # [V, A]
        is_output = ~reads.any(-1) & (ids >= self.num_inputs)
        birth = jnp.maximum(ids - self.num_inputs, 0)
        death = jnp.maximum(jnp.where(reads, time[None], 0).max(-1), birth)
        slots = jnp.arange(num, dtype=jnp.int32)
        live = (
            (birth[:, None] <= slots[None])
            & (slots[None] <= death[:, None])
            & (is_output | reads.any(-1))[:, None]
        )
        most = jnp.where(live, size[:, None], 0).sum(0, dtype=jnp.int32).max()
        capacity = most * draw(keys[4], (), self.capacity[0], self.capacity[1] + 1) // 100
        ratio = draw(keys[5], (), self.ratio[0], self.ratio[1] + 1)
        slow = width * ratio
        share = draw(keys[6], (num,), self.compute[0], self.compute[1] + 1)

        # All reads of some values form an alias group.
        grouped = draw(keys[7], (num_values,), 0, 100) < self.alias_percent
        index = jnp.arange(3 * num, dtype=jnp.int32)
        same = value[:, None] == value[None]
        first_read = jnp.where(same & (~is_write)[None], index, 3 * num).min(-1)
        previous, following = _neighbours(same)
        return Instance(
            value=value,
            time=time,
            is_write=is_write,
            slow=slow,
            fast=width,
            demand=slow,
            width=jnp.minimum(width, capacity + 1),
            is_output=is_output[value],
            previous=previous,
            following=following,
            leader=jnp.where(grouped[value] & ~is_write, first_read, index),
            access_mask=jnp.ones((3 * num,), jnp.bool_),
            is_input=ids < self.num_inputs,
            value_mask=jnp.ones((num_values,), jnp.bool_),
            compute=slow.reshape(num, 3).sum(-1, dtype=jnp.int32) * share // 100,
            instruction_mask=jnp.ones((num,), jnp.bool_),
            capacity=capacity,
        )


def _neighbours(same: Array) -> tuple[Array, Array]:
    """i32[A], i32[A]: the last access before each one and the first after it that have its value
    (`same` bool[A, A]); itself where there is none.
    """
    num = same.shape[0]
    index = jnp.arange(num, dtype=jnp.int32)
    before, after = same & (index[None] < index[:, None]), same & (index[None] > index[:, None])
    previous = jnp.where(before.any(-1), jnp.where(before, index[None], 0).max(-1), index)
    following = jnp.where(after.any(-1), jnp.where(after, index[None], num).min(-1), index)
    return previous, following


def random_programs(
    num_instructions: int,
    num_inputs: int = 4,
    capacity: tuple[int, int] = CAPACITY,
    ratio: tuple[int, int] = RATIO,
    compute: tuple[int, int] = COMPUTE,
    alias_percent: int = 5,
) -> RandomPrograms:
    """Instructions that read two earlier values and write one, with sizes about log-uniform in [1,
    64) units.

    `capacity`: fast memory in per cent of what is live at most; `ratio`: ticks per unit of slow
    memory and of copies; `compute`: in per cent of what an instruction's accesses take from slow
    memory; all uniform, inclusive. `alias_percent` of the values have all their reads in one alias
    group. Values that nobody reads are outputs. Raises `ValueError` for settings out of range.
    """
    return RandomPrograms(num_instructions, num_inputs, capacity, ratio, compute, alias_percent)


def graph_program(
    graph: Graph,
    rng: np.random.Generator,
    *,
    capacity: tuple[int, int] = CAPACITY,
    ratio: tuple[int, int] = RATIO,
    compute: tuple[int, int] = COMPUTE,
) -> Program:
    """A graph of `graphs.py` as a program: operators in their order, tensors as values, random
    machine.

    Tensors that are there before the program are inputs, those that no operator reads are outputs.
    All times are multiples of 64, as sizes are. `capacity` is in per cent of the largest live size
    of the others, at least 64 bytes; `ratio` and `compute` as in `random_programs`.
    """

    def draw(low_high: tuple[int, int]) -> int:
        return int(rng.integers(low_high[0], low_high[1] + 1))

    read = {tensor for op in graph["ops"] for tensor in op["inputs"]}
    size = {tensor["id"]: tensor["size"] for tensor in graph["tensors"]}
    slow_cost = draw(ratio)
    values = []
    for tensor in graph["tensors"]:
        is_output = not tensor["backed"] and tensor["id"] not in read
        row = {"id": tensor["id"], "size": tensor["size"]}
        values.append(row | {"input": tensor["backed"], "output": is_output})
    instructions = []
    for op in graph["ops"]:
        reads = [{"value": tensor, "kind": "read"} for tensor in op["inputs"]]
        writes = [{"value": tensor, "kind": "write"} for tensor in op["outputs"]]
        memory = sum(size[access["value"]] for access in reads + writes) * slow_cost
        share = draw(compute)
        instructions.append(
            {
                "id": op["id"],
                "compute": memory // 64 * share // 100 * 64,
                "accesses": reads + writes,
            }
        )
    most = lower_bound(live_ranges(graph))
    return Program.from_dict(
        {
            "values": values,
            "instructions": instructions,
            "capacity": max(most * draw(capacity) // 100 // 64, 1) * 64,
            "alignment": 64,
            "slow_cost": slow_cost,
            "fast_cost": 1,
            "copy_cost": slow_cost,
        }
    )


def draw_mapping(seed: int, most: int = 400) -> Program:
    """A program of a random graph, `draw_program(seed, most)`, on a random machine."""
    return graph_program(draw_program(seed, most), np.random.default_rng([seed, 1]))
