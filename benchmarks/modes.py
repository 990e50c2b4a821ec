"""One table for the candidate modes and observations of the job shop: rules and policies on la and
ta, by size.

    python benchmarks/modes.py train l2d --updates 170      # L2D's observation, candidates insert
    python benchmarks/modes.py train tassel --updates 440   # Tassel's observation, candidates event
    python benchmarks/modes.py table                        # every rule under every mode, and the policies
    python benchmarks/modes.py show                         # that table as Markdown, from the results

Both are trained by the `quick` preset's self-labelling with the same network width; the committed
runs, on 10 x 10 shops alone as the preset then was, took 85 and 27 minutes, the first on cores that
other work shared. Resumable. The third policy is the one that comes with the package (frontier
observation, candidates any). la needs `JAXSCHED_DATA`. Results: benchmarks/results/modes/.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import jaxsched
from jaxsched import evaluation
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop.preset import COMPARISON
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.io import load_policy
from jaxsched.training.algorithms import from_dict
from jaxsched.training.config import replace
from jaxsched.training.loop import train

RESULTS = Path(__file__).parent / "results" / "modes"
POLICIES = {
    "l2d": {"candidates": "insert", "observation": "l2d", "max_visits": 1},
    "tassel": {"candidates": "event", "observation": "tassel"},
}
# Attention along edges where nodes are many and edges few: twice as fast for L2D's graph, equal
# results.
NETWORKS = {"l2d": {"backend": "segment"}, "tassel": {}}
MODES = {"any": {}, "non_delay": {}, "insert": {"max_visits": 1}, "event": {}}
RULES = ("spt", "mwkr", "mopnr", "fifo", "fdd_mwkr")
SAMPLES = 64
ROUNDS = 4


def learn(name: str, updates: int, work: Path) -> None:
    """Train one policy and keep its log, curve and weights; no published instance is looked at."""
    env, preset = jaxsched.make("JobShop-v0", **POLICIES[name]), job_shop.PRESETS["quick"]
    config = replace(from_dict({**preset.training, "network": NETWORKS[name]}), num_updates=updates)
    every = max(updates // 8, 1)
    resume = (work / "config.json").exists()
    train(
        env,
        preset.source,
        config,
        run_dir=work,
        resume=resume,
        evaluate=evaluation.tracker(env, COMPARISON.track),
        evaluate_every=every,
    )
    target = RESULTS / name
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        shutil.copy(work / file, target / file)


def table() -> None:
    """Rules under every mode, and the policies: mean gap to the best known makespan in per cent, by
    size.

    Resumable: rows that the results hold already are kept.
    """
    names = job_shop.expand("la,ta")
    instances = {name: job_shop.load(name) for name in names}
    path = RESULTS / "table.json"
    result: dict[str, Any] = {
        "command": "python benchmarks/modes.py table",
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "bounds": job_shop.bounds("ta01").date,
        "rows": json.loads(path.read_text())["rows"] if path.exists() else [],
    }
    done = {(row["method"], row["candidates"]) for row in result["rows"]}

    def add(method: str, mode: str, play: Callable[[], evaluation.Report]) -> None:
        if (method, mode) in done:
            return
        report = play()
        played = {row.instance for row in report.rows}
        by_set = {
            family: evaluation.mean_gap(
                [row for row in report.rows if row.instance.startswith(family)]
            )
            for family in ("la", "ta")
            if played.issuperset(name for name in names if name.startswith(family))
        }
        by_size = {
            f"{family} {size}": evaluation.mean_gap(
                [row for row in report.rows if row.instance.startswith(family) and row.size == size]
            )
            for family in ("la", "ta")
            for size in dict.fromkeys(
                row.size for row in report.rows if row.instance.startswith(family)
            )
        }
        gaps = {
            column: round(gap, 2) for column, gap in (by_set | by_size).items() if gap is not None
        }
        makespans = {row.instance: row.objective for row in report.rows}
        result["rows"].append(
            {"method": method, "candidates": mode, "gap": gaps, "makespan": makespans}
        )
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(
            f"{method:28} {mode:10} la {gaps['la']:6.2f}  ta {gaps.get('ta', float('nan')):6.2f}",
            flush=True,
        )

    for mode, settings in MODES.items():
        env = jaxsched.make("JobShop-v0", candidates=mode, **settings)
        for rule in RULES:
            add(rule, mode, functools.partial(evaluation.evaluate, env, instances, rule))
    # The shipped one, and those of `train`.
    folders = {"frontier": "standard", **{name: RESULTS / name for name in POLICIES}}
    for name, folder in folders.items():
        env = jaxsched.make("JobShop-v0", **POLICIES.get(name, {}))
        methods = [f"policy {name}, greedy", f"policy {name}, best of {SAMPLES}"]
        if name == "frontier":
            methods.append(f"policy {name}, {SAMPLES} in {ROUNDS} rounds")
        if all((method, env.settings.candidates) in done for method in methods):
            continue
        apply, params = load_policy(folder, env)
        greedy = functools.partial(greedy_policy, apply)
        play = functools.partial(evaluation.evaluate, env, params=params)
        add(
            methods[0],
            env.settings.candidates,
            functools.partial(play, instances, greedy),
        )
        temperature = evaluation.TEMPERATURE
        sampling = functools.partial(sampling_policy, apply, temperature=temperature)
        la = {instance: instances[instance] for instance in names if instance.startswith("la")}
        best = functools.partial(play, la, sampling, samples=SAMPLES)
        add(methods[1], env.settings.candidates, best)
        if name == "frontier":
            some = {instance: instances[instance] for instance in names if instance <= "ta50"}
            followed = functools.partial(play, some, sampling, samples=SAMPLES, rounds=ROUNDS)
            add(methods[2], env.settings.candidates, followed)


def show() -> None:
    """The table as Markdown: one line a method and mode."""
    rows = json.loads((RESULTS / "table.json").read_text())["rows"]
    columns = list(dict.fromkeys(column for row in rows for column in row["gap"]))
    print(f"| method | `candidates` | {' | '.join(columns)} |")
    print(f"|---|---|{'---|' * len(columns)}")
    for row in rows:
        cells = (f"{row['gap'][column]:.1f}" if column in row["gap"] else "" for column in columns)
        print(f"| {row['method']} | `{row['candidates']}` | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("policy", choices=POLICIES)
    training.add_argument("--updates", type=int, required=True)
    training.add_argument(
        "--work", type=Path, default=Path("runs/modes"), help="run folders, one per policy"
    )
    commands.add_parser("table")
    commands.add_parser("show")
    arguments = parser.parse_args()
    if arguments.command == "table":
        table()
    elif arguments.command == "show":
        show()
    else:
        learn(arguments.policy, arguments.updates, arguments.work / arguments.policy)


if __name__ == "__main__":
    main()
