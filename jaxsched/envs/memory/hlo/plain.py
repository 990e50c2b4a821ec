"""Compiled JAX programs as problems of this family: what XLA scheduled, read from the text of a
compiled program.

`from_jax` compiles a function for shapes alone, `from_hlo` reads what `compiled.as_text()` or
`--xla_dump_to` gave. The entry computation of that text is XLA's own schedule, after fusion, so an
instruction is a kernel. Views (tuples and their elements, bitcasts, barriers, XLA's own prefetches)
make no value; what runs inside an instruction (a fusion, the body of a loop) runs in its time step.
Liveness follows XLA's: parameters and what is returned live to the end, a donated parameter to its
last use. The state of a loop stays in its place, and an output takes that of an operand that ends
there where it is computed element by element, as XLA may do. Operations are counted as XLA's cost
analysis does, transcendental functions as one, loops as often as they run.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jaxsched.envs.memory.hlo.flow import Flow
from jaxsched.envs.memory.hlo.operations import Counter
from jaxsched.envs.memory.hlo.text import MAX_TEXT, parse
from jaxsched.envs.memory.mapping.program import Program
from jaxsched.envs.memory.replacement.graph import Graph
from jaxsched.envs.memory.types import Buffers, lower_bound
from jaxsched.host.errors import InstanceError, UnknownNameError
from jaxsched.host.text import read_bytes


@dataclasses.dataclass(frozen=True)
class Machine:
    """Fast memory, slow memory and arithmetic of a chip, relative to a byte from fast memory, which
    takes a tick.
    """

    capacity: int  # bytes of fast memory
    slow_cost: int  # ticks per byte of slow memory, and of copies between the two
    flops_per_tick: float
    alignment: int = 64  # bytes


# TPU v5e: 197 TFLOP/s in bfloat16 and 819 GB/s of HBM (Cloud TPU documentation, 2025); VMEM of 128
# MiB at about 22 times the bandwidth of HBM (Austin et al., How to Scale Your Model, 2025, part 2).
MACHINES = {"tpu-v5e": Machine(128 * 2**20, 22, 197e12 / (22 * 819e9), alignment=512)}

# What ahead-of-time compilation asks the TPU compiler for: a platform and a topology.
TARGETS = {"cpu": None, "tpu-v5e": ("tpu", "v5e:2x2")}


class Imported(NamedTuple):
    """One compiled program as three problems, and what was read.

    `program`: which accesses of its kernels are served from fast memory (`MemoryMap-v0`).
    `buffers`: addresses of its temporaries (`StaticAllocation-v0`), with time in kernels. `graph`:
    order and residency of its tensors (`TensorReplacement-v0`). `report`: counts, bytes and
    operations, and what could not be told.
    """

    program: Program
    buffers: Buffers
    graph: Graph
    report: dict[str, Any]


def from_jax(
    fn: Callable,
    *args: Any,
    target: str = "cpu",
    machine: str | Machine = "tpu-v5e",
    capacity: int | None = None,
    donate_argnums: int | Sequence[int] = (),
) -> Imported:
    """Compile `fn` for the shapes of `args`, arrays or `jax.ShapeDtypeStruct`s, and import it;
    nothing is run.

    `target`: the compiler, `cpu` or `tpu-v5e` (needs `pip install "jax[tpu]"`, no TPU); a CPU's
    kernels are fused differently from a TPU's. `machine` and `capacity`: see `from_hlo`. `fn` may
    be jitted already, with `donate_argnums` of its own. The report also has what XLA's
    `memory_analysis` and `cost_analysis` say. Raises `UnknownNameError` for an unknown target,
    `ImportError` where its compiler is missing.
    """
    jitted: Any = fn if hasattr(fn, "lower") else jax.jit(fn, donate_argnums=donate_argnums)
    compiled = jitted.lower(*_placed(args, target)).compile()
    found = from_hlo(compiled.as_text(), machine=machine, capacity=capacity)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    for name in ("argument", "output", "alias", "temp"):
        found.report[f"XLA: {name} bytes"] = int(getattr(memory, f"{name}_size_in_bytes"))
    found.report["XLA: operations"] = int(cost.get("flops", 0) + cost.get("transcendentals", 0))
    return found


def _placed(args: Any, target: str) -> Any:
    """The shapes of the arguments, on a device of the target."""
    if target not in TARGETS:
        raise UnknownNameError("target", target, TARGETS)
    topology = TARGETS[target]
    if topology is None:
        device = jax.devices("cpu")[0]
    else:
        from jax.experimental import topologies

        # there is no TPU whose metadata could be asked for
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        try:
            device = topologies.get_topology_desc(topology[1], topology[0]).devices[0]
        except Exception as error:
            raise ImportError(
                f'target {target!r} needs its compiler: pip install "jax[tpu]" ({error})'
            ) from error
    sharding = jax.sharding.SingleDeviceSharding(device)
    shapes = jax.eval_shape(lambda *args: args, *args)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def from_hlo(
    text: str, *, machine: str | Machine = "tpu-v5e", capacity: int | None = None
) -> Imported:
    """Import the text of a scheduled HLO module: `compiled.as_text()`, or a dumped
    `*after_optimizations.txt`.

    `machine`: a name in `MACHINES`, or a `Machine`, by whose peak rates the program takes its
    times: an estimate, ours. `capacity`: bytes of fast memory, instead of the machine's. Sizes are
    rounded up to its alignment, those of the report are not. Raises `InstanceError` with the line
    for text that is not a scheduled module or is beyond 64 MiB, and for a program without kernels.
    """
    if isinstance(machine, str):
        if machine not in MACHINES:
            raise UnknownNameError("machine", machine, MACHINES)
        machine = MACHINES[machine]
    module = parse(text)
    flow, count = Flow(module), Counter(module)
    flops = [count(kernel.instruction) for kernel in flow.kernels]
    size = [-(-bytes_ // machine.alignment) * machine.alignment for bytes_ in flow.size]
    buffers = Buffers(
        {"id": flow.name[v], "start": start, "end": end, "size": size[v]}
        for v, start, end in flow.temporaries()
    )
    report = {
        "kernels": len(flow.kernels),
        "values": len(flow.size),
        "operations": sum(flops),
        "bytes of accesses": sum(
            flow.size[v] for kernel in flow.kernels for v in (*kernel.reads, *kernel.writes)
        ),
        "bytes given": sum(flow.size[v] for v in flow.given),
        "bytes returned": sum(flow.size[v] for v in flow.returned),
        "bytes of temporaries, most live": lower_bound(buffers),
        "operations not counted": sorted(count.uncounted),
        "loops of unknown length, taken as 1": sorted(count.unknown_loops),
    }
    return Imported(
        _program(flow, size, flops, machine, capacity), buffers, _graph(flow, size), report
    )


def _program(
    flow: Flow, size: list[int], flops: list[int], machine: Machine, capacity: int | None
) -> Program:
    """Every read and write of a kernel as an access; the state of a loop is read and written in one
    place.
    """
    name, used, groups = flow.name, set[int](), itertools.count()
    instructions = []
    for kernel, operations in zip(flow.kernels, flops, strict=True):
        group = {
            value: number
            for pair, number in zip(kernel.kept, groups, strict=False)
            for value in pair
        }
        accesses = []
        for kind, listed in (("read", kernel.reads), ("write", kernel.writes)):
            for v in filter(size.__getitem__, listed):
                accesses.append(
                    {"value": name[v], "kind": kind} | ({"alias": group[v]} if v in group else {})
                )
                used.add(v)
        # On the grid of the sizes, since times are divided by their greatest common divisor.
        ticks = (
            math.ceil(operations / machine.flops_per_tick / machine.alignment) * machine.alignment
        )
        instructions.append({"id": kernel.instruction.name, "compute": ticks, "accesses": accesses})
    values = [
        {
            "id": name[v],
            "size": size[v],
            "input": v in flow.given,
            "output": v in flow.returned - flow.given,
        }
        for v in sorted(used)
    ]
    return Program.from_dict(
        {
            "values": values,
            "instructions": instructions,
            "capacity": machine.capacity if capacity is None else capacity,
            "alignment": machine.alignment,
            "slow_cost": machine.slow_cost,
            "fast_cost": 1,
            "copy_cost": machine.slow_cost,
        }
    )


def _graph(flow: Flow, size: list[int]) -> Graph:
    """Kernels that make values, as operators."""
    name, ops, used = flow.name, [], set()
    for kernel in flow.kernels:
        reads, writes = (
            list(filter(size.__getitem__, listed)) for listed in (kernel.reads, kernel.writes)
        )
        if writes:
            used.update(reads, writes)
            row = {"id": kernel.instruction.name, "name": kernel.instruction.opcode}
            ops.append(
                row | {"inputs": [name[v] for v in reads], "outputs": [name[v] for v in writes]}
            )
    if not ops:
        raise InstanceError("no kernel makes a value: there is nothing to plan")
    tensors = [{"id": name[v], "size": size[v], "backed": v in flow.given} for v in sorted(used)]
    return Graph.from_dict({"tensors": tensors, "ops": ops})


def read_hlo(
    path: str | os.PathLike[str], *, machine: str | Machine = "tpu-v5e", capacity: int | None = None
) -> Imported:
    """`from_hlo` of a file; its `InstanceError` names the file."""
    try:
        text = read_bytes(path, MAX_TEXT).decode()
    except UnicodeDecodeError:
        raise InstanceError("not a text in UTF-8", file=os.fspath(path)) from None
    try:
        return from_hlo(text, machine=machine, capacity=capacity)
    except InstanceError as error:
        raise InstanceError(error.reason, file=os.fspath(path), line=error.line) from None
