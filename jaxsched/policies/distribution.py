"""The categorical distribution over legal actions: the one place that guards an all-false mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, random

from jaxsched.core.rollout import masked_argmax


class MaskedCategorical(struct.PyTreeNode):
    """Categorical over the actions where `mask`; all zeros-safe when nothing is legal (log-prob
    0, entropy 0).
    """

    logits: Array  # f32[..., A]
    mask: Array  # bool[..., A]

    @property
    def log_probs(self) -> Array:
        """f32[..., A]: log-probabilities; 0 at illegal actions (not to be used), so that
        gradients stay finite.
        """
        shifted, total = self._shifted
        return jnp.where(self.mask, shifted - jnp.log(total), 0)

    @property
    def _shifted(self) -> tuple[Array, Array]:
        """Logits f32[..., A] below their maximum, 0 at illegal actions, and the sum f32[..., 1] of
        their exponentials, 1 where nothing is legal.
        """
        low = jnp.where(self.mask, self.logits, -jnp.inf)
        top = jax.lax.stop_gradient(
            jnp.where(self.mask.any(-1, keepdims=True), low.max(-1, keepdims=True), 0)
        )
        shifted = jnp.where(self.mask, self.logits - top, 0)
        total = jnp.where(self.mask, jnp.exp(shifted), 0).sum(-1, keepdims=True)
        return shifted, jnp.where(total > 0, total, 1)

    def log_prob(self, action: Array) -> Array:
        """f32[...]: log-probability of `action` i32[...]."""
        shifted, total = self._shifted
        hit = action[..., None] == jnp.arange(self.mask.shape[-1], dtype=action.dtype)
        hit = hit & self.mask
        taken = jnp.where(hit, shifted, 0).sum(-1)
        return jnp.where(hit.any(-1), taken - jnp.log(total[..., 0]), 0)

    def entropy(self) -> Array:
        """f32[...]: in nats."""
        log_probs = self.log_probs
        return -jnp.where(self.mask, jnp.exp(log_probs) * log_probs, 0).sum(-1)

    def mode(self) -> Array:
        """i32[...]: most probable legal action, ties to the lowest; 0 when nothing is legal."""
        return masked_argmax(self.logits, self.mask)

    def sample(self, key: Array, temperature: float | Array = 1.0) -> Array:
        """i32[...]: a legal action; the same for any padding of A, since the draw is addressed
        by position.
        """
        gumbel = random.gumbel(key, self.logits.shape, jnp.float32)
        perturbed = self.logits / temperature + gumbel
        return masked_argmax(perturbed, self.mask)
