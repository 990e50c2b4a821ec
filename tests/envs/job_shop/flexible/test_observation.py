"""The frontier observation: features by hand, and what must not change it."""

from __future__ import annotations

import functools
import random

import jax
import numpy as np

from jaxsched.core.graph import LIMIT
from jaxsched.envs.job_shop import flexible
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


def assert_features(part, rows, expected, rest=()):
    """Features of the nodes or actions `rows`, all by name and in order; but for the `rest` the
    others are zero.
    """
    assert part.names == tuple(expected)
    table = np.transpose([*expected.values()])
    np.testing.assert_allclose(part.features[rows], table, rtol=1e-6, atol=1e-6)
    assert not np.delete(part.features, [*rows, *rest], 0).any()


def test_features_at_the_start():
    """Mean shortest duration 10 / 4; bound 5: the longest job, half of all work 10. Nothing
    waits.
    """
    _, seen = after(TWO_JOBS, [])
    unit, span = 0.4, 1 / 5
    # on each machine: half of 3 or 6, all of 4 or 2, half of 1
    load_0, load_1 = 1.5 + 4 + 0.5, 3 + 2 + 0.5
    jobs = {
        "shortest duration / unit": [3 * unit, 4 * unit],
        "mean duration / unit": [4.5 * unit, 4 * unit],
        "(longest - shortest duration) / unit": [3 * unit, 0],
        "its machines / machines": [1, 1 / 2],
        "1 / its machines": [1 / 2, 1],
        "(start - now) / span": [0, 0],
        "(first end - now) / span": [3 * span, 4 * span],
        "(job ready - now) / span": [0, 0],
        "(start - job ready) / unit": [0, 0],
        "work left / span": [5 * span, 5 * span],
        "work after / span": [2 * span, 1 * span],
        "(first end + work after - now) / span": [5 * span, 5 * span],
        "operations left / mean": [1, 1],
        "rivals per machine / open jobs": [1 / 2 / 2, 1 / 2],
        "shortest second duration / unit": [2 * unit, 1 * unit],
        "second machines / machines": [1 / 2, 1],
        "(second machine ready - first end) / span": [-3 * span, -4 * span],
        "expected load per second machine / span": [load_1 * span, (load_0 + load_1) / 2 * span],
        "open jobs / (open jobs + machines)": [1 / 2, 1 / 2],
    }
    machines = {
        "(machine ready - now) / span": [0, 0],
        "load that only it can do / span": [4 * span, 2 * span],
        "expected load / span": [load_0 * span, load_1 * span],
        "(machine ready + expected load - now) / span": [load_0 * span, load_1 * span],
        "operations that may come / operations left": [3 / 4, 3 / 4],
        "jobs that can use it next / open jobs": [1, 1 / 2],
        "jobs that end first here / open jobs": [1, 0],
        "(first start - now) / span": [0, 0],
        "shortest duration / unit": [3 * unit, 6 * unit],
        "longest work after / span": [2 * span, 2 * span],
        "is wanted": [1, 1],
    }
    assert [part.kind for part in seen.nodes] == ["job", "machine"]
    assert_features(seen["job"], [0, 1], jobs)
    assert_features(seen["machine"], [0, 1], machines)
    assert seen["job"].mask.tolist() == [True, True, False, False]
    assert seen["machine"].mask.tolist() == [True, True, False]


def test_features_of_pairs_at_the_start():
    """As above; job 1 can use machine 0 only."""
    _, seen = after(TWO_JOBS, [])
    unit, span = 0.4, 1 / 5
    pairs = {  # (0, 0), (0, 1), (1, 0)
        "duration / unit": [3 * unit, 6 * unit, 4 * unit],
        "(duration - shortest of the job) / unit": [0, 3 * unit, 0],
        "(duration - shortest here) / unit": [0, 0, 1 * unit],
        "duration / mean of the job - 1": [3 / 4.5 - 1, 6 / 4.5 - 1, 0],
        "(start - now) / span": [0, 0, 0],
        "(start - now) / unit": [0, 0, 0],
        "(end - now) / span": [3 * span, 6 * span, 4 * span],
        "(end - now) / unit": [3 * unit, 6 * unit, 4 * unit],
        "(end - first end elsewhere) / unit": [-3 * unit, 3 * unit, 0],
        "(start - job ready) / unit": [0, 0, 0],
        "(start - machine ready) / unit": [0, 0, 0],
        "(end + work after - now) / span": [5 * span, 8 * span, 5 * span],
        "(longest work after here - work after) / span": [0, 0, 1 * span],
        "(start + expected load - now) / span": [6 * span, 5.5 * span, 6 * span],
        "rivals / open jobs": [1 / 2, 0, 1 / 2],
        "starts now": [1, 1, 1],
    }
    (dispatch,) = seen.actions
    possible = [0, 1, MACHINES]
    assert_features(dispatch, possible, pairs)
    assert dispatch.features.shape == (JOBS * MACHINES, 16)
    assert np.flatnonzero(seen.action_mask).tolist() == possible
    assert seen.action_kinds == ("dispatch",)
    assert seen.action_node.tolist() == np.repeat(range(4), 3).tolist()
    assert seen.action_resource.tolist() == [4, 5, 6] * 4


