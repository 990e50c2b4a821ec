"""Wrappers by value, on real episodes."""

from __future__ import annotations

import copy
import functools
import random as python_random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import (
    AutoReset,
    Environment,
    EpisodeStats,
    HideFeatures,
    Pool,
    TimeLimit,
    UnknownNameError,
    evolution,
    greedy,
    masked_argmax,
    unroll,
)
from jaxsched.envs import job_shop
from tests import shapes

ENV = job_shop.JobShop()
JOBS = [[(0, 5), (1, 2)], [(2, 3), (0, 1)], [(1, 4)]]
ORDER = [0, 2, 1, 0, 1]  # five operations
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0)
def reset(env, *args):
    return env.reset(KEY, *args)


@functools.partial(jax.jit, static_argnums=0)
def step(env, key, state, action):
    return env.step(key, state, action)


def play(env, actions, instance=None):
    """(state, timestep) of reset and of every step."""
    episode = [reset(env, shapes.instance_of(JOBS) if instance is None else instance)]
    for action in actions:
        episode.append(step(env, KEY, episode[-1][0], np.int32(action)))
    return jax.device_get(episode)


def assert_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_a_time_limit_truncates():
    native = play(ENV, ORDER)
    limited = play(TimeLimit(ENV, 3), [*ORDER, 1])
    flags = [(bool(timestep.terminated), bool(timestep.truncated)) for _, timestep in limited]
    assert flags == [(False, False)] * 3 + [(False, True)] * 4
    for (state, timestep), (inner, plain) in zip(limited[:3], native, strict=False):
        assert_equal(state.inner, inner)
        assert_equal(timestep, plain)
    (state, timestep), (inner, plain) = limited[3], native[3]
    assert_equal(state.inner, inner)
    assert not timestep.observation.action_mask.any()
    assert not timestep.metrics["feasible"]  # the rest of the jobs will never be placed
    seen = timestep.observation.replace(action_mask=plain.observation.action_mask)
    metrics = timestep.metrics | {"feasible": plain.metrics["feasible"]}
    assert_equal(
        timestep.replace(observation=seen, metrics=metrics, truncated=plain.truncated), plain
    )
    for state, timestep in limited[4:]:  # takes no more actions
        assert_equal(state, limited[3][0])
        assert timestep.reward == timestep.elapsed == 0
        assert not timestep.metrics["decision"]
        assert not timestep.metrics["illegal"]


def cut(env, id="JobShop-v0"):
    """Totals of 40 steps of random legal play, and the last state."""
    instance = shapes.instance_of(JOBS) if id == "JobShop-v0" else env.default_source(KEY)

    @jax.jit
    def run():
        def body(state, key):
            mask = env.action_mask(state)
            action = masked_argmax(jax.random.uniform(key, mask.shape, jnp.float32), mask)
            state, timestep = env.step(key, state, action)
            return state, (timestep.metrics["decision"], timestep.metrics["illegal"])

        final, counts = jax.lax.scan(body, env.reset(KEY, instance)[0], jax.random.split(KEY, 40))
        return final, jax.tree.map(lambda count: count.sum(dtype=jnp.int32), counts)

    return instance, *jax.device_get(run())


@pytest.mark.parametrize(
    "id",
    [
        "JobShop-v0",
        "SoC-v0",
        pytest.param("FlexibleJobShop-v0", marks=pytest.mark.nightly),
        pytest.param("MemoryMap-v0", marks=pytest.mark.nightly),
    ],
)
def test_a_wrapper_agrees_with_its_end(id):
    """Issue 16, row 2: 36 decisions were counted on ft06 after a limit of 10, 26 of them
    illegal; and its siblings.
    """
    env = TimeLimit(jaxsched.make(id), 3)
    instance, state, (num_decisions, num_illegal) = cut(env, id)
    assert num_illegal == 0
    # some of its steps pass an event
    assert num_decisions == 3 if id != "SoC-v0" else num_decisions <= 3
    assert env.max_steps(instance) == 3
    assert state.done
    assert env.cut_off(state)
    assert not env.terminated(state)
    assert not env.feasible(state)
    assert not env.decides(state)
    assert not env.action_mask(state).any()
    assert not env.observe(state).action_mask.any()


