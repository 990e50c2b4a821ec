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
    TrainState,
    make_training,
    ppo,
)
from jaxsched.training.algorithms import ALGORITHMS, algorithm_of
from jaxsched.training.episodes import episode_keys, observations
from jaxsched.training.update import Task, micro_batch

ENV = jaxsched.make("JobShop-v0")
SOURCE = job_shop.uniform(3, 3)
NETWORK = NetworkConfig(width=16, num_layers=1, num_heads=2)
PPO = PPOConfig(num_envs=8, num_minibatches=2, num_epochs=2, num_updates=30, network=NETWORK)
LABELS = SelfLabelingConfig(
    num_envs=4, num_samples=8, num_minibatches=2, num_updates=30, network=NETWORK
)
ROUNDS = dataclasses.replace(LABELS, num_samples=4, num_rounds=3, advantage_power=1.0)
RULE = ImitationConfig(
    num_envs=8, num_own=4, num_minibatches=2, num_updates=30, network=NETWORK, teacher="mwkr"
)
PLANS = ExpertIterationConfig(
    num_envs=8, num_simulations=8, num_minibatches=2, num_updates=30, network=NETWORK
)

SGD = {"optimizer": lambda config: optax.sgd(0.1)}  # unlike Adam it shows a factor


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
    [PPO, LABELS, ROUNDS, RULE, PLANS],
    ids=["ppo", "self_labeling", "rounds", "imitation", "expert_iteration"],
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


def begun(env, source, config, **more) -> tuple[Task, TrainState]:
    init, _ = make_training(env, source, config, **more)
    apply, state = init(random.key(0))
    return Task(env, source, apply, config), state


def played(task, state):
    """The lessons of one update, [E, ...], and the figures."""
    algorithm = ALGORITHMS[algorithm_of(task.config)]

    @jax.jit
    def run(state):
        def play(env_id):
            keys = episode_keys(state.key, state.update, env_id)
            return algorithm.play(task, state.params, keys, env_id)

        return jax.vmap(play)(jnp.arange(task.config.num_envs, dtype=jnp.int32))

    return run(state)


@pytest.mark.parametrize(
    ("config", "keep"),
    [
        pytest.param(PPO, "actions", id="ppo-actions"),
        pytest.param(ROUNDS, "observations", id="self_labeling-observations"),
        pytest.param(PPO, "observations", id="ppo-observations", marks=pytest.mark.nightly),
        pytest.param(ROUNDS, "actions", id="self_labeling-actions", marks=pytest.mark.nightly),
    ],
)
def test_observations_are_what_was_played(config, keep):
    """The ratio of PPO is exactly 1 before the first gradient step: whether observations are kept or
    computed again, they are those of the episode.
    """
    config = dataclasses.replace(config, keep=keep)
    task, state = begun(ENV, SOURCE, config)
    lessons, _ = played(task, state)
    assert (lessons.episode.observation is None) == (keep == "actions")

    @jax.jit
    @jax.vmap
    def again(episode):
        def act(key, bare, observation, action):
            after, timestep = ENV.advance(key, bare, action)
            return after, (observation, timestep.metrics["decision"])

        state = ENV.init(episode.reset_key, episode.instance)
        seen, masks = [], []
        keys = random.split(episode.step_key, ENV.max_steps(episode.instance))
        for key, action in zip(keys, episode.action, strict=False):
            seen.append(ENV.observe(state))
            state, timestep = ENV.advance(random.split(key)[1], state, action)
            masks.append(timestep.metrics["decision"])
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seen)
        return stacked, jnp.stack(masks)

    expected, mask = again(lessons.episode)
    found = jax.vmap(lambda episode: observations(ENV, episode))(lessons.episode)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(one, other[:, : one.shape[1]], atol=1e-6)
    assert (mask == lessons.episode.mask[:, : mask.shape[1]]).all()
    if isinstance(config, PPOConfig):
        logits, value = jax.vmap(jax.vmap(task.apply, (None, 0)), (None, 0))(state.params, found)
        log_prob = MaskedCategorical(logits, found.action_mask).log_prob(lessons.episode.action)
        known = np.asarray(lessons.episode.mask)
        np.testing.assert_allclose(log_prob[known], lessons.target.log_prob[known], atol=1e-5)
        np.testing.assert_allclose(value, lessons.target.value, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [PPO, ROUNDS, pytest.param(RULE, marks=pytest.mark.nightly)],
    ids=["ppo", "self_labeling", "imitation"],
)
def test_an_update_is_the_same_however_it_is_computed(config):
    """Micro-batches sum the same gradients, and episodes played again are the same episodes."""
    config = dataclasses.replace(config, num_minibatches=1, num_updates=2)

    def after(**changes):
        init, make = make_training(ENV, SOURCE, dataclasses.replace(config, **changes), **SGD)
        apply, state = init(random.key(0))
        state, metrics = jax.jit(make(apply))(state)
        return state.params, metrics

    expected = after(micro_batch=config.num_envs)
    for changes in ({"micro_batch": 1}, {"micro_batch": 2}, {"keep": "actions"}):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6),
            expected,
            after(**changes),
        )


