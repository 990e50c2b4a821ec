"""Random streams and systems: what is drawn, by which ordinal, within which limits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.envs import soc
from jaxsched.envs.soc import objectives
from jaxsched.envs.soc.precedence import successors, topological
from jaxsched.envs.soc.types import LATEST
from jaxsched.host.errors import InstanceError, UnknownNameError


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
    # the floor of an exponential: half a us less
    assert abs(later.mean() - 20 + 0.5) < 4 * 20 / len(later) ** 0.5
    assert abs(batch.redraw.mean() - 19.5) < 4 * 20 / batch.redraw.size**0.5
    assert set(np.unique(batch.profile)) == {0, 1}
    assert abs((batch.profile == 0).mean() - 0.6) < 0.03
    assert (batch.horizon == LATEST).all()
    assert batch.noise is None
    assert batch.entry_mask.shape[1] == 4 * max(
        soc.width(soc.load_job(f"socrates_top{i}")) for i in range(1, 6)
    )


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
    # As many as can be done: three places, and no job takes less than the shortest critical path of
    # a profile.
    assert min(int(each) for each in objectives.shortest_latency(instance)) >= 41
    assert instance.num_jobs == 3 + 3 * -(-500 // 41)


def test_random_systems_are_sound_and_run():
    systems = soc.random_systems(6, seed=1, missing=0.2)
    again = soc.random_systems(6, seed=1, missing=0.2)
    for (platform, jobs), (other, same) in zip(systems, again, strict=True):
        assert jobs == same
        assert platform.exec_time == other.exec_time
        for job in jobs:
            assert len(topological(successors(job.num_tasks, job.edges))) == job.num_tasks
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
    ("bad", "message"),
    [
        ({"cap": 0}, "cap: must be at least 1, got 0"),
        ({"cap": [3, 2.5]}, r"cap\[1\]: 2.5 is not an integer"),
        ({"cap": "3"}, "cap: '3' is not an integer"),
        ({"scale": -1.0}, "scale: -1.0 is not a number from 0 to 1e"),
        ({"scale": []}, "scale: expected a number, or several"),
        ({"scale": [10, True]}, r"scale\[1\]: True is not a number"),
        ({"noise_std": -0.1}, "noise_std: -0.1 is not a number from 0 to 100"),
        ({"noise_std": float("nan")}, "noise_std: nan is not a number"),
        ({"horizon": 0}, "horizon: must be at least 1, got 0"),
        ({"horizon": 2**31}, "horizon: 2147483648 does not fit int32"),
        ({"warm_up": -1}, "warm_up: -1 is negative"),
        ({"probabilities": (1, 1)}, "probabilities: expected one number per profile"),
        ({"probabilities": (0, 0, 0, 0, 0)}, "probabilities: .* not all of them zero"),
        ({"num_jobs": 0}, "num_jobs: must be at least 1, got 0"),
        ({"num_jobs": 2.7}, "num_jobs: 2.7 is not an integer"),
        ({"arrivals": "poisson"}, "unknown arrivals 'poisson'"),
        ({"steady": "yes"}, "unknown steady 'yes'"),
        ({"communication": "bus"}, "unknown communication 'bus'"),
        ({"profiles": "socrates_top1"}, "profiles: expected an array, got 'socrates_top1'"),
        ({"profiles": []}, "every system a job profile"),
        ({"systems": []}, "streams need a system"),
    ],
    ids=str,
)
def test_bad_values_of_streams_are_named(bad, message):
    """Issue 16, row 17: one true line for what a user may type."""
    with pytest.raises((ValueError, UnknownNameError), match=message):
        soc.streams(**bad)


def test_scalars_of_numpy_and_jax_are_the_numbers_they_are():
    """Issue 16, row 8."""
    plain = soc.streams(num_jobs=4, scale=(10, 25), cap=2, noise_std=0.5, warm_up=3, horizon=90)
    other = soc.streams(
        num_jobs=np.int64(4),
        scale=np.array([10, 25]),
        cap=jnp.int32(2),
        noise_std=jnp.float32(0.5),
        steady=np.bool_(True),
        warm_up=jnp.int32(3),
        horizon=np.int16(90),
    )
    assert plain == other
    assert hash(plain) == hash(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": None}, "profile: expected an array, got None"),
        ({"profile": [0, 5]}, r"profile\[1\]: 5 is no profile, there are 5"),
        ({"profile": [0, 1.5]}, r"profile\[1\]: 1.5 is not an integer"),
        ({"gap": [0, -1]}, r"gap\[1\]: -1 is negative"),
        ({"gap": [0]}, "2 profiles, 1 gaps"),
        ({"redraw": 3}, "redraw: expected an array, got 3"),
        ({"cap": 0}, "cap: must be at least 1, got 0"),
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


def test_the_default_stream_fits_the_settings():
    shared = {"communication": "shared_memory"}
    open_loop = jaxsched.make("SoC-v0", cap_mode="open", **shared)
    assert jaxsched.make("SoC-v0").default_source == soc.streams(num_jobs=30, cap=3)
    assert open_loop.default_source == soc.streams(cap=16, steady=False, **shared)
    assert soc.streams(horizon=5000).num_jobs > 100


def test_the_width_of_a_profile_is_its_largest_antichain():
    chain = soc.Job("chain", tuple("abcd"), ((0, 1, 0), (1, 2, 0), (2, 3, 0)))
    fork = soc.Job("fork", tuple("abcde"), ((0, 1, 0), (0, 2, 0), (0, 3, 0), (3, 4, 0)))
    apart = soc.Job("apart", tuple("abc"), ())
    assert [soc.width(job) for job in (chain, fork, apart)] == [1, 3, 3]
