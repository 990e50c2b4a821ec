"""Values and kernels of a module's entry computation, and how long values live."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from jaxsched.envs.memory.hlo.operations import FORWARD, PREFETCH, elementwise
from jaxsched.envs.memory.hlo.text import Instruction, Leaf, Module, fault

_INDEX = re.compile(r"\bindex=(\d{1,9})")


class Kernel(NamedTuple):
    """An instruction of the entry computation that reads or makes values."""

    instruction: Instruction
    reads: list[int]  # values, each once
    writes: list[int]
    kept: list[tuple[int, int]]  # (read, written), which must be in one place
    in_place: list[int]  # values read element by element, whose place an output may take


class Flow:
    """Values and kernels of the entry computation, in XLA's order. A value is an array that has
    memory of its own.
    """

    def __init__(self, module: Module):
        self.module = module
        self.size: list[int] = []  # bytes, per value
        self.name: list[str] = []
        self.given: set[int] = set()  # parameters and constants
        self.donated: set[int] = set()
        self.kernels: list[Kernel] = []
        trees: dict[str, Any] = {}  # the values of each instruction, nested as its type is
        for instruction in module.body(module.entry):
            if instruction.opcode in ("parameter", "constant"):
                made = self._new(instruction.name, instruction.type)
                self.given.update(_flat(made))
                if (
                    instruction.opcode == "parameter"
                    and instruction.operands[0].strip() in module.donated
                ):
                    self.donated.update(_flat(made))
            else:
                missing = [name for name in instruction.operands if name not in trees]
                if missing:
                    raise fault(
                        instruction.line, f"operand {missing[0][:40]!r} is not defined before"
                    )
                operands = [trees[name] for name in instruction.operands]
                made = _view(instruction, operands)
                if made is None:
                    made = self._run(instruction, operands)
            trees[instruction.name] = made
        self.returned = set(_flat(trees[module.roots[module.entry]]))

    def _new(self, name: str, type_: Any) -> Any:
        if isinstance(type_, Leaf):
            self.size.append(type_.bytes)
            self.name.append(name)
            return len(self.size) - 1
        return tuple(self._new(f"{name}[{i}]", part) for i, part in enumerate(type_))

    def _run(self, instruction: Instruction, operands: list[Any]) -> Any:
        """Append a kernel; the values it makes."""
        kept: list[tuple[int, int]] = []
        if instruction.opcode == "while":
            if (
                len(operands) != 1
                or isinstance(operands[0], int)
                or not _fits(operands[0], instruction.type)
            ):
                raise fault(instruction.line, "a loop whose state is not the tuple it is given")
            passed = self._passed(instruction)
            made = []
            for i, (before, type_) in enumerate(zip(operands[0], instruction.type, strict=True)):
                made.append(before if i in passed else self._new(f"{instruction.name}[{i}]", type_))
                if i not in passed:
                    kept += zip(_flat(before), _flat(made[-1]), strict=True)
            made, writes = tuple(made), [after for _, after in kept]
        elif (
            instruction.opcode == "async-start"
            and not isinstance(instruction.type, Leaf)
            and instruction.type
        ):
            # (operands, results, contexts): the operands are the values themselves, contexts take
            # no memory.
            types = instruction.type[1:2] + (Leaf(0, ()),) * len(instruction.type[2:])
            rest = [
                self._new(f"{instruction.name}[{i}]", type_) for i, type_ in enumerate(types, 1)
            ]
            made, writes = (tuple(operands), *rest), _flat(rest)
        else:
            made = self._new(instruction.name, instruction.type)
            writes = _flat(made)
        reads = list(dict.fromkeys(value for tree in operands for value in _flat(tree)))
        single = [
            k
            for k, tree in enumerate(operands)
            if isinstance(tree, int) and operands.count(tree) == 1
        ]
        in_place = [operands[k] for k in single if elementwise(self.module, instruction, k)]
        if reads or writes:
            self.kernels.append(Kernel(instruction, reads, writes, kept, in_place))
        return made

    def _passed(self, loop: Instruction) -> set[int]:
        """Elements of a loop's state that its body passes on as they are."""
        body = loop.called.get("body", "")
        element = {
            i.name: int(index[1])
            for i in self.module.body(body)
            if i.opcode == "get-tuple-element" and (index := _INDEX.search(i.attributes))
        }
        root = self.module.root(body)
        return {
            k
            for k, name in enumerate(root.operands)
            if root.opcode == "tuple" and element.get(name) == k
        }

    def lives(self) -> dict[int, tuple[int, int]]:
        """Half-open lives, in kernels, of the values that are used."""
        found: dict[int, list[int]] = {}
        for t, kernel in enumerate(self.kernels):
            for value in (*kernel.reads, *kernel.writes):
                found.setdefault(value, [0 if value in self.given else t, t + 1])[1] = t + 1
        for value in (*self.returned, *(self.given - self.donated)):
            if value in found:
                found[value][1] = len(self.kernels)
        return {value: (start, end) for value, (start, end) in found.items()}

    def temporaries(self) -> list[tuple[int, int, int]]:
        """Value, start and end of what is neither given nor returned; values in one place are one,
        under the first.
        """
        life = self.lives()
        place = {value: value for value in life}

        def first(value: int) -> int:
            while place[value] != value:
                value = place[value]
            return value

        for t, kernel in enumerate(self.kernels):
            free = [
                value
                for value in kernel.in_place
                if life[value][1] == t + 1 and value not in self.given
            ]
            taken: set[int] = set()
            for before, after in [
                *kernel.kept,
                *((value, made) for value in free for made in kernel.writes),
            ]:
                if self.size[before] == self.size[after] and not taken & {before, after}:
                    taken |= {before, after}
                    place[first(after)] = first(before)
        outside, groups = self.given | self.returned, dict[int, list[int]]()
        for value in life:
            groups.setdefault(first(value), []).append(value)
        found = []
        for value, group in groups.items():
            if self.size[value] and not outside.intersection(group):
                starts, ends = zip(*(life[v] for v in group), strict=True)
                found.append((value, min(starts), max(ends)))
        return found