def test_micro_batches_divide_the_minibatch():
    sizes = [micro_batch(dataclasses.replace(PPO, micro_batch=8), size) for size in (4, 8, 12, 13)]
    assert sizes == [4, 8, 6, 1]


def test_numbers_of_a_config_are_data():
    """Two learning rates and two clips are one program, equal to two."""
    changed = dataclasses.replace(PPO, learning_rate=3e-3, clip=0.05, gae_lambda=0.5)
    init, make = make_training(ENV, SOURCE, PPO)
    apply, state = init(random.key(0))
    _, other = make_training(ENV, SOURCE, changed)[0](random.key(0))
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), state, other)
    update = make(apply)
    both, _ = jax.jit(jax.vmap(update))(states)
    own, _ = jax.jit(make_training(ENV, SOURCE, changed)[1](apply))(other)
    for many, one in zip(jax.tree.leaves(both.params), jax.tree.leaves(own.params), strict=True):
        np.testing.assert_allclose(many[1], one, atol=2e-5)
        assert np.abs(many[1] - many[0]).max() > 1e-4 or one.size < 4


def test_the_average_follows_the_parameters():
    """It forgets the first ones quickly, and later looks back on a share of the run."""
    config = dataclasses.replace(LABELS, num_updates=100, average=0.1, learning_rate=1e-2)
    init, make = make_training(ENV, SOURCE, config)
    apply, state = init(random.key(0))
    update = jax.jit(make(apply))
    average = [state.average["logit"]["kernel"]]
    for done in range(4):
        state, _ = update(state)
        rate = max(9 / (10 + done), 1 / 10)
        average.append(average[-1] + rate * (state.params["logit"]["kernel"] - average[-1]))
        np.testing.assert_allclose(state.average["logit"]["kernel"], average[-1], atol=1e-6)


STREAM = jaxsched.make("SoC-v0")
STREAM_SOURCE = soc.streams(horizon=60, num_jobs=4, scale=10.0)
SMALL = PPOConfig(num_envs=4, num_minibatches=2, num_epochs=1, network=NETWORK)


def collected(env, source, config=SMALL):
    """Lessons, figures, the values of the final states, and whether these terminated."""
    task, state = begun(env, source, config)
    lessons, figures = played(task, state)

    @jax.jit
    @jax.vmap
    def ends(episode):
        first, _ = env.reset(episode.reset_key, episode.instance)
        last, _ = replay(env, episode.step_key, first, episode.action[:-1])
        return task.apply(state.params, env.observe(last))[1], env.terminated(last)

    return jax.device_get((lessons, figures, *ends(lessons.episode)))


@pytest.mark.parametrize("cut", ["horizon", "wrapper", "none"])
def test_what_is_cut_off_is_bootstrapped_from_its_last_observation(cut):
    """Issue 16, row 1: with a horizon the value of the last state was taken for 0; and with a
    wrapper (a sibling).
    """
    env = {"horizon": STREAM, "wrapper": TimeLimit(ENV, 4), "none": ENV}[cut]
    lessons, figures, value, terminated = collected(
        env, STREAM_SOURCE if cut == "horizon" else SOURCE
    )
    decision, episode = lessons.target, lessons.episode
    assert terminated.all() == (cut == "none")
    assert (figures["truncated"] == ~terminated).all()
    # The step that only looks at the end sees its value, and is no decision.
    np.testing.assert_allclose(decision.value[:, -1], value, rtol=1e-5, atol=1e-7)
    assert not episode.mask[:, -1].any()
    expected = np.where(terminated, 0, value)
    assert (expected[~terminated] != 0).all()
    assert (
        episode.action.shape[1] == env.max_steps(jax.tree.map(lambda x: x[0], episode.instance)) + 1
    )


