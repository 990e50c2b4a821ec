"""What a policy sees of a blocking shop: features by hand, and what must not change them."""

from __future__ import annotations

import functools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.core import masked_argmax
from jaxsched.core.graph import LIMIT
from jaxsched.envs.job_shop import blocking
from jaxsched.envs.job_shop.blocking import rules
from jaxsched.envs.job_shop.blocking.observation import frontier_observation
from jaxsched.envs.job_shop.blocking.settings import Settings
from tests.envs.job_shop.blocking import cases
from tests.envs.job_shop.blocking.cases import JOBS, MACHINES

SETTINGS = Settings()
STEPS = 20
# Jobs 0 and 1 swap at 3; job 2 wants a machine that is never free before.
CIRCLE = cases.Case(
    [[(0, 2), (1, 5)], [(1, 3), (0, 5)], [(0, 1)]], [0, 0, 0], [[], []], 0.0, 1.0, 0
)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def play(instance: blocking.Instance, noise: jax.Array) -> blocking.State:
    """The states before each step [batch, T, ...]; decisions go to the legal job of the highest
    noise i32[T, J].
    """

    def step(state, scores):
        legal = rules.legal(state, SETTINGS)
        action = masked_argmax(scores, legal)
        return rules.apply(state, SETTINGS, action, legal[action]), state

    return jax.lax.scan(step, rules.init(instance, SETTINGS), noise)[1]


@jax.jit
@jax.vmap
def observe(state: blocking.State) -> Any:
    return frontier_observation(state, SETTINGS, rules.legal(state, SETTINGS))


def played(given: list[cases.Case], seed: int | None = None) -> blocking.State:
    """States of all cases, one after the other [batch * T, ...]; without a seed the lowest job
    is taken.
    """
    rng = np.random.default_rng(seed)
    noise = np.zeros((STEPS, JOBS)) if seed is None else rng.integers(1000, size=(STEPS, JOBS))
    states = play(
        cases.stack([cases.to_instance(case) for case in given]), jnp.asarray(noise, jnp.int32)
    )
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), states)


@pytest.fixture(scope="module")
def states() -> blocking.State:
    """Of random shops that are interrupted."""
    rng = random.Random(0)
    return played([cases.random_case(rng) for _ in range(16)], seed=0)


def circle() -> tuple[blocking.State, Any]:
    states = played([CIRCLE] * 16)
    return jax.device_get(states), jax.device_get(observe(states))


def assert_same(actual: Any, expected: Any):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), actual, expected
    )


def assert_features(part, at, expected):
    """Features of the first nodes or actions of a state, all by name and in order; the others are
    zero.
    """
    assert part.names == tuple(expected)
    table = np.transpose([*expected.values()])
    np.testing.assert_allclose(part.features[at, : len(table)], table, rtol=1e-6, atol=1e-6)
    assert not part.features[at, len(table) :].any()


