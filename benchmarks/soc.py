"""The SoC family on its published setting: schedulers over rates and caps, headroom, learned
policies against ETF.

    python benchmarks/soc.py table             # 200 seeds of 5,000 us each, beside the released simulator's few
    python benchmarks/soc.py headroom          # clairvoyant CP-SAT against ETF on short streams
    python benchmarks/soc.py train imitate     # first stage of the policy, resumable; then: train standard
    python benchmarks/soc.py throughput        # tasks per second of ETF beside plain Python
    python benchmarks/soc.py compare main      # policy and schedulers on the same 200 worlds, paired; noise, unseen
    python benchmarks/soc.py train platform    # the policy goes on with the 16 PEs of DS3 (needs JAXSCHED_DATA); then
    python benchmarks/soc.py compare platform [--stage platform] --worlds 64 --jobs 24

Setting of SoCRATES: three PEs, profiles 1 to 5 uniform, gaps Exp(25 us), `cap_mode="socrates"`,
steady start, no noise, unless said otherwise. Results: benchmarks/results/soc/.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import random

import jaxsched
from jaxsched import evaluation
from jaxsched.core import InstanceError, greedy, pad_stack
from jaxsched.core.rollout import unroll
from jaxsched.envs import soc
from jaxsched.envs.soc.settings import WITH_BOOKS
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy
from jaxsched.training.algorithms import from_dict
from jaxsched.training.loop import train
from tests.reference import soc as reference

# From the data folder.
DS3: dict[str, Any] = {
    "platform": "ds3_multiple_bal",
    "profiles": ("ds3_wifi_tx", "ds3_wifi_rx"),
    "cap": 12,
}
SYSTEMS = {
    "3 PEs": {"stream": {}, "batch": 1024, "python": 64},
    "16 PEs": {"stream": {**DS3, "scale": 100.0, "num_jobs": 24}, "batch": 128, "python": 32},
}
PUBLISHED = {"3 PEs": "SoCRATES 2,000 (ETF)", "16 PEs": "DS3 700 to 1,100"}  # tasks/s on one core
RESULTS = Path(__file__).parent / "results" / "soc"
# Mean latency in us and completed jobs of the released SoCRATES simulator, measured for this
# project (its HEFT_RT as released); and its number of seeds.
RELEASED = {
    (25, 3): {
        "met": (126.0, 91.8),
        "eft": (119.5, 97.1),
        "etf": (115.8, 98.8),
        "heft_rt": (132.7, 89.2),
        "seeds": 8,
    },
    (1, 3): {
        "met": (130.5, 113),
        "eft": (128.3, 115),
        "etf": (123.4, 119),
        "heft_rt": (143.0, 103),
        "seeds": 3,
    },
    (10, 3): {
        "met": (128.6, 107),
        "eft": (125.3, 108),
        "etf": (120.4, 112),
        "heft_rt": (137.9, 98),
        "seeds": 3,
    },
    (50, 3): {
        "met": (123.6, 74),
        "eft": (116.5, 76),
        "etf": (109.7, 74),
        "heft_rt": (127.3, 75),
        "seeds": 3,
    },
    (100, 3): {
        "met": (119.2, 48),
        "eft": (106.3, 43),
        "etf": (103.9, 48),
        "heft_rt": (118.9, 51),
        "seeds": 3,
    },
    (25, 4): {
        "met": (142.3, 110),
        "eft": (139.7, 111),
        "etf": (133.4, 112),
        "heft_rt": (152.2, 104),
        "seeds": 3,
    },
    (25, 5): {
        "met": (160.4, 123),
        "eft": (164.3, 117),
        "etf": (152.1, 123),
        "heft_rt": (173.4, 115),
        "seeds": 3,
    },
}
UNSEEN = tuple(f"socrates_top{i}" for i in range(6, 11))
# stage -> the one whose weights it starts from
START = {"standard": "imitate", "platform": "standard"}
CASES = {
    "main": {f"cap {cap}": {"cap": cap} for cap in (3, 4, 5)},
    "noise": {f"noise {std}": {"cap": 3, "noise_std": std} for std in (0.1, 0.2, 0.4)},
    "unseen": {
        f"unseen profiles, cap {cap}": {"cap": cap, "profiles": UNSEEN} for cap in (3, 4, 5)
    },
    "platform": {
        f"16 PEs, gap {scale}": {**DS3, "scale": float(scale)} for scale in (50, 100, 200)
    },
}
SCHEDULERS = ("met", "eft", "etf", "heft_rt", "heft_rt_released")
HORIZON = 4_999  # the released simulator stops after its tick 4,998 of 5,000
SEED = 1_000


def scheduler_env(rule: str, **settings: Any) -> Any:
    """The environment in which a scheduler keeps its own books."""
    books = rule if rule in WITH_BOOKS else None
    return jaxsched.make("SoC-v0", rule=books, **settings)


def table(seeds: int) -> None:
    """Every scheduler on every rate and cap, one program per scheduler."""
    keys = random.split(random.key(SEED), seeds)
    streams = {
        (scale, cap): soc.streams(scale=float(scale), cap=cap, horizon=HORIZON, num_jobs=None)
        for scale, cap in RELEASED
    }
    worlds = {setting: jax.vmap(source)(keys) for setting, source in streams.items()}
    flat = [
        jax.tree.map(lambda leaf, i=i: leaf[i], world)
        for world in worlds.values()
        for i in range(seeds)
    ]
    stacked = pad_stack(flat)
    rows = []
    for rule in SCHEDULERS:
        env = scheduler_env(rule, cap_mode="socrates", dispatch_order="insertion", record=False)
        policy = greedy(env.heuristics[rule])

        @jax.jit
        @jax.vmap
        def play(instance: Any, env: Any = env, policy: Any = policy) -> Any:
            state, _ = env.reset(random.key(0), instance)
            act = lambda key, state: (policy(key, state, _Masked(env.action_mask(state))), None)  # noqa: E731
            final, _ = unroll(env, random.key(0), state, act, env.max_steps(instance))
            return (
                final.latency,
                final.num_counted,
                final.done,
                env.report(final)["latency_in_system"],
            )

        began = time.perf_counter()
        latency, completed, done, unfinished = (
            np.asarray(x).reshape(len(worlds), seeds) for x in play(stacked)
        )
        assert done.all()
        print(f"{rule}: {time.perf_counter() - began:.0f} s with compilation", flush=True)
        for i, (scale, cap) in enumerate(worlds):
            mean = latency[i] / completed[i]
            half = 1.96 * mean.std(ddof=1) / math.sqrt(seeds)
            released, done_there = RELEASED[scale, cap][rule.removesuffix("_released")]
            rows.append(
                {
                    "scheduler": rule,
                    "scale": scale,
                    "cap": cap,
                    "latency": round(float(mean.mean()), 2),
                    "95 % +-": round(float(half), 2),
                    "deviation over seeds": round(float(mean.std(ddof=1)), 2),
                    "completed": round(float(completed[i].mean()), 2),
                    "us so far of the unfinished": round(float(unfinished[i].mean()), 1),
                    "released": {
                        "latency": released,
                        "completed": done_there,
                        "seeds": RELEASED[scale, cap]["seeds"],
                    },
                }
            )
            print(rows[-1], flush=True)
    _write("table", {"seeds": seeds, "horizon": HORIZON, "rows": rows})


class _Masked:
    """What a rule needs of an observation."""

    def __init__(self, action_mask: jax.Array):
        self.action_mask = action_mask


def headroom(count: int, time_limit: float) -> None:
    """How much below ETF a scheduler that knows the future can get: 6, 7 and 8 jobs, cap 3, gaps
    Exp(25 us).
    """
    rows = []
    env = jaxsched.make("SoC-v0")
    for num_jobs in (6, 7, 8):
        source = soc.streams(num_jobs=num_jobs)
        worlds = evaluation.generate(source, count, seed=SEED + num_jobs)
        etf = evaluation.evaluate(env, worlds, "etf")
        exact = evaluation.evaluate_exact(env, worlds, time_limit=time_limit, num_workers=2)
        for name in worlds:
            found, bound = exact[name].objective, exact[name].lower_bound
            rows.append(
                {"jobs": num_jobs, "etf": etf[name].objective, "CP-SAT": found, "bound": bound}
            )
            print(rows[-1], flush=True)
    summary = {
        num_jobs: {
            "CP-SAT below ETF, %": round(100 * (1 - _ratio(rows, num_jobs, "CP-SAT")), 2),
            "bound below ETF, %": round(100 * (1 - _ratio(rows, num_jobs, "bound")), 2),
            "proved": sum(row["CP-SAT"] == row["bound"] for row in rows if row["jobs"] == num_jobs),
        }
        for num_jobs in (6, 7, 8)
    }
    print(json.dumps(summary, indent=1))
    _write("headroom", {"time_limit": time_limit, "summary": summary, "rows": rows})


def _ratio(rows: list[dict[str, int]], num_jobs: int, what: str) -> float:
    chosen = [row for row in rows if row["jobs"] == num_jobs]
    return sum(row[what] for row in chosen) / sum(row["etf"] for row in chosen)


def bootstrap(
    ours: np.ndarray, theirs: np.ndarray, draws: int = 10_000
) -> tuple[float, float, float]:
    """mean(ours) / mean(theirs) - 1 in per cent and its 95 % interval, resampling worlds as
    pairs.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    ids = rng.integers(len(ours), size=(draws, len(ours)))
    ratios = 100 * (ours[ids].mean(1) / theirs[ids].mean(1) - 1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return 100 * (ours.mean() / theirs.mean() - 1), float(low), float(high)


def compare(stage: str, group: str, worlds: int, num_jobs: int) -> None:
    """The policy, greedy, and schedulers on the same worlds; every trace is validated."""
    policy = RESULTS / stage
    result: dict[str, Any] = {
        "policy": stage,
        "worlds": worlds,
        "num_jobs": num_jobs,
        "seed": SEED,
        "cases": {},
    }
    for case, settings in CASES[group].items():
        source = soc.streams(num_jobs=num_jobs, **settings)
        drawn = evaluation.generate(source, worlds, seed=SEED)
        # whatever the policy was trained in
        common = {"cap_mode": "ds3" if "platform" in settings else "socrates"}
        latency = {}
        for rule in ("met", "heft_rt", "eft", "etf"):
            report = evaluation.evaluate(scheduler_env(rule, **common), drawn, rule)
            latency[rule] = np.array([row.objective for row in report.rows]) / num_jobs
        played = soc.PRESETS[stage].settings if stage in soc.PRESETS else {}
        env = jaxsched.make("SoC-v0", **{**played, **common, "record": True})
        apply, params = load_policy(policy, env)
        report = evaluation.evaluate(
            env, drawn, functools.partial(greedy_policy, apply), params=params
        )
        latency["policy"] = np.array([row.objective for row in report.rows]) / num_jobs
        line = {rule: round(float(values.mean()), 2) for rule, values in latency.items()}
        for rule in ("met", "heft_rt", "etf"):
            line[f"over {rule}, %"] = [
                round(value, 2) for value in bootstrap(latency["policy"], latency[rule])
            ]
        result["cases"][case] = line
        print(case, json.dumps(line), flush=True)
    _write(f"compare_{group}" + ("" if stage == "standard" else f"_{stage}"), result)


def learn(stage: str, work: Path, seed: int) -> None:
    """One stage of training (a preset), with the greedy policy over ETF on 24 worlds of 30 jobs
    a cap as its curve.
    """
    preset = platform_preset() if stage == "platform" else soc.PRESETS[stage]
    env = jaxsched.make("SoC-v0", **preset.settings)
    if stage == "platform":
        keys = random.split(random.key(SEED - 1), 8)
        # From an empty system: `cap` jobs at time 0 would be all of these, whatever the gap.
        streams = {
            name: soc.streams(num_jobs=12, steady=False, **case)
            for name, case in CASES["platform"].items()
        }
        worlds = {name: jax.vmap(source)(keys) for name, source in streams.items()}
    else:
        keys = random.split(random.key(SEED - 1), 24)
        worlds = {
            f"cap {cap}": jax.vmap(soc.streams(num_jobs=30, cap=cap))(keys) for cap in (3, 4, 5)
        }

    @functools.partial(jax.jit, static_argnums=0)
    def play(apply: Any, params: Any, instances: Any) -> Any:
        policy = greedy(env.heuristics["etf"]) if apply is None else greedy_policy(apply, params)
        return jax.vmap(
            lambda instance: jaxsched.rollout(env, random.key(0), instance, policy).objective
        )(instances)

    etf = {
        name: float(np.asarray(play(None, None, instances)).mean())
        for name, instances in worlds.items()
    }

    def evaluate(apply: Any, params: Any) -> dict[str, float]:
        means = {
            name: float(np.asarray(play(apply, params, instances)).mean())
            for name, instances in worlds.items()
        }
        return {
            f"latency over ETF, {name}, %": round(100 * (means[name] / etf[name] - 1), 2)
            for name in worlds
        }

    start = None
    if stage in START:
        before = work / START[stage]
        start = load_policy(before if before.exists() else RESULTS / START[stage], env)[1]
    folder = work / stage
    resume = (folder / "config.json").exists()
    config = from_dict(dict(preset.training))
    options = {
        "evaluate": evaluate,
        "evaluate_every": 10,
        "checkpoint_every": 10,
        "initial": start,
        "seed": seed,
    }
    train(env, preset.source, config, run_dir=folder, resume=resume, **options)
    target = RESULTS / stage
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        shutil.copy(folder / file, target / file)


def platform_preset() -> Any:
    """Short streams on the 16 PEs of DS3, which is read from the data folder, so it is no preset
    of the package.
    """
    standard = soc.PRESETS["standard"]
    source = soc.streams(num_jobs=8, **DS3, scale=(25.0, 50.0, 100.0, 200.0), steady=False)
    training = {
        **standard.training,
        "num_updates": 30,
        "num_envs": 4,
        "num_samples": 16,
        "learning_rate": 3e-4,
    }
    return dataclasses.replace(
        standard, source=source, settings={"record": False}, training=training
    )


def throughput(rounds: int) -> None:
    """Tasks per second of ETF inside jit beside the plain-Python simulator of the tests, same
    worlds, taking turns.
    """
    rows = []
    for size, settings in SYSTEMS.items():
        env = jaxsched.make("SoC-v0", record=False)
        try:
            source = soc.streams(**settings["stream"])
        except InstanceError as error:
            print(f"{size} left out: {error}")
            continue
        worlds = jax.jit(jax.vmap(source))(random.split(random.key(SEED), settings["batch"]))
        tasks = np.asarray(worlds.system.num_tasks_of)[0][np.asarray(worlds.profile)].sum(1)
        etf = greedy(env.heuristics["etf"])

        @jax.jit
        @jax.vmap
        def play(instance: Any, env: Any = env, etf: Any = etf) -> Any:
            state, _ = env.reset(random.key(0), instance)

            def act(key: Any, state: Any) -> Any:
                return etf(key, state, _Masked(env.action_mask(state))), None

            return unroll(env, random.key(0), state, act, env.max_steps(instance))[0]

        # after compilation and warm-up; states are returned in full
        final = jax.block_until_ready(play(worlds))
        some = [
            jax.device_get(jax.tree.map(lambda leaf, i=i: leaf[i], worlds))
            for i in range(settings["python"])
        ]
        made = [_reference(world) for world in some]
        ratios = []
        for _ in range(rounds):
            ours, theirs = _timed(play, worlds), _timed(_run_all, made)
            ours = {clock: float(tasks.sum() / seconds) for clock, seconds in ours.items()}
            theirs = {
                clock: float(tasks[: len(made)].sum() / seconds)
                for clock, seconds in theirs.items()
            }
            ratios.append(
                (ours, theirs, ours["wall"] / theirs["wall"], ours["cpu"] / theirs["cpu"])
            )
        latency = [sum(job[2] for job in run().jobs) for run in made]
        assert latency == np.asarray(final.latency)[: len(made)].tolist(), "not the same schedules"
        ratios.sort(key=lambda row: row[2])
        ours, theirs, wall, cpu = ratios[len(ratios) // 2]
        row = {
            "system": size,
            "batch": settings["batch"],
            "tasks per world": round(float(tasks.mean()), 1),
        }
        row |= {"jaxsched, tasks/s": {clock: round(value) for clock, value in ours.items()}}
        row |= {"plain Python, tasks/s": {clock: round(value) for clock, value in theirs.items()}}
        row |= {
            "ratio": {"wall": round(wall, 2), "cpu": round(cpu, 2)},
            "published, measured elsewhere": PUBLISHED[size],
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    _write("throughput", {"rounds": rounds, "scheduler": "etf", "rows": rows})


def _run_all(runs: list[Any]) -> None:
    for run in runs:
        run()


def _timed(run: Any, argument: Any) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run(argument))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _reference(instance: Any) -> Any:
    """The same stream for the simulator of the tests."""
    host, profiles = soc.to_host(instance.system)
    platform = reference.Platform(dict(host.exec_time), host.bandwidth.tolist())
    jobs = [reference.Job(job.tasks, job.edges) for job in profiles]
    stream = [jobs[p] for p in instance.profile]
    cap = int(instance.slot_mask.sum())
    return lambda: reference.simulate(
        platform, stream, instance.gap.tolist(), scheduler="etf", cap=cap
    )


def _write(name: str, data: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    header = {
        "command": "python benchmarks/soc.py " + " ".join(sys.argv[1:]),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(header | data, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table").add_argument("--seeds", type=int, default=200)
    short = commands.add_parser("headroom")
    short.add_argument("--count", type=int, default=10, help="streams of each length")
    short.add_argument("--time-limit", type=float, default=20.0)
    commands.add_parser("throughput").add_argument("--rounds", type=int, default=3)
    training = commands.add_parser("train")
    training.add_argument(
        "stage", choices=[stage for stage in (*soc.PRESETS, "platform") if stage != "smoke"]
    )
    training.add_argument(
        "--work", type=Path, default=Path("runs/soc"), help="run folders, one per stage"
    )
    training.add_argument("--seed", type=int, default=0)
    comparing = commands.add_parser("compare")
    comparing.add_argument("group", choices=CASES)
    comparing.add_argument("--stage", default="standard")
    comparing.add_argument("--worlds", type=int, default=200)
    comparing.add_argument("--jobs", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.command == "table":
        table(arguments.seeds)
    elif arguments.command == "headroom":
        headroom(arguments.count, arguments.time_limit)
    elif arguments.command == "throughput":
        throughput(arguments.rounds)
    elif arguments.command == "train":
        learn(arguments.stage, arguments.work, arguments.seed)
    else:
        compare(arguments.stage, arguments.group, arguments.worlds, arguments.jobs)


if __name__ == "__main__":
    main()
