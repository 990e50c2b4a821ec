"""What the job shop's self-labelling owes to each of its parts: training anew without one of them.

    python benchmarks/ablation.py --variants base "one round" --seeds 0 1
    python benchmarks/ablation.py --table

Every run starts from random weights and trains on random shops of three small sizes in turn. The
score is the mean over four sizes of generated shops of makespan / lower bound, of the greedy policy
with the averaged weights (`raw`: with the last ones); no published instance is looked at. A
variant has the updates that take about the CPU time of `base`, and its seconds are in the table.
Each run adds its row to benchmarks/results/ablation.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import platform
import statistics
import time
from typing import Any

from jaxsched.envs.job_shop.preset import SELF_LABELING

RESULTS = pathlib.Path(__file__).parent / "results" / "ablation.json"
SIZES = ((8, 6, 8), (10, 8, 4), (15, 6, 4))  # jobs, machines, instances an update
SCORED = ((10, 10, 100), (15, 15, 60), (20, 15, 40), (30, 15, 20))  # jobs, machines, instances
SEED = 777  # of the scored instances
UPDATES = 240
AHEAD = (
    "(critical machine end - now) / span",
    "(critical arrival - now) / span",
    "critical work / unit",
    "(critical machine ready - critical arrival) / span",
    "work weighted by machine end / span",
    "(next arrival - end) / unit",
    "(next arrival's work - work after) / span",
    "(completion bound - now) / span",
)
QUEUES = (
    "rivals' durations / span",
    "(rivals' completion - now) / span",
    "second machine waiting / span",
    "(machine bound - now) / span",
    "(critical bound - now) / span",
    "(critical arrival - first start there) / span",
    "(first start there - critical machine ready) / span",
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from `base`; a training that names its algorithm takes nothing else from it."""

    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the environment
    hidden: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int, int], ...] = SIZES
    updates: int = UPDATES


VARIANTS = {
    "base": Variant(),
    "twice the updates": Variant(updates=480),
    "four times the updates": Variant(updates=960),
    "one round": Variant({"num_rounds": 1, "num_samples": 32}),
    "two rounds": Variant({"num_rounds": 2, "num_samples": 21}),
    "eight rounds": Variant({"num_rounds": 8, "num_samples": 7}),
    "labels of equal weight": Variant({"advantage_power": 0.0}),
    "weights squared": Variant({"advantage_power": 2.0}),
    "one round, equal weights": Variant(
        {"num_rounds": 1, "num_samples": 32, "advantage_power": 0.0}
    ),
    "half the samples, twice the instances": Variant(
        {"num_samples": 6}, sizes=((8, 6, 16), (10, 8, 8), (15, 6, 8))
    ),
    "twice the samples, half the instances": Variant(
        {"num_samples": 26}, sizes=((8, 6, 4), (10, 8, 2), (15, 6, 2))
    ),
    "temperature 0.7": Variant({"temperature": 0.7}),
    "temperature 1.5": Variant({"temperature": 1.5}),
    "learning rate 2e-3": Variant({"learning_rate": 2e-3}),
    "learning rate 5e-4": Variant({"learning_rate": 5e-4}),
    "schedule rex": Variant({"schedule": "rex"}),
    "one size, 10x10": Variant(sizes=((10, 10, 8),), updates=130),
    "larger sizes": Variant(sizes=((10, 8, 4), (15, 8, 2), (20, 6, 2))),
    "width 32": Variant(network={"width": 32}, updates=450),
    "width 96": Variant(network={"width": 96}, updates=140),
    "one layer": Variant(network={"num_layers": 1}, updates=400),
    "three layers": Variant(network={"num_layers": 3}, updates=170),
    # The network of the preset `accelerator` with fewer layers.
    "all operations, along axes": Variant(
        network={"along": "axes", "num_layers": 4, "num_heads": 4},
        settings={"observation": "operations"},
        sizes=((6, 6, 8),),
        updates=60,
    ),
    "one size, 6x6, 60 updates": Variant(sizes=((6, 6, 8),), updates=60),
    "no look-ahead": Variant(hidden=AHEAD + QUEUES),
    "no queues": Variant(hidden=QUEUES),
    **{f"without {name}": Variant(hidden=(name,)) for name in AHEAD + QUEUES},
    # The trainer of examples/my_trainer.py.
    "REINFORCE": Variant(
        {"algorithm": "reinforce", "num_samples": 16, "num_minibatches": 1, "learning_rate": 1e-3},
        updates=80,
    ),
    "PPO": Variant(
        {"algorithm": "ppo", "num_minibatches": 4, "num_epochs": 2, "learning_rate": 1e-3},
        sizes=((8, 6, 64), (10, 8, 32), (15, 6, 32)),
        updates=100,
    ),
}


