"""The text of a scheduled HLO module: computations, instructions, types. Nothing in it is run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxsched.host.errors import InstanceError

MAX_TEXT = 64 * 2**20  # characters
MAX_DEPTH = 64  # of computations that call one another, and of tuples

_BITS = {
    "pred": 8,
    "token": 0,
    "opaque": 0,
}  # the others end in their width: f32, s4, bf16, f8e4m3fn, c64
_LEAF = re.compile(r"([a-z][a-z0-9]*)\[([0-9,<=]*)\]")
_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) ?\(")
_ASSIGNMENT = re.compile(r"\s*(ROOT )?%?([\w.\-]+) = ")
_COMMENT = re.compile(r"/\*[^*]*\*/")
_ALIAS = re.compile(r"\{[0-9, ]*\}: \((\d+), \{[0-9, ]*\}")
_CALLED = re.compile(r"\b(calls|to_apply|body|condition|select|scatter)=%?([\w.\-]+)")
_BRANCHES = re.compile(
    r"\b(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+))"
)


def fault(line: int, reason: str) -> InstanceError:
    """An error in a line of the text, counted from 1."""
    return InstanceError(reason, line=line)


class Leaf(NamedTuple):
    """An array type."""

    bits: int  # of an element
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return -(-self.elements * self.bits // 8)


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    type: Any  # a Leaf, or a tuple of types
    opcode: str
    operands: tuple[str, ...]  # names; the literal of a parameter or constant
    attributes: str
    line: int

    @property
    def leaves(self) -> list[Leaf]:
        return list(leaves_of(self.type))

    @property
    def elements(self) -> int:
        return sum(leaf.elements for leaf in self.leaves)

    @property
    def called(self) -> dict[str, str]:
        return dict(_CALLED.findall(self.attributes))

    @property
    def branches(self) -> list[str]:
        names: list[str] = []
        for found in _BRANCHES.findall(self.attributes):
            names += [name.strip().lstrip("%") for name in "".join(found).split(",")]
        return names


def leaves_of(type_: Any) -> Iterator[Leaf]:
    """The arrays of a type, in order."""
    if isinstance(type_, Leaf):
        yield type_
    else:
        for part in type_:
            yield from leaves_of(part)


class Module(NamedTuple):
    """Computations in the order of the text."""

    computations: Mapping[str, list[Instruction]]
    roots: Mapping[str, str]  # the name of the instruction that a computation returns
    entry: str
    donated: set[str]  # numbers of parameters whose memory outputs may take

    def body(self, computation: str) -> list[Instruction]:
        """The instructions of a computation; `InstanceError` where it is not there."""
        if computation not in self.computations:
            raise InstanceError(f"computation {computation[:40]!r} is called and not there")
        return self.computations[computation]

    def root(self, computation: str) -> Instruction:
        """What a computation returns."""
        return next(i for i in self.body(computation) if i.name == self.roots[computation])


def parse(text: str) -> Module:
    """The module; `InstanceError` with the line for what is none, is not scheduled, or is beyond 64
    MiB.
    """
    if len(text) > MAX_TEXT:
        raise InstanceError(f"a text of {len(text)} characters, more than {MAX_TEXT}")
    head, *lines = text.split("\n")
    if not head.startswith("HloModule "):
        raise fault(1, "no HloModule: give `compiled.as_text()` or a dumped module")
    if "is_scheduled=true" not in head:
        raise fault(1, "the module is not scheduled: give the text of the compiled program")
    start = head.find("input_output_alias={")
    donated = (
        set(_ALIAS.findall(head[start : _closing(head, start + 19, 1)])) if start >= 0 else set()
    )
    computations: dict[str, list[Instruction]] = {}
    body: list[Instruction] | None = None
    entry = root = ""
    roots: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        if body is None:
            if line.rstrip().endswith("{") and (header := _HEADER.match(line)):
                root = header[2]
                if root in computations:
                    raise fault(number, f"a second computation {root[:40]!r}")
                body = computations[root] = []
                entry = root if header[1] else entry
        elif line.startswith("}"):
            body = None
        elif line.strip():
            instruction = _instruction(line, number)
            if line.lstrip().startswith("ROOT "):
                roots[root] = instruction.name
            body.append(instruction)
    if not entry or body is not None:
        raise InstanceError(
            "the text ends before the module does" if body is not None else "no ENTRY computation"
        )
    for name, found in computations.items():
        if name not in roots:
            raise InstanceError(f"computation {name[:40]!r} has no ROOT")
        if len({instruction.name for instruction in found}) < len(found):
            raise InstanceError(f"computation {name[:40]!r} has two instructions of one name")
    return Module(computations, roots, entry, donated)


def _instruction(line: str, number: int) -> Instruction:
    line = _COMMENT.sub("", line)
    assignment = _ASSIGNMENT.match(line)
    if not assignment:
        raise fault(
            number, f"not an instruction, `name = type opcode(operands)`: {line.strip()[:60]!r}"
        )
    at = assignment.end()
    end = _closing(line, at, number) if line[at : at + 1] == "(" else line.find(" ", at)
    begin = line.find("(", end) if end > 0 else -1
    if begin < 0:
        raise fault(number, f"no operands behind the type: {line.strip()[:60]!r}")
    opcode, close = line[end:begin].strip(), line.find(")", begin)
    literal = opcode in ("parameter", "constant")
    if not literal:
        close = _closing(line, begin, number) - 1
    inside = line[begin + 1 : close]
    operands = (
        (inside,) if literal else tuple(part.split()[-1].lstrip("%") for part in _parts(inside))
    )
    return Instruction(
        assignment[2], _type(line[at:end], number), opcode, operands, line[close + 1 :], number
    )


def _closing(text: str, start: int, number: int) -> int:
    """The position behind the bracket that closes the one at `start`."""
    depth = 0
    for match in re.finditer(r"[(){}\[\]]", text[start:]):
        depth += 1 if match[0] in "({[" else -1
        if depth == 0:
            return start + match.end()
    raise fault(number, f"a bracket is not closed: {text.strip()[:60]!r}")


def _parts(text: str) -> list[str]:
    """At the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"[(){}\[\],]", text):
        if match[0] == "," and depth == 0:
            parts.append(text[start : match.start()].strip())
            start = match.end()
        elif match[0] != ",":
            depth += 1 if match[0] in "({[" else -1
    return [part for part in (*parts, text[start:].strip()) if part]


def _type(text: str, number: int, depth: int = 0) -> Any:
    text = text.strip()
    if depth > MAX_DEPTH:
        raise fault(number, f"tuples nested beyond {MAX_DEPTH}")
    if text.startswith("("):
        return tuple(_type(part, number, depth + 1) for part in _parts(text[1:-1]))
    leaf = _LEAF.match(text)
    if not leaf:
        raise fault(number, f"not a type: {text[:60]!r}")
    digits = re.search(r"\d+", leaf[1])
    bits = _BITS.get(leaf[1], int(digits[0]) if digits else 0)
    if leaf[1] not in _BITS and not 1 <= bits <= 128:
        raise fault(number, f"unknown element type {leaf[1][:20]!r}")
    sizes = [size.lstrip("<=") for size in leaf[2].split(",") if size]
    if any(not 1 <= len(size) <= 18 for size in sizes):
        raise fault(number, f"not a shape: {leaf[2][:60]!r}")
    return Leaf(bits, tuple(map(int, sizes)))
