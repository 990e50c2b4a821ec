"""The blocking job shop: exact solutions, the open reference table of rules, learned policies against every rule.

    python benchmarks/blocking.py exact                # swap-allowed optima of ft06 and la01 to la05 with CP-SAT
    python benchmarks/blocking.py rules                # rules x failure probability x size, 200 worlds each
    python benchmarks/blocking.py train standard       # the policy, resumable
    python benchmarks/blocking.py compare              # policy and rules on the same worlds, paired
    python benchmarks/blocking.py throughput           # schedules per second of the rules beside plain Python

Random shops are those of Taillard's distribution. At p = 0 a named instance is one world; otherwise a world is a draw
of its failures. The rule `random` plays one episode a world. Results: benchmarks/results/blocking/.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import random as python_random
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

import jaxsched
from jaxsched.core import pad_stack, unstack
from jaxsched.core.rollout import greedy, masked_argmax, randomised, rollout, unroll
from jaxsched.envs.job_shop import blocking, uniform
from jaxsched.envs.job_shop.blocking.preset import PRESETS
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy
from jaxsched.training.config import from_dict
from jaxsched.training.loop import train
from tests.reference import blocking as reference

RESULTS = Path(__file__).parent / "results" / "blocking"
SEED = 1_000
PROBABILITIES = (0.0, 0.01, 0.05, 0.1, 0.2)
SIZES = {"10x10": (10, 10), "15x15": (15, 15)}
OPTIMA = {"ft06": 63, "la01": 793, "la02": 793, "la03": 715, "la04": 743, "la05": 664}
# The 29 closed instances, by shape.
CLOSED = (
    "ft06",
    "ft10",
    *(f"la{i:02}" for i in (*range(1, 11), *range(16, 21))),
    *(f"orb{i:02}" for i in range(1, 11)),
)
CLOSED += ("abz5", "abz6")


def exact(names: list[str], time_limit: float, num_workers: int) -> None:
    """CP-SAT on the swap-allowed shop; every schedule is validated. Rows of a run before are kept if better."""
    path = RESULTS / "exact.json"
    rows = {row["instance"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    for name in names:
        instance = blocking.load(name)
        result = blocking.solve_exact(instance, time_limit=time_limit, num_workers=num_workers)
        faults = blocking.validate(instance, result.schedule)
        assert not faults, faults
        known = blocking.bounds(name)
        row = {
            "instance": name,
            "makespan": result.objective,
            "bound": result.bound,
            "proved": result.proved,
            "seconds": round(result.seconds, 1),
            "best known": [known.lower, known.upper],
            "matched": result.objective == known.upper,
            "start": result.schedule.start,
        }
        before = rows.get(name)
        if before is None or (row["makespan"], -row["bound"]) < (before["makespan"], -before["bound"]):
            rows[name] = row
        print({key: value for key, value in row.items() if key != "start"}, flush=True)
        _write("exact", {"time_limit": time_limit, "num_workers": num_workers, "rows": list(rows.values())})


# --------------------------------------------------------------------------------------------------------- worlds


def worlds_of(case: str, probability: float, count: int) -> tuple[Any, list[str]]:
    """Stacked instances of a size or of the closed set, and the name of the instance of each.

    The same shops and draws for every probability: a world at a higher one fails where it does at a lower one, too.
    """
    keys = random.split(random.key(SEED), count)
    if case in SIZES:
        worlds = jax.vmap(blocking.interrupted(uniform(*SIZES[case]), 0.0))(keys)
        names = [f"{case} #{i}" for i in range(count)]
    else:
        draws = 1 if probability == 0 else max(count // len(CLOSED), 1)
        named = {name: blocking.load(name) for name in CLOSED}
        made = [
            blocking.interrupt(instance, blocking.Interruptions(), random.fold_in(random.key(SEED + i), world))
            for i, instance in enumerate(named.values())
            for world in range(draws)
        ]
        worlds, names = pad_stack(made), [name for name in CLOSED for _ in range(draws)]
    rate = jnp.full(len(names), probability, jnp.float32)
    return worlds.replace(failures=worlds.failures.replace(probability=rate)), names


@functools.partial(jax.jit, static_argnums=(0, 1))
def play(env: Any, rule: str, worlds: Any, keys: Any) -> Any:
    """Final states of a rule on every world, without their instance."""
    scores = env.heuristics[rule]
    policy = randomised(scores, 1.0) if rule == "random" else greedy(scores)
    return jax.vmap(lambda key, instance: rollout(env, key, instance, policy).state.replace(instance=None))(
        keys, worlds
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def play_policy(env: Any, apply: Any, params: Any, worlds: Any) -> Any:
    """The same of a policy, greedy, world by world: activations of all at once would not fit."""
    policy = greedy_policy(apply, params)
    one = lambda instance: rollout(env, random.key(0), instance, policy).state.replace(instance=None)  # noqa: E731
    return jax.lax.map(one, worlds, batch_size=16)


def makespans(env: Any, states: Any, worlds: Any, checked: int = 20) -> np.ndarray:
    """Makespans; the first schedules are validated and measured independently."""
    states = jax.device_get(states)
    assert states.done.all()
    assert not states.dead.any()
    hosts = jax.device_get(worlds)
    for i in range(min(checked, len(states.time))):
        instance = jax.tree.map(lambda leaf, i=i: leaf[i], hosts)
        solution = env.solution(jax.tree.map(lambda leaf, i=i: leaf[i], states).replace(instance=instance))
        faults = env.validate(instance, solution)
        assert not faults, faults
        assert env.measure(instance, solution) == states.time[i]
    return states.time.astype(np.float64)


def interval(values: np.ndarray, draws: int = 10_000) -> list[float]:
    """95 % bootstrap interval of the mean, resampling worlds."""
    ids = np.random.Generator(np.random.PCG64(0)).integers(len(values), size=(draws, len(values)))
    return [round(float(x), 4) for x in np.percentile(values[ids].mean(1), [2.5, 97.5])]


def paired(ours: np.ndarray, theirs: np.ndarray, draws: int = 10_000) -> list[float]:
    """mean(ours) / mean(theirs) - 1 in per cent and its 95 % interval, resampling worlds as pairs."""
    ids = np.random.Generator(np.random.PCG64(0)).integers(len(ours), size=(draws, len(ours)))
    low, high = np.percentile(100 * (ours[ids].mean(1) / theirs[ids].mean(1) - 1), [2.5, 97.5])
    return [round(float(x), 2) for x in (100 * (ours.mean() / theirs.mean() - 1), low, high)]


def relative(values: np.ndarray, names: list[str]) -> np.ndarray:
    """Makespans of named instances over their optimum, so that large ones do not count more."""
    best = np.array([blocking.bounds(name).upper if name in CLOSED else 1 for name in names], np.float64)
    return values / best


def rules(cases: list[str], count: int) -> None:
    """The open reference table: mean makespan (of the closed instances: over the optimum) of every rule."""
    env, rows = jaxsched.make("BlockingJobShop-v0"), []
    for case in cases:
        for probability in PROBABILITIES:
            worlds, names = worlds_of(case, probability, count)
            keys = random.split(random.key(SEED + 1), len(names))
            for rule in env.heuristics:
                values = relative(makespans(env, play(env, rule, worlds, keys), worlds), names)
                row = {"case": case, "p": probability, "rule": rule, "worlds": len(names)}
                row |= {"mean": round(float(values.mean()), 4), "95 %": interval(values)}
                rows.append(row)
                print(json.dumps(row), flush=True)
            _write("rules", {"seed": SEED, "count": count, "rows": rows})


# --------------------------------------------------------------------------------------------------------- policy


def learn(stage: str, work: Path, seed: int) -> None:
    """Train a preset; its curve is the greedy policy against MTWR on 32 random worlds of 10 x 10 at p = 0 and 0.1."""
    preset = PRESETS[stage]
    env = jaxsched.make("BlockingJobShop-v0", **preset.settings)
    worlds = {p: worlds_of("10x10", p, 32)[0] for p in (0.0, 0.1)}
    keys = random.split(random.key(SEED + 1), 32)
    mtwr = {p: float(np.asarray(play(env, "mtwr", each, keys).time).mean()) for p, each in worlds.items()}

    def evaluate(apply: Any, params: Any) -> dict[str, float]:
        means = {p: float(np.asarray(play_policy(env, apply, params, each).time).mean()) for p, each in worlds.items()}
        return {f"makespan over MTWR, p = {p}, %": round(100 * (means[p] / mtwr[p] - 1), 2) for p in worlds}

    folder = work / stage
    train(
        env,
        preset.source,
        from_dict(dict(preset.training)),
        run_dir=folder,
        resume=(folder / "config.json").exists(),
        evaluate=evaluate,
        evaluate_every=10,
        checkpoint_every=10,
        seed=seed,
    )
    target = RESULTS / stage
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        if (folder / file).exists():
            shutil.copy(folder / file, target / file)


def compare(stage: str, cases: list[str], count: int) -> None:
    """The policy, greedy, against every rule on the same worlds, paired; `random` plays one episode a world."""
    env = jaxsched.make("BlockingJobShop-v0", **PRESETS[stage].settings)
    apply, params = load_policy(RESULTS / stage, env)
    rows = []
    for case in cases:
        for probability in PROBABILITIES:
            worlds, names = worlds_of(case, probability, count)
            keys = random.split(random.key(SEED + 1), len(names))
            ours = relative(makespans(env, play_policy(env, apply, params, worlds), worlds), names)
            row: dict[str, Any] = {"case": case, "p": probability, "worlds": len(names)}
            row |= {"policy": round(float(ours.mean()), 4), "95 %": interval(ours)}
            over = {}
            for rule in env.heuristics:
                theirs = relative(makespans(env, play(env, rule, worlds, keys), worlds), names)
                over[rule] = paired(ours, theirs)
            row["over each rule, % with 95 % interval"] = over
            row["below every rule"] = all(value[2] < 0 for value in over.values())
            rows.append(row)
            print(json.dumps(row), flush=True)
            _write(f"compare_{stage}", {"seed": SEED, "count": count, "rows": rows})


# ----------------------------------------------------------------------------------------------------- throughput


def throughput(batch: int, rounds: int) -> None:
    """Random legal play by the rules inside jit beside the plain-Python simulator of the tests, taking turns."""
    env, rows = jaxsched.make("BlockingJobShop-v0"), []
    for size, shape in {"10x10": (10, 10), "30x20": (30, 20)}.items():
        for probability in (None, 0.1):
            source = blocking.unbuffered(uniform(*shape)) if probability is None else None
            source = source or blocking.interrupted(uniform(*shape), probability or 0.0)
            worlds = jax.jit(jax.vmap(source))(random.split(random.key(SEED), batch))

            @jax.jit
            @jax.vmap
            def run(key: Any, instance: Any) -> Any:
                state, _ = env.reset(key, instance)

                def act(key: Any, state: Any) -> Any:
                    mask = env.action_mask(state)
                    return masked_argmax(random.bits(key, mask.shape, jnp.uint16).astype(jnp.int32), mask), None

                return unroll(env, key, state, act, env.max_steps(instance))[0].replace(instance=None)

            keys = random.split(random.key(SEED + 2), batch)
            final = jax.block_until_ready(run(keys, worlds))
            assert np.asarray(final.done).all()
            hosts = unstack(jax.device_get(worlds))[:16]
            plain = [_simulator(host) for host in hosts]
            figures = []
            for _ in range(rounds):
                ours, theirs = _timed(lambda: jax.block_until_ready(run(keys, worlds))), _timed(lambda: _all(plain))  # noqa: B023
                figures.append((batch / ours[0], batch / ours[1], len(plain) / theirs[0], len(plain) / theirs[1]))
            middle = [statistics.median(column) for column in zip(*figures, strict=True)]
            row = {"size": size, "p": probability, "batch": batch}
            row |= {"jaxsched, schedules/s": {"wall": round(middle[0], 1), "cpu": round(middle[1], 1)}}
            row |= {"plain Python, schedules/s": {"wall": round(middle[2], 1), "cpu": round(middle[3], 1)}}
            row["ratio of CPU time"] = round(middle[1] / middle[3], 2)
            rows.append(row)
            print(json.dumps(row), flush=True)
    _write("throughput", {"rounds": rounds, "rows": rows})


def _simulator(instance: Any) -> Any:
    """The same world for the simulator of the tests."""
    from jaxsched.envs.job_shop.blocking.draws import table
    from jaxsched.envs.job_shop.lists import to_jobs

    jobs, fates = to_jobs(instance), None
    if instance.failures is not None:
        ids = np.arange(instance.num_machines, dtype=np.int32), np.arange(instance.num_jobs, dtype=np.int32)
        leaves = [np.asarray(leaf).tolist() for leaf in table(instance.failures, *ids)]
        fates = [list(zip(*rows, strict=True)) for rows in zip(*leaves, strict=True)]
    return lambda seed: reference.random_play(reference.Simulator(jobs, fates=fates), python_random.Random(seed))


def _all(plain: list[Any]) -> None:
    for seed, run in enumerate(plain):
        run(seed)


def _timed(run: Any) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def _write(name: str, data: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    header = {
        "command": "python benchmarks/blocking.py " + " ".join(sys.argv[1:]),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(header | data, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    solving = commands.add_parser("exact")
    solving.add_argument("--instances", nargs="*", default=list(OPTIMA))
    solving.add_argument("--time-limit", type=float, default=300.0)
    solving.add_argument("--num-workers", type=int, default=1)
    for name in ("rules", "compare"):
        sub = commands.add_parser(name)
        sub.add_argument("--cases", nargs="*", default=[*SIZES, "closed"])
        sub.add_argument("--worlds", type=int, default=200)
    sub.add_argument("--stage", default="standard")
    training = commands.add_parser("train")
    training.add_argument("stage", choices=[stage for stage in PRESETS if stage != "smoke"])
    training.add_argument("--work", type=Path, default=Path("runs/blocking"), help="run folders, one per stage")
    training.add_argument("--seed", type=int, default=0)
    fast = commands.add_parser("throughput")
    fast.add_argument("--batch", type=int, default=1024)
    fast.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.command == "exact":
        exact(arguments.instances, arguments.time_limit, arguments.num_workers)
    elif arguments.command == "rules":
        rules(arguments.cases, arguments.worlds)
    elif arguments.command == "compare":
        compare(arguments.stage, arguments.cases, arguments.worlds)
    elif arguments.command == "train":
        learn(arguments.stage, arguments.work, arguments.seed)
    else:
        throughput(arguments.batch, arguments.rounds)


if __name__ == "__main__":
    main()
