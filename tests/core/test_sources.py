"""Pools and mixtures of instances."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.core import Mixture, Pool
from tests import shapes

KEYS = jax.random.split(jax.random.key(0), 4000)


def within_chance(count: int, probability: float) -> bool:
    """A count of successes among the keys within five standard deviations."""
    expected = probability * len(KEYS)
    return abs(count - expected) <= 5 * np.sqrt(expected * (1 - probability))


def test_a_pool_holds_its_instances_padded():
    small, large = {"x": jnp.array([1, 2])}, {"x": jnp.array([3, 4, 5])}
    pool = Pool([small, large])
    assert len(pool) == 2
    np.testing.assert_array_equal(pool.take(0)["x"], [1, 2, 0])
    np.testing.assert_array_equal(pool.take(1)["x"], [3, 4, 5])


def test_a_pool_takes_what_is_stacked_already():
    instances = shapes.mixed_instances(5)
    pool = Pool(shapes.stacked(instances))
    assert len(pool) == 5
    for i, instance in enumerate(instances):
        jax.tree.map(np.testing.assert_array_equal, pool.take(i), instance)


def test_a_pool_is_sampled_uniformly():
    pool = Pool([{"x": jnp.int32(i)} for i in range(5)])
    drawn = jax.jit(jax.vmap(pool))(KEYS)["x"]
    assert drawn.dtype == jnp.int32
    counts = np.bincount(drawn, minlength=5)
    assert len(counts) == 5
    assert all(within_chance(count, 1 / 5) for count in counts)


@pytest.mark.parametrize("weights", [None, [1, 3], [0, 2], [0.5, 0.25]])
def test_a_mixture_draws_with_its_weights(weights):
    mixture = Mixture([lambda key: jnp.int32(0), lambda key: jnp.int32(1)], weights)
    share = 1 / 2 if weights is None else weights[1] / sum(weights)
    assert within_chance(int(jax.jit(jax.vmap(mixture))(KEYS).sum()), share)


def test_a_mixture_draws_anew_from_its_source():
    uniform = Mixture([lambda key: jax.random.uniform(key)])
    assert len(np.unique(jax.jit(jax.vmap(uniform))(KEYS))) > 0.99 * len(KEYS)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, 1.0, 1.0]])
def test_a_mixture_refuses_bad_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        Mixture([lambda key: key, lambda key: key], weights)
