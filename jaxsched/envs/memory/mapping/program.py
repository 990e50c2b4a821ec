"""Programs on the host: instructions that read and write values, and the checks that every program
passes.
"""

from __future__ import annotations

import dataclasses
import operator
import reprlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsched.host.errors import InstanceError

_LIMIT = 2**62  # of what a user gives
_PROGRAM = (
    "values",
    "instructions",
    "capacity",
    "alignment",
    "slow_cost",
    "fast_cost",
    "copy_cost",
)
_VALUE, _INSTRUCTION = ("id", "size", "input", "output"), ("id", "compute", "accesses")
_ACCESS = ("value", "kind", "alias")


class Access(NamedTuple):
    """One read or write of a value, by its position, at an instruction; accesses with one `alias`
    agree.
    """

    value: int
    time: int
    is_write: bool
    alias: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)  # large: compare `to_dict()`
class Program:
    """A straight-line program on a machine with a small fast and a large slow memory;
    `Program.from_dict` checks it.

    Instruction t takes `max(compute[t], sum of size * cost over its accesses)`, where the cost per
    byte is `fast_cost` for a value in fast memory and `slow_cost` otherwise. A copy between the
    memories takes `copy_cost` per byte.
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
        """Read `{"values": [{"id", "size", "input", "output"}], "instructions": [{"id", "compute",
        "accesses": [{"value", "kind": "read" | "write", "alias": optional int}]}], "capacity",
        "alignment", "slow_cost", "fast_cost", "copy_cost"}`.

        `input` and `output` are False and `alignment` is 1 unless given, the `id` of an instruction
        is its position. Raises `InstanceError`, naming value, instruction and access, for unknown
        and missing fields, what is not an integer, sizes and alignments below 1, negative costs,
        `fast_cost` above `slow_cost`, duplicate ids, unknown values, values read before they are
        written or written twice, inputs that are written, reads after a write of the same
        instruction, and outputs that nobody writes.
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
        made = cls(
            ids_of_values,
            sizes,
            inputs,
            outputs,
            tuple(ids),
            tuple(compute),
            tuple(accesses),
            **numbers,
        )
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
            row = {
                "value": self.value_ids[access.value],
                "kind": "write" if access.is_write else "read",
            }
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
