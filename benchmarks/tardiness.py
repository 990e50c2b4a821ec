"""Weighted tardiness on generated shops with due dates: rules and a policy beside CP-SAT.

    python benchmarks/tardiness.py train     # self-labelling, preset `quick`, resumable
    python benchmarks/tardiness.py table     # 20 shops of 10 x 10 that training has not seen

Durations 1-99, random routes, releases up to half a mean job's work, due dates 1.5 times the work
after the release (TWK), weights 1-4. Every schedule is validated. Results:
benchmarks/results/tardiness/.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import jax

import jaxsched
from jaxsched import evaluation
from jaxsched.envs import job_shop
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.io import load_policy
from jaxsched.training.algorithms import from_dict
from jaxsched.training.config import replace
from jaxsched.training.loop import train

RESULTS = Path(__file__).parent / "results" / "tardiness"
SOURCE = job_shop.with_due_dates(
    job_shop.uniform(10, 10), tightness=1.5, release_spread=0.5, weights=(1, 4)
)
SETTINGS = {"candidates": "any", "objective": "weighted_tardiness"}
RULES = ("spt", "mwkr", "fifo", "cr", "edd", "slack", "atc")
SAMPLES, SEED, TIME_LIMIT = 64, 1000, 10.0


def learn(updates: int, work: Path) -> None:
    env = jaxsched.make("JobShop-v0", **SETTINGS)
    config = replace(from_dict(dict(job_shop.PRESETS["quick"].training)), num_updates=updates)
    train(env, SOURCE, config, run_dir=work, resume=(work / "config.json").exists())
    RESULTS.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        shutil.copy(work / file, RESULTS / file)


def table(count: int) -> None:
    env = jaxsched.make("JobShop-v0", **SETTINGS)
    shops = evaluation.generate(SOURCE, count, seed=SEED)
    reports: list[evaluation.Report] = []
    for mode in ("non_delay", "any"):
        rule_env = jaxsched.make("JobShop-v0", **SETTINGS | {"candidates": mode})
        reports += [
            evaluation.evaluate(rule_env, shops, rule, label=f"{rule}, {mode}") for rule in RULES
        ]
    rule_env = jaxsched.make("JobShop-v0", **SETTINGS | {"candidates": "non_delay"})
    make = evaluation.randomised_rule(rule_env, "atc")
    label = f"atc randomised, non_delay, best of {SAMPLES}"
    reports.append(
        evaluation.evaluate(rule_env, shops, make, params=0.3, samples=SAMPLES, label=label)
    )
    if (RESULTS / "policy.safetensors").exists():
        apply, params = load_policy(RESULTS, env)
        greedy: Any = functools.partial(greedy_policy, apply)
        sampling: Any = functools.partial(sampling_policy, apply, temperature=1.0)
        reports.append(
            evaluation.evaluate(env, shops, greedy, params=params, label="policy, greedy")
        )
        label = f"policy, best of {SAMPLES}"
        reports.append(
            evaluation.evaluate(env, shops, sampling, params=params, samples=SAMPLES, label=label)
        )
    label = f"CP-SAT, {TIME_LIMIT:g} s, 2 workers"
    exact = evaluation.evaluate_exact(env, shops, time_limit=TIME_LIMIT, num_workers=2, label=label)
    reports.append(exact)
    rows = []
    for report in reports:
        ratio = report.mean_objective / exact.mean_objective
        rows.append(
            {"method": report.label, "mean": report.mean_objective, "over CP-SAT": round(ratio, 3)}
            | {"objective": [row.objective for row in report.rows]}
        )
        print(f"{report.label:44} {report.mean_objective:9.1f} {ratio:7.3f}")
    proved = sum(row.objective == row.lower_bound for row in exact.rows)
    print(f"CP-SAT proves {proved} of {count}")
    result = {
        "command": "python benchmarks/tardiness.py table",
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "shops": {"count": count, "seed": SEED},
        "CP-SAT": {"proved": proved, "bounds": [row.lower_bound for row in exact.rows]},
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "table.json").write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--updates", type=int, default=90)
    training.add_argument("--work", type=Path, default=Path("runs/tardiness"), help="run folder")
    commands.add_parser("table").add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.command == "table":
        table(arguments.count)
    else:
        learn(arguments.updates, arguments.work)


if __name__ == "__main__":
    main()