@pytest.mark.parametrize("outside", [False, True])
def test_totals_of_a_limited_episode(outside):
    """Statistics agree with the limit on either side of it (issue 16, row 2)."""
    env = EpisodeStats(TimeLimit(ENV, 3)) if outside else TimeLimit(EpisodeStats(ENV), 3)
    _, state, _ = cut(env)
    assert (state.extra if outside else state.inner.extra).num_decisions == 3
    assert (state.extra if outside else state.inner.extra).num_illegal == 0


def test_a_rollout_ends_at_the_limit():
    @jax.jit
    def play(instance):
        return jaxsched.rollout(
            TimeLimit(ENV, 3), KEY, instance, greedy(TimeLimit(ENV, 3).heuristics["spt"])
        )

    played = jax.device_get(play(shapes.instance_of(JOBS)))
    assert played.mask.tolist() == [True] * 3
    assert played.truncated
    assert not played.feasible


def test_searches_see_the_limit():
    """Issue 16, row 2: search, replay and evolution call `apply` and `init`, not `step` (a
    sibling).
    """
    env = TimeLimit(ENV, 3)
    instance = jax.tree.map(jnp.asarray, shapes.instance_of(JOBS))
    state = env.init(KEY, instance)
    apply = jax.jit(env.apply)
    for job in (0, 2, 1):
        assert not state.done
        state = apply(KEY, state, jnp.int32(job), jnp.bool_(True))
    assert state.done
    after = apply(KEY, state, jnp.int32(0), jnp.bool_(True))
    assert_equal(jax.device_get(after), jax.device_get(state))
    wish = jnp.array([0, 2, 1, 0, 1], jnp.int32)
    played = jax.jit(lambda: evolution.play(env, ENV.heuristics["spt"], KEY, instance, wish))()
    assert played.length == 3
    assert played.truncated


def test_a_wrapper_is_the_environment_inside_to_those_who_ask():
    """Issue 16, row 3: what is known about a problem is known about it in a wrapper."""
    env = EpisodeStats(TimeLimit(jaxsched.make("JobShop-v0", candidates="insert"), 3))
    assert (
        env.unwrapped == jaxsched.make("JobShop-v0", candidates="insert") == env.unwrapped.unwrapped
    )
    assert (env.id, env.family, env.settings["candidates"]) == ("JobShop-v0", "job_shop", "insert")
    assert env.settings == env.unwrapped.settings
    assert isinstance(env, Environment)
    assert not TimeLimit(ENV, 3).complete  # an optimum may be out of reach
    assert TimeLimit(ENV).complete
    assert not ENV.improves
    assert TimeLimit(jaxsched.make("MemoryMap-v0"), 3).improves


def test_bad_limits_are_refused():
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        TimeLimit(ENV, 0)
    with pytest.raises(TypeError, match="TimeLimit wraps an Environment, got str"):
        TimeLimit("JobShop-v0", 3)
    assert TimeLimit(ENV, np.int64(3)) == TimeLimit(ENV, 3)


def test_hidden_features_are_zero():
    """By name, of nodes and of pairs, inside and outside other wrappers; nothing else changes."""
    env = jaxsched.make("FlexibleJobShop-v0")
    hidden = (
        ("machine", ("is wanted",)),
        ("dispatch job on machine", ("starts now", "duration / unit")),
    )
    instance = env.default_source(KEY)
    plain, wrapped, limited = (
        jax.device_get(reset(each, instance)[1])
        for each in (
            env,
            EpisodeStats(HideFeatures(env, hidden)),
            HideFeatures(TimeLimit(env, 3), dict(hidden)),
        )
    )
    assert_equal(wrapped.observation, limited.observation)
    seen, pairs = wrapped.observation, wrapped.observation.actions[0]
    assert plain.observation["machine"]["is wanted"].any()
    for part, names in ((seen["machine"], hidden[0][1]), (pairs, hidden[1][1])):
        assert all((part[name] == 0).all() for name in names)
    for before, after in (
        (plain.observation["machine"], seen["machine"]),
        (plain.observation.actions[0], pairs),
    ):
        shown = [name for name in before.names if not {name} & {*hidden[0][1], *hidden[1][1]}]
        assert all((before[name] == after[name]).all() for name in shown)
    assert_equal(seen["job"], plain.observation["job"])
    assert HideFeatures(env, hidden).features() == env.features()


