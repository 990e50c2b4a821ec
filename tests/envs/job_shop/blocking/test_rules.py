"""`BlockingJobShop-v0` against the plain-Python simulator: every step, every rule, interruptions included."""

from __future__ import annotations

import functools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from tests.envs.job_shop.blocking import cases

SETTINGS = {
    "swap": {},
    "wait": {"wait": True},
    "no swap": {"swap": False},
    "no swap, wait": {"swap": False, "wait": True},
}
JOBS = cases.JOBS


@functools.partial(jax.jit, static_argnums=0)
def play(env: jaxsched.Environment, instances: Any, choices: jax.Array) -> dict[str, jax.Array]:
    """Play the decisions of `choices` i32[batch, D]; leaves are [batch, T, ...], before each step."""

    def episode(instance, row):
        def step(carry, _):
            state, count = carry
            seen = {
                "decides": env.decides(state) & ~state.done,
                "mask": env.action_mask(state),
                "time": state.time,
                "next_op": state.next_op,
            }
            after, timestep = env.step(jax.random.key(0), state, row[count])
            seen |= {"illegal": timestep.metrics["illegal"] & ~state.done, "elapsed": timestep.elapsed}
            seen |= {"reward": timestep.reward, "begun": after.next_op.sum() - state.next_op.sum()}
            return (after, count + timestep.metrics["decision"]), seen

        first, _ = env.reset(jax.random.key(0), instance)
        (final, _), seen = jax.lax.scan(step, (first, jnp.int32(0)), None, env.max_steps(instance))
        last = {name: getattr(final, name) for name in ("start", "dead", "done")}
        return seen | last | {"objective": env.objective(final), "baseline": first.baseline}

    return jax.vmap(episode)(instances, choices)


def check(setting: dict[str, Any], given: list[cases.Case], seed: int, interrupted: bool = True):
    env = jaxsched.make("BlockingJobShop-v0", **setting)
    waiting = jaxsched.make("BlockingJobShop-v0", reward="waiting", **setting)
    assert env != waiting
    settings = {"swap": env.swap, "waits": env.wait}
    rng, expected = random.Random(seed), []
    instances = [cases.to_instance(case, interrupted=interrupted) for case in given]
    most = env.max_steps(instances[0])
    choices = np.zeros((len(given), most + 1), np.int32)
    for i, (case, instance) in enumerate(zip(given, instances, strict=True)):
        sim, rows = cases.simulator(case, instance, **settings), []
        while not sim.done:
            choice = rng.choice(sim.choices())
            legal = [JOBS if job is None else job for job in sim.choices()]
            choices[i, len(rows)] = JOBS if choice is None else choice
            rows.append((sim.time, legal, list(sim.begun)))
            sim.choose(choice)
        expected.append((sim, rows))
    seen = jax.device_get(play(waiting, cases.stack(instances), choices))
    for i, (sim, rows) in enumerate(expected):
        asked = np.flatnonzero(seen["decides"][i])
        assert len(asked) == len(rows) == sim.num_decisions, (i, given[i])
        for t, (time, legal, begun) in zip(asked, rows, strict=True):
            assert seen["time"][i, t] == time, (i, t)
            assert np.flatnonzero(seen["mask"][i, t]).tolist() == legal, (i, t)
            assert seen["next_op"][i, t][: len(begun)].tolist() == begun
        assert seen["done"][i]
        assert not seen["illegal"][i].any()
        assert seen["dead"][i] == (sim.deadlock is not None), i
        start = [row[: len(begun)].tolist() for row, begun in zip(seen["start"][i], sim.start, strict=False)]
        assert start == sim.start
        num_jobs, baseline = len(sim.jobs), seen["baseline"][i]
        if sim.deadlock is None:
            assert seen["objective"][i] == sim.makespan
            waited = -seen["reward"][i].sum(dtype=np.float64) * num_jobs * max(baseline, 1)
            before = sum(max(0, int(seen["time"][i, 0]) - r) for r in sim.release)
            assert waited + before == pytest.approx(sim.waited, rel=1e-4, abs=1e-2)
        else:
            assert seen["objective"][i] >= sum(duration for job in sim.jobs for _, duration in job)
    return seen, expected


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_equal_those_of_the_simulator(name: str):
    rng = random.Random(name)
    seen, expected = check(SETTINGS[name], [cases.random_case(rng) for _ in range(100)], 1)
    if name == "swap":  # every step begins an operation, or something is to be waited for
        assert (seen["begun"] > 0).any()
    if name.startswith("no swap"):
        assert 5 < sum(sim.deadlock is not None for sim, _ in expected) < 95
