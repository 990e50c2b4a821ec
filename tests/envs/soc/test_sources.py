"""Random streams and systems: what is drawn, by which ordinal, within which limits."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.core.errors import InstanceError
from jaxsched.envs import soc
from jaxsched.envs.soc import objectives
from jaxsched.envs.soc.instances import topological
from jaxsched.envs.soc.types import LATEST


@functools.cache
def draw(source: soc.Streams, count: int = 400):
    return jax.device_get(jax.jit(jax.vmap(source))(jax.random.split(jax.random.key(0), count)))


def test_gaps_profiles_and_the_steady_start():
    source = soc.streams(num_jobs=40, scale=20, probabilities=(0.6, 0.4, 0, 0, 0), cap=(2, 4))
    batch = draw(source)
    caps = batch.slot_mask.sum(1)
    assert set(caps.tolist()) == {2, 4}
    filled = np.arange(40) < caps[:, None]
    assert (batch.gap[filled] == 0).all()
    later = batch.gap[~filled]
    assert abs(later.mean() - 20 + 0.5) < 4 * 20 / len(later) ** 0.5  # the floor of an exponential: half a us less
    assert abs(batch.redraw.mean() - 19.5) < 4 * 20 / batch.redraw.size**0.5
    assert set(np.unique(batch.profile)) == {0, 1}
    assert abs((batch.profile == 0).mean() - 0.6) < 0.03
    assert (batch.horizon == LATEST).all()
    assert batch.noise is None
    assert batch.entry_mask.shape[1] == 4 * max(soc.width(soc.load_job(f"socrates_top{i}")) for i in range(1, 6))


def test_a_longer_stream_begins_like_a_shorter_one():
    short, long = (soc.streams(num_jobs=n, noise_std=0.1)(jax.random.key(3)) for n in (5, 9))
    for name in ("profile", "gap", "redraw"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:5])


def test_fixed_gaps_and_a_horizon():
    settings = {"horizon": 500, "scale": 10, "arrivals": "fixed", "steady": False, "warm_up": 7}
    source = soc.streams(num_jobs=None, **settings)
    instance = source(jax.random.key(0))
    assert (np.asarray(instance.gap) == 10).all()
    assert (int(instance.horizon), int(instance.warm_up)) == (500, 7)
    # As many as can be done: three places, and no job takes less than the shortest critical path of a profile.
    assert min(int(each) for each in objectives.shortest_latency(instance)) >= 41
    assert instance.num_jobs == 3 + 3 * -(-500 // 41)


def test_random_systems_are_sound_and_run():
    systems = soc.random_systems(6, seed=1, missing=0.2)
    again = soc.random_systems(6, seed=1, missing=0.2)
    for (platform, jobs), (other, same) in zip(systems, again, strict=True):
        assert jobs == same
        assert platform.exec_time == other.exec_time
        for job in jobs:
            after = [[dst for src, dst, _ in job.edges if src == k] for k in range(job.num_tasks)]
            assert len(topological(job.num_tasks, after)) == job.num_tasks
            assert {dst for _, dst, _ in job.edges} == set(range(1, job.num_tasks))  # one head
            assert {src for src, _, _ in job.edges} == set(range(job.num_tasks - 1))  # one tail
    batch = draw(soc.streams(systems=systems, num_jobs=3), 64)
    assert len({tuple(row.ravel().tolist()) for row in batch.system.exec_time}) == 6
    assert (batch.profile < batch.system.profile_mask.sum(1)[:, None]).all()


def test_a_system_returns_from_the_device():
    for platform, jobs in soc.random_systems(3, missing=0.3):
        system = soc.make_system(platform, jobs)
        back, profiles = soc.to_host(system)
        again = soc.make_system(back, profiles)
        jax.tree.map(np.testing.assert_array_equal, again, system)


@pytest.mark.parametrize(
    "bad",
    [
        {"cap": 0},
        {"scale": -1.0},
        {"noise_std": -0.1},
        {"horizon": 0},
        {"warm_up": -1},
        {"probabilities": (1, 1)},
        {"num_jobs": 0},
        {"num_jobs": None},
        {"arrivals": "poisson"},
    ],
    ids=str,
)
def test_bad_settings_are_refused(bad):
    with pytest.raises((ValueError, KeyError)):
        soc.streams(**bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": None}, "profile: expected an array, got None"),
        ({"profile": [0, 5]}, r"profile\[1\]: 5 is no profile, there are 5"),
        ({"profile": [0, 1.5]}, r"profile\[1\]: 1.5 is not an integer"),
        ({"gap": [0, -1]}, r"gap\[1\]: -1 is negative"),
        ({"gap": [0]}, "2 profiles, 1 gaps"),
        ({"redraw": 3}, "redraw: expected an array, got 3"),
        ({"cap": 0}, "cap: 0, expected at least 1"),
        ({"horizon": "9"}, "horizon: '9' is not an integer"),
        ({"warm_up": -1}, "warm_up: -1 is negative"),
        ({"noise_std": True}, "noise_std: True is not a number"),
    ],
    ids=str,
)
def test_bad_values_of_an_instance_are_named(change, message):
    """Issue 16, row 0: numbers are not cut to integers, and no index leaves the system."""
    platform = soc.load_platform("socrates_top")
    system = soc.make_system(platform, [soc.load_job(f"socrates_top{i}") for i in range(1, 6)])
    given = {"profile": [0, 1], "gap": [0, 1], "cap": 1, "width": 5} | change
    with pytest.raises(InstanceError, match=message):
        soc.make_instance(system, **given)


def test_make_takes_the_settings_of_its_stream():
    env = jaxsched.make("SoC-v0", num_jobs=7, cap=2, cap_mode="socrates", noise_std=0.1)
    assert (env.default_source.num_jobs, env.default_source.cap, env.default_source.noise_std) == (7, (2,), (0.1,))
    assert jaxsched.make("SoC-v0").default_source.cap == (3,)
    assert jaxsched.make("SoC-v0", cap_mode="open").default_source.steady is False
    assert jaxsched.make("SoC-v0", horizon=5000).default_source.num_jobs > 100
    assert jaxsched.make("SoC-v0", view="order").settings["rule"] == "heft_rt"
    with pytest.raises(KeyError, match="did you mean joint"):
        jaxsched.make("SoC-v0", view="join")


def test_the_width_of_a_profile_is_its_largest_antichain():
    chain = soc.Job("chain", tuple("abcd"), ((0, 1, 0), (1, 2, 0), (2, 3, 0)))
    fork = soc.Job("fork", tuple("abcde"), ((0, 1, 0), (0, 2, 0), (0, 3, 0), (3, 4, 0)))
    apart = soc.Job("apart", tuple("abc"), ())
    assert [soc.width(job) for job in (chain, fork, apart)] == [1, 3, 3]
