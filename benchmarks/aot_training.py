"""Kernels, memory and compile time of training on an H100 and a TPU v5e, by the vendors' own
compilers, without an accelerator: PPO of four families, and the preset `accelerator`.

    python benchmarks/aot_training.py                    # with the compilers that aot.py asks for
    python benchmarks/aot_training.py --environment JobShop-v0 --program collect

`collect` plays the episodes of one update, `update` is the whole of it. Each run rewrites its own
rows of `training` in `results/aot.json`. What a loop launches counts once for every trip, of a loop
whose trips the compiler does not know once.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from aot import BATCH, COMPILERS, RESULTS, SOC_BATCH, SYSTEMS, compile_for, count_text, versions

import jaxsched
from jaxsched.core.environment import Environment, Source
from jaxsched.envs.job_shop import preset as job_shop
from jaxsched.envs.job_shop.blocking import preset as blocking
from jaxsched.envs.job_shop.sources import uniform
from jaxsched.envs.memory import random_programs
from jaxsched.envs.memory.mapping import preset as mapping
from jaxsched.envs.soc import preset as soc
from jaxsched.envs.soc import streams
from jaxsched.training.algorithms import ALGORITHMS, algorithm_of, from_dict
from jaxsched.training.common import TrainState, env_ids
from jaxsched.training.config import with_numbers
from jaxsched.training.episodes import episode_keys
from jaxsched.training.loop import make_training
from jaxsched.training.update import Task

PROGRAMS = ("collect", "update")
ACCELERATOR = job_shop.PRESETS["accelerator"]
SIZE = {"num_minibatches": 4, "num_epochs": 2}


class Case(NamedTuple):
    """What is trained, on how many environments."""

    env: Environment
    source: Source
    config: Any


def case(env: Environment, source: Source, training: Mapping[str, Any], num_envs: int) -> Case:
    """PPO with the settings of a preset, and whole minibatches at once as on an accelerator."""
    size = SIZE | {"num_envs": num_envs, "micro_batch": num_envs // SIZE["num_minibatches"]}
    return Case(env, source, from_dict({**training, **size}))


CASES: dict[str, Callable[[], Case]] = {
    "JobShop-v0": lambda: case(
        jaxsched.make("JobShop-v0"),
        uniform(10, 10),
        job_shop.PRESETS["ppo"].training,
        BATCH,
    ),
    # The largest of its sizes.
    "JobShop-v0 accelerator": lambda: Case(
        jaxsched.make("JobShop-v0", **ACCELERATOR.settings),
        job_shop.LARGE[-1],
        from_dict(dict(ACCELERATOR.training)),
    ),
    "SoC-v0": lambda: case(
        jaxsched.make("SoC-v0", record=False), streams(**SYSTEMS["3 PEs"]), soc.PPO, SOC_BATCH
    ),
    "MemoryMap-v0": lambda: case(
        jaxsched.make("MemoryMap-v0"),
        random_programs(20),
        mapping.PRESETS["standard"].training,
        1024,
    ),
    "BlockingJobShop-v0": lambda: case(
        jaxsched.make("BlockingJobShop-v0"),
        blocking.PRESETS["standard"].source,
        blocking.PRESETS["standard"].training,
        1024,
    ),
}


def program(name: str, case: Case) -> tuple[Callable, Any]:
    """A program of training, and the train state that it takes."""
    env, source, config = case
    init, make = make_training(env, source, config)
    apply, state = init(jax.random.key(0))
    algorithm = ALGORITHMS[algorithm_of(config)]

    def collect(state: TrainState) -> Any:
        task = Task(env, source, apply, with_numbers(config, state.numbers))

        def play(env_id: jax.Array) -> Any:
            keys = episode_keys(state.key, state.update, env_id)
            return algorithm.play(task, state.params, keys, env_id)

        return jax.vmap(play)(env_ids(config.num_envs, None))

    return {"collect": collect, "update": make(apply)}[name], jax.eval_shape(lambda: state)


def launches(counts: dict) -> int:
    """Of `counts` (see `aot.count_text`) with all trips of all loops; one of an unknown number."""
    return counts["kernels"] + sum(map(launches_of, counts.get("loops", [])))


def launches_of(loop: dict) -> int:
    """All trips of a loop."""
    return (loop["known_trip_count"] or 1) * launches(loop["body"])


def walk(counts: dict, depth: int = 0) -> Iterator[tuple[int, dict]]:
    """All loops with their depth, outer ones first."""
    for loop in counts.get("loops", []):
        yield depth, loop
        yield from walk(loop["body"], depth + 1)


def figures(counts: dict, case: Case) -> dict:
    """What is read off the counts of a program."""
    # the advantages are a loop over the same steps
    innermost = [loop for _, loop in walk(counts) if not loop["body"].get("loops")]
    playing = max(innermost, key=launches_of)
    result = {
        "steps": playing["known_trip_count"],
        "launches per decision": launches(playing["body"]),
        "launches outside of loops": counts["kernels"],
        "launches": launches(counts),
    }
    epochs = [
        inner
        for outer in counts["loops"]
        if outer["known_trip_count"] == case.config.num_epochs
        for inner in outer["body"].get("loops", [])
        if inner["known_trip_count"] == case.config.num_minibatches
    ]
    if epochs:
        body = epochs[0]["body"]
        result |= {
            "launches per minibatch": launches(body),
            "loops in a minibatch": [
                [loop["known_trip_count"], launches(loop["body"])] for _, loop in walk(body)
            ],
        }
    return result


def measure(fn: Callable, state: Any, case: Case, target: str) -> tuple[dict, str]:
    """A row of the results, and the optimised HLO."""
    started = time.process_time()
    compiled = compile_for(fn, state, target=target, donate_argnums=0)
    seconds = time.process_time() - started
    text = compiled.as_text() or ""
    memory = compiled.memory_analysis()
    counts = count_text(text)
    row = figures(counts, case) | {
        "temporary bytes": memory.temp_size_in_bytes,
        "CPU seconds to compile": round(seconds, 1),
        "counts": counts,
    }
    return row, text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--program", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--dump", type=pathlib.Path, help="folder for the optimised HLO")
    arguments = parser.parse_args()
    targets = [
        target for target, (module, _) in COMPILERS.items() if importlib.util.find_spec(module)
    ]
    if not targets:
        parser.error("no compiler is installed; see the head of aot.py")
    for target in targets:
        for name in arguments.environment:
            case = CASES[name]()
            for part in arguments.program:
                row, text = measure(*program(part, case), case, target)
                if arguments.dump:
                    arguments.dump.mkdir(parents=True, exist_ok=True)
                    (arguments.dump / f"{target}-{name}-{part}.txt").write_text(text)
                record(target, {"environment": name, "program": part, **row})


def record(target: str, row: dict) -> None:
    """Print a row, and write it in the place of the one with its names, beside all others."""
    names = row["environment"], row["program"]
    print(target, *names, flush=True)
    for figure, value in list(row.items())[2:-1]:
        print(f"    {figure:28} {value}", flush=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    part = results.setdefault(target, {})
    training = part.setdefault("training", {})
    rows = training.get("programs", [])
    rows = [old for old in rows if (old["environment"], old["program"]) != names] + [row]
    order = list(CASES)
    rows.sort(key=lambda row: (order.index(row["environment"]), PROGRAMS.index(row["program"])))
    part["training"] = {"versions": versions(target), "programs": rows}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
