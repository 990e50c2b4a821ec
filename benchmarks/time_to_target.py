"""Seconds, compilation included, from nothing to a stated mean gap on ta01-ta10 (greedy).

    python benchmarks/time_to_target.py --preset quick --target 19.1 --seeds 0 1 2

19.1 % is the MWKR rule under non-delay. The policy is evaluated after every few updates; that time
is not counted, the compilation of the training program is. Fresh processes, so nothing is compiled
before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

NAMES = [f"ta{number:02d}" for number in range(1, 11)]


def run(preset_name: str, target: float, seed: int, every: int) -> dict:
    """One run in this process, which must be fresh."""
    import jax
    import numpy as np
    from jax import random

    import jaxsched
    from jaxsched.core import pad_stack
    from jaxsched.core.compilation import compiler_options
    from jaxsched.envs import job_shop
    from jaxsched.policies import greedy_policy
    from jaxsched.training import make_training
    from jaxsched.training.algorithms import from_dict

    env, preset = jaxsched.make("JobShop-v0"), job_shop.PRESETS[preset_name]
    config = from_dict(dict(preset.training))
    pool = pad_stack([job_shop.load(name) for name in NAMES])
    best_known = np.array([job_shop.bounds(name).upper for name in NAMES])

    started = time.perf_counter()
    trainings = [make_training(env, source, config) for source in preset.sources]
    apply, state = trainings[0][0](random.key(seed))
    options = compiler_options()
    updates = [
        jax.jit(make(apply), donate_argnums=0, compiler_options=options) for _, make in trainings
    ]

    @jax.jit
    def play(params):
        def one(instance):
            return jaxsched.rollout(
                env, random.key(0), instance, greedy_policy(apply, params)
            ).objective

        return jax.vmap(one)(pool)

    excluded, curve = 0.0, []
    for number in range(1, config.num_updates + 1):
        state, _ = updates[(number - 1) % len(updates)](state)
        if number % every == 0 or number == config.num_updates:
            jax.block_until_ready(state)
            paused = time.perf_counter()
            gap = 100 * float((np.asarray(play(state.average)) / best_known - 1).mean())
            curve.append(
                {
                    "update": number,
                    "seconds": round(paused - started - excluded, 2),
                    "gap": round(gap, 3),
                }
            )
            excluded += time.perf_counter() - paused
            if gap <= target:
                break
    reached = curve[-1]["gap"] <= target
    return {"seed": seed, "reached": reached, **curve[-1], "curve": curve, "jax": jax.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="quick")
    parser.add_argument(
        "--target", type=float, default=19.1, help="mean gap on ta01-ta10, per cent"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--every", type=int, default=5, help="updates between evaluations")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "time_to_target.json"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(
            json.dumps(run(arguments.preset, arguments.target, arguments.seeds[0], arguments.every))
        )
        return
    rows = []
    environment = {
        name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"
    }
    for seed in arguments.seeds:
        command = [
            sys.executable,
            __file__,
            "--child",
            "--preset",
            arguments.preset,
            "--seeds",
            str(seed),
        ]
        command += ["--target", str(arguments.target), "--every", str(arguments.every)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(
            f"seed {seed}: gap {rows[-1]['gap']} % after {rows[-1]['seconds']} s, {rows[-1]['update']} updates"
        )
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    results[f"{arguments.preset} to {arguments.target} %"] = {
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "load average at the end": [round(value, 1) for value in os.getloadavg()],
        "runs": rows,
    }
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
