"""What instructions of HLO do: how many operations they take, which of them only give a value
another name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from jaxsched.envs.memory.hlo.text import MAX_DEPTH, Instruction, Leaf, Module, fault, leaves_of
from jaxsched.host.errors import InstanceError

MAX_TAPS = 2**20  # of a convolution in one dimension, counted one by one
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d{1,18})"\}')

_DONE = {"copy-done", "slice-done", "async-done"}
# Another name for the operand; of what was started before, the result.
FORWARD = {"bitcast", "optimization-barrier", "add-dependency", "async-update", *_DONE}
VIEWS = FORWARD | {"tuple", "get-tuple-element"}
PREFETCH = {
    "copy-start",
    "slice-start",
}  # of XLA's own memory mapping, which is what is to be decided
# Data that moves counts no operation, in XLA's analysis too.
_MOVES = FORWARD | PREFETCH
_MOVES |= {
    "parameter",
    "constant",
    "iota",
    "tuple",
    "get-tuple-element",
    "broadcast",
    "reshape",
    "transpose",
    "slice",
}
_MOVES |= {
    "copy",
    "concatenate",
    "pad",
    "reverse",
    "gather",
    "dynamic-slice",
    "dynamic-update-slice",
    "after-all",
}
_MOVES |= {
    "bitcast-convert",
    "get-dimension-size",
    "partition-id",
    "replica-id",
    "domain",
    "infeed",
    "outfeed",
}
_MOVES |= {
    "rng-get-and-update-state",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "send",
    "recv",
}
# Run other computations.
_CALLS = {"fusion", "call", "async-start", "map", "while", "conditional", "reduce", "all-reduce"}
_CALLS |= {"reduce-scatter", "reduce-window", "select-and-scatter", "scatter"}
_NOT_ELEMENTWISE = _MOVES - {"bitcast", "bitcast-convert"} | _CALLS
_NOT_ELEMENTWISE |= {"dot", "convolution", "sort", "custom-call", "fft", "cholesky"}
_NOT_ELEMENTWISE |= {"triangular-solve", "rng", "rng-bit-generator", "topk"}


def elementwise(module: Module, instruction: Instruction, operand: int) -> bool:
    """Element i of the output needs no element of the operand but i, so that it may take its
    place.
    """
    if not isinstance(instruction.type, Leaf):
        return False
    if instruction.opcode != "fusion":
        return instruction.opcode == "copy" or instruction.opcode not in _NOT_ELEMENTWISE
    body = module.body(instruction.called.get("calls", ""))
    reached = {
        i.name for i in body if i.opcode == "parameter" and i.operands[0].strip() == str(operand)
    }
    for i in body:
        if i.opcode != "parameter" and reached.intersection(i.operands):
            if i.opcode in _NOT_ELEMENTWISE or i.elements != instruction.elements:
                return False
            reached.add(i.name)
    return True


class Counter:
    """Counts the operations of a module's instructions, floating-point and integer ones alike."""

    def __init__(self, module: Module):
        self.module = module
        self.uncounted: set[str] = set()  # what is taken as 0
        self.unknown_loops: set[str] = set()  # what is taken to run once
        self._types = {
            name: {i.name: i.type for i in body} for name, body in module.computations.items()
        }
        self._counted: dict[str, int] = {}

    def __call__(self, instruction: Instruction) -> int:
        """Operations of an instruction of the entry computation."""
        try:
            return self._count(instruction, self.module.entry, 0)
        except (KeyError, IndexError, ValueError, OverflowError) as error:
            if isinstance(error, InstanceError):
                raise
            raise fault(
                instruction.line, f"{instruction.opcode[:30]} lacks an attribute, or has one amiss"
            ) from None

    def _count(self, instruction: Instruction, computation: str, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise fault(instruction.line, f"computations call one another beyond {MAX_DEPTH} deep")
        opcode, elements = instruction.opcode, instruction.elements

        def operand(k: int) -> Leaf:
            try:
                return next(leaves_of(self._types[computation][instruction.operands[k]]))
            except (IndexError, KeyError, StopIteration):
                raise fault(
                    instruction.line, f"operand {k} of {opcode[:30]} is not there"
                ) from None

        if opcode in _MOVES:
            return 0
        if opcode == "dot":
            return _dot(instruction, operand(0))
        if opcode == "convolution":
            return _convolution(instruction, operand(0), operand(1))
        if opcode == "sort":
            rows = operand(0).elements
            return rows * max(1, rows - 1).bit_length()
        if opcode == "custom-call":
            target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
            self.uncounted.add(f"custom-call {target[1][:60] if target else ''}".strip())
            return 0
        if opcode in _CALLS:
            return self._calls(instruction, operand, depth)
        return elements  # elementwise

    def _calls(self, instruction: Instruction, operand: Callable[[int], Leaf], depth: int) -> int:
        """Operations of an instruction that runs other computations, as often as it runs them."""
        opcode, elements, called = instruction.opcode, instruction.elements, instruction.called

        def operations_in(name: str) -> int:
            if name not in self._counted:
                self._counted[name] = sum(
                    self._count(i, name, depth + 1) for i in self.module.body(name)
                )
            return self._counted[name]

        if opcode == "while":
            trips = _TRIPS.search(instruction.attributes)
            if not trips:
                self.unknown_loops.add(instruction.name)
            return (int(trips[1]) if trips else 1) * (
                operations_in(called.get("body", "")) + operations_in(called.get("condition", ""))
            )
        if opcode == "conditional":
            return max((operations_in(name) for name in instruction.branches), default=0)
        if opcode in ("reduce", "all-reduce", "reduce-scatter"):
            reduced = operand(0).elements - elements // max(1, len(instruction.leaves))
            return max(reduced, 0) * operations_in(called["to_apply"])
        if opcode in ("reduce-window", "select-and-scatter"):
            window = re.search(r"size=([\dx]+)", instruction.attributes)
            area = math.prod(map(int, window[1].split("x"))) if window else 1
            which = "to_apply" if opcode == "reduce-window" else "select"
            return elements * max(area - 1, 1) * operations_in(called[which])
        if opcode == "scatter":
            updates = operand(len(instruction.operands) - 1).elements
            return updates * operations_in(called["to_apply"])
        inner = sum(
            operations_in(name) for key, name in called.items() if key in ("calls", "to_apply")
        )
        return inner * (elements if opcode == "map" else 1)


def _dot(instruction: Instruction, lhs: Leaf) -> int:
    """Two per element of the output and of the contracted dimensions."""
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    dims = [int(d) for d in contracted[1].split(",") if d] if contracted else []
    if any(d >= len(lhs.shape) for d in dims):
        raise fault(instruction.line, "dot contracts a dimension that is not there")
    return 2 * instruction.elements * math.prod(lhs.shape[d] for d in dims)


def _convolution(instruction: Instruction, lhs: Leaf, rhs: Leaf) -> int:
    """Two per element of the output and of the kernel for one output feature, without what padding
    leaves out.
    """
    labels = re.search(r"dim_labels=([\w?]+)_([\w?]+)->([\w?]+)", instruction.attributes)
    if not labels or len(labels[2]) != len(rhs.shape) or "o" not in labels[2]:
        raise fault(instruction.line, "a convolution whose dim_labels do not fit its kernel")
    out = instruction.leaves[0]
    window = dict(
        re.findall(r"(size|stride|pad|lhs_dilate|rhs_dilate)=([\dx_\-]+)", instruction.attributes)
    )
    dims = len(labels[2]) - 2

    def numbers(key: str, default: int) -> list[int]:
        found = [int(n) for n in window[key].split("x")] if key in window else []
        return found if len(found) == dims else [default] * dims

    pads = (
        [int(p.split("_")[0]) for p in window["pad"].split("x")] if "pad" in window else [0] * dims
    )
    stride, spread, dilate = (
        numbers("stride", 1),
        numbers("lhs_dilate", 1),
        numbers("rhs_dilate", 1),
    )
    valid = 1
    for d in range(dims):
        kernel, size = rhs.shape[labels[2].index(str(d))], lhs.shape[labels[1].index(str(d))]
        wide = out.shape[labels[3].index(str(d))]
        if wide * kernel > MAX_TAPS:  # what padding leaves out is small then
            valid *= wide * kernel
            continue
        at = (o * stride[d] - pads[d] + k * dilate[d] for o in range(wide) for k in range(kernel))
        valid *= sum(0 <= x <= (size - 1) * spread[d] and x % spread[d] == 0 for x in at)
    channels = rhs.shape[labels[2].index("i")]
    features, batch = out.shape[labels[3].index("f")], out.shape[labels[3].index("b")]
    return 2 * valid * channels * features * batch
