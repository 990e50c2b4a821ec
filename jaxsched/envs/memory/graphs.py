"""Random programs with stated parameters, on the host, as graphs of operators and tensors; the
distributions are ours.

A graph is plain data, `{"tensors": [{"id", "size", "backed"}], "ops": [{"id", "name", "inputs",
"outputs"}]}`, with the operators in an order that runs, ids that count from 0, and sizes in bytes,
multiples of 64. `backed` tensors are there before the program: inputs and weights. `live_ranges`
makes buffers of the others.

| generator | shape of the lives |
|---|---|
| `layered` | a chain of layers; every few layers a residual connection adds an earlier activation |
| `attention` | transformer blocks: query, key, value, scores, two residual sums, a feed-forward layer |
| `u_net` | down, halving the size each time, and up again; each level's activation waits for the way up |
| `series_parallel` | random series-parallel graphs: a step puts two parts behind or beside each other |

With `backward` the program goes on to the gradients of all weights: operators in reverse, each
reading the gradient of its output and its inputs, so that activations live until then; gradients
from several readers are added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsched.envs.memory.types import Buffers

Graph = dict[str, list[dict[str, Any]]]
BYTES = 64  # sizes are multiples of it


def layered(
    rng: np.random.Generator,
    num_layers: int,
    *,
    size: tuple[int, int] = (2**12, 2**18),
    residual: int = 2,
    weights: bool = True,
    backward: bool = False,
) -> Graph:
    """A chain of `num_layers` layers with activations log-uniform in `size` bytes.

    Every `residual`-th layer is followed by a sum with the activation before the last `residual`
    layers, which has the same size as the layer's; 0: none.
    """
    program = _Program(weights)
    x = block = program.value(_size(rng, size), backed=True)
    for layer in range(num_layers):
        ends_block = residual > 0 and (layer + 1) % residual == 0
        wide = program.size(block) if ends_block else _size(rng, size)
        x = program.op("layer", [x], wide, weight=_size(rng, size))
        if ends_block:
            x = block = program.op("add", [x, block], wide)
    return program.graph(x, backward)


def attention(
    rng: np.random.Generator,
    num_blocks: int,
    *,
    tokens: tuple[int, int] = (64, 512),
    width: tuple[int, int] = (64, 512),
    heads: tuple[int, int] = (1, 8),
    expansion: int = 4,
    weights: bool = True,
    backward: bool = False,
) -> Graph:
    """`num_blocks` transformer blocks of one random shape, 4 bytes a number; ranges are inclusive.

    Scores have heads x tokens x tokens numbers, the feed-forward layer `expansion` times the width.
    """
    long, wide, many = (int(rng.integers(low, high + 1)) for low, high in (tokens, width, heads))
    full, score = _round(4 * long * wide), _round(4 * many * long * long)
    square, broad = _round(4 * wide * wide), _round(4 * long * wide * expansion)
    program = _Program(weights)
    x = program.value(full, backed=True)
    for _ in range(num_blocks):
        normal = program.op("norm", [x], full)
        query, key, value = (
            program.op(name, [normal], full, weight=square) for name in ("query", "key", "value")
        )
        scores = program.op("softmax", [program.op("scores", [query, key], score)], score)
        mixed = program.op("mix", [scores, value], full)
        x = program.op("add", [x, program.op("project", [mixed], full, weight=square)], full)
        normal = program.op("norm", [x], full)
        hidden = program.op("up", [normal], broad, weight=square * expansion)
        hidden = program.op("gelu", [hidden], broad)
        x = program.op(
            "add", [x, program.op("down", [hidden], full, weight=square * expansion)], full
        )
    return program.graph(x, backward)


def u_net(
    rng: np.random.Generator,
    depth: int,
    *,
    size: tuple[int, int] = (2**16, 2**20),
    convolutions: int = 2,
    weights: bool = True,
    backward: bool = False,
) -> Graph:
    """`depth` levels of `convolutions` layers down and up again; the top activation is log-uniform
    in `size` bytes.

    A level has half the bytes of the one above: a quarter of the pixels, twice the channels.
    """
    program = _Program(weights)
    top = _size(rng, size)
    levels = [_round(top / 2**level) for level in range(depth)]
    x, skips = program.value(levels[0], backed=True), []

    def convolve(x: int, wide: int) -> int:
        for _ in range(convolutions):
            x = program.op("conv", [x], wide, weight=_round(wide / 8))
        return x

    for wide in levels[:-1]:
        x = convolve(x, wide)
        skips.append(x)
        x = program.op("pool", [x], _round(wide / 2))
    x = convolve(x, levels[-1])
    for wide, skip in zip(levels[-2::-1], reversed(skips), strict=True):
        x = program.op("join", [program.op("upsample", [x], wide), skip], 2 * wide)
        x = convolve(x, wide)
    return program.graph(x, backward)


def series_parallel(
    rng: np.random.Generator,
    num_ops: int,
    *,
    size: tuple[int, int] = (2**12, 2**18),
    parallel: float = 0.5,
    backward: bool = False,
) -> Graph:
    """A random series-parallel graph with `num_ops` operators and the sums where branches meet.

    Operators are split recursively into two parts of random size, side by side with probability
    `parallel`, else one after the other. Activations are log-uniform in `size` bytes.
    """
    program = _Program(weights=False)

    def part(x: int, count: int) -> int:
        if count == 1:
            return program.op("op", [x], _size(rng, size))
        first = int(rng.integers(1, count))
        if rng.random() < parallel:
            ends = [part(x, first), part(x, count - first)]
            return program.op("join", ends, _size(rng, size))
        return part(part(x, first), count - first)

    x = program.value(_size(rng, size), backed=True)
    return program.graph(part(x, num_ops), backward)


def live_ranges(graph: Graph, *, backed: bool = False) -> Buffers:
    """The tensors as buffers: from the operator that makes one to its last reader, both included;
    ids are kept.

    Times count operators. Tensors that nobody reads live to the end. With `backed` also the tensors
    that are there before the program, live from the start; `Buffers` raises `InstanceError` where
    there is something wrong with them.
    """
    start, end = {}, {}
    for time, op in enumerate(graph["ops"]):
        for tensor in op["inputs"]:
            end[tensor] = time + 1
        for tensor in op["outputs"]:
            start[tensor] = time
    total = len(graph["ops"])
    return Buffers(
        {
            "id": tensor["id"],
            "start": 0 if tensor["backed"] else start[tensor["id"]],
            "end": end.get(tensor["id"], total),
            "size": tensor["size"],
        }
        for tensor in graph["tensors"]
        if backed or not tensor["backed"]
    )


GENERATORS: dict[str, Callable[[np.random.Generator, bool], Graph]] = {
    "layered": lambda rng, backward: layered(
        rng, int(rng.integers(16, 65)), residual=int(rng.integers(0, 4)), backward=backward
    ),
    "attention": lambda rng, backward: attention(rng, int(rng.integers(2, 7)), backward=backward),
    "u_net": lambda rng, backward: u_net(
        rng, int(rng.integers(3, 7)), convolutions=int(rng.integers(2, 4)), backward=backward
    ),
    "series_parallel": lambda rng, backward: series_parallel(
        rng, int(rng.integers(16, 97)), backward=backward
    ),
}


def draw_program(seed: int, most: int = 400) -> Graph:
    """A program of a random kind and shape, half of them with `backward`.

    It has 20 to `most` tensors that are not backed. Raises `ValueError` where a thousand draws find
    none: `most` is too small.
    """
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        kind = sorted(GENERATORS)[int(rng.integers(len(GENERATORS)))]
        graph = GENERATORS[kind](rng, bool(rng.integers(2)))
        if 20 <= sum(not tensor["backed"] for tensor in graph["tensors"]) <= most:
            return graph
    raise ValueError(f"found no program of 20 to {most} tensors that are not backed")


def _round(size: float) -> int:
    return max(int(-(-size // BYTES)), 1) * BYTES


def _size(rng: np.random.Generator, size: tuple[int, int]) -> int:
    low, high = np.log(size[0]), np.log(size[1])
    return _round(float(np.exp(rng.uniform(low, high))))


class _Program:
    """A graph under construction."""

    def __init__(self, weights: bool):
        self.weights = weights
        self.tensors: list[dict[str, Any]] = []
        self.ops: list[dict[str, Any]] = []

    def value(self, size: int, backed: bool = False) -> int:
        self.tensors.append({"id": len(self.tensors), "size": size, "backed": backed})
        return len(self.tensors) - 1

    def size(self, value: int) -> int:
        return self.tensors[value]["size"]

    def op(self, name: str, inputs: list[int], size: int, weight: int = 0) -> int:
        """An operator with one output; with a `weight` of so many bytes where the program has
        weights.
        """
        if weight and self.weights:
            inputs = [*inputs, self.value(weight, backed=True)]
        out = self.value(size)
        self.ops.append(
            {
                "id": len(self.ops),
                "name": name,
                "inputs": list(dict.fromkeys(inputs)),
                "outputs": [out],
            }
        )
        return out

    def graph(self, out: int, backward: bool) -> Graph:
        if backward:
            self._backward(out)
        return {"tensors": self.tensors, "ops": self.ops}

    def _backward(self, out: int) -> None:
        gradient = {out: self.op("loss", [out], self.size(out))}
        for op in self.ops[-2::-1]:
            (made,) = op["outputs"]
            if made not in gradient:
                continue
            for value in op["inputs"]:
                if self.tensors[value]["backed"] and value == 0:
                    continue  # the input of the program needs no gradient
                others = [other for other in op["inputs"] if other != value]
                # The gradient of a sum is handed on; other operators need what they were given.
                reads = [] if op["name"] in ("add", "join") else [*others, value]
                step = self.op(f"{op['name']}_gradient", [gradient[made], *reads], self.size(value))
                gradient[value] = (
                    self.op("accumulate", [gradient[value], step], self.size(value))
                    if value in gradient
                    else step
                )
