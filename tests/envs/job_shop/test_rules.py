"""`JobShop-v0` against the plain-Python simulator: every step, every rule, and the optima of
small instances.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import greedy
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import rules
from jaxsched.envs.job_shop.settings import OBJECTIVES, Settings
from tests.reference import job_shop as reference

MODES = ("any", "non_delay", "insert", "event")
JOBS, OPS, MACHINES = 6, 6, 5  # every random instance is padded to this one shape
ILLEGAL = 6  # steps of an episode that may be wasted on actions that are not legal
STEPS = {mode: JOBS * OPS * (1 + (mode == "event")) + JOBS + ILLEGAL for mode in MODES}
BATCH = 320


class Case(NamedTuple):
    """A job shop as Python lists."""

    jobs: list[list[tuple[int, int]]]
    release: list[int]
    due: list[int | None]
    weight: list[int]


def random_case(
    rng: random.Random, num_jobs: int = JOBS, num_ops: int = OPS, num_machines: int = MACHINES
) -> Case:
    """At most this large; ragged, re-entrant, with durations of 0 and many ties, some with
    release and due dates.
    """
    longest = rng.choice([1, 9, 99])
    machines = rng.randint(1, num_machines)
    jobs = [
        [(rng.randrange(machines), rng.randint(0, longest)) for _ in range(rng.randint(1, num_ops))]
        for _ in range(rng.randint(1, num_jobs))
    ]
    release = [rng.choice([0, rng.randint(0, 3 * longest)]) for _ in jobs]
    due = [rng.choice([None, rng.randint(0, 9 * longest)]) for _ in jobs]
    return Case(jobs, release, due, [rng.choice([1, 1, rng.randint(0, 5)]) for _ in jobs])


def random_cases(seed: int, count: int) -> list[Case]:
    rng = random.Random(seed)
    return [random_case(rng) for _ in range(count)]


def to_batch(
    cases: Sequence[Case], num_jobs: int, num_ops: int, num_machines: int
) -> job_shop.Instance:
    """The cases as one batch of instances, zero-padded on the host: no program per size."""
    largest = job_shop.from_jobs([[(0, 0)] * num_ops] * num_jobs, num_machines=num_machines)

    def stack(like, *leaves):
        return np.stack(
            [
                np.pad(leaf, [(0, b - a) for a, b in zip(leaf.shape, like.shape, strict=True)])
                for leaf in leaves
            ]
        )

    instances = [
        job_shop.from_jobs(case.jobs, release=case.release, due=case.due, weight=case.weight)
        for case in cases
    ]
    return jax.tree.map(stack, largest, *jax.device_get(instances))


# ------------------------------------------------------------------------------------- step by step


def play_reference(case: Case, mode: str, rng: random.Random) -> tuple[list[int], dict[str, Any]]:
    """Random play of `STEPS` steps: the actions, some of them not legal, and what there is to
    see at every step.
    """
    sim = reference.SIMULATORS[mode](case.jobs, case.release, case.due, case.weight)
    num_actions = JOBS + (mode == "event")

    def padded(values: list[int], size: int) -> list[int]:
        return values + [0] * (size - len(values))

    actions, wasted, trace = [], 0, []
    bound, clock = sim.makespan_bound(), sim.clock()
    for _ in range(STEPS[mode]):
        # the no-op comes after padding
        legal = [job if job < len(case.jobs) else JOBS for job in sim.legal(mode)]
        action = rng.choice(legal) if legal else rng.randrange(-1, JOBS + 2)
        if legal and wasted < ILLEGAL and rng.random() < 0.15:
            action = rng.randrange(-1, JOBS + 2)
        if action in legal:
            sim.apply(min(action, len(case.jobs)))
        else:
            wasted += 1
        actions.append(action)
        bound_before, bound, clock_before, clock = bound, sim.makespan_bound(), clock, sim.clock()
        trace.append(
            {
                "mask": [job in legal for job in range(num_actions)],
                "illegal": action not in legal,
                "decision": bool(legal),
                "objective_delta": bound_before - bound,
                "elapsed": clock - clock_before,
                "bounds": [sim.bound(objective) for objective in OBJECTIVES],
                "done": not sim.unfinished,
                "start": [padded(row, OPS) for row in sim.start + [[]] * (JOBS - len(sim.jobs))],
                "next_op": padded(sim.next_op, JOBS),
                "job_ready": padded(sim.job_ready, JOBS),
                "work_left": padded(sim.work_left, JOBS),
                "machine_ready": padded(sim.machine_ready, MACHINES),
                "load_left": padded(sim.load_left, MACHINES),
            }
        )
    assert sim.done
    return actions, {name: [step[name] for step in trace] for name in trace[0]}


@functools.partial(jax.jit, static_argnums=0)
def play(
    env: jaxsched.Environment, instances: job_shop.Instance, actions: jax.Array
) -> dict[str, jax.Array]:
    """What `play_reference` reports, of a batch of environments; leaves are [batch, STEPS[mode],
    ...].
    """
    key = jax.random.key(0)

    def step(state, action):
        after, timestep = env.step(key, state, action)
        metrics = timestep.metrics
        seen = {
            name: getattr(after, name)
            for name in ("start", "job_ready", "machine_ready", "work_left", "load_left", "next_op")
        }
        seen |= {name: metrics[name] for name in ("illegal", "decision", "objective_delta")}
        seen |= {
            "mask": env.action_mask(state),
            "bounds": jnp.stack(
                [rules.bound(after, Settings(objective=name)) for name in OBJECTIVES]
            ),
        }
        return after, seen | {"elapsed": timestep.elapsed, "done": timestep.terminated}

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(
        instances, actions
    )


def check_steps(mode: str, seed: int):
    cases, rng = random_cases(seed, BATCH), random.Random(seed)
    actions, expected = zip(*(play_reference(case, mode, rng) for case in cases), strict=True)
    env = jaxsched.make("JobShop-v0", candidates=mode)
    actual = jax.device_get(
        play(env, to_batch(cases, JOBS, OPS, MACHINES), np.array(actions, np.int32))
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
def test_every_step_equals_the_simulator_10000(mode):
    for seed in range(1, 1 + -(-10_000 // BATCH)):
        check_steps(mode, seed)


# ----------------------------------------------------------------------------------- priority rules


@functools.partial(jax.jit, static_argnums=0)
def play_rules(env: jaxsched.Environment, instances: job_shop.Instance) -> job_shop.State:
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


def check_rules(mode: str, cases: Sequence[Case], num_jobs: int, num_ops: int, num_machines: int):
    env = jaxsched.make("JobShop-v0", candidates=mode)
    states = jax.device_get(play_rules(env, to_batch(cases, num_jobs, num_ops, num_machines)))
    for (r, rule), (i, case) in itertools.product(enumerate(reference.RULES), enumerate(cases)):
        schedule = env.solution(jax.tree.map(lambda leaf, r=r, i=i: leaf[r, i], states))
        expected = reference.dispatch(case.jobs, rule, mode, case.release, case.due)
        assert (schedule.start, schedule.makespan) == (expected.start, expected.makespan), (
            f"{rule}, {mode}: {case}"
        )


@functools.partial(jax.jit, static_argnums=0)
def score_atc(
    env: jaxsched.Environment, instances: job_shop.Instance, sequences: jax.Array
) -> jax.Array:
    """f32[batch, step, job]: scores before each step of the sequences."""
    key = jax.random.key(0)

    def step(state, job):
        return env.step(key, state, job)[0], env.heuristics["atc"](state)

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(
        instances, sequences
    )


def test_atc_scores_equal_the_simulator():
    cases, rng = random_cases(4, 60), random.Random(4)
    sequences = np.full((len(cases), JOBS * OPS), -1, np.int32)
    expected = []
    for i, case in enumerate(cases):
        sim = reference.Simulator(case.jobs, case.release, case.due, case.weight)
        order = [job for job, ops in enumerate(case.jobs) for _ in ops]
        rng.shuffle(order)
        sequences[i, : len(order)] = order
        expected.append([])
        for job in order:
            expected[-1].append(
                {j: reference.apparent_tardiness_cost(sim, j) for j in sim.unfinished}
            )
            sim.apply(job)
    scores = jax.device_get(
        score_atc(jaxsched.make("JobShop-v0"), to_batch(cases, JOBS, OPS, MACHINES), sequences)
    )
    assert np.isfinite(scores).all()
    for i, steps in enumerate(expected):
        for t, costs in enumerate(steps):
            for job, cost in costs.items():
                if cost > 0:
                    assert np.isclose(scores[i, t, job], np.log(cost), rtol=1e-5, atol=1e-4)
                else:  # weight 0, or beyond the range of a float: after all that count
                    counted = [scores[i, t, other] for other, value in costs.items() if value > 0]
                    assert all(scores[i, t, job] < other for other in counted)


def classic(name: str) -> Case:
    """A square instance of the package as lists."""
    instance = job_shop.load(name)
    assert np.asarray(instance.op_mask).all()
    operations = np.stack([instance.machine, instance.duration], -1).tolist()
    jobs = [[(machine, duration) for machine, duration in row] for row in operations]
    return Case(jobs, [0] * len(jobs), [None] * len(jobs), [1] * len(jobs))


@pytest.mark.parametrize("mode", MODES)
def test_rules_on_random_instances_equal_the_simulator(mode):
    check_rules(mode, random_cases(1, 200), JOBS, OPS, MACHINES)


@pytest.mark.parametrize("mode", MODES)
def test_rules_on_classic_instances_equal_the_simulator(mode):
    check_rules(mode, [classic(name) for name in ("ft06", "ft10", "ta01")], 15, 15, 15)


def test_one_visit_is_enough_where_jobs_visit_a_machine_once():
    instances = to_batch([classic(name) for name in ("ft06", "ft10", "ta01")], 15, 15, 15)
    every, one = [
        jax.device_get(
            play_rules(
                jaxsched.make("JobShop-v0", candidates="insert", max_visits=visits), instances
            )
        )
        for visits in (None, 1)
    ]
    np.testing.assert_array_equal(every.start, one.start)


def test_too_few_visits_still_give_valid_schedules():
    cases = random_cases(3, 50)
    env = jaxsched.make("JobShop-v0", candidates="insert", max_visits=1)
    states = jax.device_get(play_rules(env, to_batch(cases, JOBS, OPS, MACHINES)))
    for i, case in enumerate(cases):
        schedule = env.solution(jax.tree.map(lambda leaf, i=i: leaf[0, i], states))
        assert (
            job_shop.validate(job_shop.from_jobs(case.jobs, release=case.release), schedule) == []
        )


# ------------------------------------------------------------------------------------- small optima

# Waiting one tick for job 1 before the long operation of job 0 pays, which no non-delay schedule
# does.
WAITING_PAYS = Case([[(0, 10)], [(1, 1), (0, 1), (2, 10)]], [0, 0], [None, None], [1, 1])


def small_cases() -> list[Case]:
    """Thirty of at most 3 jobs, operations and machines: square ones, then ragged and re-entrant
    with release dates.
    """
    rng = random.Random(2)
    square = [
        Case(
            [[(m, rng.randint(1, 20)) for m in rng.sample(range(3), 3)] for _ in range(3)],
            [0] * 3,
            [None] * 3,
            [1] * 3,
        )
        for _ in range(15)
    ]
    return [*square, *(random_case(rng, 3, 3, 3) for _ in range(15))]


@functools.partial(jax.jit, static_argnums=0)
def play_all(
    env: jaxsched.Environment, instances: job_shop.Instance, sequences: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Makespan and whether all is scheduled, [batch, sequence], of every sequence on every
    instance.
    """
    key = jax.random.key(0)

    def final(instance, sequence):
        def step(state, job):
            return env.step(key, state, job)[0], None

        state, _ = jax.lax.scan(step, env.reset(key, instance)[0], sequence)
        return env.objective(state), state.done

    return jax.vmap(jax.vmap(final, in_axes=(None, 0)), in_axes=(0, None))(instances, sequences)