def test_features_after_a_step():
    """Job 0 is on machine 0 until 3, job 1 has not begun: clock 3, where the second operation of
    job 0 may start, mean shortest duration 7 / 3, bound 7: machine 0 is free at 3 and needs 4.
    """
    _, seen = after(TWO_JOBS, [(0, 0)])
    unit, span = 3 / 7, 1 / 4
    # on each machine: all of 4 or 2, half of 1
    load_0, load_1 = 4 + 0.5, 2 + 0.5
    jobs = {
        "shortest duration / unit": [2 * unit, 4 * unit],
        "mean duration / unit": [2 * unit, 4 * unit],
        "(longest - shortest duration) / unit": [0, 0],
        "its machines / machines": [1 / 2, 1 / 2],
        "1 / its machines": [1, 1],
        "(start - now) / span": [0, 0],
        "(first end - now) / span": [2 * span, 4 * span],
        "(job ready - now) / span": [0, -3 * span],
        "(start - job ready) / unit": [0, 3 * unit],
        "work left / span": [2 * span, 5 * span],
        "work after / span": [0, 1 * span],
        "(first end + work after - now) / span": [2 * span, 5 * span],
        "operations left / mean": [2 / 3, 4 / 3],
        "rivals per machine / open jobs": [0, 0],
        "shortest second duration / unit": [0, 1 * unit],
        "second machines / machines": [0, 1],
        "(second machine ready - first end) / span": [0, (0 - 7) * span],
        "expected load per second machine / span": [0, (load_0 + load_1) / 2 * span],
        "open jobs / (open jobs + machines)": [1 / 2, 1 / 2],
    }
    assert_features(seen["job"], [0, 1], jobs)


def test_features_of_a_machine_and_a_pair_after_a_step():
    """As above: machine 1, which is free since 0, and the pair of job 0 with it."""
    _, seen = after(TWO_JOBS, [(0, 0)])
    unit, span = 3 / 7, 1 / 4
    load_1 = 2 + 0.5
    machine = {
        "(machine ready - now) / span": [-3 * span],
        "load that only it can do / span": [2 * span],
        "expected load / span": [load_1 * span],
        "(machine ready + expected load - now) / span": [(-3 + load_1) * span],
        "operations that may come / operations left": [2 / 3],
        "jobs that can use it next / open jobs": [1 / 2],
        "jobs that end first here / open jobs": [1 / 2],
        "(first start - now) / span": [0],
        "shortest duration / unit": [2 * unit],
        "longest work after / span": [0],
        "is wanted": [1],
    }
    pair = {
        "duration / unit": [2 * unit],
        "(duration - shortest of the job) / unit": [0],
        "(duration - shortest here) / unit": [0],
        "duration / mean of the job - 1": [0],
        "(start - now) / span": [0],
        "(start - now) / unit": [0],
        "(end - now) / span": [2 * span],
        "(end - now) / unit": [2 * unit],
        "(end - first end elsewhere) / unit": [0],
        "(start - job ready) / unit": [0],
        "(start - machine ready) / unit": [3 * unit],
        "(end + work after - now) / span": [2 * span],
        "(longest work after here - work after) / span": [0],
        "(start + expected load - now) / span": [load_1 * span],
        "rivals / open jobs": [0],
        "starts now": [1],
    }
    assert_features(seen["machine"], [1], machine, rest=[0])
    assert_features(seen.actions[0], [1], pair, rest=[MACHINES])


def test_relations():
    """Jobs compete where they have a machine in common; a job and a machine that it can use are
    related both ways, and no node to itself.
    """
    _, seen = after(TWO_JOBS, [])
    assert seen.relation_names == ("other job", "competes", "other machine", "eligible")
    numbers = {1 + i: name for i, name in enumerate(seen.relation_names)}
    edges = seen.edges
    found = {
        (int(receiver), int(sender)): numbers[int(relation)]
        for sender, receiver, relation, real in zip(
            edges.senders, edges.receivers, edges.relation, edges.mask, strict=True
        )
        if real
    }
    jobs, machines = range(JOBS), range(JOBS, JOBS + MACHINES)
    expected = {(a, b): "other job" for a in jobs for b in jobs if a != b}
    expected |= {(a, b): "other machine" for a in machines for b in machines if a != b}
    expected |= dict.fromkeys([(0, 1), (1, 0)], "competes")
    expected |= dict.fromkeys([(0, 4), (0, 5), (1, 4), (4, 0), (5, 0), (4, 1)], "eligible")
    assert found == expected


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
        for features in (seen.graph.nodes, seen.actions[0].features):
            assert np.isfinite(features).all()
            assert (np.abs(features) <= LIMIT).all()
