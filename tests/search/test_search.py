"""Planning and beam search against exhaustive play, and what they promise: legal, reproducible,
blind to chance.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxsched
from jaxsched.core import TimeLimit, greedy, replay
from jaxsched.core.evolution import UNUSABLE, EvolutionConfig, begin, evolve, play
from jaxsched.core.rollout import CUT_OFF
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import blocking
from jaxsched.policies import NetworkConfig, greedy_policy, init_network
from jaxsched.policies.network import example_observation
from jaxsched.search import (
    BeamConfig,
    PlanningConfig,
    ResampleConfig,
    beam_search,
    follow_the_best,
    plan,
    planning_policy,
    rekey,
)

ENV = jaxsched.make("JobShop-v0")
SOURCE = job_shop.uniform(3, 2)  # 3 jobs of 2 operations: 90 orders
NETWORK = NetworkConfig(width=16, num_layers=1, num_heads=2)
COUNT = 16
APPLY, PARAMS = init_network(random.key(0), example_observation(ENV, SOURCE), NETWORK)


@functools.cache
def instances():
    return jax.device_get(jax.vmap(SOURCE)(random.split(random.key(1), COUNT)))


@functools.cache
def optima() -> np.ndarray:
    """By playing all orders of the jobs' operations in one program."""
    orders = {tuple(order) for order in _orders([2, 2, 2])}

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def makespan(instance, order):
        state, _ = ENV.reset(random.key(0), instance)
        body = lambda state, job: (ENV.apply(random.key(0), state, job, jnp.bool_(True)), None)  # noqa: E731
        return ENV.objective(jax.lax.scan(body, state, order)[0])

    return np.asarray(makespan(instances(), jnp.asarray(sorted(orders), jnp.int32))).min(1)


def _orders(left):
    if not any(left):
        yield []
    for job, count in enumerate(left):
        if count:
            rest = [*left[:job], count - 1, *left[job + 1 :]]
            yield from ([job, *order] for order in _orders(rest))


@functools.cache
def beams(width: int):
    config = BeamConfig(width=width)

    @jax.jit
    @jax.vmap
    def run(instance):
        state, _ = ENV.reset(random.key(0), instance)
        found = beam_search(
            ENV, APPLY, PARAMS, random.key(0), state, ENV.max_steps(instance), config
        )
        again, _ = jax.lax.scan(
            lambda s, a: (ENV.step(random.key(0), s, a)[0], None), state, found.action
        )
        greedy = jaxsched.rollout(
            ENV, random.key(0), instance, greedy_policy(APPLY, PARAMS)
        ).objective
        return (
            found.objective,
            found.feasible,
            ENV.objective(found.state),
            ENV.objective(again),
            greedy,
        )

    return jax.device_get(run(instances()))


def test_a_beam_as_wide_as_the_tree_finds_the_optimum():
    objective, feasible, *_ = beams(90)
    assert feasible.all()
    np.testing.assert_array_equal(objective, optima())


def test_a_beam_is_no_worse_than_the_greedy_policy_and_its_actions_replay():
    objective, feasible, of_state, replayed, greedy = beams(4)
    assert feasible.all()
    assert (objective <= greedy).all()
    assert (objective < greedy).any()
    np.testing.assert_array_equal(objective, of_state)
    np.testing.assert_array_equal(objective, replayed)


def test_a_beam_prefers_what_terminates():
    """A line that is cut off has a low bound, since it leaves work undone (issue 16, row 1)."""

    instance = jax.tree.map(lambda leaf: leaf[0], instances())

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def search(env, num_steps):
        state, _ = env.reset(random.key(0), instance)
        return beam_search(env, APPLY, PARAMS, random.key(0), state, num_steps, BeamConfig(width=4))

    cut = search(TimeLimit(ENV, 4), 6)
    assert cut.truncated
    assert not cut.feasible
    assert cut.state.done
    assert cut.objective >= cut.state.baseline
    whole, plain = search(TimeLimit(ENV, 6), 6), search(ENV, 6)
    assert whole.feasible
    assert not whole.truncated
    assert whole.objective == plain.objective == beams(4)[0][0]


def followed(env, source, count, **config):
    """Per instance what was found with random actions, and what its actions lead to again, in
    parts.
    """
    config = ResampleConfig(**config)

    @jax.jit
    @jax.vmap
    def run(key):
        instance = source(key)
        state = env.init(key, instance)

        def act(key, state):
            mask = env.action_mask(state)
            return jnp.argmax(random.gumbel(key, mask.shape) - 1e9 * ~mask).astype(jnp.int32)

        found = follow_the_best(env, key, state, act, env.max_steps(instance), config)
        again, (_, decision) = replay(env, key, state, found.action)
        return found, env.objective(again), env.terminated(again), decision.sum()

    return jax.device_get(run(random.split(random.key(1), count)))


def test_rounds_after_the_first_only_improve():
    for env, source in (
        (ENV, SOURCE),
        (jaxsched.make("JobShop-v0", candidates="event"), job_shop.uniform(4, 3)),
        # with chance: all ends meet the world in which the actions are replayed
        (
            jaxsched.make("BlockingJobShop-v0"),
            blocking.interrupted(blocking.unbuffered(SOURCE), 0.3),
        ),
    ):
        found, again, terminated, _ = followed(env, source, COUNT, num_ends=4, num_rounds=3)
        np.testing.assert_array_equal(found.end.objective, again)
        np.testing.assert_array_equal(found.end.truncated, ~terminated)
        first = found.first.objective.min(-1)
        assert (found.end.objective <= first).all()
        assert (found.end.objective < first).any()
        np.testing.assert_array_equal(found.first.objective.shape, (COUNT, 4))


