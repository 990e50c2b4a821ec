"""Programs on the host: instructions that read and write values, and the checks that every program
passes.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from jaxsched.envs.memory.types import LIMIT, new_id, position_of
from jaxsched.host.checks import Fault, Part, array, boolean, integer, mapping, shorten
from jaxsched.host.errors import InstanceError

_PROGRAM = (
    "values",
    "instructions",
    "capacity",
    "alignment",
    "slow_cost",
    "fast_cost",
    "copy_cost",
)


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
        required = [name for name in _PROGRAM if name != "alignment"]
        mapping(program, "the program", known=("alignment",), required=required)
        numbers = {}
        for name in _PROGRAM[2:]:
            least = int(name == "alignment")
            numbers[name] = integer(program.get(name, 1), least=least, most=LIMIT, field=name)
        if numbers["fast_cost"] > numbers["slow_cost"]:
            raise InstanceError(
                f"fast_cost {numbers['fast_cost']} is above slow_cost {numbers['slow_cost']}"
            )
        values = [_value(row, i) for i, row in enumerate(array(program["values"], "values"))]
        position: dict[Hashable, int] = {}
        for id, *_ in values:
            new_id(id, position, ("value", id))
        ids, compute, accesses = [], [], []
        for time, row in enumerate(array(program["instructions"], "instructions")):
            at = ("instruction number", time)
            mapping(row, at, known=("id",), required=("compute", "accesses"))
            ids.append(row.get("id", time))
            at = ("instruction", ids[-1])
            compute.append(integer(row["compute"], at, most=LIMIT, field="compute"))
            for k, access in enumerate(array(row["accesses"], at, "accesses")):
                accesses.append(_access(access, time, position, at, ("access", k)))
        ids_of_values, sizes, inputs, outputs = (
            zip(*values, strict=True) if values else ((), (), (), ())
        )
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
        return {"values": values, "instructions": instructions} | {
            name: getattr(self, name) for name in _PROGRAM[2:]
        }

    def __repr__(self) -> str:
        return (
            f"Program({len(self.compute)} instructions, {len(self.accesses)} accesses of {len(self.size)} values, "
            f"capacity {self.capacity})"
        )

    def width(self, value: int) -> int:
        """Bytes that a value takes in fast memory: its size rounded up to the alignment."""
        return -(-self.size[value] // self.alignment) * self.alignment


# -------------------------------------------------------------------------------- reading a program


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
    for name, is_output, is_written in zip(
        program.value_ids, program.is_output, written, strict=True
    ):
        if is_output and not is_written:
            raise InstanceError(f"value {reprlib.repr(name)}: an output that no instruction writes")


def _value(row: Any, i: int) -> tuple[Hashable, int, bool, bool]:
    mapping(row, ("value number", i), known=("input", "output"), required=("id", "size"))
    at = ("value", row["id"])
    size = integer(row["size"], at, least=1, most=LIMIT, field="size")
    is_input, is_output = (
        boolean(row.get(name, False), at, field=name) for name in ("input", "output")
    )
    return row["id"], size, is_input, is_output


def _access(row: Any, time: int, position: Mapping[Hashable, int], *path: Part) -> Access:
    mapping(row, *path, known=("alias",), required=("value", "kind"))
    value, kind, alias = position_of(row["value"], position), row["kind"], row.get("alias")
    if value is None:
        raise Fault(f"unknown value {shorten(row['value'])}", *path)
    if not isinstance(kind, str) or kind not in ("read", "write"):
        raise Fault(f"kind is 'read' or 'write', got {shorten(kind)}", *path)
    if alias is not None:
        alias = integer(alias, *path, least=-LIMIT, most=LIMIT, field="alias")
    return Access(value, time, kind == "write", alias)
