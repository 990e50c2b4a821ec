"""`MaskedCategorical` against NumPy in float64, and its edges: one legal action, none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.policies import MaskedCategorical

MASKS = {
    "all": [True, True, True, True, True],
    "some": [True, False, True, True, False],
    "one": [False, False, False, True, False],
    "none": [False] * 5,
}
LOGITS = np.array([0.5, 9.0, -1.25, 2.0, 0.5], np.float32)


def oracle(logits, mask):
    """Log-probabilities of the legal actions, float64."""
    legal = logits[mask].astype(np.float64)
    return legal - np.log(np.exp(legal).sum())


@pytest.mark.parametrize("scale", [1.0, 0.0, 300.0, -300.0])
@pytest.mark.parametrize("name", MASKS)
def test_values(name, scale):
    logits, mask = LOGITS * np.float32(scale), np.array(MASKS[name])
    policy, expected = MaskedCategorical(jnp.asarray(logits), jnp.asarray(mask)), np.zeros(5)
    legal = logits[mask].astype(np.float64)
    expected[mask] = legal - (np.logaddexp.reduce(legal) if mask.any() else 0)
    np.testing.assert_allclose(
        policy.log_probs, expected, rtol=1e-5, atol=1e-4 if abs(scale) > 1 else 1e-6
    )
    for action in range(5):
        assert policy.log_prob(jnp.int32(action)) == policy.log_probs[action]
    entropy = -(np.exp(expected[mask]) * expected[mask]).sum()
    np.testing.assert_allclose(policy.entropy(), entropy, rtol=1e-5, atol=1e-4)
    best = np.flatnonzero(mask)[np.argmax(logits[mask])] if mask.any() else 0
    assert policy.mode() == best
    assert policy.mode().dtype == jnp.int32


@pytest.mark.parametrize("name", MASKS)
def test_gradients(name):
    """Against the closed forms: one-hot - p, and -p (log p + entropy)."""
    mask = np.array(MASKS[name])
    probability = np.zeros(5)
    probability[mask] = np.exp(oracle(LOGITS, mask)) if mask.any() else 0
    action = int(np.argmax(mask))

    def log_prob(logits):
        return MaskedCategorical(logits, jnp.asarray(mask)).log_prob(jnp.int32(action))

    def entropy(logits):
        return MaskedCategorical(logits, jnp.asarray(mask)).entropy()

    one_hot = np.eye(5)[action] * mask
    np.testing.assert_allclose(jax.grad(log_prob)(LOGITS), one_hot - probability, atol=1e-6)
    log = np.log(np.where(probability > 0, probability, 1))
    total = -(probability * log).sum()
    np.testing.assert_allclose(jax.grad(entropy)(LOGITS), -probability * (log + total), atol=1e-6)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_logits_of_illegal_actions_do_not_matter(bad):
    mask = np.array(MASKS["some"])
    clean, dirty = jnp.asarray(LOGITS), jnp.asarray(np.where(mask, LOGITS, np.float32(bad)))

    def values(logits):
        policy = MaskedCategorical(logits, jnp.asarray(mask))
        return policy.log_prob(jnp.int32(0)) + policy.entropy()

    assert values(clean) == values(dirty)
    np.testing.assert_array_equal(jax.grad(values)(clean), jax.grad(values)(dirty))


def test_a_batch_is_its_rows():
    masks = np.array(list(MASKS.values()))
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    batch, actions = (
        MaskedCategorical(jnp.asarray(logits), jnp.asarray(masks)),
        jnp.array([4, 2, 3, 0], jnp.int32),
    )
    for i in range(4):
        row = MaskedCategorical(jnp.asarray(logits[i]), jnp.asarray(masks[i]))
        np.testing.assert_allclose(batch.log_probs[i], row.log_probs, rtol=1e-6)
        np.testing.assert_allclose(batch.log_prob(actions)[i], row.log_prob(actions[i]), rtol=1e-6)
        np.testing.assert_allclose(batch.entropy()[i], row.entropy(), rtol=1e-6)
        assert batch.mode()[i] == row.mode()


def draw(logits, mask, num, temperature=1.0):
    policy = MaskedCategorical(jnp.asarray(logits), jnp.asarray(mask))
    keys = jax.random.split(jax.random.key(0), num)
    return np.asarray(jax.jit(jax.vmap(lambda key: policy.sample(key, temperature)))(keys))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_samples_follow_the_probabilities(temperature):
    mask, num = np.array(MASKS["some"]), 20_000
    probability = np.zeros(5)
    probability[mask] = np.exp(oracle(LOGITS / temperature, mask))
    drawn = draw(LOGITS, mask, num, temperature)
    assert drawn.dtype == np.int32
    error = np.abs(np.bincount(drawn, minlength=5) / num - probability)
    assert (error <= 5 * np.sqrt(probability * (1 - probability) / num)).all()


def test_samples_with_one_legal_action_or_none():
    assert (draw(LOGITS, MASKS["one"], 100) == 3).all()
    assert (draw(LOGITS, MASKS["none"], 100) == 0).all()


def test_padding_does_not_change_the_samples():
    drawn = draw(LOGITS, MASKS["some"], 500)
    np.testing.assert_array_equal(
        draw([*LOGITS, 0.0, 50.0], [*MASKS["some"], False, False], 500), drawn
    )
