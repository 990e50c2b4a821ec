"""The learners: estimates against oracles, one update of each algorithm, global gradients on
several devices.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import random

import jaxsched
from jaxsched.core import TimeLimit, replay
from jaxsched.core.rollout import CUT_OFF, FAILED, SOLVED, best_episode
from jaxsched.envs import job_shop, soc
from jaxsched.policies import MaskedCategorical, NetworkConfig, greedy_policy
from jaxsched.training import (
    ExpertIterationConfig,
    ImitationConfig,
    PPOConfig,
    SelfLabelingConfig,
    expert_iteration,
    make_training,
    ppo,
)
from jaxsched.training.common import episode_keys, init_state, make_optimizer, revisit

ENV = jaxsched.make("JobShop-v0")
SOURCE = job_shop.uniform(3, 3)
NETWORK = NetworkConfig(width=16, num_layers=1, num_heads=2)
PPO = PPOConfig(num_envs=8, num_minibatches=2, num_epochs=2, num_updates=30, network=NETWORK)
LABELS = SelfLabelingConfig(
    num_envs=4, num_samples=8, num_minibatches=2, num_updates=30, network=NETWORK
)
RULE = ImitationConfig(
    num_envs=8, num_own=4, num_minibatches=2, num_updates=30, network=NETWORK, teacher="mwkr"
)
PLANS = ExpertIterationConfig(
    num_envs=8, num_simulations=8, num_minibatches=2, num_updates=30, network=NETWORK
)


def oracle_advantages(reward, value, mask, discount, last_value, gamma, gae_lambda):
    """By definition: lambda-weighted temporal differences over decisions, event rewards credited
    back.

    Whatever follows a step is discounted by the time that the step takes.
    """
    decisions = [t for t in range(len(reward)) if mask[t]]
    result = np.zeros(len(reward))
    for position, t in enumerate(decisions):
        total, weight = 0.0, 1.0
        for later in range(position, len(decisions)):
            now = decisions[later]
            after = decisions[later + 1] if later + 1 < len(decisions) else len(reward)
            next_value = value[after] if after < len(reward) else last_value
            passed = [float(np.prod(discount[now:event])) for event in range(now + 1, after + 1)]
            events = sum(x * y for x, y in zip(passed, reward[now + 1 : after], strict=False))
            gained = reward[now] + gamma * (events + passed[-1] * next_value)
            total += weight * (gained - value[now])
            weight *= gamma * gae_lambda * passed[-1]
        result[t] = total
    return result


@pytest.mark.parametrize(("gamma", "tick_gamma"), [(1.0, 1.0), (0.9, 1.0), (1.0, 0.9), (0.9, 0.8)])
def test_advantages_against_the_definition(gamma, tick_gamma):
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 12)).astype(np.float32)
    mask = rng.random(12) < 0.6
    mask[0] = True
    discount = tick_gamma ** rng.integers(0, 5, 12).astype(np.float32)
    got = ppo.advantages(reward, value, jnp.asarray(mask), discount, jnp.float32(0.7), gamma, 0.8)
    expected = oracle_advantages(reward, value, mask, discount, 0.7, gamma, 0.8)
    np.testing.assert_allclose(np.asarray(got)[mask], expected[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [PPO, LABELS, RULE, PLANS],
    ids=["ppo", "self_labeling", "imitation", "expert_iteration"],
)
def test_training_beats_its_start(config):
    """Thirty updates on 3 x 3 shops improve the greedy policy on held-out instances."""
    init, make = make_training(ENV, SOURCE, config)
    apply, state = init(random.key(0))
    update = jax.jit(make(apply))
    held_out = jax.vmap(SOURCE)(random.split(random.key(99), 64))

    @jax.jit
    def score(params):
        def play(instance):
            return jaxsched.rollout(
                ENV, random.key(0), instance, greedy_policy(apply, params)
            ).objective

        return jax.vmap(play)(held_out).mean()

    before = score(state.params)
    for _ in range(config.num_updates):
        state, metrics = update(state)
    assert int(state.update) == config.num_updates
    assert all(np.isfinite(value) for value in jax.tree.leaves(metrics))
    assert score(state.params) < before
    assert update._cache_size() == 1  # one trace for all updates


def test_seeds_vmap_to_their_own_runs():
    init, make = make_training(ENV, SOURCE, LABELS)
    apply, _ = init(random.key(0))
    update = make(apply)
    states = jax.vmap(lambda key: init(key)[1])(jax.vmap(random.key)(jnp.arange(2)))
    together, metrics = jax.jit(jax.vmap(update))(states)
    alone, alone_metrics = jax.jit(update)(init(random.key(1))[1])
    for many, one in zip(
        jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True
    ):
        np.testing.assert_allclose(many[1], one, atol=2e-5)
    np.testing.assert_allclose(metrics["objective"][1], alone_metrics["objective"], rtol=1e-6)


def test_revisit_sees_what_was_played():
    """The ratio of PPO is exactly 1 before the first gradient step: observations are recomputed,
    not approximated.
    """
    optimizer = make_optimizer(PPO)
    apply, state = init_state(random.key(0), ENV, SOURCE, PPO, optimizer)
    episodes = jax.jit(
        lambda state: ppo.collect(ENV, SOURCE, apply, state, jnp.arange(8, dtype=jnp.int32))
    )(state)

    @jax.jit
    @jax.vmap
    def again(reset_key, step_key, instance, action):
        observation, mask = revisit(ENV, reset_key, step_key, instance, action)
        logits, value = jax.vmap(apply, (None, 0))(state.params, observation)
        return MaskedCategorical(logits, observation.action_mask).log_prob(action), value, mask

    log_prob, value, mask = again(
        episodes.reset_key, episodes.step_key, episodes.instance, episodes.action
    )
    np.testing.assert_allclose(log_prob, episodes.log_prob, atol=1e-5)
    np.testing.assert_allclose(value, episodes.value, atol=1e-5)
    assert (mask == episodes.mask).all()


STREAM = jaxsched.make("SoC-v0")
STREAM_SOURCE = soc.streams(horizon=60, num_jobs=4, scale=10.0)
SMALL = PPOConfig(num_envs=4, num_minibatches=2, num_epochs=1, network=NETWORK)


def collected(env, source, config=SMALL):
    """Episodes, the values of their final states, and whether these terminated."""
    apply, state = init_state(random.key(0), env, source, config, make_optimizer(config))
    ids = jnp.arange(config.num_envs, dtype=jnp.int32)

    @jax.jit
    def run():
        episodes = ppo.collect(env, source, apply, state, ids)

        def final(reset_key, step_key, instance, action):
            first, _ = env.reset(reset_key, instance)
            last, _ = replay(env, step_key, first, action)
            return apply(state.params, env.observe(last))[1], env.terminated(last)

        ends = jax.vmap(final)
        keys = episodes.reset_key, episodes.step_key
        return episodes, *ends(*keys, episodes.instance, episodes.action)

    return jax.device_get(run())


@pytest.mark.parametrize("cut", ["horizon", "wrapper", "none"])
def test_what_is_cut_off_is_bootstrapped_from_its_last_observation(cut):
    """Issue 16, row 1: with a horizon the value of the last state was taken for 0; and with a
    wrapper (a sibling).
    """
    env = {"horizon": STREAM, "wrapper": TimeLimit(ENV, 4), "none": ENV}[cut]
    episodes, value, terminated = collected(env, STREAM_SOURCE if cut == "horizon" else SOURCE)
    assert terminated.all() == (cut == "none")
    assert (episodes.truncated == ~terminated).all()
    expected = np.where(terminated, 0, value)
    np.testing.assert_allclose(episodes.last_value, expected, rtol=1e-5, atol=1e-7)
    assert (episodes.last_value[~terminated] != 0).all()
    assert episodes.action.shape[1] == env.max_steps(episodes.instance)


def test_ppo_trains_on_decisions_before_a_limit_alone():
    """Issue 16, row 2: all 36 steps of ft06 counted after a limit of 10."""
    episodes, _, _ = collected(TimeLimit(ENV, 4), SOURCE)
    assert (episodes.mask.sum(1) == 4).all()


@pytest.mark.parametrize(
    "config", [PPO, LABELS, RULE, PLANS], ids=lambda config: type(config).__name__
)
def test_every_trainer_counts_what_is_cut_off(config):
    """Statistics say how many episodes did not terminate (issue 16, row 1: a sibling)."""
    config = dataclasses.replace(config, num_updates=1)
    init, make = make_training(TimeLimit(ENV, 4), SOURCE, config)
    apply, state = init(random.key(0))
    _, metrics = jax.jit(make(apply))(state)
    assert metrics["truncated"] == 1


def test_the_searched_gain_of_an_episode_that_is_cut_off_goes_on_with_its_value():
    """Expert iteration fitted values to the rewards before a limit alone (issue 16, row 1: a
    sibling).
    """
    apply, state = init_state(random.key(0), ENV, SOURCE, PLANS, make_optimizer(PLANS))

    def constant(params, observation):
        return apply(params, observation)[0], jnp.float32(5)

    seen = []

    def keep(state, optimizer, loss, batch, config, mesh):
        seen.append(batch)
        return state, {}

    for env in (ENV, TimeLimit(ENV, 4)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(expert_iteration, "gradient_steps", keep)
            update = expert_iteration.make_update(
                env, SOURCE, constant, make_optimizer(PLANS), PLANS
            )
            update(state)
    whole, limited = (np.asarray(batch.gained[:, 0]) for batch in seen)
    assert (whole < 1).all()
    assert (limited > 4).all()


def test_the_best_sample_is_one_that_terminated():
    """A wasteful episode is cut off with a low bound; it must not be the teacher (issue 16, row
    1).
    """
    ends = jnp.array(
        [[CUT_OFF, SOLVED, SOLVED], [FAILED, CUT_OFF, CUT_OFF], [FAILED, FAILED, FAILED]]
    )
    objectives = jnp.array([[1, 9, 7], [0, 5, 5], [3, 2, 2]], jnp.int32)
    assert best_episode(ends, objectives).tolist() == [2, 1, 1]


def test_worlds_are_addressed_by_update_and_environment():
    keys = [
        episode_keys(random.key(0), update, env_id)[0] for update in range(3) for env_id in range(3)
    ]
    assert len({tuple(random.key_data(key).tolist()) for key in keys}) == 9


SHARDED = """
import jax, numpy as np, optax
from jax import random
import jaxsched
from jaxsched.envs import job_shop
from jaxsched.policies import NetworkConfig
from jaxsched.training import PPOConfig, SelfLabelingConfig, data_mesh, ppo, self_labeling
from jaxsched.training.common import init_state

