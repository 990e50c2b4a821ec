"""Memory mapping: heuristics, a policy and searches on generated programs, throughput, training.

    python benchmarks/mapping.py compare [--programs 1000] [--small 100] [--searched 200] [--seconds 10] [--policy DIR]
    python benchmarks/mapping.py search [--programs 1000] [--small 100] [--seconds 10]
    python benchmarks/mapping.py throughput
    python benchmarks/mapping.py train imitate    # then standard, long, expert: each from the one before

`compare` plays every heuristic, with drop-backup and without, and the policy, on programs of 20
instructions, and on small ones of 4, where the optimum is known by exhaustive search. *Attainable*
is the baseline less the optimum, on the larger programs less the bound of CP-SAT, a relaxation, so
that shares there are understated. `relaxed plan` takes the actions of that relaxation where they
are legal. The searches play the first `--searched` of the larger programs: evolution for
`--seconds` each from heuristics alone, and from the relaxed plan too, with the solver's time in the
seconds; with the network evolution from its episodes, the best of these, a beam, and planning
before every decision. Shares are of the sums over all programs; intervals are 95 % by bootstrap
over programs, `over` the best heuristic paired. `search` plays evolution from the relaxed plan on
all programs, the small ones too, beside the heuristics. `train` runs the preset of that name,
resumable, and keeps its log, curve and weights in `results/mapping/NAME`. Each of the others
rewrites its part of `results/mapping.json`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import platform
import shutil
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsched
from jaxsched.core import rollout
from jaxsched.envs import memory
from jaxsched.envs.memory.mapping import exact, rules
from jaxsched.envs.memory.mapping import search as evolution
from jaxsched.envs.memory.mapping.backup import play
from jaxsched.envs.memory.mapping.heuristics import SCORES
from jaxsched.envs.memory.mapping.plain import policy_samples, search_starts
from jaxsched.envs.memory.mapping.play import Mapped, follow, replayed
from jaxsched.envs.memory.mapping.play import play as play_on_host
from jaxsched.envs.memory.mapping.preset import PRESETS
from jaxsched.envs.memory.mapping.relaxation import relax
from jaxsched.envs.memory.mapping.replay import problem_of_instance
from jaxsched.envs.memory.mapping.settings import Settings
from jaxsched.evaluation import step_cost, throughput
from jaxsched.host.deadline import Deadline
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.io import load_policy
from jaxsched.search import BeamConfig, PlanningConfig, beam_search, planning_policy
from jaxsched.training import train as run_training
from jaxsched.training.algorithms import from_dict

RESULTS = pathlib.Path(__file__).parent / "results" / "mapping.json"
TRAINED = RESULTS.parent / "mapping"
# from whose weights a stage starts
START = {"standard": "imitate", "long": "standard", "expert": "long"}
SEED, HELD_OUT = 999, 100  # programs of the curves
BEAM, SAMPLES, SIMULATIONS = 64, 64, 32
LARGE, SMALL = 20, 4  # instructions
CHUNK = 100
SETTINGS = Settings()
NAMES = [name for name in SCORES if name != "random"]


@functools.partial(jax.jit, static_argnums=(0, 1))
def outcomes(num_instructions: int, backup: bool, keys: jax.Array) -> dict[str, jax.Array]:
    """Latency of every heuristic, the baseline at a dead end: i32[rule, n]; baseline and lower
    bound i32[n].
    """
    source = memory.random_programs(num_instructions)

    def one(key):
        instance = source(key)

        def run(rule):
            state, forced = play(
                instance, lambda state: jnp.stack([SCORES[n](state) for n in NAMES])[rule], backup
            )
            return rules.bound(state, SETTINGS), state.dead, forced

        latency, dead, forced = jax.lax.map(run, jnp.arange(len(NAMES)))
        baseline = rules.init(instance, SETTINGS).baseline
        return {
            "latency": latency,
            "dead": dead,
            "forced": forced,
            "baseline": baseline,
            "lower": rules.lower_bound(instance, SETTINGS),
        }

    return jax.vmap(one)(keys)


def share(
    baseline: np.ndarray, latency: np.ndarray, best: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """Saving over attainable saving, of the sums, with its bootstrap interval."""
    saved, attainable = (baseline - latency).astype(float), (baseline - best).astype(float)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(saved), (2000, len(saved)))
    found = saved[draws].sum(1) / attainable[draws].sum(1)
    low, high = np.percentile(found, [2.5, 97.5])
    return {
        "share": round(saved.sum() / attainable.sum(), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def over(
    baseline: np.ndarray, latency: np.ndarray, other: np.ndarray, best: np.ndarray
) -> list[float]:
    """Share of the attainable saving that `latency` has over `other`: mean, and its paired
    bootstrap interval.
    """
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(latency), (2000, len(latency)))
    gained, attainable = (other - latency).astype(float), (baseline - best).astype(float)
    found = gained[draws].sum(1) / attainable[draws].sum(1)
    return [
        round(float(x), 4)
        for x in (gained.sum() / attainable.sum(), *np.percentile(found, [2.5, 97.5]))
    ]


def in_chunks(run: Any, keys: jax.Array, size: int = CHUNK) -> list[np.ndarray]:
    parts = [jax.device_get(run(keys[i : i + size])) for i in range(0, len(keys), size)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def by_policy(
    folder: pathlib.Path, source: Any, keys: jax.Array
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Latency (the baseline at a dead end) and dead ends of a trained policy, greedy."""
    env = jaxsched.make("MemoryMap-v0")
    apply, params = load_policy(folder, env)

    @functools.partial(jax.jit, static_argnums=1)
    def run(keys, backup):
        def one(key):
            state, _ = play(source(key), lambda state: apply(params, env.observe(state))[0], backup)
            return rules.bound(state, SETTINGS), state.dead

        return jax.vmap(one)(keys)

    names = {"policy": False, "policy+drop_backup": True}
    found = {
        name: in_chunks(lambda keys, b=backup: run(keys, b), keys) for name, backup in names.items()
    }
    return {name: (latency, dead) for name, (latency, dead) in found.items()}


