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
from jaxsched.envs.job_shop import blocking
from jaxsched.envs.job_shop.blocking import rules
from jaxsched.envs.job_shop.blocking.observation import (
    COMPETES,
    IN_THE_WAY,
    OTHER_JOB,
    WAITS_FOR,
    frontier_observation,
)
from jaxsched.envs.job_shop.blocking.settings import Settings
from jaxsched.envs.job_shop.observation import LIMIT
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


def test_features_at_the_start():
    """Machine 0 is served, jobs 0 and 2 compete. Mean duration 16 / 5, bound 8."""
    _, seen = circle()
    u, s = 5 / 16, 1 / 8
    nodes = np.zeros((JOBS + MACHINES, 25))
    nodes[0] = [
        2 * u,
        0,
        0,
        0,
        7 * s,
        5 * s,
        6 / 5,
        1,
        -6 * s,
        1 / 3,
        0,
        5 * u,
        1,
        0,
        0,
        1 / 3,
        *[0] * 9,
    ]
    nodes[1] = [3 * u, 0, 0, 0, 8 * s, 5 * s, 6 / 5, 1, 0, 0, 0, 5 * u, 1, 0, 0, 2 / 3, *[0] * 9]
    nodes[2] = [u, 0, 0, 0, s, 0, 3 / 5, 1, 6 * s, 1 / 3, *[0] * 15]
    # all wait outside
    nodes[:3, 17], nodes[:3, 22:] = 1, [[1, 1, 3 / 5], [0, 0, 3 / 5], [1, 1, 3 / 5]]
    nodes[JOBS, :10] = [0, 0, 1, 1, 2 / 3, 0, 0, 1, 0, 0]
    nodes[JOBS + 1, :10] = [0, 0, 1, 1, 1 / 3, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(seen.graph.nodes[0], nodes, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        seen.action_features[0],
        [[2 * u, 7 * s], [3 * u, 8 * s], [u, s], [0, 0], [0, 0]],
        rtol=1e-6,
        atol=1e-6,
    )
    assert seen.action_mask[0].tolist() == [True, False, True, False, False]
    assert seen.node_mask[0].tolist() == [True] * 3 + [False] * 2 + [True] * 2 + [False] * 2
    assert seen.node_kind[0].tolist() == [0] * JOBS + [1] * MACHINES
    assert seen.action_node[0].tolist() == list(range(JOBS))
    assert seen.action_resource[0, :3].tolist() == [JOBS, JOBS + 1, JOBS]


def test_features_and_edges_before_a_swap():
    """At 3, jobs 0 and 1 stand on each other's machine, job 0 since 2, and job 2 is outside.
    Bound 9.
    """
    states, seen = circle()
    at = next(i for i in range(STEPS) if states.swaps[i].any())
    assert states.time[at] == 3
    u, s = 3 / 11, 1 / 6
    nodes = np.zeros((JOBS + MACHINES, 25))
    nodes[0] = [
        5 * u,
        0,
        0,
        u,
        5 * s,
        0,
        1,
        5 * s,
        0,
        0,
        2 / 3,
        *[0] * 5,
        1,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        3 / 5,
    ]
    nodes[1] = [
        5 * u,
        0,
        0,
        0,
        5 * s,
        0,
        1,
        1,
        -4 * s,
        1 / 3,
        1 / 3,
        *[0] * 5,
        1,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        3 / 5,
    ]
    nodes[2] = [
        u,
        0,
        0,
        3 * u,
        s,
        0,
        1,
        1,
        4 * s,
        1 / 3,
        0,
        *[0] * 5,
        0,
        1,
        1,
        0,
        0,
        1,
        0,
        0,
        3 / 5,
    ]
    nodes[JOBS, :10] = [0, 0, 1, 1, 2 / 3, 1, 1, 0, 0, 0]
    nodes[JOBS + 1, :10] = [0, 0, 5 * s, 5 * s, 1 / 3, 1, 1, 0, 0, 0]
    np.testing.assert_allclose(seen.graph.nodes[at], nodes, rtol=1e-6, atol=1e-6)
    assert not seen.action_mask[at].any()
    edges = zip(
        seen.receivers[at], seen.senders[at], seen.edge_kind[at], seen.edge_mask[at], strict=True
    )
    kinds = {(int(i), int(j)): int(kind) for i, j, kind, real in edges if real and max(i, j) < 3}
    expected = dict.fromkeys([(0, 1), (1, 0), (2, 0)], WAITS_FOR)
    expected |= {(0, 2): IN_THE_WAY, (1, 2): COMPETES, (2, 1): COMPETES}
    assert kinds == expected
    assert OTHER_JOB not in kinds.values()


def test_a_finished_shop_is_all_zero():
    states, seen = circle()
    assert states.done[STEPS - 1]
    for mask in (seen.node_mask, seen.action_mask, seen.graph.nodes, seen.action_features):
        assert not mask[STEPS - 1].any()


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
    assert_same(other.graph.nodes, np.asarray(seen.graph.nodes)[:, nodes])
    np.testing.assert_array_equal(other.node_mask, np.asarray(seen.node_mask)[:, nodes])
    for name in ("action_features", "action_mask"):
        assert_same(getattr(other, name), np.asarray(getattr(seen, name))[:, jobs])
    for name in ("edge_kind", "edge_mask"):
        table = np.asarray(getattr(seen, name)).reshape(-1, JOBS, JOBS)[:, jobs][:, :, jobs]
        np.testing.assert_array_equal(np.asarray(getattr(other, name)).reshape(table.shape), table)
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
    nodes = [*range(JOBS), *range(JOBS + 2, JOBS + 2 + MACHINES)]
    assert_same(other.graph.nodes[:, nodes], seen.graph.nodes)
    assert_same(other.action_features[:, :JOBS], seen.action_features)
    np.testing.assert_array_equal(other.action_mask[:, :JOBS], seen.action_mask)
    for rest in (other.graph.nodes.at[:, np.asarray(nodes)].set(0), other.action_mask[:, JOBS:]):
        assert not rest.any()
    assert not np.delete(np.asarray(other.node_mask), nodes, 1).any()


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
    for features in (seen.graph.nodes, seen.action_features):
        assert np.isfinite(features).all()
        assert (np.abs(features) <= LIMIT).all()