def test_targets_end_with_the_value_of_the_state_that_was_cut_off():
    """With values of 5 the last decision gains 5 more where the episode was cut off."""
    task, state = begun(ENV, SOURCE, SMALL)

    def constant(params, observation):
        return task.apply(params, observation)[0], jnp.float32(5)

    for env, expected in ((ENV, 0), (TimeLimit(ENV, 4), 5)):
        lessons, _ = played(task._replace(env=env, apply=constant), state)
        last = np.asarray(lessons.target.target)[
            :, env.max_steps(jax.tree.map(lambda x: x[0], lessons.episode.instance)) - 1
        ]
        assert (np.abs(last - expected) < 1).all()


def test_ppo_trains_on_decisions_before_a_limit_alone():
    """Issue 16, row 2: all 36 steps of ft06 counted after a limit of 10."""
    lessons, *_ = collected(TimeLimit(ENV, 4), SOURCE)
    assert (lessons.episode.mask.sum(1) == 4).all()


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
    task, state = begun(ENV, SOURCE, PLANS)

    def constant(params, observation):
        return task.apply(params, observation)[0], jnp.float32(5)

    gained = []
    for env in (ENV, TimeLimit(ENV, 4)):
        lessons, _ = played(task._replace(env=env, apply=constant), state)
        gained.append(np.asarray(lessons.target.gained[:, 0]))
    whole, limited = gained
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
        episode_keys(random.key(0), update, env_id).instance
        for update in range(3)
        for env_id in range(3)
    ]
    assert len({tuple(random.key_data(key).tolist()) for key in keys}) == 9


SHARDED = """
import dataclasses, jax, numpy as np, optax, pytest
from jax import random
import jaxsched
from jaxsched.envs import job_shop
from jaxsched.policies import NetworkConfig
from jaxsched.training import PPOConfig, SelfLabelingConfig, data_mesh, devices_that_fit
from jaxsched.training import make_training, train

assert jax.device_count() == 4 and data_mesh(1) is None
env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(3, 3)
network = NetworkConfig(width=16, num_layers=1, num_heads=2)
ppo = PPOConfig(num_envs=8, num_minibatches=2, num_epochs=1, network=network)
labels = SelfLabelingConfig(
    num_envs=8, num_samples=4, num_rounds=2, advantage_power=1.0, num_minibatches=2, network=network
)
sgd = lambda config: optax.sgd(0.1)  # unlike Adam it shows a gradient that is a factor off
for config in (ppo, labels):
    after = []
    for mesh in (None, data_mesh()):
        init, make = make_training(env, source, config, mesh, optimizer=sgd)
        apply, state = init(random.key(0))
        compiled = jax.jit(make(apply)).lower(state).compile()
        assert ("all-reduce" in compiled.as_text()) == (mesh is not None)  # the work really is spread
        state, metrics = compiled(state)
        after.append((state.params, metrics))
    jax.tree.map(lambda one, four: np.testing.assert_allclose(four, one, rtol=1e-4, atol=1e-6), *after)

few = dataclasses.replace(ppo, num_envs=4)
assert [devices_that_fit(config) for config in (ppo, few)] == [4, 2]
with pytest.raises(ValueError, match="minibatches of 2 environments .* on 4 devices; 2 would do"):
    train(env, source, few, run_dir="never", mesh=data_mesh())
"""


def test_one_sgd_update_is_equal_on_one_and_four_devices():
    """Same update on 1 and 4 forced host devices: gradients and statistics are global and exact,
    and no environment is copied to every device.
    """
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ
        | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Involuntary full rematerialization" not in done.stderr


def test_sgd_moves_the_parameters():
    """The guard of the test above: an update that did nothing would be equal everywhere."""
    init, make = make_training(ENV, SOURCE, PPO, **SGD)
    apply, state = init(random.key(0))
    after, _ = jax.jit(make(apply))(state)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, after.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
