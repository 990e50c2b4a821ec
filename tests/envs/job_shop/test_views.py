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
INTERVALS = "last placed", "next", "second", "third", "fourth"
OF_INTERVAL = "is fixed", "start", "duration", "can start now", "before the first", "after the last"
WINDOW_FEATURES = *(f"{when}: {what}" for when in INTERVALS for what in OF_INTERVAL), "position"


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


def edges_of(shown):
    """Sender, receiver and the name of the relation of every real edge."""
    edges = shown.edges
    return [
        (int(sender), int(receiver), shown.relation_names[int(relation) - 1])
        for sender, receiver, relation, real in zip(
            edges.senders, edges.receivers, edges.relation, edges.mask, strict=True
        )
        if real
    ]


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
                        arcs.add((j * OPS + k - 1, j * OPS + k, "before on the route"))
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
            operations = shown["operation"]
            assert operations.names == ("bound on the end / 1000", "is placed")
            for node in range(JOBS * OPS):
                assert operations.mask[node] == (node in features)
                np.testing.assert_allclose(
                    operations.features[node], features.get(node, (0, 0)), rtol=1e-6
                )
            edges = edges_of(shown)
            on_route = [edge for edge in edges if edge[2] == "before on the route"]
            assert len(on_route) == len(arcs)
            assert set(on_route) == arcs

            def placed_at(node, sim=sim):
                j, k = divmod(node, OPS)
                return sim.jobs[j][k][0], (sim.start[j][k], sim.start[j][k] + sim.jobs[j][k][1])

            on_machine = [(a, b) for a, b, name in edges if name == "before on the machine"]
            found = [(*placed_at(a), placed_at(b)[1]) for a, b in on_machine]
            assert all(placed_at(a)[0] == placed_at(b)[0] for a, b in on_machine)
            assert sorted(found) == times
            assert shown.action_kinds == ("dispatch",)
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
            assert shown["job"].names == WINDOW_FEATURES
            features = shown["job"].features[: len(sim.jobs)]
            np.testing.assert_allclose(features[:, :-1], expected, atol=2e-4)
            np.testing.assert_allclose(features[:, -1], behind / max(map(len, sim.jobs)), atol=1e-6)
            assert not shown["job"].features[len(sim.jobs) :].any()
            assert shown["job"].mask.tolist() == [j < len(sim.jobs) for j in range(JOBS)]
            machine = {j: sim.jobs[j][sim.next_op[j]][0] for j in legal if j < len(sim.jobs)}
            joined = {
                (a, b, "same machine")
                for a in machine
                for b in machine
                if a != b and machine[a] == machine[b]
            }
            joined |= {(a, b, "clock") for j in machine for a, b in ((j, JOBS), (JOBS, j))}
            assert set(edges_of(shown)) == joined
            assert [part.kind for part in shown.nodes] == ["job", "clock"]
            assert shown["clock"].mask.tolist() == [True]
            assert shown.action_kinds == ("dispatch", "wait")
            assert shown.action_node.tolist() == [*range(JOBS), JOBS]


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
    assert [part.kind for part in shown.nodes] == ["operation", "machine"]
    assert np.flatnonzero(shown["operation"].mask).tolist() == [1, 2, OPS]
    assert shown["machine"].mask.tolist() == [True] * 3
    edges = {
        (sender, receiver, name)
        for sender, receiver, name in edges_of(shown)
        if shown.node_mask[sender] and shown.node_mask[receiver]
    }
    m = JOBS * OPS
    assert edges == {
        (1, 2, "before on the route"),
        (2, 1, "after on the route"),
        *((op, machine, "operation here") for op, machine in ((1, m + 1), (2, m), (OPS, m + 2))),
        *((machine, op, "its machine") for op, machine in ((1, m + 1), (2, m), (OPS, m + 2))),
    }
    assert shown.action_node[:2].tolist() == [1, OPS]
    assert shown.action_resource[:2].tolist() == [m + 1, m + 2]


def test_features_of_operations_and_machines():
    """Job 0 is on machine 0 until 5 and job 1 needs machine 2, so the clock is at 0. Work 9, three
    operations; bound 11, of job 0.
    """
    env = jaxsched.make("JobShop-v0", observation="operations")
    jobs = [[(0, 5), (1, 2), (0, 4)], [(2, 3)]]
    state, _ = env.reset(jax.random.key(0), shapes.instance_of(jobs))
    _, timestep = env.step(jax.random.key(0), state, 0)
    shown = jax.device_get(timestep.observation)
    unit, span = 3 / 9, 1 / 11
    operations = {
        "duration / unit": [2 * unit, 4 * unit, 3 * unit],
        "(start - now) / span": [5 * span, 7 * span, 0],
        "(start or machine ready - now) / span": [5 * span, 7 * span, 0],
        "work from here / span": [6 * span, 4 * span, 3 * span],
        "work after / span": [4 * span, 0, 0],
        "(job ready - now) / span": [5 * span, 5 * span, 0],
        "(machine ready - now) / span": [0, 5 * span, 0],
        "machine load / span": [2 * span, 4 * span, 3 * span],
        "(start - start of next) / span": [0, 2 * span, 0],
        "is next": [1, 0, 1],
        "starts now": [0, 0, 1],
    }
    machine = {
        "(machine ready - now) / span": [5 * span],
        "machine load / span": [4 * span],
        "(machine ready + load - now) / span": [9 * span],
        "operations here / operations left": [1 / 3],
    }
    dispatch = {"duration / unit": [2 * unit, 3 * unit], "(end - now) / span": [7 * span, 3 * span]}
    for part, rows, expected in (
        (shown["operation"], [1, 2, OPS], operations),
        (shown["machine"], [0], machine),
        (shown.actions[0], [0, 1], dispatch),
    ):
        assert part.names == tuple(expected)
        table = np.transpose([*expected.values()])
        np.testing.assert_allclose(part.features[rows], table, rtol=1e-6)
    assert not shown["operation"].features[~shown["operation"].mask].any()
    assert not shown.actions[0].features[2:].any()
    assert shown.action_kinds == ("dispatch",)


def test_axes_are_the_operations_left_of_a_job_and_the_next_visits_to_a_machine():
    env = jaxsched.make("JobShop-v0", observation="operations")
    seen, observations = played(env, "any", 3)
    for i, states in enumerate(seen):
        for t, sim in enumerate(states):
            jobs, machines = jax.tree.map(lambda leaf, i=i, t=t: leaf[i, t], observations.axes)
            left = {
                j * OPS + k: machine
                for j, ops in enumerate(sim.jobs)
                for k, (machine, _) in enumerate(ops)
                if k >= len(sim.start[j])
            }
            assert set(np.flatnonzero(jobs.mask)) == set(left)
            assert (jobs.members, jobs.place, jobs.ordered) == (None, None, True)
            visits = {}
            for node, machine in left.items():
                visits.setdefault((machine, node // OPS), node)
            assert machines.mask.sum() == len(visits)
            for (machine, job), node in visits.items():
                assert machines.mask[machine, job]
                assert machines.members[machine, job] == node
                assert machines.place[node] == machine * JOBS + job
            elsewhere = set(range(JOBS * OPS)) - set(visits.values())
            assert set(machines.place[sorted(elsewhere)]) <= {machines.mask.size}