def test_features_at_the_start():
    """Machine 0 is served, jobs 0 and 2 compete. Mean duration 16 / 5, bound 8. All wait
    outside.
    """
    _, seen = circle()
    u, s = 5 / 16, 1 / 8
    jobs = {
        "duration / unit": [2 * u, 3 * u, u],
        "(end - now) / span": [0, 0, 0],
        "(end - now) / unit": [0, 0, 0],
        "waited / unit": [0, 0, 0],
        "work left / span": [7 * s, 8 * s, s],
        "work after / span": [5 * s, 5 * s, 0],
        "operations left / mean": [6 / 5, 6 / 5, 3 / 5],
        "machine load / span": [1, 1, 1],
        "(rival work left - work left) / span": [-6 * s, 0, 6 * s],
        "rivals / jobs": [1 / 3, 0, 1 / 3],
        "jobs that wait for its machine / jobs": [0, 0, 0],
        "second duration / unit": [5 * u, 5 * u, 0],
        "second machine load / span": [1, 1, 0],
        "(end on the second machine - now) / unit": [0, 0, 0],
        "second machine is taken": [0, 0, 0],
        "jobs that wait for the second machine / jobs": [1 / 3, 2 / 3, 0],
        "holds a machine": [0, 0, 0],
        "waits": [1, 1, 1],
        "next machine is taken": [0, 0, 0],
        "(end of the holder - now) / unit": [0, 0, 0],
        "the holder leaves then": [0, 0, 0],
        "the holder needs its machine after": [0, 0, 0],
        "competes": [1, 0, 1],
        "needs the machine served": [1, 0, 1],
        "jobs / (jobs + machines)": [3 / 5, 3 / 5, 3 / 5],
    }
    machines = {
        "(end - now) / span": [0, 0],
        "(end - now) / unit": [0, 0],
        "load left / span": [1, 1],
        "(end + load left - now) / span": [1, 1],
        "jobs that wait / jobs": [2 / 3, 1 / 3],
        "is taken": [0, 0],
        "is taken by a job that waits": [0, 0],
        "is served": [1, 0],
        "is down": [0, 0],
        "(next maintenance - now) / unit": [0, 0],
    }
    moves = {"duration / unit": [2 * u, 3 * u, u], "work left / span": [7 * s, 8 * s, s]}
    assert [part.kind for part in seen.nodes] == ["job", "machine"]
    assert_features(seen["job"], 0, jobs)
    assert_features(seen["machine"], 0, machines)
    assert_features(seen.actions[0], 0, moves)
    assert seen.action_kinds == ("move",)
    assert seen.action_mask[0].tolist() == [True, False, True, False, False]
    assert seen["job"].mask[0].tolist() == [True] * 3 + [False] * 2
    assert seen["machine"].mask[0].tolist() == [True] * 2 + [False] * 2
    assert seen.action_node[0].tolist() == list(range(JOBS))
    assert seen.action_resource[0, :3].tolist() == [JOBS, JOBS + 1, JOBS]


def test_features_before_a_swap():
    """At 3, jobs 0 and 1 stand on each other's machine, job 0 since 2, and job 2 is outside.
    Bound 9.
    """
    states, seen = circle()
    at = next(i for i in range(STEPS) if states.swaps[i].any())
    assert states.time[at] == 3
    u, s = 3 / 11, 1 / 6
    jobs = {
        "duration / unit": [5 * u, 5 * u, u],
        "(end - now) / span": [0, 0, 0],
        "(end - now) / unit": [0, 0, 0],
        "waited / unit": [u, 0, 3 * u],
        "work left / span": [5 * s, 5 * s, s],
        "work after / span": [0, 0, 0],
        "operations left / mean": [1, 1, 1],
        "machine load / span": [5 * s, 1, 1],
        "(rival work left - work left) / span": [0, -4 * s, 4 * s],
        "rivals / jobs": [0, 1 / 3, 1 / 3],
        "jobs that wait for its machine / jobs": [2 / 3, 1 / 3, 0],
        "second duration / unit": [0, 0, 0],
        "second machine load / span": [0, 0, 0],
        "(end on the second machine - now) / unit": [0, 0, 0],
        "second machine is taken": [0, 0, 0],
        "jobs that wait for the second machine / jobs": [0, 0, 0],
        "holds a machine": [1, 1, 0],
        "waits": [1, 1, 1],
        "next machine is taken": [1, 1, 1],
        "(end of the holder - now) / unit": [0, 0, 0],
        "the holder leaves then": [0, 0, 0],
        "the holder needs its machine after": [0, 0, 1],
        "competes": [0, 0, 0],
        "needs the machine served": [0, 0, 0],
        "jobs / (jobs + machines)": [3 / 5, 3 / 5, 3 / 5],
    }
    machines = {
        "(end - now) / span": [0, 0],
        "(end - now) / unit": [0, 0],
        "load left / span": [1, 5 * s],
        "(end + load left - now) / span": [1, 5 * s],
        "jobs that wait / jobs": [2 / 3, 1 / 3],
        "is taken": [1, 1],
        "is taken by a job that waits": [1, 1],
        "is served": [0, 0],
        "is down": [0, 0],
        "(next maintenance - now) / unit": [0, 0],
    }
    assert_features(seen["job"], at, jobs)
    assert_features(seen["machine"], at, machines)
    assert not seen.action_mask[at].any()