assert jax.device_count() == 4 and data_mesh(1) is None
env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(3, 3)
network = NetworkConfig(width=16, num_layers=1, num_heads=2)
ppo_config = PPOConfig(num_envs=8, num_minibatches=2, num_epochs=1, network=network)
label_config = SelfLabelingConfig(num_envs=8, num_samples=4, num_minibatches=2, network=network)
for module, config in [(ppo, ppo_config), (self_labeling, label_config)]:
    optimizer = optax.sgd(0.1)  # unlike Adam it shows a gradient that is a factor off
    after = []
    for mesh in (None, data_mesh()):
        apply, state = init_state(random.key(0), env, source, config, optimizer)
        compiled = jax.jit(module.make_update(env, source, apply, optimizer, config, mesh)).lower(state).compile()
        assert ("all-reduce" in compiled.as_text()) == (mesh is not None)  # the work really is spread
        state, metrics = compiled(state)
        after.append((state.params, metrics))
    jax.tree.map(lambda one, four: np.testing.assert_allclose(four, one, rtol=1e-4, atol=1e-6), *after)
"""


def test_one_sgd_update_is_equal_on_one_and_four_devices():
    """Same update on 1 and 4 forced host devices: gradients and statistics are global and exact."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    subprocess.run(
        [sys.executable, "-c", SHARDED],
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )


def test_sgd_moves_the_parameters():
    """The guard of the test above: an update that did nothing would be equal everywhere."""
    optimizer = optax.sgd(0.1)
    apply, state = init_state(random.key(0), ENV, SOURCE, PPO, optimizer)
    after, _ = jax.jit(ppo.make_update(ENV, SOURCE, apply, optimizer, PPO))(state)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, after.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
