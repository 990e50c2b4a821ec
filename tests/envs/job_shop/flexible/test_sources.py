"""Generators: shapes, ranges, the distributions of SD1 and SD2, reproducibility."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.envs.job_shop.flexible import sd1, sd2, uniform
from jaxsched.envs.registry import offer

BATCH = 256


@functools.partial(jax.jit, static_argnums=0)  # sources are hashable
def batch(source, keys):
    return jax.vmap(source)(keys)


def draw(source, seed=0):
    """`BATCH` instances in one compiled call, as NumPy."""
    return jax.tree.map(np.asarray, batch(source, jax.random.split(jax.random.key(seed), BATCH)))


def assert_well_formed(instance):
    """The invariants of `Instance`: types, prefix masks, zero padding, a machine for every
    operation.
    """
    assert {leaf.dtype for leaf in jax.tree.leaves(instance)} == {
        np.dtype(np.int32),
        np.dtype(bool),
    }
    assert (instance.op_mask[..., 1:] <= instance.op_mask[..., :-1]).all()
    assert (instance.machine_mask[..., 1:] <= instance.machine_mask[..., :-1]).all()
    assert (instance.eligible_mask.any(-1) == instance.op_mask).all()
    assert (instance.eligible_mask <= instance.machine_mask[:, None, None]).all()
    assert (instance.duration[~instance.eligible_mask] == 0).all()


def shares(values, low, high):
    """Every value of [low, high] and no other occurs, each about as often."""
    found, counts = np.unique(values, return_counts=True)
    assert found.tolist() == list(range(low, high + 1))
    np.testing.assert_allclose(counts / counts.mean(), 1, atol=0.4)


def test_sd1():
    instance = draw(sd1(10, 5))
    assert_well_formed(instance)
    assert instance.duration.shape == (BATCH, 10, 6, 5)
    shares(instance.op_mask.sum(-1), 4, 6)
    count = instance.eligible_mask.sum(-1)
    shares(count[instance.op_mask], 1, 5)
    ticks = instance.duration[instance.eligible_mask]
    assert (ticks.min(), ticks.max()) == (1, 20)
    np.testing.assert_allclose(
        instance.eligible_mask.mean((0, 1, 2)) / instance.eligible_mask.mean(), 1, atol=0.1
    )
    # Within 20 % of a mean: rounded, so that 4 to 6 go with 5, and never 3 and 5.
    highest = instance.duration.max(-1)[instance.op_mask]
    lowest = np.where(instance.eligible_mask, instance.duration, 99).min(-1)[instance.op_mask]
    pairs = set(zip(lowest.tolist(), highest.tolist(), strict=True))
    assert all(
        any(round(0.8 * m) <= a and b <= round(1.2 * m) for m in range(1, 21)) for a, b in pairs
    )
    assert (highest > lowest).any()


def test_sd2():
    instance = draw(sd2(4, 3))
    assert_well_formed(instance)
    assert instance.duration.shape == (BATCH, 4, 3, 3)
    assert instance.op_mask.all()
    shares(instance.eligible_mask.sum(-1), 1, 3)
    ticks = instance.duration[instance.eligible_mask]
    assert (ticks.min(), ticks.max()) == (1, 99)
    assert abs(ticks.mean() - 50) < 1.5


def test_mixed_sizes():
    instance = draw(sd1(8, 6, min_jobs=3, min_machines=2))
    assert_well_formed(instance)
    shares(instance.op_mask.any(-1).sum(-1), 3, 8)
    machines = instance.machine_mask.sum(-1)
    shares(machines, 2, 6)
    lengths = instance.op_mask.sum(-1)
    for size in range(2, 7):
        real = lengths[machines == size]
        assert set(np.unique(real[real > 0])) == set(range(8 * size // 10, 12 * size // 10 + 1))
        assert instance.eligible_mask[machines == size].sum(-1).max() == size


def test_uniform():
    instance = draw(uniform(3, 5, ops=(2, 4), alternatives=(2, 3), low=0, high=7))
    assert_well_formed(instance)
    shares(instance.op_mask.sum(-1), 2, 4)
    shares(instance.eligible_mask.sum(-1)[instance.op_mask], 2, 3)
    shares(instance.duration[instance.eligible_mask], 0, 7)


def test_the_key_decides():
    first, again, other = draw(sd1(4, 3)), draw(sd1(4, 3)), draw(sd1(4, 3), seed=1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first.duration != other.duration).any()
    with jax.enable_x64(True):
        jax.tree.map(np.testing.assert_array_equal, first, draw(sd1(4, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sd1(0, 3), "jobs need 1 <= low <= high, got 0 and 0"),
        (lambda: sd1(3, 3, min_jobs=4), "jobs need 1 <= low <= high, got 4 and 3"),
        (lambda: sd1(3, 1), "1 machines leave jobs without operations"),
        (lambda: uniform(3, 3, ops=(0, 2)), "ops need 1 <= low <= high, got 0 and 2"),
        (
            lambda: uniform(3, 3, ops=(1, 2), low=-1),
            "durations need 0 <= low <= high, got low=-1, high=99",
        ),
        (lambda: uniform(3, 3, ops=(1, 2), spread=2), "spread is in [0, 1], got 2.0"),
        (
            lambda: uniform(3, 3, ops=(1, 2), high=2**28),
            "3 machines times the longest durations so far exceed int32",
        ),
        (
            lambda: uniform(2**10, 2**7, ops=(1, 2**6)),
            "more than 4194304 pairs of an operation and a machine",
        ),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(("folder", "group"), [("somewhere", "mk01-mk10"), ("", "generated:16")])
def test_without_the_published_sets_generated_shops_are_compared(monkeypatch, folder, group):
    monkeypatch.setenv("JAXSCHED_DATA", folder)
    env = jaxsched.make("FlexibleJobShop-v0")
    comparison = offer(env).comparison(env)
    assert comparison.groups == (group,)
    assert all(map(callable, comparison.track.values()))  # never the published ones