def test_relations_before_a_swap():
    """As above: jobs 0 and 1 wait for each other, and jobs 1 and 2 for the machine of job 0."""
    states, seen = circle()
    at = next(i for i in range(STEPS) if states.swaps[i].any())
    edges = seen.edges
    found = {
        (int(i), int(j)): seen.relation_names[int(relation) - 1]
        for i, j, relation, real in zip(
            edges.receivers[at], edges.senders[at], edges.relation[at], edges.mask[at], strict=True
        )
        if real and seen.node_mask[at, i] and seen.node_mask[at, j]
    }
    expected = dict.fromkeys([(0, 1), (1, 0), (2, 0)], "waits for")
    expected |= {(0, 2): "in the way", (1, 2): "competes", (2, 1): "competes"}
    assert found == expected


def test_relations_at_the_start():
    """Jobs 0 and 2 compete for machine 0; machines are related to nothing."""
    _, seen = circle()
    names = np.array(["none", *seen.relation_names])
    expected = np.full((3, 3), "other job", object)
    np.fill_diagonal(expected, "none")
    expected[[0, 2], [2, 0]] = "competes"
    assert names[seen.relation[0, :3, :3]].tolist() == expected.tolist()
    assert not seen.relation[:, JOBS:].any()
    assert not seen.relation[:, :, JOBS:].any()
    assert not np.diagonal(seen.relation, axis1=1, axis2=2).any()


def test_the_clock_shows_how_long_a_wait_would_be():
    """With `wait` the no-op is about the clock. At 0 machine 0 is served, and nothing is to come;
    then machine 1 with one competitor, and the move of job 0 ends at 2.
    """
    settings = Settings(wait=True)
    state = rules.init(jax.tree.map(jnp.asarray, cases.to_instance(CIRCLE)), settings)
    for job, legal, features in (
        (0, [True, False, True], (0, 0, 2 / 3)),
        (None, [False, True, False], (2 * 4 / 14, 2 / 8, 1 / 3)),
    ):
        mask = rules.legal(state, settings)
        seen = jax.device_get(frontier_observation(state, settings, mask))
        assert [part.kind for part in seen.nodes] == ["job", "machine", "clock"]
        assert seen["clock"].names == (
            "wait / unit",
            "wait / span",
            "jobs that can start / jobs",
        )
        np.testing.assert_allclose(seen["clock"].features[0], features, rtol=1e-6)
        assert seen["clock"].mask.tolist() == [True]
        assert seen.action_mask[:3].tolist() == legal
        assert seen.action_mask[-1] == (job is None)
        assert seen.action_kinds == ("move", "wait")
        assert seen.action_mask.shape == (JOBS + 1,)
        assert seen.action_node[-1] == seen.action_resource[-1] == JOBS + MACHINES
        assert not seen.relation[-1].any()
        assert not seen.relation[:, -1].any()
        if job is not None:
            state = rules.apply(state, settings, jnp.int32(job), mask[job])


def test_a_finished_shop_is_all_zero():
    states, seen = circle()
    assert states.done[STEPS - 1]
    features = [part.features for part in (*seen.nodes, *seen.actions)]
    for array in (seen.node_mask, seen.action_mask, *features):
        assert not array[STEPS - 1].any()


def permuted(state: blocking.State, jobs: np.ndarray, machines: np.ndarray) -> blocking.State:
    """Job `jobs[i]` becomes job i, machine `machines[i]` machine i."""
    # the new number of a machine; none stays none
    number = np.append(np.argsort(machines), MACHINES)

    def take(tree: Any, names: str, order: np.ndarray) -> Any:
        return tree.replace(**{name: getattr(tree, name)[:, order] for name in names.split()})

    instance = take(state.instance, "machine duration op_mask release", jobs)
    instance = take(
        instance.replace(machine=jnp.asarray(number)[instance.machine]), "machine_mask", machines
    )
    instance = instance.replace(windows=take(instance.windows, "start end", machines))
    record = take(take(state.record, "planned fails", jobs), "num_begun", machines)
    state = take(state, "next_op ops_left at ready work_left competes swaps start", jobs)
    state = take(state.replace(at=jnp.asarray(number)[state.at]), "load_left", machines)
    return state.replace(instance=instance, record=record)


