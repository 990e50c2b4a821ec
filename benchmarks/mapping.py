"""Memory mapping: heuristics and policies on generated programs, throughput.

    python benchmarks/mapping.py compare [--programs 1000] [--small 100] [--policy FOLDER] [--search-seconds 0]
    python benchmarks/mapping.py throughput
    python benchmarks/mapping.py train imitate    # then standard, then expert: each starts from the one before

`compare` plays every heuristic, with drop-backup and without, on programs of 20 instructions, and on small ones of 4,
where the optimum is known by exhaustive search. *Attainable* is the baseline less the optimum, on the larger programs
less the lower bound, so that shares there are understated. Shares are of the sums over all programs; intervals are 95 %
by bootstrap over programs. `train` runs the preset of that name, resumable, and keeps its log, curve and weights in
`results/mapping/NAME`. Each of the first two rewrites its part of `results/mapping.json`.
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
from jaxsched.envs.memory.mapping.backup import play
from jaxsched.envs.memory.mapping.heuristics import SCORES
from jaxsched.envs.memory.mapping.preset import PRESETS
from jaxsched.evaluation import throughput
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy
from jaxsched.training import train as run_training
from jaxsched.training.config import from_dict

RESULTS = pathlib.Path(__file__).parent / "results" / "mapping.json"
TRAINED = RESULTS.parent / "mapping"
START = {"standard": "imitate", "expert": "standard"}  # stage -> the one whose weights it starts from
SEED, HELD_OUT = 999, 100  # programs of the curves
LARGE, SMALL = 20, 4  # instructions
CHUNK = 100
NAMES = [name for name in SCORES if name != "random"]


@functools.partial(jax.jit, static_argnums=(0, 1))
def outcomes(num_instructions: int, backup: bool, keys: jax.Array) -> dict[str, jax.Array]:
    """Latency of every heuristic, the baseline at a dead end: i32[rule, n]; baseline and lower bound i32[n]."""
    source = memory.random_programs(num_instructions)

    def one(key):
        instance = source(key)

        def run(rule):
            state, forced = play(instance, lambda state: jnp.stack([SCORES[n](state) for n in NAMES])[rule], backup)
            return rules.bound(state), state.dead, forced

        latency, dead, forced = jax.lax.map(run, jnp.arange(len(NAMES)))
        baseline = rules.init(instance).baseline
        return {
            "latency": latency,
            "dead": dead,
            "forced": forced,
            "baseline": baseline,
            "lower": rules.lower_bound(instance),
        }

    return jax.vmap(one)(keys)


def share(baseline: np.ndarray, latency: np.ndarray, best: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Saving over attainable saving, of the sums, with its bootstrap interval."""
    saved, attainable = (baseline - latency).astype(float), (baseline - best).astype(float)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(saved), (2000, len(saved)))
    found = saved[draws].sum(1) / attainable[draws].sum(1)
    low, high = np.percentile(found, [2.5, 97.5])
    return {"share": round(saved.sum() / attainable.sum(), 4), "low": round(low, 4), "high": round(high, 4)}