def _view(instruction: Instruction, operands: list[Any]) -> Any:
    """The values of an instruction that gives others another name; None of one that makes some."""
    opcode = instruction.opcode
    if opcode == "tuple":
        tree = tuple(operands)
    elif opcode in PREFETCH | FORWARD | {"get-tuple-element"} and operands:
        tree = operands[0]
        if opcode in PREFETCH:
            return (tree,)  # of which the matching `done` takes the first
        index = {"copy-done": 0, "slice-done": 0, "async-done": 1}.get(opcode)
        if opcode == "get-tuple-element":
            found = _INDEX.search(instruction.attributes)
            index = int(found[1]) if found else -1
        if index is not None:
            if isinstance(tree, int) or not 0 <= index < len(tree):
                raise fault(instruction.line, f"{opcode} takes an element that is not there")
            tree = tree[index]
    elif (
        '"ConcatBitcast"' in instruction.attributes
        and operands
        and operands.count(operands[0]) == len(operands)
    ):
        tree = operands[0]  # the TPU compiler's prefetch in slices, put together again
    else:
        return None
    if not _fits(tree, instruction.type):
        raise fault(instruction.line, f"{opcode} is not of the type of its operands")
    return tree


def _fits(tree: Any, type_: Any) -> bool:
    """The values are nested as the type is, which the text spells out and so bounds."""
    if isinstance(tree, int) or isinstance(type_, Leaf):
        return isinstance(tree, int) and isinstance(type_, Leaf)
    return len(tree) == len(type_) and all(map(_fits, tree, type_))


def _flat(tree: Any) -> list[int]:
    return [tree] if isinstance(tree, int) else [value for part in tree for value in _flat(part)]
