"""L2D's and Tassel's observations against the simulators of their publications; which modes they
belong to.
"""

from __future__ import annotations

import functools
import random

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.core import UnknownNameError
from tests import shapes
from tests.reference import job_shop as reference

JOBS, OPS = shapes.JOBS, shapes.OPS
COUNT = 40


@functools.partial(jax.jit, static_argnums=0)
def observe(env, instances, actions):
    """The observation before every action, [instance, step, ...]."""
    key = jax.random.key(0)

    def step(state, action):
        return env.step(key, state, action)[0], env.observe(state)

    def episode(instance, row):
        return jax.lax.scan(step, env.reset(key, instance)[0], row)[1]

    return jax.vmap(episode)(instances, actions)


def played(env, mode: str, seed: int):
    """Random episodes: per instance the simulator before every step, and what the environment
    shows there.
    """
    rng = random.Random(seed)
    cases, actions, seen = [], [], []
    for _ in range(COUNT):
        jobs = shapes.random_jobs(rng)
        release = [rng.choice([0, rng.randint(0, 9)]) for _ in jobs]
        sim, row, states = reference.SIMULATORS[mode](jobs, release), [], []
        while legal := sim.legal(mode):
            states.append(sim.copy())
            row.append(rng.choice(legal))
            sim.apply(row[-1])
        padding = [-1] * (2 * JOBS * OPS + JOBS - len(row))
        actions.append([JOBS if job == len(jobs) else job for job in row] + padding)
        cases.append(shapes.instance_of(jobs, release))
        seen.append(states)
    return seen, jax.device_get(observe(env, shapes.stacked(cases), np.array(actions, np.int32)))


def test_l2d_shows_end_time_bounds_and_the_present_arcs():
    env = jaxsched.make("JobShop-v0", candidates="insert", observation="l2d")
    seen, observations = played(env, "insert", 0)
    for i, states in enumerate(seen):
        for t, sim in enumerate(states):
            shown = jax.tree.map(lambda leaf, i=i, t=t: leaf[i, t], observations)
            features, arcs = {}, set()
            for j, ops in enumerate(sim.jobs):
                end = sim.release[j]
                for k, (_, duration) in enumerate(ops):
                    placed = k < len(sim.start[j])
                    end = sim.start[j][k] + duration if placed else end + duration
                    features[j * OPS + k] = (end / 1000, float(placed))
                    if k:
                        arcs.add((j * OPS + k - 1, j * OPS + k, 0))
            order = {}
            for j, starts in enumerate(sim.start):
                for k, start in enumerate(starts):
                    machine, duration = sim.jobs[j][k]
                    order.setdefault(machine, []).append((start, start + duration))
            # Operations of duration 0 may share their place, so machine arcs are compared by times.
            times = sorted(
                (m, a, b)
                for m, row in order.items()
                for a, b in zip(sorted(row), sorted(row)[1:], strict=False)
            )
            for node in range(JOBS * OPS):
                assert shown.node_mask[node] == (node in features)
                np.testing.assert_allclose(shown.nodes[node], features.get(node, (0, 0)), rtol=1e-6)
            real = np.flatnonzero(shown.edge_mask)
            edges = [
                tuple(map(int, (shown.senders[e], shown.receivers[e], shown.edge_kind[e])))
                for e in real
            ]
            assert {edge for edge in edges if edge[2] == 0} == arcs

            def placed_at(node, sim=sim):
                j, k = divmod(node, OPS)
                return sim.jobs[j][k][0], (sim.start[j][k], sim.start[j][k] + sim.jobs[j][k][1])

            found = [(*placed_at(a), placed_at(b)[1]) for a, b, kind in edges if kind == 1]
            assert all(placed_at(a)[0] == placed_at(b)[0] for a, b, kind in edges if kind == 1)
            assert sorted(found) == times
            for job in sim.legal("insert"):
                assert shown.action_node[job] == job * OPS + sim.next_op[job]


