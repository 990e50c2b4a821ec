"""Kernels that one step compiles to on an H100 and a TPU v5e, by the vendors' own compilers,
without an accelerator.

    pip install jax==0.10.2 jax-cuda12-plugin==0.10.2 jax-cuda12-pjrt==0.10.2    # the H100 compiler, or
    pip install "jax[tpu]==0.10.2"                                               # the TPU compiler
    python benchmarks/aot.py

Each run counts for the compilers it finds and rewrites their part of `results/aot.json`.
`estimated_cycles` are the TPU compiler's own estimates, not run times, and leave out copies.
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import importlib.util
import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# there is no TPU whose metadata could be asked for
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # nor a driver

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import jaxsched
from jaxsched.core.rollout import masked_argmax
from jaxsched.envs.job_shop import flexible
from jaxsched.envs.job_shop.blocking import interrupted, unbuffered
from jaxsched.envs.job_shop.sources import uniform
from jaxsched.envs.memory import programs as replacement_pool
from jaxsched.envs.memory import random_lives, random_programs
from jaxsched.envs.memory.allocation import rules as allocation_rules
from jaxsched.envs.memory.mapping import rules as mapping_rules
from jaxsched.envs.memory.replacement import rules as replacement_rules
from jaxsched.envs.soc import rules as soc_rules
from jaxsched.envs.soc import streams
from jaxsched.host.errors import InstanceError

RESULTS = pathlib.Path(__file__).parent / "results" / "aot.json"
BATCH = 4096
SOC_BATCH = 1024  # its state is larger
SIZES = ((10, 10), (30, 20))
FLEXIBLE_SIZES = ((10, 5), (20, 10))  # of SD1
BUFFERS = (64, 154)
INSTRUCTIONS = (20,)
OPERATORS = (12, 24)  # least and most of the programs of tensor replacement
SYSTEMS = {
    "3 PEs": {"cap": 3},
    # data folder
    "16 PEs": {
        "platform": "ds3_multiple_bal",
        "profiles": ("ds3_wifi_tx", "ds3_wifi_rx"),
        "cap": 12,
    },
}

# GpuTargetConfig of XLA, in proto text format.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84978434048 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 1 patch: 0 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
TARGETS = {
    "h100": {
        "platform": "cuda",
        "topology_name": "h100",
        "topology": "1x1x1",
        "target_config": H100,
    },
    "tpu-v5e": {"platform": "tpu", "topology_name": "v5e:2x2"},
}
COMPILERS = {
    "h100": ("jax_cuda12_plugin", ["jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda12-pjrt"]),
    "tpu-v5e": ("libtpu", ["jax", "jaxlib", "libtpu"]),
}

# What does not launch: names and views of buffers, and the ends of what a start has launched.
SILENT = {
    "after-all",
    "bitcast",
    "constant",
    "get-tuple-element",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}
INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<name>[\w.-]+) = .*? (?P<opcode>[a-z][a-z0-9-]*)\((?P<operands>[^)]*)"
)


def compile_for(fn: Callable, *args, target: str, **options) -> jax.stages.Compiled:
    """`fn` compiled for one device of `target`, with `options` of `jax.jit`; `args` are arrays or
    `jax.ShapeDtypeStruct`s.
    """
    sharding = SingleDeviceSharding(topologies.get_topology_desc(**TARGETS[target]).devices[0])
    jitted = jax.jit(fn, in_shardings=sharding, out_shardings=sharding, **options)
    return jitted.lower(*args).compile()


def compile_text(fn: Callable, *args, target: str) -> str:
    """Optimised HLO of `fn`, see `compile_for`."""
    return compile_for(fn, *args, target=target).as_text() or ""


def count_text(text: str) -> dict:
    """What optimised HLO launches.

    `kernels` and their `kinds` (opcodes) in the entry computation, calls entered; of these,
    `constant` have no input but constants, so that a loop around the step hoists them. `loops`
    (absent if none) holds for each `while` its `known_trip_count`, or None, and the counts of its
    `body`. `estimated_cycles` if the compiler gives them.
    """
    entry, name, found = "", "", collections.defaultdict(list)
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.-]+) .*\{$", line):
            name = header[2]
            entry = name if header[1] else entry
        elif instruction := INSTRUCTION.match(line):
            found[name].append(instruction)

    def count(name: str) -> dict:
        kinds, cycles, loops, constant, unread = collections.Counter(), [], [], 0, set()

        def walk(name: str) -> None:
            nonlocal constant
            for instruction in found[name]:
                opcode, line = instruction["opcode"], instruction.string
                operands = set(re.findall(r"%([\w.-]+)", instruction["operands"]))
                if reads_nothing := opcode != "parameter" and operands <= unread:
                    unread.add(instruction["name"])
                if opcode == "call":
                    walk(attribute("to_apply", line))
                elif opcode == "while":
                    trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
                    body = count(attribute("body", line))
                    loops.append(
                        {"known_trip_count": int(trips[1]) if trips else None, "body": body}
                    )
                elif opcode not in SILENT and not opcode.endswith("-done"):
                    kinds[opcode] += 1
                    constant += reads_nothing
                    cycles.extend(int(n) for n in re.findall(r'"estimated_cycles":"(\d+)"', line))

        walk(name)
        result = {
            "kernels": kinds.total(),
            "constant": constant,
            "kinds": dict(kinds.most_common()),
        }
        return (
            result
            | ({"estimated_cycles": sum(cycles)} if cycles else {})
            | ({"loops": loops} if loops else {})
        )

    return count(entry)


def attribute(name: str, line: str) -> str:
    """The computation that an instruction names, as in `body=%region_1`."""
    match = re.search(rf"{name}=%?([\w.-]+)", line)
    assert match, f"no {name} in {line}"
    return match[1]


def count_kernels(fn: Callable, *args, target: str = "h100") -> dict:
    """Compiles `fn` for `target` (`h100` or `tpu-v5e`) and counts what it launches, see
    `count_text`.
    """
    return count_text(compile_text(fn, *args, target=target))


def changing(fn: Callable, *args) -> Callable:
    """`fn` with a flat list of results, without those that merely hand an argument back: a loop
    need not copy them.
    """
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    keep = [out not in jaxpr.invars for out in jaxpr.outvars]
    return lambda *args: list(itertools.compress(jax.tree.leaves(fn(*args)), keep))


def programs(num_jobs: int, num_machines: int) -> Iterator[tuple[str, Callable, tuple]]:
    """Name, function and abstract arguments of every program that is counted; nothing is
    computed.
    """
    source = uniform(num_jobs, num_machines)
    env = jaxsched.make("JobShop-v0")

    def abstract(env):
        def arguments(key):
            return key, env.reset(key, source(key))[0], jnp.int32(0)

        return jax.eval_shape(
            lambda: jax.vmap(arguments)(jax.random.split(jax.random.key(0), BATCH))
        )

    def observed(key, state, action):
        state = env.apply(key, state, action, jnp.bool_(True))
        return state, env.observe(state)

    def dispatched(key, state, action):
        return env.apply(key, state, action, jnp.bool_(True))

    steps = {
        "rules, action given": dispatched,
        "rules and observation": observed,
        "env.step": env.step,
    }
    args = abstract(env)
    for name, step in steps.items():
        yield name, changing(jax.vmap(step), *args), args
    for mode, settings in {"insert": {"max_visits": 1}, "event": {}}.items():
        env = jaxsched.make("JobShop-v0", candidates=mode, **settings)  # of `dispatched`, too
        args = abstract(env)
        yield f"{mode}: rules, action given", changing(jax.vmap(dispatched), *args), args


def flexible_programs(num_jobs: int, num_machines: int) -> Iterator[tuple[str, Callable, tuple]]:
    """The same of the flexible job shop."""
    env, source = jaxsched.make("FlexibleJobShop-v0"), flexible.sd1(num_jobs, num_machines)

    def arguments(key):
        return key, env.reset(key, source(key))[0], jnp.int32(0)

    def given(key, state, action):
        return env.apply(key, state, action, jnp.bool_(True))

    args = jax.eval_shape(lambda: jax.vmap(arguments)(jax.random.split(jax.random.key(0), BATCH)))
    for name, step in {
        "flexible: rules, action given": given,
        "flexible: env.step": env.step,
    }.items():
        yield name, changing(jax.vmap(step), *args), args


def blocking_programs(num_jobs: int, num_machines: int) -> Iterator[tuple[str, Callable, tuple]]:
    """The same of the blocking job shop, without interruptions and with machines that fail."""
    env = jaxsched.make("BlockingJobShop-v0")
    for failing in (False, True):
        source = (
            interrupted(uniform(num_jobs, num_machines), 0.1)
            if failing
            else unbuffered(uniform(num_jobs, num_machines))
        )

        def arguments(key, source=source):
            return key, env.reset(key, source(key))[0], jnp.int32(0)

        def given(key, state, action):
            return env.apply(key, state, action, jnp.bool_(True))

        args = jax.eval_shape(
            lambda arguments=arguments: jax.vmap(arguments)(
                jax.random.split(jax.random.key(0), BATCH)
            )
        )
        note = ", failures" if failing else ""
        for name, step in {"rules, action given": given, "env.step": env.step}.items():
            yield f"blocking: {name}{note}", changing(jax.vmap(step), *args), args


def soc_programs(settings: dict) -> Iterator[tuple[str, Callable, tuple]]:
    """The same of the SoC family: one decision and one event, the decision given or ETF's."""
    env, source = jaxsched.make("SoC-v0", record=False), streams(**settings)

    def arguments(key):
        return key, env.reset(key, source(key))[0], jnp.int32(0)

    args = jax.eval_shape(
        lambda: jax.vmap(arguments)(jax.random.split(jax.random.key(0), SOC_BATCH))
    )

    def given(key, state, action):
        legal = soc_rules.legal(state, env.settings).any()
        return soc_rules.apply(state, env.settings, action, legal)

    def by_etf(key, state, action):
        mask = env.action_mask(state)
        return env.apply(key, state, masked_argmax(env.heuristics["etf"](state), mask), mask.any())

    steps = {
        "SoC: rules, action given": given,
        "SoC: rules, ETF inside": by_etf,
        "SoC: env.step": env.step,
    }
    for name, step in steps.items():
        yield name, changing(jax.vmap(step), *args), args


