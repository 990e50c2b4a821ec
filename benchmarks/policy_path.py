"""What a learner pays for on a CPU: decisions of observation and network, updates, seconds to the
first one; beside another checkout of the package, in turns.

    git worktree add ../before COMMIT
    python benchmarks/policy_path.py --before ../before

All times are CPU seconds of the process, all threads together, so that what else runs on the
machine counts little. `--before` may be left out. Results go to benchmarks/results/policy_path.json.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = pathlib.Path(__file__).parent / "results" / "policy_path.json"
LANES = 64
DECISIONS = ("10x10", "30x20")
UPDATES = (
    ("JobShop-v0", "quick"),
    ("JobShop-v0", "ppo"),
    ("JobShop-v0", "smoke"),
    ("FlexibleJobShop-v0", "quick"),
    ("BlockingJobShop-v0", "standard"),
    ("SoC-v0", "imitate"),
    ("MemoryMap-v0", "standard"),
)


def cpu_seconds() -> float:
    return time.process_time()


def least(run: Any, repeats: int) -> float:
    """The least CPU seconds of a few runs, after one that is not counted."""
    import jax

    jax.block_until_ready(run())
    seconds = []
    for _ in range(repeats):
        began = cpu_seconds()
        jax.block_until_ready(run())
        seconds.append(cpu_seconds() - began)
    return min(seconds)


def decisions(size: str) -> dict[str, float]:
    """Sampled decisions per CPU second, the observation built, with the default network."""
    import jax

    import jaxsched
    from jaxsched.envs.job_shop.sources import uniform
    from jaxsched.policies import MaskedCategorical, NetworkConfig, init_network
    from jaxsched.policies.network import example_observation

    env, source = jaxsched.make("JobShop-v0"), uniform(*map(int, size.split("x")))
    apply, params = init_network(
        jax.random.key(0), example_observation(env, source), NetworkConfig()
    )
    keys = jax.random.split(jax.random.key(1), LANES)

    def begin(key):
        state, _ = env.reset(key, source(key))
        for job in (0, 1, 2, 0, 1):
            state, _ = env.step(key, state, jax.numpy.int32(job))
        return state

    def decide(params, state, key):
        seen = env.observe(state)
        logits, value = apply(params, seen)
        return MaskedCategorical(logits, seen.action_mask).sample(key), value

    states = jax.jit(jax.vmap(begin))(keys)
    program = jax.jit(jax.vmap(decide, (None, 0, 0))).lower(params, states, keys).compile()
    many = 100

    def run():
        for _ in range(many):
            out = program(params, states, keys)
        return out

    return {"decisions_per_cpu_second": round(many * LANES / least(run, 5))}


def first_update(name: str, preset_name: str) -> dict[str, float]:
    """CPU seconds to the first update of a preset, and of an update."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    import jaxsched
    from jaxsched.envs.job_shop.sources import uniform
    from jaxsched.envs.registry import offer
    from jaxsched.training import make_training

    try:
        from jaxsched.core.compilation import compiler_options
        from jaxsched.training.algorithms import from_dict
    except ImportError:  # as it was before
        from jaxsched.training.config import from_dict

        compiler_options = dict
    presets = offer(jaxsched.make(name)).presets
    preset = presets.get(preset_name) or presets["standard"]  # what `ppo` was called before
    env = jaxsched.make(name, **preset.settings)
    # Presets may have several sizes, which take turns; here both checkouts get one.
    shops = preset_name != "smoke" and name == "JobShop-v0"
    source = uniform(10, 10) if shops else preset.source
    began = cpu_seconds()
    init, make = make_training(env, source, from_dict(dict(preset.training)))
    apply, state = init(jax.random.key(0))
    lowered = jax.jit(
        make(apply), donate_argnums=0, compiler_options=compiler_options() or None
    ).lower(state)
    traced = cpu_seconds() - began
    program = lowered.compile()
    compiled = cpu_seconds() - began
    state, _ = jax.block_until_ready(program(state))
    seconds = []
    for _ in range(4):
        start = cpu_seconds()
        state, _ = jax.block_until_ready(program(state))
        seconds.append(cpu_seconds() - start)
    return {
        "trace_cpu_seconds": round(traced, 2),
        "to_first_update_cpu_seconds": round(compiled, 2),
        "update_cpu_seconds": round(min(seconds), 3),
    }


MEASURES = {"decisions": decisions, "update": first_update}


def measured(checkout: pathlib.Path, what: str, *arguments: str) -> dict[str, float]:
    """One measurement in a process of its own, of the package in `checkout`."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--measure", what, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=checkout, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(what: str, arguments: tuple[str, ...], checkouts: dict[str, Any], rounds: int) -> dict:
    """Both checkouts in turns: the least of every figure that is a time, the most of a rate."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            found[name].append(measured(checkout, what, *arguments))
    best = {}
    for name, rows in found.items():
        pick = max if what == "decisions" else min
        best[name] = {figure: pick(row[figure] for row in rows) for figure in rows[0]}
    row: dict[str, Any] = {"measure": what, "of": " ".join(arguments)} | best
    if "before" in best:
        row["ratio"] = {
            figure: round(best["after"][figure] / value, 3)
            for figure, value in best["before"].items()
        }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=pathlib.Path, help="another checkout of the package")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--updates", nargs="*", help="ENVIRONMENT:PRESET instead of all of them")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, *arguments = options.measure
        print(json.dumps(MEASURES[what](*arguments)))
        return
    checkouts = {"before": options.before.resolve()} if options.before else {}
    checkouts["after"] = ROOT
    rows = [compare("decisions", (size,), checkouts, options.rounds) for size in DECISIONS]
    chosen = UPDATES if options.updates is None else [each.split(":") for each in options.updates]
    rows += [compare("update", tuple(names), checkouts, options.rounds) for names in chosen]
    import jax

    about = {"command": "python benchmarks/policy_path.py --before ../before", "lanes": LANES}
    about |= {"jax": jax.__version__, "machine": platform.machine(), "cpus": os.cpu_count()}
    RESULTS.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
