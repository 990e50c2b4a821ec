"""The flexible job shop on published sets: rules beside the published ones, a policy trained on
small random shops.

    python benchmarks/flexible.py rules              # rules on Brandimarte and Hurink, a few minutes
    python benchmarks/flexible.py train              # the `standard` preset, resumable; --updates for less or more
    python benchmarks/flexible.py smoke              # the same for under two minutes, to see that it learns
    python benchmarks/flexible.py compare            # the trained policy, greedy and best of 100
    python benchmarks/flexible.py throughput         # schedules per second beside plain Python

A cell is the mean over a set of makespan / best known upper bound - 1, in per cent; every schedule
is validated. The sets are mk01-mk10 and Hurink's la01-la40, as in the publications; they need
`JAXSCHED_DATA`. Results: benchmarks/results/flexible/.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

import jaxsched
from benchmarks import gates
from jaxsched import evaluation
from jaxsched.core import greedy, pad_stack, unstack
from jaxsched.envs.job_shop import flexible
from jaxsched.envs.job_shop.flexible.rules import LATEST, frontier
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.io import load_policy
from jaxsched.training.algorithms import from_dict
from jaxsched.training.config import replace
from jaxsched.training.loop import train
from tests.reference.flexible import Simulator

RESULTS = Path(__file__).parent / "results" / "flexible"
SETS = {"brandimarte": "mk01-mk10"} | {
    name: f"la01_{name}-la40_{name}" for name in ("edata", "rdata", "vdata")
}
RULES = ("fifo", "spt", "mor", "mwkr", "est", "eft")
SEEDS = 10  # of the published definitions, which break ties at random
SAMPLES = 100
# The learning curve is on generated shops: those of the preset, and larger ones.
LARGER = flexible.uniform(20, 8, ops=(5, 10), alternatives=(1, 3), low=1, high=20)
# Mean gap in per cent in the order of SETS: per-instance makespans published with DANIEL (Wang et
# al., IEEE TNNLS 2023) over the bounds of 2026, and Residual Scheduling (Ho et al. 2023) over its
# own.
PUBLISHED = {
    "fifo": (32.1, 21.1, 17.8, 7.7),
    "spt": (45.1, 27.1, 30.0, 18.3),
    "mor": (28.4, 19.5, 15.6, 5.8),
    "mwkr": (29.2, 18.9, 14.3, 4.3),
    "Song et al., greedy": (27.1, 15.3, 11.6, 4.1),
    "Song et al., best of 100": (19.3, 8.9, 6.4, 1.5),
    "DANIEL, greedy": (13.2, 14.7, 12.5, 3.9),
    "DANIEL, best of 100": (9.2, 9.0, 5.9, 0.8),
    "Residual Scheduling, greedy": (23.2, 14.6, 9.9, 3.1),
    "Residual Scheduling, best of 100": (15.4, 7.9, 4.7, 0.7),
}


# -------------------------------------------------------------------------------------------- rules


def as_published(rule: str) -> Callable[..., jax.Array]:
    """A rule as DANIEL's released code plays it in its comparison, stated in our words; ties at
    random.

    `spt` takes the shortest of the pairs that can start now. The others take a job that is ready
    now, even where none of its machines is free: the first ready, the most operations left, the
    most work left at mean durations. Then a machine: `fifo` the one that is free first; the others
    any that is free when the job is ready, else the one that is free first. So three of the four
    are not non-delay, and none but `spt` looks at the durations of the alternatives.
    """

    def policy(key: jax.Array, state: Any, observation: Any) -> jax.Array:
        del observation
        front, instance = frontier(state), state.instance
        job_key, machine_key = random.split(key)
        now = jnp.where(front.eligible, front.start, LATEST).min()
        if rule == "spt":
            duration = jnp.where(front.eligible & (front.start == now), front.duration, LATEST)
            return _any_of(machine_key, (duration == duration.min()).ravel())
        here = front.mask & (state.job_ready <= now)
        count = jnp.maximum(instance.eligible_mask.sum(-1), 1)
        ahead = jnp.arange(instance.num_ops) >= state.next_op[:, None]
        mean = jnp.where(ahead, instance.duration.sum(-1) / count, 0).sum(-1)
        priority = {"fifo": -state.job_ready, "mor": state.ops_left, "mwkr": mean}[rule].astype(
            jnp.float32
        )
        best = jnp.where(here, priority, -jnp.inf)
        job = _any_of(job_key, best == best.max())
        able, ready = (
            front.eligible[job],
            jnp.where(front.eligible[job], state.machine_ready, LATEST),
        )
        first, free = able & (ready == ready.min()), able & (ready <= state.job_ready[job])
        machines = first if rule == "fifo" else jnp.where(free.any(), free, first)
        return job * instance.num_machines + _any_of(machine_key, machines)

    return policy


def _any_of(key: jax.Array, mask: jax.Array) -> jax.Array:
    """A uniformly random index where `mask`."""
    return jnp.argmax(jnp.where(mask, random.uniform(key, mask.shape), -1.0)).astype(jnp.int32)


def rules() -> None:
    """Our rules in both modes, and the published definitions, on all sets at once."""
    instances = load(*SETS)
    stacked = pad_stack(list(instances.values()))
    rows: dict[str, dict[str, Any]] = {}

    def add(label: str, mode: str, policy: Callable[..., jax.Array], seeds: int = 1) -> None:
        env = jaxsched.make("FlexibleJobShop-v0", candidates=mode)

        @jax.jit
        def play(key: jax.Array, stacked: flexible.Instance) -> Any:
            ids = jnp.arange(len(instances), dtype=jnp.uint32)

            def played(i: jax.Array, instance: flexible.Instance) -> Any:
                return jaxsched.rollout(env, random.fold_in(key, i), instance, policy)

            return jax.vmap(played)(ids, stacked).state

        began, makespans = time.perf_counter(), []
        for seed in range(seeds):
            states = unstack(jax.device_get(play(random.key(seed), stacked)))
            makespans.append(
                [validated(env, *pair) for pair in zip(instances.items(), states, strict=True)]
            )
        mean = np.mean(makespans, 0)
        rows[label] = {"candidates": mode, "gap": gaps(dict(zip(instances, mean, strict=True)))}
        rows[label]["makespan"] = {
            name: round(float(value), 2) for name, value in zip(instances, mean, strict=True)
        }
        print(f"{label:32} {rows[label]['gap']}  {time.perf_counter() - began:.0f} s", flush=True)

    for mode in ("non_delay", "any"):
        heuristics = jaxsched.make("FlexibleJobShop-v0", candidates=mode).heuristics
        for rule in RULES:
            add(f"{rule}, {mode}", mode, greedy(heuristics[rule]))
    for rule in ("fifo", "spt", "mor", "mwkr"):
        add(f"{rule}, as published", "any", as_published(rule), SEEDS)
    write(
        "rules",
        {"seeds of the published definitions": SEEDS, "published": published(), "rows": rows},
    )


def validated(env: jaxsched.Environment, named: tuple[str, Any], state: Any) -> int:
    """The makespan of a finished state, whose schedule is valid."""
    name, instance = named
    schedule = env.solution(state)
    if faults := flexible.validate(instance, schedule):
        raise AssertionError(f"{name}: {faults[0]}")
    return schedule.makespan


# ------------------------------------------------------------------------------------------- policy


def learn(preset_name: str, updates: int | None, work: Path) -> None:
    """Train the policy of a preset and keep its log, curve and weights; no published instance is
    looked at.
    """
    preset = flexible.PRESETS[preset_name]
    env = jaxsched.make("FlexibleJobShop-v0", **preset.settings)
    tracked = {"mixed": preset.sources[0], "larger": LARGER}
    config = from_dict(dict(preset.training))
    config = replace(config, num_updates=updates or config.num_updates)
    began, resume = time.perf_counter(), (work / "config.json").exists()
    every = max(config.num_updates // 8, 1)
    train(
        env,
        preset.source,
        config,
        run_dir=work,
        resume=resume,
        evaluate=evaluation.tracker(env, tracked),
        evaluate_every=every,
    )
    print(f"{time.perf_counter() - began:.0f} s with compilation", flush=True)
    target = RESULTS / work.name
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        if (work / file).exists():
            shutil.copy(work / file, target / file)


def compare(name: str) -> None:
    """The trained policy on every set: greedy, and with the work of 100 episodes."""
    preset = flexible.PRESETS["standard"]
    env = jaxsched.make("FlexibleJobShop-v0", **preset.settings)
    apply, params = load_policy(RESULTS / name, env)
    rows: dict[str, Any] = {}

    def add(label: str, columns: tuple[str, ...], make: Any, samples: int, rounds: int = 1) -> None:
        began = time.perf_counter()
        report = evaluation.evaluate(
            env, load(*columns), make, params=params, samples=samples, rounds=rounds
        )
        makespans = {row.instance: row.objective for row in report.rows}
        rows[label] = {"gap": gaps(makespans), "makespan": makespans}
        rows[label]["seconds"] = round(time.perf_counter() - began, 1)
        print(f"{label:32} {rows[label]['gap']}  {rows[label]['seconds']} s", flush=True)
        write(f"compare_{name}", {"policy": name, "published": published(), "rows": rows})

    greedily = functools.partial(greedy_policy, apply)
    sampling = functools.partial(sampling_policy, apply, temperature=1.0)
    hurink = ("edata", "rdata", "vdata")
    add("greedy", ("brandimarte",), greedily, 1)
    add(f"best of {SAMPLES}", ("brandimarte",), sampling, SAMPLES)
    add(f"{SAMPLES} in 4 rounds", ("brandimarte",), sampling, SAMPLES, 4)
    add("greedy, Hurink", hurink, greedily, 1)
    add(f"best of {SAMPLES}, Hurink", hurink, sampling, SAMPLES)
    add(f"{SAMPLES} in 4 rounds, Hurink", hurink, sampling, SAMPLES, 4)


# --------------------------------------------------------------------------------------- throughput


def throughput(batch: int, seconds: float) -> None:
    """Random play of SD1: reset, step and observe beside the tests' plain-Python simulator; what
    a step costs.
    """
    rows: dict[str, Any] = {}
    env, before = jaxsched.make("FlexibleJobShop-v0"), os.getloadavg()[0]
    for size in ((10, 5), (20, 10)):
        source, label = flexible.sd1(*size), "{} x {}".format(*size)
        for result in evaluation.throughput(env, source, batch=batch, seconds=seconds, seed=0):
            row = dataclasses.asdict(result)
            row["schedules_per_cpu_second"] = (
                row["schedules_per_second"] * row["wall_seconds"] / row["cpu_seconds"]
            )
            rows[f"{label}, {result.what}"] = row
        rng, instances = (
            Random(0),
            [flexible.to_jobs(source(random.key(seed))) for seed in range(8)],
        )
        wall, cpu, schedules = time.perf_counter(), time.process_time(), 0
        while time.process_time() < cpu + seconds:
            sim = Simulator(instances[schedules % len(instances)], size[1])
            while pairs := sim.pairs():
                sim.apply(rng.choice(pairs))
            schedules += 1
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rates = {
            "schedules_per_second": schedules / wall,
            "schedules_per_cpu_second": schedules / cpu,
        }
        rows[f"{label}, plain Python"] = rates
        keys = random.split(random.key(0), gates.BATCH)
        states = jax.vmap(lambda key: env.reset(key, source(key))[0])(keys)  # noqa: B023
        actions = jnp.zeros(gates.BATCH, jnp.int32)
        programs = {
            "one step, rules only": lambda *args: env.step(*args)[0],
            "one step with observation": env.step,
        }
        for what, program in programs.items():
            rows[f"{label}, {what}"] = {
                "batch": gates.BATCH,
                **gates.cost(jax.vmap(program), keys, states, actions),
            }
        for name in [name for name in rows if name.startswith(label)]:
            row = {
                key: round(value, 1) if isinstance(value, float) else value
                for key, value in rows[name].items()
            }
            print(f"{name:32} {row}", flush=True)
    loads = {"before": before, "after": os.getloadavg()[0]}
    write("throughput", {"batch": batch, "load": loads, "rows": rows})


# ------------------------------------------------------------------------------------------ helpers


def load(*columns: str) -> dict[str, flexible.Instance]:
    """The instances of some sets, by name."""
    return {
        name: flexible.load(name) for column in columns for name in flexible.expand(SETS[column])
    }


def gaps(makespans: Mapping[str, float]) -> dict[str, float]:
    """Mean gap in per cent of every set that the makespans cover."""
    found = {}
    for column, spec in SETS.items():
        names = flexible.expand(spec)
        if all(name in makespans for name in names):
            ratios = [makespans[name] / flexible.bounds(name).upper - 1 for name in names]
            found[column] = round(float(100 * sum(ratios) / len(ratios)), 2)
    return found


def published() -> dict[str, dict[str, float]]:
    """The published gaps by method and set."""
    return {method: dict(zip(SETS, row, strict=True)) for method, row in PUBLISHED.items()}


def write(name: str, data: dict[str, Any]) -> None:
    """The results with what they depend on."""
    known = flexible.bounds("mk01")
    header = {
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "bounds": {"source": known.source, "date": known.date},
        "sets": SETS,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, value in (header | data).items():
        if key in ("rows", "published"):
            rows = ",\n".join(
                f"  {json.dumps(label)}: {json.dumps(row)}" for label, row in value.items()
            )
            lines.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    (RESULTS / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rules")
    training = commands.add_parser("train")
    training.add_argument("--preset", default="standard", choices=flexible.PRESETS)
    training.add_argument("--updates", type=int, help="default: those of the preset")
    training.add_argument(
        "--work", type=Path, default=Path("runs/flexible/standard"), help="run folder"
    )
    smoke = commands.add_parser("smoke")
    smoke.add_argument("--work", type=Path, default=Path("runs/flexible/smoke"), help="run folder")
    measuring = commands.add_parser("throughput")
    measuring.add_argument("--batch", type=int, default=1024)
    measuring.add_argument("--seconds", type=float, default=2.0)
    comparing = commands.add_parser("compare")
    comparing.add_argument(
        "--policy", default="standard", help="folder of the results with its weights"
    )
    arguments = parser.parse_args()
    if arguments.command == "rules":
        rules()
    elif arguments.command == "train":
        learn(arguments.preset, arguments.updates, arguments.work)
    elif arguments.command == "smoke":
        learn("standard", 8, arguments.work)
    elif arguments.command == "throughput":
        throughput(arguments.batch, arguments.seconds)
    else:
        compare(arguments.policy)


if __name__ == "__main__":
    main()