def allocation_programs(num_buffers: int) -> Iterator[tuple[str, Callable, tuple]]:
    """The same of static allocation."""
    env, source = jaxsched.make("StaticAllocation-v0"), random_lives(num_buffers)

    def arguments(key):
        return key, env.reset(key, source(key))[0], jnp.int32(0)

    def given(key, state, action):
        return allocation_rules.apply(state, env.settings, action, action >= 0)

    args = jax.eval_shape(lambda: jax.vmap(arguments)(jax.random.split(jax.random.key(0), BATCH)))
    for name, step in {
        "allocation: rules, action given": given,
        "allocation: env.step": env.step,
    }.items():
        yield name, changing(jax.vmap(step), *args), args


def mapping_programs(num_instructions: int) -> Iterator[tuple[str, Callable, tuple]]:
    """The same of memory mapping."""
    env, source = jaxsched.make("MemoryMap-v0"), random_programs(num_instructions)

    def arguments(key):
        return key, env.reset(key, source(key))[0], jnp.int32(0)

    def given(key, state, action):
        return mapping_rules.apply(state, env.settings, action, jnp.ones((), jnp.bool_))

    args = jax.eval_shape(lambda: jax.vmap(arguments)(jax.random.split(jax.random.key(0), BATCH)))
    for name, step in {
        "mapping: rules, action given": given,
        "mapping: env.step": env.step,
    }.items():
        yield name, changing(jax.vmap(step), *args), args


