"""Programs made into instances: times and addresses in units that fit int32."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.mapping.types import Instance
from jaxsched.host.checks import INT32_MAX
from jaxsched.host.errors import InstanceError

MAX_ACCESSES = 2**12  # pairs of accesses are compared in every step


class Scale(NamedTuple):
    """What a tick and a unit of a `Instance` are in the program's own."""

    time: int
    address: int


def to_instance(program: Program) -> tuple[Instance, Scale]:
    """The program as an instance, on the host, and its scale.

    Ticks are divided by the greatest common divisor of compute times and of what accesses and
    copies take, addresses by that of the widths. Raises `InstanceError` where the baseline, a width
    or the capacity is beyond int32 then, or for more than 4096 accesses.
    """
    accesses, num = program.accesses, len(program.accesses)
    if num > MAX_ACCESSES:
        raise InstanceError(f"{num} accesses, more than {MAX_ACCESSES}: map parts of the program")
    size = [program.size[access.value] for access in accesses]
    slow, fast, demand = (
        [s * cost for s in size]
        for cost in (program.slow_cost, program.fast_cost, program.copy_cost)
    )
    width = [program.width(access.value) for access in accesses]
    tick = math.gcd(*program.compute, *slow, *fast, *demand) or 1
    unit = math.gcd(*width) or program.alignment
    scale = Scale(tick, unit)
    baseline = baseline_of(program)
    if baseline // tick >= INT32_MAX:
        raise InstanceError(
            f"with everything slow the program takes {baseline // tick} ticks of {tick}, beyond int32"
        )
    for access, units in zip(accesses, width, strict=True):
        if units // unit > INT32_MAX:
            name = reprlib.repr(program.value_ids[access.value])
            raise InstanceError(
                f"value {name}: size {program.size[access.value]} exceeds int32 in units of {unit}"
            )
    # Blocks are stacked, so none ends above the sum of widths: twice that is as good as any larger
    # capacity.
    capacity = min(program.capacity, 2 * sum(width)) // unit
    if capacity >= INT32_MAX // 2:  # so that no sum of an offset and a width overflows
        raise InstanceError(f"capacity {program.capacity} is beyond 2**30 units of {unit}")

    def ints(values: Sequence[int], by: int = 1) -> np.ndarray:
        return np.array([value // by for value in values], np.int32)

    value, time = (
        ints([access.value for access in accesses]),
        ints([access.time for access in accesses]),
    )
    previous, following = neighbours([access.value for access in accesses])
    most = baseline // tick + 1  # a demand that no supply meets
    seen: dict[int, int] = {}
    leader = [i if a.alias is None else seen.setdefault(a.alias, i) for i, a in enumerate(accesses)]
    fields: dict[str, Any] = {
        "value": value,
        "time": time,
        "is_write": np.array([access.is_write for access in accesses], np.bool_),
        "slow": ints(slow, tick),
        "fast": ints(fast, tick),
        "demand": np.minimum([d // tick for d in demand], most).astype(np.int32),
        "width": np.minimum([w // unit for w in width], capacity + 1).astype(np.int32),
        "is_output": np.array([program.is_output[access.value] for access in accesses], np.bool_),
        "previous": ints(previous),
        "following": ints(following),
        "leader": ints(leader),
        "access_mask": np.ones(num, np.bool_),
        "is_input": np.array(program.is_input, np.bool_),
        "value_mask": np.ones(len(program.size), np.bool_),
        "compute": ints(program.compute, tick),
        "instruction_mask": np.ones(len(program.compute), np.bool_),
        "capacity": np.asarray(capacity, np.int32),
    }
    return Instance(**fields), scale


def baseline_of(program: Program) -> int:
    """Ticks that the program takes with every access in slow memory."""
    memory = [0] * len(program.compute)
    for access in program.accesses:
        memory[access.time] += program.size[access.value] * program.slow_cost
    return sum(map(max, program.compute, memory))


def neighbours(value: Sequence[int]) -> tuple[list[int], list[int]]:
    """For each access of `value[i]`, the access of the same value before and after it; itself where
    none.
    """
    previous, following, last = list(range(len(value))), list(range(len(value))), {}
    for i, v in enumerate(value):
        if v in last:
            previous[i], following[last[v]] = last[v], i
        last[v] = i
    return previous, following