def exhaustive(mode: str, cases: Sequence[Case]) -> list[int]:
    """The best makespan each mode can reach. A shorter job's surplus turns are illegal, so they
    change nothing.
    """
    sequences = sorted(set(itertools.permutations([0, 1, 2] * 3)))
    env = jaxsched.make("JobShop-v0", candidates=mode)
    makespan, done = jax.device_get(
        play_all(env, to_batch(cases, 3, 3, 3), np.array(sequences, np.int32))
    )
    assert done.any(1).all()
    return np.where(done, makespan, np.iinfo(np.int32).max).min(1).tolist()


def test_exhaustive_play_reaches_the_optimum():
    pytest.importorskip("ortools", reason='needs pip install "jaxsched[solvers]"')
    cases = [WAITING_PAYS, *small_cases()]
    # its sequences hold no-ops
    reached = {mode: exhaustive(mode, cases) for mode in MODES if mode != "event"}
    reached["event"] = [reference.optimum(case.jobs, case.release, "event") for case in cases]
    for i, case in enumerate(cases):
        instance = job_shop.from_jobs(case.jobs, release=case.release)
        exact = job_shop.solve_exact(instance, num_workers=1)
        assert exact.proved
        assert (
            reached["any"][i] == reached["insert"][i] == reached["event"][i] == exact.objective
        ), case
        assert reached["non_delay"][i] >= exact.objective, case
    assert reached["non_delay"][0] > reached["any"][0]
    assert [jaxsched.make("JobShop-v0", candidates=mode).complete for mode in MODES] == [
        True,
        False,
        True,
        True,
    ]


def test_exhaustive_play_equals_the_simulator():
    cases = [WAITING_PAYS, *small_cases()]
    for mode in ("any", "non_delay", "insert"):
        assert exhaustive(mode, cases) == [
            reference.optimum(case.jobs, case.release, mode) for case in cases
        ]
