"""`FlexibleJobShop-v0` against the plain-Python simulator: every step, every rule, and small
optima.
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
from jaxsched.core import greedy
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import flexible
from tests.envs.job_shop.flexible.cases import (
    JOBS,
    MACHINES,
    OPS,
    instance_of,
    num_machines,
    random_jobs,
    stacked,
)
from tests.reference import flexible as reference

MODES = ("any", "non_delay")
ILLEGAL = 6  # steps of an episode that may be wasted on actions that are not legal
STEPS = JOBS * OPS + ILLEGAL
BATCH = 100


def play_reference(jobs, mode: str, rng: random.Random) -> tuple[list[int], dict[str, Any]]:
    """Random play of `STEPS` steps: the actions, some of them not legal, and what there is to
    see at every step.
    """
    sim = reference.Simulator(jobs, num_machines(jobs))

    def padded(values, size: int) -> list:
        return [*values, *[0] * (size - len(values))]

    def rows(table) -> list:
        return [padded(row, OPS) for row in [*table, *[[]] * (JOBS - len(table))]]

    actions, wasted, trace = [], 0, []
    bound, clock = sim.bound(), sim.clock()
    for _ in range(STEPS):
        legal = {job * MACHINES + machine: (job, machine) for job, machine in sim.legal(mode)}
        action = rng.choice(list(legal)) if legal else rng.randrange(-1, JOBS * MACHINES + 2)
        if legal and wasted < ILLEGAL and rng.random() < 0.15:
            action = rng.randrange(-1, JOBS * MACHINES + 2)
        if action in legal:
            sim.apply(legal[action])
        else:
            wasted += 1
        actions.append(action)
        bound_before, bound, clock_before, clock = bound, sim.bound(), clock, sim.clock()
        trace.append(
            {
                "mask": [pair in legal for pair in range(JOBS * MACHINES)],
                "illegal": action not in legal,
                "decision": bool(legal),
                "objective_delta": bound_before - bound,
                "elapsed": clock - clock_before,
                "done": not sim.pairs(),
                "start": rows(sim.start),
                "machine": rows(sim.machine),
                "next_op": padded(list(map(len, sim.start)), JOBS),
                "job_ready": padded(sim.job_ready, JOBS),
                "machine_ready": padded(sim.machine_ready, MACHINES),
                "work_left": padded([sim.work_left(job) for job in range(len(jobs))], JOBS),
                "load_left": padded(
                    [sim.load_left(machine) for machine in range(sim.num_machines)], MACHINES
                ),
            }
        )
    assert not sim.pairs()
    return actions, {name: [step[name] for step in trace] for name in trace[0]}


@functools.partial(jax.jit, static_argnums=0)
def play(
    env: jaxsched.Environment, instances: flexible.Instance, actions: jax.Array
) -> dict[str, jax.Array]:
    """What `play_reference` reports, of a batch of environments; leaves are [batch, STEPS, ...]."""
    key = jax.random.key(0)

    def step(state, action):
        after, timestep = env.step(key, state, action)
        names = (
            "start",
            "machine",
            "next_op",
            "job_ready",
            "machine_ready",
            "work_left",
            "load_left",
        )
        seen = {name: getattr(after, name) for name in names}
        seen |= {
            name: timestep.metrics[name] for name in ("illegal", "decision", "objective_delta")
        }
        return after, seen | {
            "mask": env.action_mask(state),
            "elapsed": timestep.elapsed,
            "done": timestep.terminated,
        }

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(
        instances, actions
    )


def check_steps(mode: str, seed: int):
    rng = random.Random(seed)
    cases = [random_jobs(rng) for _ in range(BATCH)]
    actions, expected = zip(*(play_reference(jobs, mode, rng) for jobs in cases), strict=True)
    env = jaxsched.make("FlexibleJobShop-v0", candidates=mode)
    actual = jax.device_get(
        play(env, stacked([instance_of(jobs) for jobs in cases]), np.array(actions, np.int32))
    )
    assert actual.keys() == expected[0].keys()
    for name, value in actual.items():
        wanted = np.array([trace[name] for trace in expected])
        assert value.shape == wanted.shape
        wrong = np.argwhere(value != wanted)
        if wrong.size:
            i, t = wrong[0, :2]
            raise AssertionError(
                f"{name} after {actions[i][: t + 1]} is {value[i, t].tolist()}, not {wanted[i, t].tolist()}: {cases[i]}"
            )


@pytest.mark.parametrize("mode", MODES)
def test_every_step_equals_the_simulator(mode):
    check_steps(mode, seed=0)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
def test_every_step_equals_the_simulator_2000(mode):
    for seed in range(1, 1 + 2_000 // BATCH):
        check_steps(mode, seed)


# ----------------------------------------------------------------------------------- priority rules


@functools.partial(jax.jit, static_argnums=0)
def play_rules(env: jaxsched.Environment, instances: flexible.Instance) -> flexible.State:
    """Final states [rule, batch] of all rules of the simulator, in its order: one program for
    all of them.
    """
    policies = [greedy(env.heuristics[rule]) for rule in reference.RULES]

    def final(rule, instance):
        def policy(key, state, observation):
            return jnp.stack([policy(key, state, observation) for policy in policies])[rule]

        return jaxsched.rollout(env, jax.random.key(0), instance, policy).state

    over_instances = jax.vmap(final, in_axes=(None, 0))
    return jax.vmap(over_instances, in_axes=(0, None))(jnp.arange(len(policies)), instances)


@pytest.mark.parametrize("mode", MODES)
def test_rules_equal_the_simulator(mode):
    rng = random.Random(1)
    cases = [random_jobs(rng) for _ in range(BATCH)]
    env = jaxsched.make("FlexibleJobShop-v0", candidates=mode)
    states = jax.device_get(play_rules(env, stacked([instance_of(jobs) for jobs in cases])))
    for r, rule in enumerate(reference.RULES):
        for i, jobs in enumerate(cases):
            schedule = env.solution(jax.tree.map(lambda leaf, r=r, i=i: leaf[r, i], states))
            sim = reference.dispatch(jobs, num_machines(jobs), rule, mode)
            assert (schedule.start, schedule.machine) == (sim.start, sim.machine), (
                f"{rule}, {mode}: {jobs}"
            )
            assert schedule.makespan == sim.makespan


def test_the_rules_of_the_simulator_are_all_but_random():
    env = jaxsched.make("FlexibleJobShop-v0")
    assert set(env.heuristics) == {*reference.RULES, "random"}


# ---------------------------------------------------------------------------- optima, special cases


def test_both_ways_to_the_optimum_agree():
    """The dispatching of pairs is complete: it finds the best job shop over all assignments of
    machines.
    """
    rng = random.Random(2)
    worse = 0
    for _ in range(40):
        jobs = random_jobs(rng, 3, 2, 3)
        best = reference.optimum(jobs, num_machines(jobs))
        assert best == reference.optimum_by_assignment(jobs), jobs
        worse += reference.optimum(jobs, num_machines(jobs), "non_delay") > best
    assert worse  # a mode that is not complete


def test_one_machine_an_operation_is_the_job_shop():
    """The schedules of the job shop, where there is no choice, and a bound that is at least as
    good.
    """
    rng = random.Random(3)
    bounds = [
        jax.jit(jaxsched.make(name).lower_bound) for name in ("FlexibleJobShop-v0", "JobShop-v0")
    ]
    for _ in range(4):
        lengths = [OPS, *(rng.randint(1, OPS) for _ in range(JOBS - 1))]
        jobs = [
            [(rng.randrange(MACHINES), rng.randint(0, 20)) for _ in range(length)]
            for length in lengths
        ]
        instance = flexible.from_jobs(
            [[[operation] for operation in job] for job in jobs], num_machines=MACHINES
        )
        fixed = job_shop.from_jobs(jobs, num_machines=MACHINES)
        sequence = [job for job, length in enumerate(lengths) for _ in range(length)]
        rng.shuffle(sequence)
        turns = [iter(job) for job in jobs]
        schedule = flexible.replay(instance, [(job, next(turns[job])[0]) for job in sequence])
        assert schedule.start == job_shop.replay(fixed, sequence).start
        assert schedule.machine == [[machine for machine, _ in job] for job in jobs]
        assert int(bounds[0](instance)) >= int(bounds[1](fixed))


@pytest.mark.nightly
def test_a_million_random_steps_break_no_invariant():
    """Bounds grow to the makespan, the clock never runs back, and schedules are valid."""
    env = jaxsched.make("FlexibleJobShop-v0")
    source = flexible.sd1(8, 5, min_jobs=2, min_machines=2)

    @jax.jit
    @jax.vmap
    def episode(key):
        source_key, key = jax.random.split(key)
        instance = source(source_key)

        def step(state, key):
            logits = jnp.where(env.action_mask(state), 0.0, -jnp.inf)
            after, timestep = env.step(key, state, jax.random.categorical(key, logits))
            good = (timestep.metrics["objective_delta"] <= 0) & (timestep.elapsed >= 0)
            good &= (timestep.metrics["illegal"] == state.done) & (after.ops_left >= 0).all()
            good &= (after.work_left >= 0).all() & (after.load_left >= 0).all()
            return after, (good, timestep.metrics["decision"])

        first, _ = env.reset(key, instance)
        final, (good, decision) = jax.lax.scan(
            step, first, jax.random.split(key, env.max_steps(instance) + 2)
        )
        bound_met = (env.objective(final) >= env.lower_bound(instance)) & final.done
        return final, good.all() & bound_met, decision.sum()

    steps = 0
    for seed in range(72):
        final, good, decisions = jax.device_get(
            episode(jax.random.split(jax.random.key(seed), 1024))
        )
        assert good.all()
        steps += int(decisions.sum())
        for i in range(0, 1024, 64):
            state = jax.tree.map(lambda leaf, i=i: leaf[i], final)
            assert flexible.validate(state.instance, env.solution(state)) == []
    assert steps >= 1_000_000
