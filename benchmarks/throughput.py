"""Schedules per second beside jumanji's JobShop and plain Python: the same instances, random legal
play, in one run.

    make bench                                       # an environment with jumanji, and the full run
    python benchmarks/throughput.py --quick          # a smoke test; jumanji is left out where it is not installed

Fairness. Instances are made before the clock starts. Every system plays whole schedules, and every
schedule is checked to be complete and within its bounds. Final states, and in the `observation`
rows the observation of every step, go into a checksum, so that nothing is optimised away. Systems
take turns in every round, and ratios are medians over rounds. jumanji advances one clock tick a
step and the others one decision; it is given the credit of refilling a finished lane at no cost,
and idles a machine only where no job is legal, since an idle tick of all machines ends its episode.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxsched
from jaxsched.envs.job_shop import sources
from tests.reference.job_shop import Simulator

RESULTS = pathlib.Path(__file__).parent / "results" / "throughput.json"
SETTINGS = {
    "jumanji default": sources.jumanji(),
    "10x10": sources.uniform(10, 10),
    "30x20": sources.uniform(30, 20),
}
QUICK = {"jumanji default": sources.jumanji(), "6x6": sources.uniform(6, 6)}
PREDRAWN = 256  # random numbers per lane and machine that jumanji's long episodes reuse
# A decision chooses among all jobs and writes seven values: below 10 ns on a core, something was
# optimised away.
MOST_DECISIONS_PER_CORE = 1e8


class Outcome(NamedTuple):
    """What a system returns for B schedules, JAX or NumPy. A step is a decision, or for jumanji
    a clock tick.
    """

    makespan: Any  # i32[B]
    finished: Any  # bool[B]
    steps: Any  # i32[B]  steps until the schedule was complete
    lane_steps: Any  # i32[]  steps that each lane ran, those after its end included
    checksum: Any  # u32[]


def checksum(tree: Any) -> Array:
    """u32[]: sum of the bits of every leaf, wrapping."""

    def bits(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaf = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
        return leaf.astype(jnp.uint32).sum(dtype=jnp.uint32)

    return sum(map(bits, jax.tree.leaves(tree)), start=jnp.uint32(0))


def pick(uniform: Array, mask: Array) -> Array:
    """i32[]: a uniformly random true index of the mask for one uniform draw in [0, 1); 0 if
    there is none.
    """
    rank = jnp.cumsum(mask, dtype=jnp.int32)
    return jnp.argmax(rank > (uniform * rank[-1]).astype(jnp.int32)).astype(jnp.int32)


def ours(env: Any, observe: bool) -> Callable:
    """Random legal actions by the rules alone, or with the frontier observation built before every
    decision.

    In `event` no-ops are played too; steps count what is dispatched.
    """

    def play(key, instance) -> Outcome:
        def step(carry, uniform):
            bare, total = carry
            state = bare.replace(instance=instance)
            if observe:
                total += checksum(env.observe(state))
            legal = env.action_mask(state)
            state = env.apply(key, state, pick(uniform, legal), legal.any())
            return (state.replace(instance=None), total), None

        start = env.init(key, instance).replace(instance=None)
        draws = jax.random.uniform(key, (env.max_steps(instance),), jnp.float32)
        (final, total), _ = jax.lax.scan(step, (start, jnp.uint32(0)), draws)
        return Outcome(
            makespan=final.machine_ready.max(),
            finished=final.done,
            steps=instance.op_mask.sum(dtype=jnp.int32),
            lane_steps=jnp.int32(draws.size),
            checksum=total + checksum(final),
        )

    def batch(keys, instances) -> Outcome:
        outcome = jax.vmap(play)(keys, instances)
        return outcome._replace(
            lane_steps=outcome.lane_steps[0], checksum=outcome.checksum.sum(dtype=jnp.uint32)
        )

    return batch


def theirs(source: Any, observe: bool) -> Callable:
    """jumanji's JobShop on the same instances: random legal jobs tick by tick, until every lane
    has finished.
    """
    from jumanji.environments.packing.job_shop.env import JobShop
    from jumanji.environments.packing.job_shop.generator import Generator
    from jumanji.environments.packing.job_shop.types import State

    class Same(Generator):
        instance: Any = None

        def __call__(self, key):
            instance, num_machines = self.instance, self.num_machines
            return State(
                ops_machine_ids=jnp.where(instance.op_mask, instance.machine, -1),
                ops_durations=jnp.where(instance.op_mask, instance.duration, -1),
                ops_mask=instance.op_mask,
                machines_job_ids=jnp.full(num_machines, self.num_jobs, jnp.int32),
                machines_remaining_times=jnp.zeros(num_machines, jnp.int32),
                action_mask=None,
                step_count=jnp.int32(0),
                scheduled_times=jnp.full_like(instance.machine, -1),
                key=key,
            )

    generator = Same(source.num_jobs, source.num_machines, source.ops_per_job, source.high)
    env = JobShop(generator)

    def reset(key, instance):
        generator.instance = instance
        return env.reset(key)[0]

    def advance(draws, state):
        job_mask = state.action_mask[:, :-1]
        job = jax.vmap(pick)(draws, job_mask)
        return env.step(state, jnp.where(job_mask.any(-1), job, env.no_op_idx))

    def batch(keys, instances) -> Outcome:
        states = jax.vmap(reset)(jax.vmap(jax.random.key_data)(keys), instances)
        draws = jax.vmap(
            lambda key: jax.random.uniform(key, (PREDRAWN, env.num_machines), jnp.float32)
        )(keys)

        def step(carry):
            states, done, ticks, tick, total = carry
            states, timesteps = jax.vmap(advance)(draws[:, tick % PREDRAWN], states)
            ticks += ~done
            if observe:
                total += checksum(timesteps.observation)
            return states, done | (timesteps.step_type == 2), ticks, tick + 1, total

        none = jnp.zeros(keys.shape, jnp.int32)
        carry = (states, none > 0, none, jnp.int32(0), jnp.uint32(0))
        states, _, ticks, tick, total = jax.lax.while_loop(
            lambda carry: ~carry[1].all(), step, carry
        )
        idle = (states.machines_remaining_times == 0).all(-1)
        ends = jnp.where(instances.op_mask, states.scheduled_times + instances.duration, 0)
        return Outcome(
            makespan=ends.max((1, 2)),
            finished=idle & ~states.ops_mask.any(-1).any(-1),
            steps=ticks,
            lane_steps=tick,
            checksum=total + checksum(states),
        )

    return batch


def plain_python(jobs: list[list[list[tuple[int, int]]]], seed: int) -> Outcome:
    """The test oracle, one schedule after the other on one core."""
    choose, makespan = random.Random(seed), []
    for instance in jobs:
        simulator = Simulator(instance)
        while legal := simulator.unfinished:
            simulator.apply(choose.choice(legal))
        makespan.append(simulator.makespan)
    steps = np.asarray([sum(map(len, instance)) for instance in jobs], np.int32)
    return Outcome(
        np.asarray(makespan, np.int32), np.ones(len(jobs), bool), steps, steps.max(), np.uint32(0)
    )


class System(NamedTuple):
    """One row of the table."""

    name: str
    unit: str  # what a step is: decision or tick
    run: Callable[[int], Outcome]  # of a seed


def check(system: System, outcome: Outcome, lower: np.ndarray, upper: np.ndarray) -> None:
    """Every schedule is complete and within its bounds."""
    makespan = np.asarray(outcome.makespan)
    assert np.asarray(outcome.finished).all(), f"{system.name}: unfinished schedules"
    assert (lower[: len(makespan)] <= makespan).all(), (
        f"{system.name}: a makespan below its lower bound"
    )
    assert (makespan <= upper[: len(makespan)]).all(), (
        f"{system.name}: a makespan above the serial sum"
    )


def timed(system: System, seconds: float, lower: np.ndarray, upper: np.ndarray) -> dict[str, float]:
    """Rates over as many batches as start within `seconds`, every schedule of them checked."""
    outcomes = []
    wall, cpu = time.perf_counter(), time.process_time()
    while not outcomes or time.perf_counter() - wall < seconds:
        outcomes.append(jax.block_until_ready(system.run(len(outcomes))))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    for outcome in outcomes:
        check(system, outcome, lower, upper)
    schedules = sum(len(outcome.makespan) for outcome in outcomes)
    steps = sum(int(np.sum(outcome.steps)) for outcome in outcomes)
    # a finished lane is refilled at no cost: its idle ticks play further schedules
    if system.unit == "tick":
        used, steps = (
            steps,
            sum(int(outcome.lane_steps) * len(outcome.makespan) for outcome in outcomes),
        )
        schedules *= steps / used
    else:
        most = MOST_DECISIONS_PER_CORE * (os.cpu_count() or 1)
        assert jax.default_backend() != "cpu" or steps / wall < most, (
            f"{system.name}: implausibly fast"
        )
    rates = {
        "schedules_per_s": schedules / wall,
        "schedules_per_cpu_s": schedules / cpu,
        "steps_per_s": steps / wall,
    }
    return {"wall_s": wall, "cpu_s": cpu, **rates}


def measure(source: Any, batch: int, rounds: int, seconds: float) -> list[dict]:
    """Rows of one setting; systems take turns in every round."""
    keys = jax.random.split(jax.random.key(1), batch)
    instances = jax.jit(jax.vmap(source))(jax.random.split(jax.random.key(0), batch))
    lower = np.asarray(jax.jit(jax.vmap(jaxsched.make("JobShop-v0").lower_bound))(instances))
    upper = np.asarray(instances.duration.sum((1, 2)))
    env = jaxsched.make("JobShop-v0")
    # Slots for as many visits as the shops have, as a user would set it.
    once = not source.recirculation
    modes = {"non_delay": {}, "insert": {"max_visits": 1} if once else {}, "event": {}}

    def jitted(name: str, unit: str, fn: Callable) -> System:
        compiled = jax.jit(fn)
        return System(
            name,
            unit,
            lambda seed: compiled(jax.vmap(jax.random.fold_in, (0, None))(keys, seed), instances),
        )

    hosts = jax.tree.map(np.asarray, instances)
    jobs = [
        [
            [(int(m), int(d)) for m, d, real in zip(*row, strict=True) if real]
            for row in zip(*tables, strict=True)
        ]
        for tables in zip(hosts.machine[:64], hosts.duration[:64], hosts.op_mask[:64], strict=True)
    ]
    systems = [
        jitted("rules", "decision", ours(env, observe=False)),
        jitted("rules + observation", "decision", ours(env, observe=True)),
        *[
            jitted(
                f"rules, {mode}",
                "decision",
                ours(jaxsched.make("JobShop-v0", candidates=mode, **own), observe=False),
            )
            for mode, own in modes.items()
        ],
        System("plain Python", "decision", lambda seed: plain_python(jobs, seed)),
    ]
    if importlib.util.find_spec("jumanji"):
        systems += [
            jitted("jumanji", "tick", theirs(source, observe=False)),
            jitted("jumanji + observation", "tick", theirs(source, observe=True)),
        ]
    makespans = {}
    for system in systems:  # compiles and warms up, outside the clock
        outcome = system.run(0)
        check(system, outcome, lower, upper)
        makespans[system.name] = float(np.mean(outcome.makespan[: len(jobs)]))
    figures = {system.name: [] for system in systems}
    for _ in range(rounds):
        for system in systems:
            figures[system.name].append(timed(system, seconds, lower, upper))

    rows = []
    for system in systems:
        own = figures[system.name]
        row = {"system": system.name, "step": system.unit, "mean_makespan": makespans[system.name]}
        row |= {name: statistics.median(figure[name] for figure in own) for name in own[0]}
        peer = "jumanji + observation" if "observation" in system.name else "jumanji"
        if peer in figures:
            for ratio, rate in (
                ("ratio_wall", "schedules_per_s"),
                ("ratio_cpu", "schedules_per_cpu_s"),
            ):
                pairs = zip(own, figures[peer], strict=True)
                row[ratio] = statistics.median(mine[rate] / other[rate] for mine, other in pairs)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1024, help="schedules in parallel")
    parser.add_argument(
        "--rounds", type=int, default=3, help="turns of every system; medians are reported"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="shortest turn of a system")
    parser.add_argument(
        "--quick", action="store_true", help="smoke test: small, one short round, nothing written"
    )
    args = parser.parse_args()
    if args.quick:
        args.batch, args.rounds, args.seconds = 32, 1, 0.05
    load_before = os.getloadavg()
    settings = {}
    columns = ("schedules_per_s", "steps_per_s", "wall_s", "cpu_s", "ratio_wall", "ratio_cpu")
    print(f"{'setting':16} {'system':22}" + "".join(f" {column:>15}" for column in columns))
    for name, source in (QUICK if args.quick else SETTINGS).items():
        settings[name] = measure(source, args.batch, args.rounds, args.seconds)
        for row in settings[name]:
            figures = (
                f"{row[key]:15,.{0 if key.endswith('per_s') else 2}f}"
                if key in row
                else f"{'-':>15}"
                for key in columns
            )
            print(f"{name:16} {row['system']:22} " + " ".join(figures), flush=True)
    if args.quick:
        return
    packages = [
        "jax",
        "jaxlib",
        "numpy",
        *(["jumanji"] if importlib.util.find_spec("jumanji") else []),
    ]
    result = {
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "device": jax.devices()[0].device_kind,
        "cpu_count": os.cpu_count(),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "batch": args.batch,
        "rounds": args.rounds,
        "settings": settings,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