def test_hidden_names_are_checked():
    with pytest.raises(
        UnknownNameError,
        match=r"^unknown kind of nodes or form of actions 'jobs'; did you mean job",
    ):
        HideFeatures(ENV, (("jobs", ("starts now",)),))
    with pytest.raises(
        UnknownNameError, match=r"^unknown feature of job 'start now'; did you mean starts now"
    ):
        HideFeatures(ENV, {"job": ["duration / unit", "start now"]})
    env = HideFeatures(ENV, (("job", ("starts now",)),))
    assert env == HideFeatures(ENV, {"job": ["starts now"]})
    assert hash(env) == hash(HideFeatures(ENV, {"job": ["starts now"]}))
    assert env != HideFeatures(ENV)
    assert env.unwrapped == ENV


@pytest.mark.parametrize("limit", [5, None])
def test_an_episode_that_ends_in_time_is_not_truncated(limit):
    native, limited = play(ENV, ORDER), play(TimeLimit(ENV, limit), ORDER)
    for (state, timestep), (inner, plain) in zip(limited, native, strict=True):
        assert_equal((state.inner, timestep), (inner, plain))
    assert limited[-1][1].terminated


def test_the_default_limit_is_max_steps():
    late = play(TimeLimit(ENV), [-1] * (shapes.JOBS * shapes.OPS))
    assert [bool(timestep.truncated) for _, timestep in late[-2:]] == [False, True]


def test_episode_stats_are_totals():
    native, counted = (
        play(ENV, [*ORDER[:2], 3, *ORDER[2:]]),
        play(EpisodeStats(ENV), [*ORDER[:2], 3, *ORDER[2:]]),
    )
    for t, (_, timestep) in enumerate(counted):
        steps, episode = [plain for _, plain in native[1 : t + 1]], timestep.metrics["episode"]
        assert np.isclose(episode.total_reward, sum(plain.reward for plain in steps))
        assert episode.num_decisions == t
        assert episode.elapsed == sum(plain.elapsed for plain in steps)
        assert episode.num_illegal == (t >= 3)
    makespan = ENV.solution(native[-1][0]).makespan
    assert episode.elapsed == makespan
    assert np.isclose(episode.total_reward, 1 - makespan / native[0][0].baseline)


@pytest.fixture(scope="module")
def stream():
    """Random play of forty steps over a pool, with the steps of the environment inside for
    comparison.
    """
    pool = Pool(shapes.stacked(shapes.mixed_instances(5)))
    env, rng = AutoReset(EpisodeStats(TimeLimit(ENV, 9)), pool), python_random.Random(0)
    state, timestep = reset(env)
    steps = [(None, None, None, state, timestep)]
    for key in jax.random.split(jax.random.key(1), 40):
        action = np.int32(rng.choice(np.flatnonzero(timestep.observation.action_mask)))
        inside, native = step(env.env, key, env.full(state), action)
        before, (state, timestep) = state, step(env, key, state, action)
        steps.append((before, inside, native, state, timestep))
    return env, pool, jax.device_get(steps)


def test_auto_reset_keeps_the_final_observation(stream):
    env, _, steps = stream
    num_over = [0, 0]
    for before, inside, native, state, timestep in steps[1:]:
        over = native.terminated | native.truncated
        num_over[int(native.truncated)] += over
        assert_equal(timestep.metrics["final_observation"], native.observation)
        assert_equal(
            timestep.replace(observation=None, metrics=None),
            native.replace(observation=None, metrics=None),
        )
        assert_equal({name: timestep.metrics[name] for name in native.metrics}, native.metrics)
        if not over:
            assert state.extra == before.extra
            assert_equal(env.full(state), inside)
            assert_equal(timestep.observation, native.observation)
    assert min(num_over) > 0  # episodes that end by themselves, and by the limit


