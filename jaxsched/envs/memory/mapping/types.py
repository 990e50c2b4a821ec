"""Data of `MemoryMap-v0`: the program and the plan of the host, the instance and the state of a partial mapping.

Shapes: `A` accesses in program order, `V` values, `T` instructions, all padded with zeros and a False mask. Times are
in ticks, addresses in units: both are what the user gave, divided by a greatest common divisor (`map_instance`).
"""

from __future__ import annotations

import dataclasses
import math
import operator
import reprlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import struct
from jax import Array

from jaxsched.core.errors import InstanceError
from jaxsched.envs.memory.types import INT32_MAX

COPY, NOCOPY, DROP = 0, 1, 2  # the actions
ACTIONS = ("COPY", "NOCOPY", "DROP")
NEVER = INT32_MAX  # there is no valid copy in slow memory
MAX_ACCESSES = 2**12  # pairs of accesses are compared in every step
_LIMIT = 2**62  # of what a user gives
_PROGRAM = ("values", "instructions", "capacity", "alignment", "slow_cost", "fast_cost", "copy_cost")
_VALUE, _INSTRUCTION = ("id", "size", "input", "output"), ("id", "compute", "accesses")
_ACCESS = ("value", "kind", "alias")


class Access(NamedTuple):
    """One read or write of a value, by its position, at an instruction; accesses with one `alias` agree."""

    value: int
    time: int
    is_write: bool
    alias: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)  # large: compare `to_dict()`