def test_one_round_is_the_best_of_many():
    found, again, _, decisions = followed(ENV, SOURCE, COUNT, num_ends=8, num_rounds=1)
    np.testing.assert_array_equal(found.end.objective, found.first.objective.min(-1))
    np.testing.assert_array_equal(found.end.objective, again)
    assert (decisions == 6).all()


def test_many_ends_find_the_optimum():
    found, *_ = followed(ENV, SOURCE, COUNT, num_ends=256, num_rounds=2)
    keys = random.split(random.key(1), COUNT)
    jax.tree.map(np.testing.assert_array_equal, jax.vmap(SOURCE)(keys), instances())
    np.testing.assert_array_equal(found.end.objective, optima())


def test_ends_that_terminate_are_followed():
    """A limit cuts every episode off; a short one leaves nothing else, and says so."""
    found, _, terminated, _ = followed(TimeLimit(ENV, 4), SOURCE, 4, num_ends=4, num_rounds=2)
    assert found.end.truncated.all()
    assert not terminated.any()
    assert (found.end.outcome == CUT_OFF).all()


def test_planning_through_the_whole_tree_is_near_the_optimum():
    """An untrained network ranks actions at random, so what is good comes from the simulator."""
    policy = planning_policy(
        ENV, APPLY, PARAMS, PlanningConfig(128, gumbel_scale=0.0, value_scale=1.0)
    )
    play = jax.jit(
        jax.vmap(lambda instance: jaxsched.rollout(ENV, random.key(0), instance, policy).objective)
    )
    found = np.asarray(play(instances()))
    assert (found >= optima()).all()
    assert (found == optima()).mean() >= 0.8
    assert found.mean() < beams(4)[4].mean()  # of the greedy policy


@pytest.mark.parametrize("rescale", [True, False])
def test_plan_is_a_distribution_over_legal_actions(rescale):
    state, timestep = jax.vmap(lambda instance: ENV.reset(random.key(0), instance))(instances())
    config = PlanningConfig(
        num_simulations=4, value_scale=0.1 if rescale else 1e-4, rescale_values=rescale
    )
    found = jax.jit(lambda key, state: plan(ENV, APPLY, PARAMS, key, state, config))(
        random.key(3), state
    )
    mask = np.asarray(timestep.observation.action_mask)
    assert mask[np.arange(COUNT), np.asarray(found.action)].all()
    np.testing.assert_allclose(np.asarray(found.weights).sum(-1), 1, rtol=1e-5)
    assert (np.asarray(found.weights)[~mask] == 0).all()
    assert np.isfinite(found.value).all()
    # Taken as they are, values of next to no weight leave the network's policy alone; scaled in
    # each node they do not.
    prior = np.exp(np.asarray(jax.vmap(APPLY, (None, 0))(PARAMS, timestep.observation)[0])) * mask
    near = np.abs(np.asarray(found.weights) - prior / prior.sum(-1, keepdims=True)).max()
    assert near > 0.1 if rescale else near < 0.01


def test_rekey_changes_chance_and_nothing_else():
    instance = blocking.interrupted(blocking.unbuffered(SOURCE), 0.1)(random.key(0))
    other = rekey(random.key(1), instance)
    changed = []
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(instance), jax.tree.leaves(other), strict=True
    ):
        if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
            changed.append(path)
            assert (random.key_data(old) != random.key_data(new)).any()
        else:
            np.testing.assert_array_equal(old, new)
    assert changed
    assert rekey(random.key(1), instances()) is not None  # without keys there is nothing to change


def test_evolution_finds_the_optimum_and_never_forgets_the_best():
    config, repair = EvolutionConfig(size=16, num_generations=6), ENV.heuristics["spt"]
    world, seeds = random.key(0), jnp.full((1, 6), -1, jnp.int32)

    @jax.jit
    @jax.vmap
    def run(instance):
        first = begin(ENV, repair, config, world, instance, seeds)
        last = evolve(ENV, repair, config, world, instance, random.key(1), first)
        again = jax.vmap(functools.partial(play, ENV, repair, world, instance))(last.action)
        rule = jaxsched.rollout(ENV, world, instance, greedy(repair)).objective
        return first, last, again, rule

    first, last, again, rule = jax.device_get(run(instances()))
    real = last.cost < UNUSABLE
    assert (first.cost[:, 0] == rule).all()
    assert (last.cost[:, 0] <= first.cost[:, 0]).all()
    assert (np.diff(last.cost, axis=1) >= 0).all()
    np.testing.assert_array_equal(last.cost[real], again.cost[real])
    np.testing.assert_array_equal(last.action, again.action)  # recorded as played
    assert (last.length == 6).all()
    for actions, mask in zip(last.action, real, strict=True):
        assert len(np.unique(actions[mask], axis=0)) == mask.sum()
    assert (last.cost[:, 0] == optima()).mean() >= 0.9


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        EvolutionConfig(size=1)
    with pytest.raises(ValueError, match="at least 1"):
        PlanningConfig(num_simulations=0)
    with pytest.raises(ValueError, match="at least 1"):
        BeamConfig(width=0)