def run(name: str, seed: int) -> dict[str, Any]:
    """One training and its scores."""
    import jax

    import examples.my_trainer  # noqa: F401
    import jaxsched
    from jaxsched.core.compilation import compiler_options
    from jaxsched.core.wrappers import HideFeatures
    from jaxsched.envs import job_shop
    from jaxsched.evaluation import evaluate, generate
    from jaxsched.evaluation.comparison import greedy_maker
    from jaxsched.training import make_training
    from jaxsched.training.algorithms import from_dict

    variant = VARIANTS[name]
    env = jaxsched.make("JobShop-v0", **variant.settings)
    if variant.hidden:
        env = HideFeatures(env, hidden={"job": variant.hidden})
    whole = "algorithm" in variant.training
    training = variant.training if whole else SELF_LABELING | variant.training
    more = {"num_updates": variant.updates, "network": variant.network}
    # The instances of an update are those of the first size until each size says its own.
    base = from_dict(training | more | {"num_envs": variant.sizes[0][2]})
    state, updates, began = None, [], time.process_time()
    for jobs, machines, count in variant.sizes:
        config = dataclasses.replace(base, num_envs=count)
        init, make = make_training(env, job_shop.uniform(jobs, machines), config)
        if state is None:
            apply, state = init(jax.random.key(seed))
        program = jax.jit(make(apply), donate_argnums=0, compiler_options=compiler_options())
        updates.append(program.lower(state).compile())
    assert state is not None
    compiling, began = time.process_time() - began, time.process_time()
    for number in range(variant.updates):
        state, metrics = updates[number % len(updates)](state)
        if number % 20 == 19:
            jax.block_until_ready(metrics)
    jax.block_until_ready(state)
    spent = time.process_time() - began

    def score(params) -> dict[str, float]:
        means = {}
        for jobs, machines, count in SCORED:
            shops = generate(job_shop.uniform(jobs, machines), count, SEED)
            report = evaluate(env, shops, greedy_maker(apply), params=params)
            ratios = [row.objective / row.lower_bound for row in report.rows]
            means[f"{jobs}x{machines}"] = round(statistics.mean(ratios), 4)
        return means | {"mean": round(statistics.mean(means.values()), 4)}

    return {
        "variant": name,
        "seed": seed,
        "features": len(jaxsched.make("JobShop-v0").features()["job"]),
        "updates": variant.updates,
        "averaged": score(state.average),
        "raw": score(state.params),
        "cpu_seconds": round(spent, 1),
        "cpu_seconds_to_compile": round(compiling, 1),
        "machine": f"{platform.processor() or platform.machine()}, one core",
        "jax": jax.__version__,
    }


def rows_of() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []


def add(row: dict[str, Any]) -> None:
    """The row in the place of an older one of the same variant, seed and number of features."""

    def place(row: dict[str, Any]) -> tuple[int, int, int]:
        return row["features"], list(VARIANTS).index(row["variant"]), row["seed"]

    rows = {place(old): old for old in rows_of()} | {place(row): row}
    ordered = [rows[key] for key in sorted(rows)]
    RESULTS.write_text(
        json.dumps({"sizes": SIZES, "scored": SCORED, "rows": ordered}, indent=1) + "\n"
    )


def table() -> str:
    """Markdown: each variant's mean score over its seeds, and its distance to `base` on those. An
    observation with other features is compared with its own `base`.
    """
    lines = [
        "| features | variant | updates | CPU s | objective / bound by seed | mean | to base | "
        "averaged - raw |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows_of():
        groups.setdefault((row["features"], row["variant"]), []).append(row)
    for (features, name), own in groups.items():
        base = {row["seed"]: row["averaged"]["mean"] for row in groups.get((features, "base"), [])}
        apart = [row["averaged"]["mean"] - base[row["seed"]] for row in own if row["seed"] in base]
        gained = statistics.mean(row["averaged"]["mean"] - row["raw"]["mean"] for row in own)
        scores = [row["averaged"]["mean"] for row in own]
        cells = [
            str(features),
            name,
            str(own[0]["updates"]),
            f"{statistics.mean(row['cpu_seconds'] for row in own):.0f}",
            ", ".join(f"{score:.4f}" for score in scores),
            f"{statistics.mean(scores):.4f}",
            f"{statistics.mean(apart):+.4f}" if apart else "",
            f"{gained:+.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    arguments = parser.parse_args()
    if not arguments.table:
        for name in arguments.variants:
            for seed in arguments.seeds:
                row = run(name, seed)
                add(row)
                print(json.dumps(row), flush=True)
    print(table())


if __name__ == "__main__":
    main()