class Program:
    """A straight-line program on a machine with a small fast and a large slow memory; `Program.from_dict` checks it.

    Instruction t takes `max(compute[t], sum of size * cost over its accesses)`, where the cost per byte is `fast_cost`
    for a value in fast memory and `slow_cost` otherwise. A copy between the memories takes `copy_cost` per byte.
    """

    value_ids: tuple[Hashable, ...]
    size: tuple[int, ...]  # bytes, of each value
    is_input: tuple[bool, ...]  # in slow memory before the program
    is_output: tuple[bool, ...]  # must end in slow memory
    instruction_ids: tuple[Any, ...]
    compute: tuple[int, ...]  # ticks, of each instruction
    accesses: tuple[Access, ...]  # in program order; reads of an instruction before its writes
    capacity: int  # bytes of fast memory
    alignment: int  # bytes; addresses are multiples of it
    slow_cost: int  # ticks per byte
    fast_cost: int
    copy_cost: int

    @classmethod
    def from_dict(cls, program: Mapping[str, Any]) -> Program:
        """Read `{"values": [{"id", "size", "input", "output"}], "instructions": [{"id", "compute", "accesses":
        [{"value", "kind": "read" | "write", "alias": optional int}]}], "capacity", "alignment", "slow_cost",
        "fast_cost", "copy_cost"}`.

        `input` and `output` are False and `alignment` is 1 unless given, the `id` of an instruction is its position.
        Raises `InstanceError`, naming value, instruction and access, for unknown and missing fields, what is not an
        integer, sizes and alignments below 1, negative costs, `fast_cost` above `slow_cost`, duplicate ids, unknown
        values, values read before they are written or written twice, inputs that are written, reads after a write of
        the same instruction, and outputs that nobody writes.
        """
        _fields(program, _PROGRAM, ("alignment",), "the program")
        numbers = {name: _integer(program.get(name, 1), name, least=int(name == "alignment")) for name in _PROGRAM[2:]}
        if numbers["fast_cost"] > numbers["slow_cost"]:
            raise InstanceError(f"fast_cost {numbers['fast_cost']} is above slow_cost {numbers['slow_cost']}")
        values = [_value(row, f"value number {i}") for i, row in enumerate(_rows(program["values"], "values"))]
        position: dict[Hashable, int] = {}
        for i, (id, *_) in enumerate(values):
            if id in position:
                raise InstanceError(f"value {reprlib.repr(id)}: another value has the same id")
            position[id] = i
        ids, compute, accesses = [], [], []
        for time, row in enumerate(_rows(program["instructions"], "instructions")):
            where = f"instruction number {time}"
            _fields(row, _INSTRUCTION, ("id",), where)
            ids.append(row.get("id", time))
            where = f"instruction {reprlib.repr(ids[-1])}"
            compute.append(_integer(row["compute"], f"{where}: compute"))
            for k, access in enumerate(_rows(row["accesses"], f"{where}: accesses")):
                accesses.append(_access(access, time, position, f"{where}, access {k}"))
        ids_of_values, sizes, inputs, outputs = zip(*values, strict=True) if values else ((), (), (), ())
        made = cls(ids_of_values, sizes, inputs, outputs, tuple(ids), tuple(compute), tuple(accesses), **numbers)
        _check_order(made)
        return made

    def to_dict(self) -> dict[str, Any]:
        """The dict that `from_dict` reads."""
        values = [
            {"id": id, "size": size, "input": is_input, "output": is_output}
            for id, size, is_input, is_output in zip(
                self.value_ids, self.size, self.is_input, self.is_output, strict=True
            )
        ]
        instructions = [
            {"id": id, "compute": compute, "accesses": []}
            for id, compute in zip(self.instruction_ids, self.compute, strict=True)
        ]
        for access in self.accesses:
            row = {"value": self.value_ids[access.value], "kind": "write" if access.is_write else "read"}
            instructions[access.time]["accesses"].append(
                row | ({} if access.alias is None else {"alias": access.alias})
            )
        return {"values": values, "instructions": instructions} | {name: getattr(self, name) for name in _PROGRAM[2:]}

    def __repr__(self) -> str:
        return (
            f"Program({len(self.compute)} instructions, {len(self.accesses)} accesses of {len(self.size)} values, "
            f"capacity {self.capacity})"
        )

    def width(self, value: int) -> int:
        """Bytes that a value takes in fast memory: its size rounded up to the alignment."""
        return -(-self.size[value] // self.alignment) * self.alignment


class Step(NamedTuple):
    """One decision of `replay_program`."""

    access: int  # its position in program order
    legal: list[int]  # ascending; 0 COPY, 1 NOCOPY, 2 DROP
    action: int
    reward: int  # ticks that the program gets shorter
    offset: int | None  # address in bytes where the access finds the value in fast memory; None where it is slow


@dataclasses.dataclass(frozen=True, eq=False)
class MapPlan:
    """An action per access. `bound <= optimum <= latency <= baseline`; `proved`: bound and latency meet.

    Not `feasible`: the actions end where no action is legal, and the latency is the baseline.
    """

    actions: tuple[int, ...]
    latency: int  # ticks
    baseline: int  # ticks with every access in slow memory
    bound: int  # no plan is faster
    feasible: bool = True
    method: str = ""
    seconds: float = 0.0

    @property
    def proved(self) -> bool:
        """No plan is faster."""
        return self.feasible and self.latency == self.bound

    def __str__(self) -> str:
        saved = 100 * (1 - self.latency / self.baseline) if self.baseline else 0.0
        state = "" if self.feasible else " (dead end)"
        return (
            f"latency {self.latency}{' (optimal)' if self.proved else state}, bound {self.bound}, baseline "
            f"{self.baseline}, {saved:.2f} % saved, {self.method} in {self.seconds:.2f} s"
        )


class MapInstance(struct.PyTreeNode):
    """A program for the device. Reads of an instruction come before its writes."""

    value: Array  # i32[A]  id of the value
    time: Array  # i32[A]  its instruction, ascending
    is_write: Array  # bool[A]
    slow: Array  # i32[A]  ticks that the access takes from slow memory
    fast: Array  # i32[A]  ticks from fast memory, <= slow
    demand: Array  # i32[A]  ticks of supply that a copy of the value takes
    width: Array  # i32[A]  units of fast memory that the value takes
    is_output: Array  # bool[A]  of the value
    previous: Array  # i32[A]  the access of the same value before it; itself where none
    following: Array  # i32[A]  the access of the same value after it; itself where none
    leader: Array  # i32[A]  the first access of its alias group; itself where it has none
    access_mask: Array  # bool[A]  real accesses
    is_input: Array  # bool[V]
    value_mask: Array  # bool[V]
    compute: Array  # i32[T]  ticks
    instruction_mask: Array  # bool[T]
    capacity: Array  # i32[]  units

    @property
    def num_accesses(self) -> int:
        """Padded number of accesses, a static Python int."""
        return self.time.shape[-1]

    @property
    def num_values(self) -> int:
        """Padded number of values, a static Python int."""
        return self.value_mask.shape[-1]

    @property
    def num_instructions(self) -> int:
        """Padded number of instructions, a static Python int."""
        return self.compute.shape[-1]


class Choices(struct.PyTreeNode):
    """What the three actions would do at the current access; meaningless where not legal."""

    legal: Array  # bool[3]
    begin: Array  # i32[3]  fast memory is held from this instruction
    end: Array  # i32[3]  to before this one; equal where nothing new is held
    offset: Array  # i32[3]  units
    ready: Array  # i32[3]  see MapState
    taken: Array  # i32[T]  supply that COPY, or the write-back of DROP, takes
    writes_back: Array  # bool[]  DROP writes the value back
    gain: Array  # i32[]  ticks that the program gets shorter by COPY or NOCOPY


class MapState(struct.PyTreeNode):
    """A partial mapping. Rows of `[A]` are the values of the accesses decided, right after them; 0 where undecided.

    Row a holds a block of fast memory if `begin < end`: `[begin, end)` in instructions and `[offset, offset + width)`
    in units. The value was last in fast memory at instruction `end - 1`, at `offset`; never if `end` is 0.
    """

    instance: MapInstance
    position: Array  # i32[]  the current access
    action: Array  # i32[A]
    begin: Array  # i32[A]
    end: Array  # i32[A]
    offset: Array  # i32[A]
    ready: Array  # i32[A]  first instruction that may read the value from slow memory, NEVER where none may
    supply: Array  # i32[T]  ticks of each instruction that copies have not taken
    memory: Array  # i32[T]  ticks that the accesses of each instruction take, undecided ones slow
    latency: Array  # i32[]  ticks, the sum over instructions of the larger of compute and memory
    baseline: Array  # i32[]  latency with everything slow
    choices: Choices
    dead: Array  # bool[]  accesses are left, but no action is legal

    @property
    def done(self) -> Array:
        """bool[]: every access is decided, or none can be."""
        return ~self.choices.legal.any(-1)


class Scale(NamedTuple):
    """What a tick and a unit of a `MapInstance` are in the program's own."""

    time: int
    address: int


def map_instance(program: Program) -> tuple[MapInstance, Scale]:
    """The program as an instance, on the host, and its scale.

    Ticks are divided by the greatest common divisor of compute times and of what accesses and copies take, addresses
    by that of the widths. Raises `InstanceError` where the baseline, a width or the capacity is beyond int32 then, or
    for more than 4096 accesses.
    """
    accesses, num = program.accesses, len(program.accesses)
    if num > MAX_ACCESSES:
        raise InstanceError(f"{num} accesses, more than {MAX_ACCESSES}: map parts of the program")
    size = [program.size[access.value] for access in accesses]
    slow, fast, demand = (
        [s * cost for s in size] for cost in (program.slow_cost, program.fast_cost, program.copy_cost)
    )
    width = [program.width(access.value) for access in accesses]
    tick = math.gcd(*program.compute, *slow, *fast, *demand) or 1
    unit = math.gcd(*width) or program.alignment
    scale = Scale(tick, unit)
    baseline = baseline_of(program)
    if baseline // tick >= INT32_MAX:
        raise InstanceError(f"with everything slow the program takes {baseline // tick} ticks of {tick}, beyond int32")
    for access, units in zip(accesses, width, strict=True):
        if units // unit > INT32_MAX:
            name = reprlib.repr(program.value_ids[access.value])
            raise InstanceError(f"value {name}: size {program.size[access.value]} exceeds int32 in units of {unit}")
    # Blocks are stacked, so none ends above the sum of widths: twice that is as good as any larger capacity.
    capacity = min(program.capacity, 2 * sum(width)) // unit
    if capacity >= INT32_MAX // 2:  # so that no sum of an offset and a width overflows
        raise InstanceError(f"capacity {program.capacity} is beyond 2**30 units of {unit}")

    def ints(values: Sequence[int], by: int = 1) -> np.ndarray:
        return np.array([value // by for value in values], np.int32)

    value, time = ints([access.value for access in accesses]), ints([access.time for access in accesses])
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
    return MapInstance(**fields), scale


def baseline_of(program: Program) -> int:
    """Ticks that the program takes with every access in slow memory."""
    memory = [0] * len(program.compute)
    for access in program.accesses:
        memory[access.time] += program.size[access.value] * program.slow_cost
    return sum(map(max, program.compute, memory))


def neighbours(value: Sequence[int]) -> tuple[list[int], list[int]]:
    """For each access of `value[i]`, the access of the same value before and after it; itself where none."""
    previous, following, last = list(range(len(value))), list(range(len(value))), {}
    for i, v in enumerate(value):
        if v in last:
            previous[i], following[last[v]] = last[v], i
        last[v] = i
    return previous, following


# ------------------------------------------------------------------------------------------------- reading a program


def _check_order(program: Program) -> None:
    """Every value is written once, before its first read, unless it is an input."""
    written = list(program.is_input)
    last_write = -1
    for access in program.accesses:
        name = reprlib.repr(program.value_ids[access.value])
        where = f"instruction {reprlib.repr(program.instruction_ids[access.time])}"
        if access.is_write:
            if program.is_input[access.value]:
                raise InstanceError(f"{where} writes {name}, an input")
            if written[access.value]:
                raise InstanceError(f"{where} writes {name} a second time")
            written[access.value], last_write = True, access.time
        elif not written[access.value]:
            raise InstanceError(f"{where} reads {name} before it is written")
        elif last_write == access.time:
            raise InstanceError(f"{where} reads {name} after a write; reads come first")
    for name, is_output, is_written in zip(program.value_ids, program.is_output, written, strict=True):
        if is_output and not is_written:
            raise InstanceError(f"value {reprlib.repr(name)}: an output that no instruction writes")


def _value(row: Any, where: str) -> tuple[Hashable, int, bool, bool]:
    _fields(row, _VALUE, ("input", "output"), where)
    id = row["id"]
    if not isinstance(id, Hashable):
        raise InstanceError(f"{where}: the id {reprlib.repr(id)} is not hashable")
    where = f"value {reprlib.repr(id)}"
    flags = []
    for name in ("input", "output"):
        flag = row.get(name, False)
        if not isinstance(flag, bool | np.bool_):
            raise InstanceError(f"{where}: {name} is true or false, got {reprlib.repr(flag)}")
        flags.append(bool(flag))
    return id, _integer(row["size"], f"{where}: size", least=1), *flags


def _access(row: Any, time: int, position: Mapping[Hashable, int], where: str) -> Access:
    _fields(row, _ACCESS, ("alias",), where)
    value, kind, alias = row["value"], row["kind"], row.get("alias")
    if not isinstance(value, Hashable) or value not in position:
        raise InstanceError(f"{where}: unknown value {reprlib.repr(value)}")
    if not isinstance(kind, str) or kind not in ("read", "write"):
        raise InstanceError(f"{where}: kind is 'read' or 'write', got {reprlib.repr(kind)}")
    if alias is not None:
        alias = _integer(alias, f"{where}: alias", least=-_LIMIT)
    return Access(position[value], time, kind == "write", alias)


def _fields(row: Any, known: Sequence[str], optional: Sequence[str], where: str) -> None:
    if not isinstance(row, Mapping):
        raise InstanceError(f"{where}: expected a dict with {', '.join(known)}, got {reprlib.repr(row)}")
    for name in row:
        if name not in known:
            raise InstanceError(f"{where}: unknown field {reprlib.repr(name)}; known: {', '.join(known)}")
    for name in known:
        if name not in row and name not in optional:
            raise InstanceError(f"{where}: no field {name!r}")


def _rows(rows: Any, where: str) -> Iterator[Any]:
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__"):
        raise InstanceError(f"{where}: expected a list, got {reprlib.repr(rows)}")
    return iter(rows)


def _integer(value: Any, where: str, least: int = 0) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InstanceError(f"{where} {reprlib.repr(value)} is not an integer") from None
    if number < least:
        raise InstanceError(f"{where} must be at least {least}, got {number}")
    if abs(number) >= _LIMIT:
        raise InstanceError(f"{where} is beyond 2**62")
    return number