def test_tassel_shows_the_propagated_bounds():
    env = jaxsched.make("JobShop-v0", candidates="event", observation="tassel")
    seen, observations = played(env, "event", 1)
    for i, states in enumerate(seen):
        for t, sim in enumerate(states):
            shown = jax.tree.map(lambda leaf, i=i, t=t: leaf[i, t], observations)
            legal, durations = sim.legal(), [duration for ops in sim.jobs for _, duration in ops]
            # per job five of (fixed, start bound, duration, selectable, start token, end token)
            windows = []
            for j, ops in enumerate(sim.jobs):
                for k in range(sim.next_op[j] - 1, sim.next_op[j] + 4):
                    if 0 <= k < len(ops):
                        fixed = k < sim.next_op[j]
                        start = sim.start[j][k] if fixed else sim.bounds[j][k]
                        selectable = k == sim.next_op[j] and j in legal
                        windows.append(
                            [float(fixed), start, ops[k][1], float(selectable), 0.0, 0.0]
                        )
                    else:
                        windows.append([0.0, None, None, 0.0, float(k < 0), float(k >= len(ops))])
            starts = [row[1] for row in windows if row[1] is not None]
            for row in windows:
                for column, over in ((1, starts), (2, durations)):
                    spread = np.std(over)
                    row[column] = (
                        0.0
                        if row[column] is None
                        else (row[column] - np.mean(over)) / max(spread, 1e-6)
                    )
            expected = np.array(windows).reshape(len(sim.jobs), -1)
            behind = np.array(sim.next_op) - min(sim.next_op)
            nodes = shown.nodes[: len(sim.jobs)]
            np.testing.assert_allclose(nodes[:, :-1], expected, atol=2e-4)
            np.testing.assert_allclose(nodes[:, -1], behind / max(map(len, sim.jobs)), atol=1e-6)
            joined = {
                (int(shown.senders[e]), int(shown.receivers[e]))
                for e in np.flatnonzero(shown.edge_mask & (shown.edge_kind == 0))
            }
            machine = {j: sim.jobs[j][sim.next_op[j]][0] for j in legal if j < len(sim.jobs)}
            assert joined == {
                (a, b) for a in machine for b in machine if a != b and machine[a] == machine[b]
            }


def test_an_observation_of_another_mode_is_refused():
    with pytest.raises(ValueError, match="the observation 'l2d' belongs to candidates='insert'"):
        jaxsched.make("JobShop-v0", observation="l2d")
    with pytest.raises(ValueError, match="the observation 'tassel' belongs to candidates='event'"):
        jaxsched.make("JobShop-v0", candidates="insert", observation="tassel")
    with pytest.raises(UnknownNameError, match="unknown observation 'l2b'; did you mean l2d"):
        jaxsched.make("JobShop-v0", observation="l2b")


def test_operations_are_joined_with_their_machines():
    env = jaxsched.make("JobShop-v0", observation="operations")
    jobs = [[(0, 5), (1, 2), (0, 4)], [(2, 3)]]
    state, _ = env.reset(jax.random.key(0), shapes.instance_of(jobs))
    state, timestep = env.step(jax.random.key(0), state, 0)
    shown = jax.device_get(timestep.observation)
    assert np.flatnonzero(shown.node_mask).tolist() == [
        1,
        2,
        OPS,
        JOBS * OPS,
        JOBS * OPS + 1,
        JOBS * OPS + 2,
    ]
    both = shown.edge_mask & shown.node_mask[shown.senders] & shown.node_mask[shown.receivers]
    edges = {
        (int(shown.senders[e]), int(shown.receivers[e]), int(shown.edge_kind[e]))
        for e in np.flatnonzero(both)
    }
    m = JOBS * OPS
    assert edges == {
        (1, 2, 0), (2, 1, 1),
        (1, m + 1, 2), (2, m, 2), (OPS, m + 2, 2),
        (m + 1, 1, 3), (m, 2, 3), (m + 2, OPS, 3),
    }  # fmt: skip
    assert shown.action_node[:2].tolist() == [1, OPS]
    assert shown.action_resource[:2].tolist() == [m + 1, m + 2]