def replacement_programs() -> Iterator[tuple[str, Callable, tuple]]:
    """The same of tensor replacement, in bytes and with addresses."""
    pool = replacement_pool(8, *OPERATORS)
    for placement in ("bytes", "address"):
        env = jaxsched.make("TensorReplacement-v0", placement=placement)

        def arguments(key, env=env):
            return key, env.reset(key, pool(key))[0], jnp.int32(0)

        def given(key, state, action, env=env):
            return replacement_rules.apply(state, env.settings, action, action >= 0)

        args = jax.eval_shape(
            lambda one=arguments: jax.vmap(one)(jax.random.split(jax.random.key(0), BATCH))
        )
        for name, step in {"rules, action given": given, "env.step": env.step}.items():
            yield f"replacement, {placement}: {name}", changing(jax.vmap(step), *args), args


def cases() -> Iterator[tuple[str, str, Callable, tuple]]:
    """Size, name, function and arguments of all of them."""
    for jobs, machines in SIZES:
        for program in programs(jobs, machines):
            yield f"{jobs}x{machines}", *program
        for program in blocking_programs(jobs, machines):
            yield f"{jobs}x{machines}", *program
    for jobs, machines in FLEXIBLE_SIZES:
        for program in flexible_programs(jobs, machines):
            yield f"{jobs}x{machines}", *program
    for num_buffers in BUFFERS:
        for program in allocation_programs(num_buffers):
            yield f"{num_buffers} buffers", *program
    for num_instructions in INSTRUCTIONS:
        for program in mapping_programs(num_instructions):
            yield f"{num_instructions} instr.", *program
    for program in replacement_programs():
        yield f"{OPERATORS[0]}-{OPERATORS[1]} operators", *program
    for size, settings in SYSTEMS.items():
        try:
            for program in soc_programs(settings):
                yield size, *program
        except InstanceError as error:
            print(f"left out: {error}")