def test_auto_reset_goes_on_with_an_instance_of_the_pool(stream):
    env, pool, steps = stream
    started = [
        (state, timestep)
        for _, _, native, state, timestep in steps
        if native is None or native.terminated or native.truncated
    ]
    assert len({int(state.extra) for state, _ in started}) > 2
    for state, timestep in started:
        first, plain = reset(env.env, pool.take(int(state.extra)))
        assert_equal(jax.device_get(env.full(state)), jax.device_get(first))
        assert_equal(timestep.observation, jax.device_get(plain.observation))
        assert_equal(env.action_mask(state), plain.observation.action_mask)
        assert env.objective(state) == first.baseline


def test_the_instance_is_not_in_the_carried_state(stream):
    _, _, steps = stream
    assert steps[0][3].inner.instance is None
    # instances of a stream are indices into its pool
    assert steps[0][3].instance == steps[0][3].extra


def test_a_stream_is_unrolled_with_the_index_in_its_carry():
    """A scan that keeps the instance outside leaves the index inside, which changes from episode
    to episode.
    """
    pool = Pool(shapes.stacked(shapes.mixed_instances(5)))
    env = AutoReset(ENV, pool)

    def act(key, state):
        return masked_argmax(
            jax.random.uniform(key, (shapes.JOBS,), jnp.float32), env.action_mask(state)
        ), state.extra

    @jax.jit
    def run():
        state, _ = env.reset(KEY, 3)
        return unroll(env, KEY, state, act, 60)

    _, (_, index, timestep) = jax.device_get(run())
    assert index[0] == 3
    assert len(set(index.tolist())) > 2
    over = timestep.terminated | timestep.truncated
    assert (over[:-1] | (index[1:] == index[:-1])).all()


def test_wrappers_play_like_their_environment():
    @functools.partial(jax.jit, static_argnums=0)
    def rollout(env, instance):
        return jaxsched.rollout(env, KEY, instance, greedy(env.heuristics["mwkr"]))

    instance = shapes.instance_of(JOBS)
    plain, wrapped = rollout(ENV, instance), rollout(EpisodeStats(TimeLimit(ENV)), instance)
    assert_equal(wrapped.state.inner.inner, plain.state)
    assert_equal(wrapped.replace(state=None), plain.replace(state=None))
    assert wrapped.state.extra.num_decisions == shapes.JOBS * shapes.OPS - (~plain.mask).sum()


def test_a_wrapped_state_reads_and_replaces_inside():
    state, _ = EpisodeStats(TimeLimit(ENV)).reset(KEY, shapes.instance_of(JOBS))
    assert state.ops_left.tolist() == [2, 2, 1, 0]
    assert not state.done
    assert state.replace(job_ready=jnp.arange(4)).inner.inner.job_ready.tolist() == [0, 1, 2, 3]
    assert state.replace(extra=None).extra is None
    assert copy.deepcopy(state).inner.extra == shapes.JOBS * shapes.OPS  # steps left
    with pytest.raises(AttributeError, match="makespan"):
        _ = state.makespan


def test_wrappers_compare_by_all_their_settings():
    pool = Pool([shapes.instance_of(JOBS)])
    assert TimeLimit(ENV, 3) == TimeLimit(ENV, 3)
    assert (
        len(
            {
                TimeLimit(ENV, 3),
                TimeLimit(ENV, 4),
                TimeLimit(ENV),
                EpisodeStats(ENV),
                EpisodeStats(ENV),
            }
        )
        == 4
    )
    assert AutoReset(ENV, pool) == AutoReset(ENV, pool) != AutoReset(ENV, Pool(pool.instances))
    assert copy.copy(TimeLimit(ENV, 3)) == TimeLimit(ENV, 3)
