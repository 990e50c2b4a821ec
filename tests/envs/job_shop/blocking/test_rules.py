"""`BlockingJobShop-v0` against the plain-Python simulator: every step, every rule, interruptions
included.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import Infeasible, UnknownNameError, masked_argmax
from jaxsched.envs.job_shop import blocking
from tests.envs.job_shop.blocking import cases
from tests.reference import blocking as reference

SETTINGS = {
    "swap": {},
    "wait": {"wait": True},
    "no swap": {"swap": False},
    "no swap, wait": {"swap": False, "wait": True},
}
JOBS = cases.JOBS


@functools.partial(jax.jit, static_argnums=0)
def play(env: jaxsched.Environment, instances: Any, choices: jax.Array) -> dict[str, jax.Array]:
    """Play the decisions of `choices` i32[batch, D]; leaves are [batch, T, ...], before each
    step.
    """

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
            seen |= {
                "illegal": timestep.metrics["illegal"] & ~state.done,
                "elapsed": timestep.elapsed,
            }
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
    settings = {"swap": env.settings.swap, "waits": env.settings.wait}
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
        start = [
            row[: len(begun)].tolist()
            for row, begun in zip(seen["start"][i], sim.start, strict=False)
        ]
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


@pytest.mark.nightly
@pytest.mark.parametrize("name", SETTINGS)
def test_steps_equal_those_of_the_simulator_on_many(name: str):
    rng = random.Random(name + " nightly")
    for seed in range(20):
        check(SETTINGS[name], [cases.random_case(rng) for _ in range(100)], seed)


@functools.partial(jax.jit, static_argnums=(0, 1))
def play_rules(env: jaxsched.Environment, names: tuple[str, ...], instances: Any) -> Any:
    """Final states [rule, batch], without their instance: one program."""
    rules = [env.heuristics[name] for name in names]

    def episode(rule, instance):
        def step(state, _):
            action = jnp.stack(
                [masked_argmax(scores(state), env.action_mask(state)) for scores in rules]
            )[rule]
            return env.step(jax.random.key(0), state, action)[0], None

        first, _ = env.reset(jax.random.key(0), instance)
        return jax.lax.scan(step, first, None, env.max_steps(instance))[0].replace(instance=None)

    return jax.vmap(jax.vmap(episode, (None, 0)), (0, None))(jnp.arange(len(rules)), instances)


def test_rules_equal_those_of_the_simulator():
    rng, env = random.Random(3), jaxsched.make("BlockingJobShop-v0")
    given = [cases.random_case(rng) for _ in range(60)]
    instances = [cases.to_instance(case) for case in given]
    names = tuple(name for name in env.heuristics if name != "random")
    assert len(names) == 12
    final = jax.device_get(play_rules(env, names, cases.stack(instances)))
    differ = set()
    for i, (case, instance) in enumerate(zip(given, instances, strict=True)):
        for r, rule in enumerate(names):
            sim = reference.dispatch(cases.simulator(case, instance), rule)
            start = [
                row[: len(job)].tolist()
                for row, job in zip(final.start[r, i], sim.jobs, strict=False)
            ]
            assert start == sim.start, (i, rule)
            assert final.time[r, i] == sim.makespan
            differ.add((rule, sim.makespan))
    assert len({makespan for _, makespan in differ}) > 20


def test_without_failures_every_world_is_the_deterministic_one():
    """p = 0 and no hazard at all are the same, step by step."""
    rng, env = random.Random(4), jaxsched.make("BlockingJobShop-v0")
    given = [cases.random_case(rng)._replace(probability=0.0) for _ in range(60)]
    drawn = cases.stack([cases.to_instance(case) for case in given])
    never = drawn.replace(failures=None)
    (with_draws, without) = (
        jax.device_get(play_rules(env, ("spt",), each)) for each in (drawn, never)
    )
    for name in ("time", "start", "ready", "next_op", "baseline"):
        np.testing.assert_array_equal(getattr(with_draws, name), getattr(without, name))


def test_the_look_ahead_avoids_every_deadlock():
    rng, env = random.Random(5), jaxsched.make("BlockingJobShop-v0", swap=False, lookahead=True)
    given = [cases.random_case(rng) for _ in range(150)]
    final = jax.device_get(
        play_rules(env, ("fifo",), cases.stack([cases.to_instance(case) for case in given]))
    )
    assert not final.dead.any()
    assert final.done.all()
    for i in range(0, 150, 10):
        instance = cases.to_instance(given[i])
        state = jax.tree.map(lambda leaf, i=i: leaf[0, i], final).replace(instance=instance)
        assert env.validate(instance, env.solution(state)) == []


def test_an_illegal_action_changes_nothing():
    env = jaxsched.make("BlockingJobShop-v0")
    instance = blocking.from_jobs([[(0, 3)], [(0, 2)], [(1, 4)]])
    state, _ = jax.jit(env.reset)(jax.random.key(0), instance)
    assert jax.jit(env.action_mask)(state).tolist() == [True, True, False]
    after, timestep = jax.jit(env.step)(jax.random.key(0), state, 2)
    assert timestep.metrics["illegal"]
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (np.asarray(a) == np.asarray(b)).all(), after, state)
    )


def test_machines_are_served_in_the_order_of_their_numbers_and_a_swap_takes_no_time():
    env = jaxsched.make("BlockingJobShop-v0")
    instance = blocking.from_jobs([[(0, 2), (1, 5)], [(1, 2), (0, 5)], [(2, 1), (0, 1)]])
    step, state = jax.jit(env.step), jax.jit(env.reset)(jax.random.key(0), instance)[0]
    seen = []
    while not state.done:
        seen.append(
            (
                int(state.time),
                np.flatnonzero(state.competes).tolist(),
                np.flatnonzero(state.swaps).tolist(),
            )
        )
        state, timestep = step(jax.random.key(0), state, 0)
        assert not timestep.metrics["decision"]
    # Jobs 0 and 1 swap although job 2 wants machine 0, too: it is never free.
    assert seen == [(0, [0], []), (0, [1], []), (0, [2], []), (2, [], [0, 1]), (7, [2], [])]
    assert env.solution(state).start == [[0, 2], [0, 2], [0, 7]]


def test_a_deadlock_is_told_with_its_circle_and_costs_all_work():
    env = jaxsched.make("BlockingJobShop-v0", swap=False)
    instance = blocking.from_jobs([[(0, 2), (1, 5)], [(1, 2), (0, 5)]])
    step, (state, timestep) = jax.jit(env.step), jax.jit(env.reset)(jax.random.key(0), instance)
    assert timestep.metrics["feasible"]
    total = 0
    while not state.done:
        state, timestep = step(jax.random.key(0), state, 0)
        total += int(timestep.metrics["objective_delta"])
    assert timestep.terminated
    assert not timestep.metrics["feasible"]
    assert total == -14  # the bound was 7 all along
    with pytest.raises(
        Infeasible,
        match="job 0 holds machine 0 and needs machine 1; job 1 holds machine 1 and needs",
    ):
        env.solution(state)
    assert blocking.dispatch(instance, "spt", swap=False, lookahead=True).makespan == 14


def test_settings():
    env = jaxsched.make("BlockingJobShop-v0", wait=True, reward="waiting")
    assert jaxsched.make(env.id, **env.settings) == env
    assert env.complete
    assert not jaxsched.make("BlockingJobShop-v0").complete
    with pytest.raises(UnknownNameError, match="did you mean waiting"):
        jaxsched.make("BlockingJobShop-v0", reward="waitin")
    with pytest.raises(ValueError, match="cannot deadlock"):
        jaxsched.make("BlockingJobShop-v0", lookahead=True)


@pytest.mark.nightly
def test_a_million_random_steps_break_no_invariant():
    """Every moment: a machine has one job, a job one machine; time and bound do not fall; every
    step does something.
    """
    num, steps = 1000, 0
    for seed, setting in enumerate(SETTINGS.values()):
        env, rng = jaxsched.make("BlockingJobShop-v0", **setting), random.Random(seed)

        @jax.jit
        @jax.vmap
        def run(key, instance, env=env):
            def step(state, key):
                mask = env.action_mask(state)
                action = masked_argmax(
                    jax.random.bits(key, mask.shape, jnp.uint16).astype(jnp.int32), mask
                )
                after, timestep = env.step(key, state, action)
                machines = jnp.arange(instance.num_machines)
                good = ((after.at == machines[:, None]).sum(1) <= 1).all()
                good &= (after.time >= state.time) & (env.bound(after) >= env.bound(state))
                good &= (after.work_left == jnp.where(after.ops_left > 0, after.work_left, 0)).all()
                good &= after.load_left.sum() == after.work_left.sum()
                good &= (after.next_op + after.ops_left == instance.op_mask.sum(-1)).all()
                good &= (
                    state.done
                    | after.done
                    | (after.competes.any() ^ after.swaps.any())
                    | (after.time > state.time)
                )
                good &= ~timestep.metrics["illegal"] | state.done
                return after, (good, ~state.done)

            final, (good, counts) = jax.lax.scan(
                step, env.reset(key, instance)[0], jax.random.split(key, env.max_steps(instance))
            )
            return good.all(), counts.sum(), final.done

        shops = cases.stack([cases.to_instance(cases.random_case(rng)) for _ in range(num)])
        while steps < (seed + 1) * 250_000:
            worlds = shops.failures.replace(
                noise_key=jax.random.split(jax.random.key(steps + 1), num)
            )
            batch = shops.replace(failures=worlds)
            good, counts, done = run(jax.random.split(jax.random.key(steps), num), batch)
            assert good.all()
            assert done.all()
            steps += int(counts.sum())
    assert steps >= 1_000_000