def relaxed_plan(instance: Any, seconds: float) -> tuple[int, list[Mapped]]:
    """The bound of the relaxation, on one thread, and its plan where one was found."""
    problem = problem_of_instance(instance)
    bound, actions = relax(problem, deadline=Deadline(seconds), num_workers=1)
    if actions is None:
        return bound, []
    mapped = play_on_host(problem, follow(actions), backup=True, deadline=Deadline())
    return bound, [] if mapped is None else [mapped]


def evolved(
    source: Any, keys: jax.Array, seconds: float, policy: Any = None, is_relaxed: bool = False
) -> np.ndarray:
    """Latency of evolution for `seconds` a program: from the heuristics, the relaxed plan,
    episodes of a policy.
    """

    def one(key, seconds):
        instance = jax.device_get(source(key))
        problem, deadline = problem_of_instance(instance), Deadline(seconds)
        starts, bound = list(search_starts(problem, deadline).values()), 0
        if is_relaxed:
            bound, plans = relaxed_plan(instance, 0.2 * seconds)
            starts += plans
        drawn = None if policy is None else np.asarray(policy_samples(policy, instance, 0))
        given = [mapped.actions for mapped in starts]
        actions = evolution.search(instance, given, drawn, seed=0, deadline=deadline, target=bound)
        return replayed(problem, actions[: len(problem.uses)]).latency

    one(keys[0], 1.0)  # compiles
    return np.array([one(key, seconds) for key in keys])


