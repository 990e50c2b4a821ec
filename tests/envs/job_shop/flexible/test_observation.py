"""The frontier observation: features by hand, and what must not change it."""

from __future__ import annotations

import functools
import random

import jax
import numpy as np

from jaxsched.envs.job_shop import flexible
from jaxsched.envs.job_shop.flexible.observation import COMPETES, ELIGIBLE, LIMIT, OTHER_JOB
from tests.envs.job_shop.flexible.cases import JOBS, MACHINES, OPS, instance_of, random_jobs

ENV = flexible.FlexibleJobShop()
TWO_JOBS = [[[(0, 3), (1, 6)], [(1, 2)]], [[(0, 4)], [(0, 1), (1, 1)]]]


@jax.jit
def play(instance, actions):
    """State and observation after the actions; negative ones are skipped."""
    state, _ = ENV.reset(jax.random.key(0), instance)
    state, _ = jax.lax.scan(
        lambda state, action: (ENV.step(jax.random.key(0), state, action)[0], None), state, actions
    )
    return state, ENV.observe(state)


@jax.jit
def observe(state):
    return ENV.observe(state)


def after(jobs, pairs):
    padded = np.full(JOBS * OPS, -1, np.int32)
    padded[: len(pairs)] = [job * MACHINES + machine for job, machine in pairs]
    return jax.device_get(play(instance_of(jobs), padded))


def assert_same(actual, expected):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), actual, expected
    )


def test_features_at_the_start():
    """Mean shortest duration 10 / 4; bound 5: the longest job, half of all work 10. Nothing
    waits.
    """
    _, seen = after(TWO_JOBS, [])
    unit, span = 0.4, 1 / 5
    # on each machine: half of 3 or 6, all of 4 or 2, half of 1
    expected = [1.5 + 4 + 0.5, 3 + 2 + 0.5]
    job_0 = [
        3 * unit,
        4.5 * unit,
        3 * unit,
        1,
        1 / 2,
        0,
        3 * span,
        0,
        0,
        5 * span,
        2 * span,
        5 * span,
        1,
    ]
    job_0 += [1 / 2 / 2, 2 * unit, 1 / 2, -3 * span, expected[1] * span, 1 / 2]
    job_1 = [4 * unit, 4 * unit, 0, 1 / 2, 1, 0, 4 * span, 0, 0, 5 * span, 1 * span, 5 * span, 1]
    job_1 += [1 / 2, 1 * unit, 1, -4 * span, sum(expected) / 2 * span, 1 / 2]
    machine_0 = [
        0,
        4 * span,
        expected[0] * span,
        expected[0] * span,
        3 / 4,
        1,
        1,
        0,
        3 * unit,
        2 * span,
        1,
    ]
    machine_1 = [
        0,
        2 * span,
        expected[1] * span,
        expected[1] * span,
        3 / 4,
        1 / 2,
        0,
        0,
        6 * unit,
        2 * span,
        1,
    ]
    nodes = np.zeros((JOBS + MACHINES, 19))
    nodes[0], nodes[1], nodes[4, :11], nodes[5, :11] = job_0, job_1, machine_0, machine_1
    np.testing.assert_allclose(seen.graph.nodes, nodes, rtol=1e-6, atol=1e-6)
    assert seen.node_mask.tolist() == [True, True, False, False, True, True, False]
    assert seen.node_kind.tolist() == [0] * 4 + [1] * 3

    pairs = np.zeros((JOBS * MACHINES, 16))
    pairs[0] = [
        3 * unit,
        0,
        0,
        3 / 4.5 - 1,
        0,
        0,
        3 * span,
        3 * unit,
        -3 * unit,
        0,
        0,
        5 * span,
        0,
        6 * span,
        1 / 2,
        1,
    ]
    pairs[1] = [
        6 * unit,
        3 * unit,
        0,
        6 / 4.5 - 1,
        0,
        0,
        6 * span,
        6 * unit,
        3 * unit,
        0,
        0,
        8 * span,
        0,
        5.5 * span,
        0,
        1,
    ]
    pairs[3] = [
        4 * unit,
        0,
        1 * unit,
        0,
        0,
        0,
        4 * span,
        4 * unit,
        0,
        0,
        0,
        5 * span,
        1 * span,
        6 * span,
        1 / 2,
        1,
    ]
    np.testing.assert_allclose(seen.action_features, pairs, rtol=1e-6, atol=1e-6)
    assert np.flatnonzero(seen.action_mask).tolist() == [0, 1, 3]
    assert seen.action_node.tolist() == np.repeat(range(4), 3).tolist()
    assert seen.action_resource.tolist() == [4, 5, 6] * 4


def test_edges():
    """Jobs compete where they have a machine in common; a pair that is possible has an edge each
    way.
    """
    _, seen = after(TWO_JOBS, [])
    edges = list(zip(seen.senders, seen.receivers, seen.edge_kind, seen.edge_mask, strict=True))
    kind = {(int(a), int(b)): int(k) for a, b, k, real in edges if real}
    assert (kind[0, 1], kind[1, 0], kind[0, 2]) == (COMPETES, COMPETES, OTHER_JOB)
    assert [pair for pair, value in kind.items() if value == ELIGIBLE] == [
        *((0, 4), (0, 5), (1, 4)),
        *((4, 0), (5, 0), (4, 1)),
    ]
    assert all(a != b for a, b in kind)


def test_the_date_does_not_show():
    """A state and the same one later, its clock moved: all times are relative."""
    rng = random.Random(0)
    for _ in range(20):
        jobs = random_jobs(rng)
        pairs = [(j, rng.choice(jobs[j][0])[0]) for j in range(len(jobs)) if rng.random() < 0.5]
        state, seen = after(jobs, pairs)
        shift = 10**6 * state.instance.machine_mask.astype(np.int32)
        later = state.replace(
            job_ready=state.job_ready + 10**6, machine_ready=state.machine_ready + shift
        )
        assert_same(jax.device_get(observe(later)), seen)


def test_the_unit_of_time_does_not_show():
    rng, compared = random.Random(1), 0
    for _ in range(20):
        jobs = random_jobs(rng, longest=20)
        pairs = [(j, jobs[j][0][0][0]) for j in range(len(jobs)) if rng.random() < 0.5]
        slow = [
            [[(machine, 60 * ticks) for machine, ticks in operation] for operation in job]
            for job in jobs
        ]
        (state, seen), (slow_state, slow_seen) = after(jobs, pairs), after(slow, pairs)
        # Bounds are whole ticks, so one that rounds differs; and no unit can be read off work of no
        # length.
        if state.work_left.sum() == 0 or 60 * ENV.bound(state) != ENV.bound(slow_state):
            continue
        compared += 1
        assert_same(slow_seen, seen)
    assert compared > 10


def test_features_are_bounded():
    rng = random.Random(2)
    for _ in range(20):
        jobs = random_jobs(rng, longest=10**6)
        _, seen = after(
            jobs, [(j, rng.choice(jobs[j][0])[0]) for j in range(len(jobs)) if rng.random() < 0.5]
        )
        for features in (seen.graph.nodes, seen.action_features):
            assert np.isfinite(features).all()
            assert (np.abs(features) <= LIMIT).all()
