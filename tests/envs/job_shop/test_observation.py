"""The frontier observation: every feature by hand, and what must not change it."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import observation
from jaxsched.envs.job_shop.observation import COMPETES, LIMIT, OTHER_JOB
from tests import shapes

ENV = job_shop.JobShop()
TWO_JOBS = [[(0, 3), (1, 2)], [(0, 4), (1, 1)]]


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


def after(jobs, actions, release=None):
    padded = np.full(shapes.JOBS * shapes.OPS, -1, np.int32)
    padded[: len(actions)] = actions
    return jax.device_get(play(shapes.instance_of(jobs, release), padded))


def assert_same(actual, expected):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), actual, expected
    )


def test_features_at_the_start():
    """Mean duration 10 / 4, bound 7: machine 0 needs 3 + 4."""
    _, seen = after(TWO_JOBS, [])
    job_0 = [
        3 * 0.4,
        0,
        0,
        0,
        0,
        0,
        5 / 7,
        2 / 7,
        1,
        1,
        1,
        5 / 7,
        0,
        -1 / 7,
        1 / 2,
        2 * 0.4,
        3 / 7,
        -3 / 7,
        1,
        1 / 2,
    ]
    job_1 = [
        4 * 0.4,
        0,
        0,
        0,
        0,
        0,
        5 / 7,
        1 / 7,
        1,
        1,
        1,
        5 / 7,
        0,
        1 / 7,
        1 / 2,
        1 * 0.4,
        3 / 7,
        -4 / 7,
        1,
        1 / 2,
    ]
    machine_0 = [0, 1, 1, 1, 0, 1]
    machine_1 = [0, 3 / 7, 3 / 7, 0, 0, 0]
    expected = np.zeros((shapes.JOBS + shapes.MACHINES, 20))
    expected[0], expected[1], expected[4, :6], expected[5, :6] = job_0, job_1, machine_0, machine_1
    np.testing.assert_allclose(seen.graph.nodes, expected, rtol=1e-6, atol=1e-6)
    assert seen.node_mask.tolist() == [True, True, False, False, True, True, False]
    assert seen.node_kind.tolist() == [0] * 4 + [1] * 3
    np.testing.assert_allclose(
        seen.action_features, [[1.2, 3 / 7], [1.6, 4 / 7], [0, 0], [0, 0]], rtol=1e-6, atol=1e-6
    )
    assert seen.action_node.tolist() == [0, 1, 2, 3]
    assert seen.action_resource[:2].tolist() == [4, 4]
    assert seen.action_mask.tolist() == [True, True, False, False]


def test_features_after_a_step():
    """Job 0 is at 3 and needs machine 1, job 1 waited for machine 0 until 3: clock 3, bound 7,
    mean duration 7 / 3.
    """
    _, seen = after(TWO_JOBS, [0])
    unit = 3 / 7
    job_0 = [
        2 * unit,
        0,
        0,
        -3 / 4,
        0,
        3 * unit,
        2 / 4,
        0,
        2 / 3,
        3 / 4,
        0,
        2 / 4,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
        1 / 2,
    ]
    job_1 = [
        4 * unit,
        0,
        -3 / 4,
        0,
        3 * unit,
        0,
        5 / 4,
        1 / 4,
        4 / 3,
        1,
        1,
        5 / 4,
        0,
        0,
        0,
        unit,
        3 / 4,
        -7 / 4,
        1,
        1 / 2,
    ]
    machine_0 = [0, 1, 1, 1 / 2, 0, 1]
    machine_1 = [-3 / 4, 3 / 4, 0, 1 / 2, 0, 1]
    np.testing.assert_allclose(seen.graph.nodes[:2], [job_0, job_1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        seen.graph.nodes[4:6, :6], [machine_0, machine_1], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        seen.action_features[:2], [[2 * unit, 2 / 4], [4 * unit, 4 / 4]], rtol=1e-6
    )
    assert seen.action_resource[:2].tolist() == [5, 4]


def test_edges():
    """Jobs 0 and 1 compete for machine 0, job 2 needs machine 2, job 3 is not there."""
    _, seen = after([[(0, 3)], [(0, 4), (2, 1)], [(2, 2)]], [])
    edges = zip(
        seen.graph.senders.tolist(),
        seen.graph.receivers.tolist(),
        seen.edge_kind.tolist(),
        seen.edge_mask,
        strict=True,
    )
    there = seen.node_mask
    real = [(i, j, kind) for i, j, kind, mask in edges if mask and there[i] and there[j]]
    real, num_edges = {(sender, receiver): kind for sender, receiver, kind in real}, len(real)
    assert len(real) == num_edges  # none is parallel
    pairs = {(i, j): OTHER_JOB for i in range(3) for j in range(3) if i != j}
    pairs |= {(0, 1): COMPETES, (1, 0): COMPETES}
    assert real == pairs


def test_a_finished_episode_is_all_zero():
    _, seen = after(TWO_JOBS, [0, 1, 0, 1])
    assert not seen.node_mask.any()
    assert not seen.action_mask.any()
    assert not seen.graph.nodes.any()
    assert not seen.action_features.any()


def test_another_history_with_the_same_rest_looks_the_same():
    """Other operations in another order, but jobs and machines are ready at the same times, with
    the same ahead.
    """
    rest = [(1, 4), (2, 2)]
    state, seen = after([[(0, 2), (0, 3), *rest], [(1, 6), (0, 1)], [(2, 3)]], [0, 0, 1, 2])
    other_state, other = after(
        [[(0, 5), *rest], [(1, 0), (1, 6), (0, 1)], [(2, 1), (2, 2)]], [2, 1, 2, 1, 0]
    )
    assert state.next_op.tolist() != other_state.next_op.tolist()
    assert seen.action_mask.tolist() == [True, True, False, False]
    assert_same(other, seen)


@pytest.mark.parametrize("actions", [[], [0], [0, 1, 1], [1, 0, 2, 0]])
def test_another_origin_of_time_looks_the_same(actions):
    jobs = [[(0, 5), (1, 2), (0, 4)], [(2, 3), (1, 7)], [(1, 4), (1, 0)]]
    state, seen = after(jobs, actions, release=[0, 2, 5])
    shifted = state.replace(
        job_ready=state.job_ready + 1000,
        machine_ready=state.machine_ready + 1000,
        start=state.start + 1000,
    )
    assert_same(jax.device_get(observe(shifted)), seen)


@pytest.mark.parametrize("actions", [[], [0], [0, 1, 1], [1, 0, 2, 0]])
def test_another_unit_of_time_looks_the_same(actions):
    jobs, release = [[(0, 5), (1, 2), (0, 4)], [(2, 3), (1, 7)], [(1, 4), (1, 0)]], [0, 2, 5]
    scaled = [[(machine, 10 * duration) for machine, duration in row] for row in jobs]
    _, seen = after(jobs, actions, release)
    _, other = after(scaled, actions, [10 * date for date in release])
    assert seen.graph.nodes.any()
    assert_same(other, seen)


def test_features_are_clipped():
    """A machine that is free since long before a late job's release."""
    _, seen = after([[(0, 1)], [(1, 1)]], [], release=[10_000, 10_000])
    assert np.abs(seen.graph.nodes).max() == LIMIT
    assert np.isfinite(seen.graph.nodes).all()


def test_both_forms_of_the_rivals_are_equal():
    """The scatters of the CPU and the masked reductions, on states with ties, finished jobs and
    idle machines.
    """
    rng = np.random.default_rng(0)
    num_jobs, num_machines = 7, 4
    # num_machines: finished
    ids = rng.integers(0, num_machines + 1, (500, num_jobs)).astype(np.int32)
    start, tail = rng.integers(0, 4, (2, 500, num_jobs)).astype(np.int32)
    zeros = np.zeros(num_machines, np.int32)
    found, other = (
        jax.jit(jax.vmap(form, in_axes=(0, 0, 0, None)))(ids, start, tail, zeros)
        for form in (observation._rivals_by_machine, observation._rivals_by_pair)
    )
    for name, a, b in zip(
        ("rivals", "rival start", "rival tail", "waiting", "first start"), found, other, strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert len(np.unique(found[0])) > 3