def policy_latency(folder: pathlib.Path, num_instructions: int, keys: jax.Array) -> np.ndarray:
    """Latency of a trained policy, played greedily, the baseline at a dead end."""
    env, source = jaxsched.make("MemoryMap-v0"), memory.random_programs(num_instructions)
    apply, params = load_policy(folder, env)

    @jax.jit
    def run(params, keys):
        policy = greedy_policy(apply, params)
        return jax.vmap(lambda key: rollout(env, key, source(key), policy).objective)(keys)

    return np.concatenate([run(params, part) for part in np.array_split(keys, max(len(keys) // CHUNK, 1))])


def compare(num_programs: int, num_small: int, policy: pathlib.Path | None, search_seconds: float) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for what, num_instructions, num in (("programs", LARGE, num_programs), ("small", SMALL, num_small)):
        keys = jax.random.split(jax.random.key(num_instructions), num)
        source = memory.random_programs(num_instructions)
        table: dict[str, Any] = {}
        columns = {}
        for backup in (False, True):
            parts = [outcomes(num_instructions, backup, keys[i : i + CHUNK]) for i in range(0, num, CHUNK)]
            found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *jax.device_get(parts))
            for r, name in enumerate(NAMES):
                label = name + "+drop_backup" * backup
                columns[label] = found["latency"][:, r]
                table[label] = {"dead ends": int(found["dead"][:, r].sum()), "forced": int(found["forced"][:, r].sum())}
        if policy is not None:
            columns["policy"] = policy_latency(policy, num_instructions, keys)
        baseline, best = found["baseline"], found["lower"]
        if what == "small" or search_seconds > 0:
            # The optimum of small programs; on the others a search for so long each, from the heuristics.
            limit, states = 60.0 if what == "small" else search_seconds, []
            for key in keys:
                instance = jax.device_get(source(key))
                start = jax.jit(rules.init)(instance)
                start = start.replace(position=instance.access_mask.sum(dtype=np.int32), action=start.action + 2)
                deadline = time.perf_counter() + limit
                state, bound = exact.search(instance, [start], exhaustive=what == "small", deadline=deadline)
                assert what != "small" or bound == state.latency, "not proved"
                states.append(int(state.latency))
            columns["optimum" if what == "small" else "search"] = np.array(states)
            best = np.array(states) if what == "small" else best
        for label, latency in columns.items():
            table.setdefault(label, {})
            table[label] |= share(baseline, latency, best)
            table[label]["saved per cent"] = round(100 * (baseline - latency).sum() / baseline.sum(), 2)
            if what == "small":
                table[label]["optimal per cent"] = round(100 * np.mean(latency == best), 1)
        table["attainable"] = {"saved per cent": round(100 * (baseline - best).sum() / baseline.sum(), 2)}
        results[what] = {"number": num, "instructions": num_instructions, "methods": table}
        print(f"{what}: {num} programs of {num_instructions} instructions")
        for label, row in sorted(table.items(), key=lambda item: item[1].get("share", 2)):
            print(f"  {label:24}" + "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return results


def measure() -> dict[str, Any]:
    """Random play at batch 1024 beside plain Python (the oracle of the tests) on one core, and the cost of one step."""
    from tests.reference.mapping import Simulator

    env, source = jaxsched.make("MemoryMap-v0"), memory.random_programs(LARGE)
    found: dict[str, Any] = {
        row.what: {
            "steps_per_second": round(row.decisions_per_second),
            "steps_per_cpu_second": round(row.decisions_per_second * row.wall_seconds / row.cpu_seconds),
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
    keys = jax.random.split(jax.random.key(0), 1024)
    state = jax.vmap(lambda key: env.reset(key, source(key))[0])(keys)
    actions = jnp.full((1024,), 2, jnp.int32)
    programs = {
        "rules": lambda key, state, action: env.apply(key, state, action, action >= 0).replace(instance=None),
        "with observation": lambda key, state, action: env.step(key, state, action)[1],
    }
    for name, step in programs.items():
        compiled = jax.jit(jax.vmap(step)).lower(keys, state, actions).compile()
        text = compiled.as_text() or ""
        entry = text[text.index("ENTRY") :]
        found[f"one step, {name}"] = {
            "bytes per environment": round((compiled.cost_analysis() or {}).get("bytes accessed", 0.0) / 1024),
            "instructions": sum(" = " in line and "parameter(" not in line for line in entry.splitlines()),
        }
    print(json.dumps(found, indent=1))
    return found


def learn(stage: str, work: pathlib.Path, seed: int) -> None:
    """One stage of training (a preset); its curve is what the greedy policy saves on held-out programs."""
    preset = PRESETS[stage]
    env = jaxsched.make("MemoryMap-v0", **preset.settings)
    keys = jax.random.split(jax.random.key(SEED), HELD_OUT)

    @functools.partial(jax.jit, static_argnums=0)
    def played(apply, params):
        policy = greedy_policy(apply, params)
        run = jax.vmap(lambda key: rollout(env, key, preset.source(key), policy))(keys)
        return run.objective, run.feasible, jax.vmap(lambda key: env.baseline(preset.source(key)))(keys)

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
    run_training(env, preset.source, config, run_dir=folder, resume=resume, initial=start, seed=seed, **options)
    target = TRAINED / stage
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl", "curve.png", "policy.safetensors"):
        shutil.copy(folder / file, target / file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("compare", "throughput", "train"))
    parser.add_argument("stage", nargs="?", choices=("imitate", "standard", "expert"), help="of `train`")
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--policy", type=pathlib.Path, help="folder of a trained policy")
    parser.add_argument("--search-seconds", type=float, default=0.0, help="of the search on each larger program")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/mapping"), help="of `train`")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.command == "train":
        if arguments.stage is None:
            parser.error("train which? imitate, standard or expert")
        learn(arguments.stage, arguments.folder, arguments.seed)
        return
    if arguments.command == "compare":
        part = compare(arguments.programs, arguments.small, arguments.policy, arguments.search_seconds)
    else:
        part = measure()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    packages = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    machine = f"{os.cpu_count()} CPU cores, {platform.machine()}, python {platform.python_version()}"
    load = round(os.getloadavg()[2], 1)  # of the last 15 minutes: what else ran, and this
    results[arguments.command] = {"machine": machine, "load": load, "versions": packages, "results": part}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
