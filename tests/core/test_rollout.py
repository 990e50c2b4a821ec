"""Whole episodes, and policies made of scores."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import greedy, masked_argmax, randomised, unroll
from jaxsched.core.rollout import standardise
from jaxsched.envs import job_shop
from tests import shapes
from tests.reference import job_shop as reference

ENV = job_shop.JobShop()
STEPS = shapes.JOBS * shapes.OPS
JOBS = [[(0, 5), (1, 2), (0, 4)], [(2, 3)], [(1, 4), (1, 0), (2, 6), (0, 1)]]


@functools.partial(jax.jit, static_argnums=0)
def spt(env, instance):
    return jaxsched.rollout(env, jax.random.key(0), instance, greedy(env.heuristics["spt"]))


def test_a_rollout_plays_the_policy_to_the_end():
    played = jax.device_get(spt(ENV, shapes.instance_of(JOBS)))
    expected = reference.dispatch(JOBS, "spt", "any")
    num_ops = sum(map(len, JOBS))
    assert ENV.solution(played.state).start == expected.start
    assert played.objective == expected.makespan
    assert played.mask.tolist() == [True] * num_ops + [False] * (STEPS - num_ops)
    assert reference.replay(JOBS, played.action[:num_ops].tolist()).start == expected.start
    assert (played.reward[num_ops:] == 0).all()
    assert np.isclose(played.reward.sum(), 1 - played.objective / played.state.baseline)
    assert not played.truncated
    assert played.feasible


def test_a_rollout_that_does_not_end_is_truncated():
    stubborn = jax.jit(
        lambda instance: jaxsched.rollout(ENV, jax.random.key(0), instance, lambda *_: jnp.int32(0))
    )
    played = jax.device_get(stubborn(shapes.instance_of(JOBS)))
    assert played.truncated
    assert played.mask.all()  # a decision was asked for at every step
    assert played.state.ops_left.tolist() == [0, 1, 4, 0]
    assert played.objective == played.state.baseline - np.round(
        played.reward.sum() * played.state.baseline
    )


def test_unroll_stacks_what_it_met():
    @jax.jit
    def run(state):
        def act(key, state):
            action = masked_argmax(state.ops_left, ENV.action_mask(state))
            return action, (state.ops_left, state.ops_left.sum(dtype=jnp.int32))

        return unroll(ENV, jax.random.key(0), state, act, 3)

    first, _ = ENV.reset(jax.random.key(0), shapes.instance_of(JOBS))
    final, (action, (before, total), timestep) = jax.device_get(run(first))
    assert action.tolist() == [2, 0, 2]  # most operations left, ties to the lowest job
    assert total.tolist() == [8, 7, 6]
    np.testing.assert_array_equal(before, [[3, 1, 4, 0], [3, 1, 3, 0], [2, 1, 3, 0]])
    assert timestep.observation is None
    assert final.ops_left.tolist() == [2, 1, 2, 0]
    jax.tree.map(np.testing.assert_array_equal, final.instance, first.instance)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
@pytest.mark.parametrize(
    ("scores", "mask", "expected"),
    [
        ([1, 3, 2], [True, True, True], 1),
        ([1, 3, 2], [True, False, True], 2),
        ([2, 1, 2], [True, True, True], 0),
        ([-5, -9, -9], [False, True, True], 1),
        ([4, 5, 6], [False, False, False], 0),
    ],
)
def test_masked_argmax(scores, mask, expected, dtype):
    found = masked_argmax(jnp.asarray(scores, dtype), jnp.asarray(mask))
    assert found == expected
    assert found.dtype == jnp.int32


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int32])
def test_masked_argmax_of_the_lowest_scores_is_legal(dtype):
    lowest = -jnp.inf if dtype == jnp.float32 else jnp.iinfo(dtype).min
    scores = jnp.full((3,), lowest, dtype)
    assert masked_argmax(scores, jnp.array([False, True, True])) == 1
    assert masked_argmax(scores.at[2].set(0), jnp.array([False, True, True])) == 2
    assert masked_argmax(scores, jnp.zeros((3,), jnp.bool_)) == 0


def test_standardise_over_legal_actions():
    scores, mask = np.array([4, -100, 7, 1], np.int32), np.array([True, False, True, True])
    expected = np.where(mask, (scores - scores[mask].mean()) / scores[mask].std(), 0)
    np.testing.assert_allclose(
        standardise(jnp.asarray(scores), jnp.asarray(mask)), expected, rtol=1e-6
    )
    for equal in (scores * 0 + 3, scores):
        found = standardise(jnp.asarray(equal), jnp.asarray(mask & (equal == equal[0])))
        np.testing.assert_array_equal(found, np.zeros(4))


def sample(policy, mask, num=20_000):
    """Actions of a policy that looks at the mask only."""
    observation, keys = (
        types.SimpleNamespace(action_mask=jnp.asarray(mask)),
        jax.random.split(jax.random.key(1), num),
    )
    return np.asarray(jax.jit(jax.vmap(lambda key: policy(key, None, observation)))(keys))


def test_randomised_samples_the_softmax_of_standard_scores():
    scores, mask, temperature = np.array([4.0, 50.0, 7.0, 1.0]), (True, False, True, True), 0.7
    weights = np.where(
        mask,
        np.exp(np.asarray(standardise(jnp.asarray(scores), jnp.asarray(mask))) / temperature),
        0,
    )
    probability = weights / weights.sum()
    drawn = sample(randomised(lambda state: jnp.asarray(scores, jnp.float32), temperature), mask)
    frequency = np.bincount(drawn, minlength=4) / len(drawn)
    assert frequency[1] == 0
    assert (
        np.abs(frequency - probability) <= 5 * np.sqrt(probability * (1 - probability) / len(drawn))
    ).all()


def test_randomised_is_greedy_when_cold():
    drawn = sample(
        randomised(lambda state: jnp.array([4, 50, 7, 1], jnp.int32), 1e-4),
        (True, False, True, True),
        200,
    )
    assert set(drawn.tolist()) == {2}


def test_padding_does_not_change_what_randomised_draws():
    drawn = sample(
        randomised(lambda state: jnp.array([1, 2, 3], jnp.int32), 1.0), (True, True, True), 500
    )
    padded = randomised(lambda state: jnp.array([1, 2, 3, 9, 9], jnp.int32), 1.0)
    np.testing.assert_array_equal(sample(padded, (True, True, True, False, False), 500), drawn)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_the_lowest_score_of_all_is_still_legal(dtype):
    """Where every legal action has the identity of the maximum, the first legal one is taken,
    not action 0.
    """
    low = -np.inf if dtype == np.float32 else np.iinfo(np.int32).min
    mask = np.array([[False, False, True, True], [False, False, False, False]])
    scores = np.full((2, 4), low, dtype)
    assert masked_argmax(jnp.asarray(scores), jnp.asarray(mask)).tolist() == [2, 0]


@pytest.mark.parametrize("rule", ["fdd_mwkr", "cr"])
def test_jobs_without_work_do_not_overflow_a_randomised_rule(rule):
    """Two jobs of duration 0 come last in a ratio rule; their score must stay small enough to be
    standardised.
    """
    env = jaxsched.make("JobShop-v0")
    instance = job_shop.from_jobs(
        [[(0, 0)], [(0, 0)], [(0, 3), (1, 2)], [(1, 4)]], due=[3, 3, 9, 20]
    )
    state, timestep = env.reset(jax.random.key(0), instance)
    mask = timestep.observation.action_mask
    z = standardise(env.heuristics[rule](state), mask)
    assert np.isfinite(z).all()
    assert max(z[:2].tolist()) < min(z[2:].tolist())
    assert abs(float(z[2] - z[3])) > 0.01  # and does not level the others
