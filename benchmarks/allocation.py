"""Static allocation: heuristics against a table, the search and the policy on MiniMalloc's
challenging instances, throughput.

    python benchmarks/allocation.py heuristics | search | policy | throughput [--data FOLDER]
    [--time-limit 60] [--only A,B] [--samples 16]

`heuristics`: peak / largest live size of A to K, checked against an independent run in plain
Python; the exit status is 1 where a figure differs by more than 0.0005. `search`:
`allocate(method="search")` twice on each instance, to fit the capacity in its name and to minimise
the peak, one after the other; every plan passes `verify`. `policy`: the shipped policy beside the
rules of the environment, greedy and on few buffers sampled in four rounds, on generated instances
that no preset trains on, with paired bootstraps over the instances, and on A to K. Nothing was
trained on these; that one of the training sources has many live buffers is since an earlier policy
was weak on D and J. `throughput`: random orders at batch 1024 beside plain Python on one core, with
the memory traffic and the operations of one step. Each command rewrites its part of
`results/allocation.json`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import platform
import random
import sys
import time
from importlib import metadata
from typing import Any

import jax
import numpy as np

import jaxsched
from jaxsched import evaluation
from jaxsched.core import Infeasible
from jaxsched.envs import memory
from jaxsched.evaluation import step_cost, throughput
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.io import load_policy

RESULTS = pathlib.Path(__file__).parent / "results" / "allocation.json"
CAPACITY = 2**20
RULES = (
    "best_fit_size",
    "best_fit_duration",
    "first_fit_size",
    "first_fit_area",
    "first_fit_start",
)
EXPECTED = {  # the same rules in plain Python, an independent run
    "A": (1.311, 1.456, 1.290, 1.669, 1.707),
    "B": (1.347, 1.503, 1.347, 1.889, 1.604),
    "C": (1.364, 1.473, 1.364, 1.967, 1.686),
    "D": (1.323, 1.484, 1.309, 1.534, 1.415),
    "E": (1.401, 1.600, 1.369, 1.706, 1.836),
    "F": (1.367, 1.408, 1.367, 1.340, 1.200),
    "G": (1.362, 1.402, 1.362, 1.405, 1.170),
    "H": (1.341, 1.412, 1.360, 1.387, 1.258),
    "I": (1.410, 1.631, 1.410, 2.310, 1.822),
    "J": (1.348, 1.611, 1.313, 1.694, 1.842),
    "K": (1.333, 1.784, 1.277, 2.329, 2.273),
}
SIZES = (64, 154)  # buffers of the throughput measurement


def load(data: pathlib.Path, name: str) -> memory.Buffers:
    return memory.read_csv(
        data / "memory" / "minimalloc" / "challenging" / f"{name}.{CAPACITY}.csv"
    )


def heuristics(data: pathlib.Path, names: list[str]) -> tuple[dict[str, Any], bool]:
    table, good = {}, True
    print("instance  " + "  ".join(f"{rule:>17}" for rule in RULES))
    for name in names:
        buffers = load(data, name)
        plans = {rule: memory.allocate(buffers, method=rule) for rule in memory.HEURISTICS}
        for rule, plan in plans.items():
            assert memory.verify(buffers, plan) == [], (name, rule)
        table[name] = {rule: round(plan.peak / plan.lower_bound, 4) for rule, plan in plans.items()}
        figures = [plans[rule].peak / plans[rule].lower_bound for rule in RULES]
        right = all(
            abs(a - b) <= 0.0005 + 1e-9 for a, b in zip(figures, EXPECTED[name], strict=True)
        )
        good &= right
        print(
            f"{name:8}  "
            + "  ".join(f"{value:17.3f}" for value in figures)
            + ("" if right else "  differs")
        )
    return table, good


def search(data: pathlib.Path, names: list[str], time_limit: float) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in names:
        buffers = load(data, name)
        best_rule = min(memory.allocate(buffers, method=rule).peak for rule in memory.HEURISTICS)
        row: dict[str, Any] = {"buffers": len(buffers), "lower_bound": memory.lower_bound(buffers)}
        row["best_heuristic"] = best_rule
        for what, capacity in (("fit", CAPACITY), ("minimise", None)):
            try:
                plan = memory.allocate(buffers, capacity, "search", time_limit=time_limit)
            except Infeasible as error:
                plan = error.plan
            assert memory.verify(buffers, plan) == [], name
            assert plan.peak < best_rule, (name, plan.peak, best_rule)
            row[what] = {
                "peak": plan.peak,
                "lower_bound": plan.lower_bound,
                "seconds": round(plan.seconds, 1),
            }
            print(
                f"{name} {what:8} {'1 MiB' if plan.peak <= CAPACITY else 'above'}: {plan}",
                flush=True,
            )
        rows[name] = row
    for what in ("fit", "minimise"):
        reached = sum(row[what]["peak"] <= CAPACITY for row in rows.values())
        print(f"{what}: {reached} of {len(rows)} at most 1 MiB")
    return {"time_limit": time_limit, "instances": rows}


GENERATED = {
    "64 of a full memory": (memory.cut_lives(64), 100),
    "64 of a full memory, long lives": (memory.cut_lives(64, time_percent=30), 100),
    "64 random lives": (memory.random_lives(64), 100),
    "128 of a memory with room": (memory.cut_lives(128, 16, time_percent=45), 40),
}
SKYLINE = ("size", "duration", "area", "lowest", "least_waste")


def below(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """How much smaller our mean peak / lower bound is, in points of it, with the 95 % interval."""
    rng = np.random.default_rng(0)
    ids = rng.integers(len(ours), size=(10_000, len(ours)))
    means = 100 * (theirs - ours)[ids].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = 100 * float((theirs - ours).mean())
    return {"mean": round(mean, 2), "from": round(float(low), 2), "to": round(float(high), 2)}


def policy(data: pathlib.Path, names: list[str], samples: int) -> dict[str, Any]:
    env = jaxsched.make("StaticAllocation-v0")
    apply, params = load_policy("standard", env)
    groups = {
        name: evaluation.generate(source, count, seed=777)
        for name, (source, count) in GENERATED.items()
    }
    groups["A to K"] = {name: memory.allocation.to_instance(load(data, name)) for name in names}
    found: dict[str, Any] = {}
    for group, instances in groups.items():
        play = functools.partial(evaluation.evaluate, env, instances)
        reports = {rule: play(rule) for rule in SKYLINE}
        reports["policy"] = play(functools.partial(greedy_policy, apply), params=params)
        if group.startswith("64"):  # of more buffers an episode takes seconds
            maker = functools.partial(sampling_policy, apply, temperature=evaluation.TEMPERATURE)
            sampled = play(maker, params=params, samples=samples, rounds=4)
            reports[f"policy, {samples} in 4 rounds"] = sampled
        ratios = {
            method: np.array([row.objective / row.lower_bound for row in report.rows])
            for method, report in reports.items()
        }
        means = {method: round(float(each.mean()), 4) for method, each in ratios.items()}
        best = min(SKYLINE, key=lambda rule: means[rule])
        row: dict[str, Any] = {"instances": len(instances), "peak / lower bound": means}
        row["best rule"] = best
        row["points below it"] = below(ratios["policy"], ratios[best])
        if group == "A to K":
            row["by instance"] = {
                method: [round(float(x), 4) for x in each] for method, each in ratios.items()
            }
        found[group] = row
        print(group, json.dumps({k: v for k, v in row.items() if k != "by instance"}), flush=True)
    return found


def skyline(rng: random.Random, neighbours: list[list[int]], size: list[int]) -> int:
    """One plan in plain Python, buffers in random order: its peak."""
    order = list(range(len(size)))
    rng.shuffle(order)
    lowest, peak = [0] * len(size), 0
    for i in order:
        end = lowest[i] + size[i]
        for j in neighbours[i]:
            if lowest[j] < end:
                lowest[j] = end
        peak = max(peak, end)
    return peak


def measure() -> dict[str, Any]:
    found = {}
    for num in SIZES:
        env, source = jaxsched.make("StaticAllocation-v0"), memory.random_lives(num)
        rows = {row.what: row for row in throughput(env, source, batch=1024, seconds=3.0)}
        row: dict[str, Any] = {
            name: {
                "steps_per_second": round(rows[name].decisions_per_second),
                "steps_per_cpu_second": round(
                    rows[name].decisions_per_second
                    * rows[name].wall_seconds
                    / rows[name].cpu_seconds
                ),
            }
            for name in ("episodes, rules only", "episodes with observation")
        }
        instance = jax.device_get(source(jax.random.key(0)))
        live = instance.live.astype(int)
        meet = live @ live.T
        neighbours = [[j for j in range(num) if j != i and meet[i, j]] for i in range(num)]
        rng, plans, began = random.Random(0), 0, time.process_time()
        while (seconds := time.process_time() - began) < 3.0:
            skyline(rng, neighbours, instance.size.tolist())
            plans += 1
        row["plain Python, one core"] = {"steps_per_cpu_second": round(plans * num / seconds)}
        row["one step, batch 1024"] = step_cost(env, source)
        found[str(num)] = row
        print(num, json.dumps(row, indent=1))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("heuristics", "search", "policy", "throughput"))
    parser.add_argument(
        "--data", default=os.environ.get("JAXSCHED_DATA"), help="instead of $JAXSCHED_DATA"
    )
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds per search")
    parser.add_argument("--samples", type=int, default=16, help="episodes of the policy's search")
    parser.add_argument(
        "--only", default=",".join(EXPECTED), help="instances; results are not written then"
    )
    arguments = parser.parse_args()
    if arguments.command != "throughput" and not arguments.data:
        parser.error("set JAXSCHED_DATA or pass --data: the folder of benchmark instances")
    data, names, good = pathlib.Path(arguments.data or "."), arguments.only.split(","), True
    if arguments.command == "heuristics":
        part, good = heuristics(data, names)
    elif arguments.command == "search":
        part = search(data, names, arguments.time_limit)
    elif arguments.command == "policy":
        part = policy(data, names, arguments.samples)
    else:
        part = measure()
    if set(names) == set(EXPECTED):
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        packages = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy", "ortools")}
        machine = (
            f"{os.cpu_count()} CPU cores, {platform.machine()}, python {platform.python_version()}"
        )
        load = round(os.getloadavg()[2], 1)  # of the last 15 minutes: what else ran, and this
        results[arguments.command] = {
            "machine": machine,
            "load": load,
            "versions": packages,
            "results": part,
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