def by_network(
    folder: pathlib.Path, source: Any, keys: jax.Array, seconds: float
) -> dict[str, np.ndarray]:
    """Latency of the searches that a network guides: evolution from its episodes, their best, a
    beam, planning.
    """
    env = jaxsched.make("MemoryMap-v0")
    apply, params = load_policy(folder, env)
    drawing = sampling_policy(apply, params)
    scale = PRESETS["expert"].training["reward_scale"]

    @jax.jit
    @jax.vmap
    def sampled(key):
        instance = source(key)
        runs = jax.vmap(lambda key: rollout(env, key, instance, drawing))(
            jax.random.split(key, SAMPLES)
        )
        return (jnp.where(runs.feasible, runs.objective, env.baseline(instance)).min(),)

    @jax.jit
    @jax.vmap
    def beam(key):
        instance = source(key)
        config = BeamConfig(width=BEAM, reward_scale=scale)
        state = env.init(key, instance)
        found = beam_search(env, apply, params, key, state, env.max_steps(instance), config)
        return (jnp.where(found.feasible, found.objective, env.baseline(instance)),)

    as_trained = {
        name: PRESETS["expert"].training[name]
        for name in ("reward_scale", "value_scale", "rescale_values")
    }
    planner = planning_policy(
        env, apply, params, PlanningConfig(SIMULATIONS, gumbel_scale=0.0, **as_trained)
    )

    @jax.jit
    @jax.vmap
    def planned(key):
        return (rollout(env, key, source(key), planner).objective,)

    return {
        f"evolution from the policy, {seconds:g} s": evolved(source, keys, seconds, drawing),
        f"policy, best of {SAMPLES}": in_chunks(sampled, keys, 10)[0],
        f"beam of {BEAM}": in_chunks(beam, keys, 10)[0],
        f"planning, {SIMULATIONS} simulations": in_chunks(planned, keys, 50)[0],
    }


def compare(
    num_programs: int,
    num_small: int,
    num_searched: int,
    seconds: float,
    policy: pathlib.Path | None,
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for what, num_instructions, num in (
        ("programs", LARGE, num_programs),
        ("small", SMALL, num_small),
    ):
        keys = jax.random.split(jax.random.key(num_instructions), num)
        source = memory.random_programs(num_instructions)
        draw = jax.jit(source)
        table: dict[str, Any] = {}
        columns = {}
        for backup in (False, True):
            parts = [
                outcomes(num_instructions, backup, keys[i : i + CHUNK])
                for i in range(0, num, CHUNK)
            ]
            found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *jax.device_get(parts))
            for r, name in enumerate(NAMES):
                label = name + "+drop_backup" * backup
                columns[label] = found["latency"][:, r]
                table[label] = {"dead ends": int(found["dead"][:, r].sum())}
        best_rule = min(columns, key=lambda name: columns[name].sum())
        if policy is not None:
            for label, (latency, dead) in by_policy(policy, source, keys).items():
                columns[label], table[label] = latency, {"dead ends": int(dead.sum())}
        baseline, best = found["baseline"], found["lower"]
        instances = [jax.device_get(draw(key)) for key in keys]
        if what == "small":
            for i, instance in enumerate(instances):
                starts = search_starts(problem_of_instance(instance), Deadline())
                start = min(starts.values(), key=lambda mapped: mapped.latency)
                mapped, bound = exact.search(instance, start, deadline=Deadline(60))
                assert bound == mapped.latency, "not proved"
                best[i] = bound
            searched = keys if policy is None else keys[:0]
        else:
            began = time.perf_counter()
            found_plans = [relaxed_plan(instance, 10.0) for instance in instances]
            best = np.maximum(best, [bound for bound, _ in found_plans])
            # all find one in time
            columns["relaxed plan"] = np.array([plan.latency for _, (plan,) in found_plans])
            print(f"relaxations: {time.perf_counter() - began:.0f} s", flush=True)
            searched = keys[:num_searched]
        if len(searched):
            columns[f"evolution from the relaxed plan, {seconds:g} s"] = evolved(
                draw, searched, seconds, None, True
            )
            if policy is not None:
                columns[f"evolution, {seconds:g} s"] = evolved(draw, searched, seconds)
                columns |= by_network(policy, draw, searched, seconds)
        for label, latency in columns.items():
            some = slice(len(latency))  # the searches play the first programs only
            row = table.setdefault(label, {}) | share(baseline[some], latency, best[some])
            row["saved per cent"] = round(
                100 * (baseline[some] - latency).sum() / baseline[some].sum(), 2
            )
            if len(latency) < num:
                row["programs"] = len(latency)
            if label not in SCORES and label.removesuffix("+drop_backup") not in SCORES:
                row[f"over {best_rule}"] = over(
                    baseline[some], latency, columns[best_rule][some], best[some]
                )
            if what == "small":
                row["optimal per cent"] = round(100 * np.mean(latency == best), 1)
            table[label] = row
        table["attainable"] = {
            "saved per cent": round(100 * (baseline - best).sum() / baseline.sum(), 2)
        }
        results[what] = {"number": num, "instructions": num_instructions, "methods": table}
        print(f"{what}: {num} programs of {num_instructions} instructions")
        for label, row in sorted(table.items(), key=lambda item: item[1].get("share", 2)):
            print(
                f"  {label:34}" + "  ".join(f"{name} {value}" for name, value in row.items()),
                flush=True,
            )
    return results


