"""Learning-rate schedules by name, all from `peak` at step 0 towards 0 at `num_steps` (except
`constant`).
"""

from __future__ import annotations

import jax.numpy as jnp
import optax

from jaxsched.host.errors import UnknownNameError


def rex(peak: float, num_steps: int) -> optax.Schedule:
    """REX (Chen, Wolfe & Kyrillidis, MLSys 2022): peak * (1 - z) / (1 - z / 2), z = step /
    num_steps.
    """

    def schedule(count):
        z = jnp.clip(count / num_steps, 0.0, 1.0)
        return peak * (1.0 - z) / (1.0 - 0.5 * z)

    return schedule


SCHEDULES = {
    "linear": lambda peak, num_steps: optax.linear_schedule(peak, 0.0, num_steps),
    "rex": rex,
    "cosine": lambda peak, num_steps: optax.cosine_decay_schedule(peak, num_steps),
    "constant": lambda peak, num_steps: optax.constant_schedule(peak),
}


def make_schedule(name: str, peak: float, num_steps: int) -> optax.Schedule:
    """The schedule `name`: gradient step -> learning rate."""
    if name not in SCHEDULES:
        raise UnknownNameError("schedule", name, SCHEDULES)
    return SCHEDULES[name](peak, num_steps)
