"""CP-SAT cold and started from our schedules: ta21-ta40, seeds 0, 1, 2; and what it proves alone.

    python benchmarks/hints.py run --share 1/2 & python benchmarks/hints.py run --share 2/2    # a worker per core
    python benchmarks/hints.py summary

Cold means `solve_exact` without a hint: it then starts from a greedy non-delay schedule of its own.
The hint is the best of 64 samples of the policy (seed 0 of ppo_seeds.py). Both have the same time
limit and one worker, and take turns instance by instance. Resumable: every finished solve is kept,
one file per instance, in benchmarks/results/hints/.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jaxsched
from jaxsched import evaluation
from jaxsched.envs import job_shop
from jaxsched.policies import sampling_policy
from jaxsched.policies.io import load_policy

RESULTS = Path(__file__).parent / "results" / "hints"
POLICY = "standard"  # the shipped one
NAMES = [f"ta{number}" for number in range(21, 41)]
PROVED = ["ft06", "la01", "la02", "la03", "la04", "la05"]
SEEDS = (0, 1, 2)
SAMPLES = 64


def run(share: str, time_limit: float) -> None:
    """Solve every n-th instance, those proved alone first."""
    part, parts = map(int, share.split("/"))
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in PROVED[part - 1 :: parts]:
        if not (RESULTS / f"{name}.json").exists():
            result = job_shop.solve_exact(job_shop.load(name), 120.0, num_workers=1)
            assert result.proved, name
            seconds = round(result.seconds, 2)
            _write(name, {"objective": result.objective, "bound": result.bound, "seconds": seconds})
            print(name, result.objective, "proved in", seconds, flush=True)

    env = jaxsched.make("JobShop-v0")
    apply, params = load_policy(POLICY, env)
    instances = {name: job_shop.load(name) for name in NAMES[part - 1 :: parts]}
    make: Any = functools.partial(sampling_policy, apply, temperature=1.0)
    report = evaluation.evaluate(env, instances, make, params=params, samples=SAMPLES)
    for seed, (name, instance) in itertools.product(SEEDS, instances.items()):
        path = RESULTS / f"{name}.json"
        row = report[name]
        data = (
            json.loads(path.read_text())
            if path.exists()
            else {"limit": time_limit, "hint": row.objective}
        )
        assert (data["limit"], data["hint"]) == (time_limit, row.objective), (
            f"{path}: of another run"
        )
        for arm, start in (("cold", None), ("hint", row.solution)):
            if f"{arm} {seed}" not in data:
                result = job_shop.solve_exact(instance, time_limit, start, num_workers=1, seed=seed)
                assert job_shop.validate(instance, result.schedule) == []
                assert start is None or result.objective <= row.objective
                data[f"{arm} {seed}"] = [result.objective, result.bound]
                _write(name, data)
                print(name, arm, seed, result.objective, flush=True)


def summary() -> None:
    """Mean gaps to the best known makespan in per cent, per arm: each seed, their mean and
    spread.
    """
    solved = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in NAMES}
    best_known = {name: job_shop.bounds(name).upper for name in NAMES}

    def gap(key: str) -> float:
        values = [data[key] if key == "hint" else data[key][0] for data in solved.values()]
        return 100 * (
            statistics.mean(value / best_known[n] for n, value in zip(NAMES, values, strict=True))
            - 1
        )

    result: dict[str, Any] = {"policy, best of 64, %": round(gap("hint"), 3)}
    for arm in ("cold", "hint"):
        gaps = [gap(f"{arm} {seed}") for seed in SEEDS]
        result[f"CP-SAT, {arm}"] = {
            "gap of each seed, %": [round(value, 3) for value in gaps],
            "mean": round(statistics.mean(gaps), 3),
            "deviation": round(statistics.stdev(gaps), 3),
        }
    result["proved"] = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in PROVED}
    result["settings"] = {
        "seconds": solved["ta21"]["limit"],
        "workers": 1,
        "ortools": version("ortools"),
    }
    result["machine"] = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    _write("summary", result)
    print(json.dumps(result, indent=1))


def _write(name: str, data: dict[str, Any]) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(data) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument(
        "--share", default="1/1", help="i/n: every n-th instance, to run n processes side by side"
    )
    running.add_argument("--time-limit", type=float, default=30.0)
    commands.add_parser("summary")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.share, arguments.time_limit)
    else:
        summary()


if __name__ == "__main__":
    main()
