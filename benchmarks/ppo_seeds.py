"""PPO alone, preset `ppo`, several seeds one after another: greedy gap on ta01-ta10 over
training.

    python benchmarks/ppo_seeds.py --seeds 0 1 2

Resumable: a seed that was interrupted goes on from its last checkpoint. Logs, final weights and a
summary go to benchmarks/results/ppo_standard/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from pathlib import Path

import jax
import numpy as np
from jax import random

import jaxsched
from jaxsched.core import pad_stack
from jaxsched.envs import job_shop
from jaxsched.policies import greedy_policy
from jaxsched.training.algorithms import from_dict
from jaxsched.training.loop import train

RESULTS = Path(__file__).parent / "results" / "ppo_standard"
NAMES = [f"ta{number:02d}" for number in range(1, 11)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--work", type=Path, default=Path("runs/ppo_standard"), help="run folders, one per seed"
    )
    arguments = parser.parse_args()

    env, preset = jaxsched.make("JobShop-v0"), job_shop.PRESETS["ppo"]
    pool = pad_stack([job_shop.load(name) for name in NAMES])
    best_known = np.array([job_shop.bounds(name).upper for name in NAMES])
    play = jax.jit(
        lambda apply, params: jax.vmap(
            lambda instance: (
                jaxsched.rollout(
                    env, random.key(0), instance, greedy_policy(apply, params)
                ).objective
            )
        )(pool),
        static_argnums=0,
    )

    def evaluate(apply, params):
        gaps = np.asarray(play(apply, params)) / best_known - 1
        return {"gap on ta01-ta10, greedy, %": round(100 * float(gaps.mean()), 3)}

    for seed in arguments.seeds:
        folder = arguments.work / f"seed{seed}"
        if not (folder / "policy.safetensors").exists():
            config = from_dict(dict(preset.training))
            resume = (folder / "config.json").exists()
            options = {
                "run_dir": folder,
                "seed": seed,
                "resume": resume,
                "evaluate": evaluate,
                "evaluate_every": 10,
            }
            train(env, preset.source, config, **options)
        target = RESULTS / f"seed{seed}"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
            shutil.copy(folder / name, target / name)

    summary = {
        "command": "python benchmarks/ppo_seeds.py",
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "rules on ta01-ta10, non-delay, %": rule_gaps(best_known),
    }
    for path in sorted(RESULTS.glob("seed*/log.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        gap = next(iter(rows[-1]["evaluation"].values()))
        summary[path.parent.name] = {
            "gap on ta01-ta10, greedy, %": gap,
            "seconds": rows[-1]["seconds"],
        }
    (RESULTS / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


def rule_gaps(best_known: np.ndarray) -> dict[str, float]:
    gaps = {}
    for rule in ("spt", "mwkr", "fdd_mwkr"):
        makespans = np.array(
            [job_shop.dispatch(job_shop.load(name), rule).makespan for name in NAMES]
        )
        gaps[rule] = round(100 * float((makespans / best_known - 1).mean()), 3)
    return gaps


if __name__ == "__main__":
    main()