def versions(target: str) -> dict[str, str]:
    """Of the packages that make up the compiler of `target`."""
    return {package: importlib.metadata.version(package) for package in COMPILERS[target][1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dump", type=pathlib.Path, help="folder for the optimised HLO of every program"
    )
    parser.add_argument(
        "--only",
        default="",
        help="count the programs with this text in their names, keep the other rows",
    )
    arguments = parser.parse_args()
    dump, only = arguments.dump, arguments.only
    targets = [
        target for target, (module, _) in COMPILERS.items() if importlib.util.find_spec(module)
    ]
    if not targets:
        parser.error("no compiler is installed; see the head of this file")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    print(
        f"{'target':8} {'size':6} {'program':28} {'kernels':>7} {'constant':>8} {'est. cycles':>11}  kinds"
    )
    for target in targets:
        counted = results.get(target, {}).get("programs", [])
        rows = [row for row in counted if only not in row["program"]]
        for size, name, fn, args in (case for case in cases() if only in case[1]):
            text = compile_text(fn, *args, target=target)
            if dump:
                dump.mkdir(parents=True, exist_ok=True)
                file = re.sub("[ ,:.]+", "-", f"{target}-{size}-{name}") + ".txt"
                (dump / file).write_text(text)
            row = {"program": name, "size": size, **count_text(text)}
            rows.append(row)
            kinds = ", ".join(f"{number} {kind}" for kind, number in row["kinds"].items())
            print(
                f"{target:8} {size:6} {name:28} {row['kernels']:7} {row['constant']:8} "
                f"{row.get('estimated_cycles', '-'):>11}  {kinds}",
                flush=True,
            )
        # beside what aot_training.py writes
        results[target] = results.get(target, {}) | {
            "versions": versions(target),
            "batch": BATCH,
            "soc_batch": SOC_BATCH,
            "programs": rows,
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
