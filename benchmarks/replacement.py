"""Tensor replacement: optima of small programs, heuristics and a policy on larger ones, training,
throughput.

    python benchmarks/replacement.py exact | compare | train | throughput [--count 24] [--policy
    FOLDER]

`exact`: optima of generated programs of 7 to 14 operators at M_R and M_H in all modes, one solver
thread; the exit status is 1 where a free order moves more than a fixed one, or bytes more than
addresses. `compare`: bytes moved by every rule, the window search and, with `--policy`, a trained
network on programs that no preset trains on; every plan passes `verify`. `train`: the preset
`standard`. `throughput`: steps per second beside plain Python. Each command but `train` rewrites
its part of `results/replacement.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

import jaxsched
from jaxsched.core import Pool, greedy, unstack
from jaxsched.envs import memory
from jaxsched.envs.memory.replacement.heuristics import play
from jaxsched.envs.memory.replacement.settings import PLACEMENTS, SCHEDULES
from jaxsched.evaluation import step_cost, throughput
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy
from tests.reference.replacement import Problem, Simulator

RESULTS = pathlib.Path(__file__).parent / "results" / "replacement.json"
SEED = 10_000  # of the programs here; presets train on seed 1
MODES = [(schedule, placement) for schedule in SCHEDULES for placement in PLACEMENTS]


def exact(count: int, time_limit: float) -> tuple[dict[str, Any], bool]:
    rng, rows, good = np.random.default_rng(SEED), [], True
    for i in range(count):
        graph = memory.draw_graph(rng, 7, 14)
        limits = memory.capacities(graph)
        for capacity in ("M_R", "M_H"):
            row: dict[str, Any] = {
                "program": i,
                "operators": len(graph.op_ids),
                "tensors": len(graph.tensor_ids),
            }
            row |= {"capacity": capacity, "bytes": getattr(limits, capacity)}
            for schedule, placement in MODES:
                plan = memory.replace(
                    graph,
                    capacity,
                    schedule,
                    placement,
                    "exact",
                    num_workers=1,
                    time_limit=time_limit,
                )
                assert memory.verify(graph, plan) == []
                found = {"traffic": plan.traffic, "bound": plan.bound, "proved": plan.proved}
                row[f"{schedule}, {placement}"] = found | {"seconds": round(plan.seconds, 3)}
            value = {mode: row[", ".join(mode)] for mode in MODES}
            for less, more in [(("free", p), ("fixed", p)) for p in PLACEMENTS] + [
                ((s, "bytes"), (s, "address")) for s in SCHEDULES
            ]:
                good &= value[less]["bound"] <= value[more]["traffic"]
                if value[less]["proved"]:
                    good &= value[less]["traffic"] <= value[more]["traffic"]
            rows.append(row)
            cells = [
                f"{v['traffic']:>9}{' ' if v['proved'] else '?'}{v['seconds']:7.2f} s"
                for v in value.values()
            ]
            print(f"{i:3} {row['operators']:3} {capacity} " + "  ".join(cells), flush=True)
    summary = {}
    for schedule, placement in MODES:
        cells = [row[f"{schedule}, {placement}"] for row in rows]
        summary[f"{schedule}, {placement}"] = {
            "proved": sum(cell["proved"] for cell in cells),
            "of": len(cells),
            "median_seconds": round(statistics.median(cell["seconds"] for cell in cells), 3),
            "most_seconds": max(cell["seconds"] for cell in cells),
        }
    print(json.dumps(summary, indent=1))
    return {"summary": summary, "rows": rows}, good


def compare(
    count: int, least: int, most: int, time_limit: float, folder: str | None
) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    graphs = [memory.draw_graph(rng, least, most) for _ in range(count)]
    result = {}
    for placement in PLACEMENTS:
        env = jaxsched.make("TensorReplacement-v0", placement=placement)
        acts = {"lean": greedy(env.heuristics["lean"])}
        if folder:
            acts["policy"] = greedy_policy(*load_policy(pathlib.Path(folder), env))
        for capacity in ("M_R", "M_H"):
            limits = [getattr(memory.capacities(graph), capacity) for graph in graphs]
            moved = {name: played(env, act, graphs, limits) for name, act in acts.items()}
            for method in ("belady", "greedy", "belady_min_peak", "search"):
                moved[method] = []
                for graph, limit in zip(graphs, limits, strict=True):
                    settings = {"num_workers": 1, "time_limit": time_limit}
                    plan = memory.replace(graph, limit, "free", placement, method, **settings)
                    assert memory.verify(graph, plan) == []
                    moved[method].append(plan.traffic)
            case = {}
            for method, traffic in moved.items():
                shares = [t / b for t, b in zip(traffic, moved["belady"], strict=True) if b]
                case[method] = {
                    "traffic": sum(traffic),
                    "mean_share_of_belady": round(statistics.mean(shares), 4),
                }
            result[f"{placement}, {capacity}"] = case
            print(f"{placement}, {capacity}", json.dumps(case, indent=1), flush=True)
    return {
        "programs": count,
        "operators": [least, most],
        "seconds_per_search": time_limit,
        "cases": result,
    }


def played(env: Any, policy: Any, graphs: list[memory.Graph], limits: list[int]) -> list[int]:
    """Bytes moved by a policy on every graph, in one program; every plan is judged."""
    pool = Pool(
        [
            memory.replacement.to_instance(graph, limit)
            for graph, limit in zip(graphs, limits, strict=True)
        ]
    )
    play = jax.jit(
        jax.vmap(lambda instance: jaxsched.rollout(env, jax.random.key(0), instance, policy).state)
    )
    traffic = []
    for graph, state in zip(graphs, unstack(jax.device_get(play(pool.instances))), strict=True):
        plan = env.solution(state)
        assert env.validate(state.instance, plan) == []
        traffic.append(plan.traffic * graph.unit)
    return traffic


def measure() -> dict[str, Any]:
    found: dict[str, Any] = {}
    pool = memory.programs(64, 12, 24)
    for placement in PLACEMENTS:
        env = jaxsched.make("TensorReplacement-v0", placement=placement)
        rows = {row.what: row for row in throughput(env, pool, batch=1024, seconds=3.0)}
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
        # The simulator of the tests; with addresses it keeps a list of blocks.
        if placement == "bytes":  # with addresses the simulator counts cells one by one
            row["plain Python, one core"] = {"steps_per_cpu_second": round(simulate(placement))}
        row["plain Python by Belady's rule, one core"] = {
            "steps_per_cpu_second": round(belady(placement))
        }
        row["one step, batch 1024"] = step_cost(env, pool)
        found[placement] = row
        print(placement, json.dumps(row, indent=1))
    return found


def simulate(placement: str) -> float:
    """Random legal actions per CPU second of the plain-Python simulator of the tests."""
    rng, steps, began = random.Random(0), 0, time.process_time()
    graph = memory.draw_graph(np.random.default_rng(SEED), 16, 20)
    ops = [
        (list(reads), list(makes)) for reads, makes in zip(graph.inputs, graph.outputs, strict=True)
    ]
    problem = Problem(list(graph.size), list(graph.backed), ops, memory.capacities(graph).M_H)
    while (seconds := time.process_time() - began) < 3.0:
        sim = Simulator(problem, "free", placement)
        while not sim.done:
            ready, victims = sim.legal()
            if ready:
                sim.choose(rng.choice(ready))
            else:
                sim.evict(rng.choice(victims))
            steps += 1
    return steps / seconds


def belady(placement: str) -> float:
    """Operators and evictions per CPU second of the rules on the host; what is evicted is
    retrieved once, later.
    """
    graph = memory.draw_graph(np.random.default_rng(SEED), 16, 20)
    order, capacity = list(range(len(graph.op_ids))), memory.capacities(graph).M_H
    steps, began = 0, time.process_time()
    while (seconds := time.process_time() - began) < 3.0:
        found = play(graph, capacity, order, "belady", placement)
        assert found is not None  # there is no time limit
        retrieved = [a for ids in found.retrieved for a in ids]
        steps += len(order) + len(retrieved) - len({a for a in retrieved if graph.backed[a]})
    return steps / seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("exact", "compare", "train", "throughput"))
    parser.add_argument("--count", type=int, default=24, help="programs")
    parser.add_argument(
        "--least", type=int, default=20, help="operators of the programs of compare"
    )
    parser.add_argument("--most", type=int, default=60)
    parser.add_argument(
        "--time-limit", type=float, default=60.0, help="seconds per search or exact solve"
    )
    parser.add_argument("--policy", help="folder of a trained policy, for compare")
    arguments = parser.parse_args()
    good = True
    if arguments.command == "train":
        command = [
            sys.executable,
            "-m",
            "jaxsched",
            "train",
            "TensorReplacement-v0",
            "--preset",
            "standard",
        ]
        return subprocess.call(command)
    if arguments.command == "exact":
        part, good = exact(arguments.count, arguments.time_limit)
    elif arguments.command == "compare":
        part = compare(
            arguments.count, arguments.least, arguments.most, arguments.time_limit, arguments.policy
        )
    else:
        part = measure()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    load = round(os.getloadavg()[2], 1)  # of the last 15 minutes: what else ran, and this
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    results[arguments.command] = {"machine": machine, "load": load, "result": part}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