def test_numbers_of_jobs_and_machines_do_not_matter(states):
    """Permuted states are seen permuted: nodes, actions and the edges between jobs."""
    rng, seen = np.random.default_rng(1), observe(states)
    jobs, machines = rng.permutation(JOBS), rng.permutation(MACHINES)
    assert not np.array_equal(jobs, range(JOBS))
    other = observe(permuted(states, jobs, machines))
    nodes = np.concatenate([jobs, JOBS + machines])
    assert_same(other["job"].features, np.asarray(seen["job"].features)[:, jobs])
    assert_same(other["machine"].features, np.asarray(seen["machine"].features)[:, machines])
    assert_same(other.actions[0].features, np.asarray(seen.actions[0].features)[:, jobs])
    np.testing.assert_array_equal(other.node_mask, np.asarray(seen.node_mask)[:, nodes])
    np.testing.assert_array_equal(other.action_mask, np.asarray(seen.action_mask)[:, jobs])
    relation = np.asarray(seen.relation)
    assert set(np.unique(relation)) == set(range(5))
    np.testing.assert_array_equal(other.relation, relation[:, nodes][:, :, nodes])
    real = np.asarray(other.action_mask)
    assert real.any()
    resource = np.append(np.arange(JOBS), JOBS + np.argsort(machines))[
        np.asarray(seen.action_resource)[:, jobs]
    ]
    np.testing.assert_array_equal(np.asarray(other.action_resource)[real], resource[real])


def test_padding_does_not_show(states):
    """Two more jobs, an operation and a machine that are not there."""
    pads = {JOBS: 2, cases.OPS: 1, MACHINES: 1}
    assert cases.OPS == MACHINES  # one pad for both

    def pad(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path)
        if "noise_key" in name or "windows" in name:  # the key is no array of jobs; [batch, M, W]
            return jnp.pad(leaf, [(0, 0), (0, 1), (0, 0)]) if "windows" in name else leaf
        if name == ".at":
            return jnp.pad(
                jnp.where(leaf == MACHINES, MACHINES + 1, leaf), [(0, 0), (0, 2)], constant_values=5
            )
        return jnp.pad(leaf, [(0, 0), *((0, pads[size]) for size in leaf.shape[1:])])

    seen, other = observe(states), observe(jax.tree_util.tree_map_with_path(pad, states))
    for kind, size in (("job", JOBS), ("machine", MACHINES)):
        assert_same(other[kind].features[:, :size], seen[kind].features)
        np.testing.assert_array_equal(other[kind].mask[:, :size], seen[kind].mask)
        assert not other[kind].features[:, size:].any()
        assert not other[kind].mask[:, size:].any()
    assert_same(other.actions[0].features[:, :JOBS], seen.actions[0].features)
    assert not other.actions[0].features[:, JOBS:].any()
    np.testing.assert_array_equal(other.action_mask[:, :JOBS], seen.action_mask)
    assert not other.action_mask[:, JOBS:].any()
    np.testing.assert_array_equal(
        other.relation[:, :JOBS, :JOBS], np.asarray(seen.relation)[:, :JOBS, :JOBS]
    )


def test_the_date_does_not_show(states):
    later, windows = 10**6, states.instance.windows
    real = windows.end > windows.start
    moved = blocking.Windows(windows.start + later * real, windows.end + later * real)
    record = states.record
    fails = jnp.where(record.fails < rules.LATEST, record.fails + later, rules.LATEST)
    shifted = states.replace(
        time=states.time + later,
        ready=states.ready + later,
        instance=states.instance.replace(windows=moved),
        record=record.replace(planned=record.planned + later, fails=fails),
    )
    assert_same(observe(shifted), observe(states))


def test_a_failure_does_not_show_before_it_happens(states):
    """The same states, but every machine that has not failed yet never will."""
    record = states.record
    coming = (record.fails > states.time[:, None]) & (record.fails < rules.LATEST)
    spared = states.replace(
        ready=jnp.where(coming, record.planned, states.ready),
        record=record.replace(fails=jnp.where(coming, rules.LATEST, record.fails)),
    )
    assert coming.any()
    assert_same(observe(spared), observe(states))


def test_features_are_clipped():
    """Short operations, a late release and a long maintenance."""
    jobs = [[(0, 1), (1, 1)], [(1, 2), (0, 1)]]
    case = cases.Case(jobs, [0, 10**6], [[], [(5, 10**5)]], 1.0, 3.0, 1)
    seen = jax.device_get(observe(played([case] * 16)))
    assert np.abs(seen.graph.nodes).max() == LIMIT
    for features in (seen.graph.nodes, seen.actions[0].features):
        assert np.isfinite(features).all()
        assert (np.abs(features) <= LIMIT).all()