def measure() -> dict[str, Any]:
    """Random play at batch 1024 beside plain Python (the oracle of the tests) on one core, and
    the cost of one step.
    """
    from tests.reference.mapping import Simulator

    env, source = jaxsched.make("MemoryMap-v0"), memory.random_programs(LARGE)
    found: dict[str, Any] = {
        row.what: {
            "steps_per_second": round(row.decisions_per_second),
            "steps_per_cpu_second": round(
                row.decisions_per_second * row.wall_seconds / row.cpu_seconds
            ),
        }
        for row in throughput(env, source, batch=1024, seconds=3.0)
        if row.decisions_per_second
    }
    program = memory.draw_mapping(3, 40).to_dict()
    rng, steps, began = np.random.default_rng(0), 0, time.process_time()
    while (seconds := time.process_time() - began) < 3.0:
        simulator = Simulator(program)
        while legal := simulator.legal():
            simulator.apply(int(rng.choice(legal)))
            steps += 1
    found["plain Python, one core"] = {"steps_per_cpu_second": round(steps / seconds)}
    found["one step, batch 1024"] = step_cost(env, source)
    print(json.dumps(found, indent=1))
    return found


def learn(stage: str, work: pathlib.Path, seed: int) -> None:
    """One stage of training (a preset); its curve is what the greedy policy saves on held-out
    programs.
    """
    preset = PRESETS[stage]
    env = jaxsched.make("MemoryMap-v0", **preset.settings)
    keys = jax.random.split(jax.random.key(SEED), HELD_OUT)

    @functools.partial(jax.jit, static_argnums=0)
    def played(apply, params):
        policy = greedy_policy(apply, params)
        run = jax.vmap(lambda key: rollout(env, key, preset.source(key), policy))(keys)
        return (
            run.objective,
            run.feasible,
            jax.vmap(lambda key: env.baseline(preset.source(key)))(keys),
        )

    def evaluate(apply, params):
        latency, feasible, baseline = (np.asarray(x) for x in played(apply, params))
        return {
            "saved, %": round(100 * (baseline - latency).sum() / baseline.sum(), 2),
            "dead ends, %": round(100 * np.mean(~feasible), 1),
        }

    start = None
    if stage in START:
        before = work / START[stage]
        start = load_policy(before if before.exists() else TRAINED / START[stage], env)[1]
    folder = work / stage
    resume = (folder / "config.json").exists()
    config = from_dict(dict(preset.training))
    options: dict[str, Any] = {"evaluate": evaluate, "evaluate_every": 10, "checkpoint_every": 10}
    run_training(
        env,
        preset.source,
        config,
        run_dir=folder,
        resume=resume,
        initial=start,
        seed=seed,
        **options,
    )
    target = TRAINED / stage
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        shutil.copy(folder / file, target / file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("compare", "search", "throughput", "train"))
    parser.add_argument("stage", nargs="?", choices=("imitate", *START), help="of `train`")
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--policy", type=pathlib.Path, help="folder of a trained policy")
    parser.add_argument(
        "--searched", type=int, default=200, help="larger programs that the searches play"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of evolution on each")
    parser.add_argument(
        "--folder", type=pathlib.Path, default=pathlib.Path("runs/mapping"), help="of `train`"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.command == "train":
        if arguments.stage is None:
            parser.error("train which stage?")
        learn(arguments.stage, arguments.folder, arguments.seed)
        return
    a = arguments
    if a.command == "compare":
        part = compare(a.programs, a.small, a.searched, a.seconds, a.policy)
    elif a.command == "search":
        part = compare(a.programs, a.small, a.programs, a.seconds, None)
    else:
        part = measure()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    packages = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    machine = (
        f"{os.cpu_count()} CPU cores, {platform.machine()}, python {platform.python_version()}"
    )
    load = round(os.getloadavg()[2], 1)  # of the last 15 minutes: what else ran, and this
    results[arguments.command] = {
        "machine": machine,
        "load": load,
        "versions": packages,
        "results": part,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
