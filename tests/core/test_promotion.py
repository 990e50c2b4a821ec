"""Everything traces where JAX promotes neither dtypes nor ranks (issue 16, row 20)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import jaxsched
from jaxsched.core import EpisodeStats, TimeLimit, greedy, rollout

DEFAULTS = [(env_id, {}) for env_id in jaxsched.list_envs()]
OTHERS = [
    *[
        ("JobShop-v0", {"candidates": mode, "objective": objective})
        for mode in ("event", "insert", "non_delay")
        for objective in ("makespan", "flow_time", "weighted_tardiness")
    ],
    ("JobShop-v0", {"observation": "operations"}),
    ("JobShop-v0", {"candidates": "insert", "observation": "l2d"}),
    ("JobShop-v0", {"candidates": "event", "observation": "tassel"}),
    ("FlexibleJobShop-v0", {"candidates": "non_delay"}),
    ("BlockingJobShop-v0", {"swap": False, "wait": True, "lookahead": True}),
    ("BlockingJobShop-v0", {"wait": True, "reward": "waiting"}),
    *[("SoC-v0", {"view": "order", "order_mapping": name}) for name in ("heft_rt", "eft")],
    ("SoC-v0", {"view": "fifo", "cap_mode": "socrates", "reward": "socrates"}),
    ("SoC-v0", {"cap_mode": "open", "communication": "shared_memory", "reward": "jobs_in_system"}),
    ("SoC-v0", {"dispatch_order": "insertion", "reward": "makespan"}),
    *[
        ("SoC-v0", {"rule": rule})
        for rule in ("heft_rt", "heft_rt_released", "heft", "peft", "etf_lb")
    ],
    ("MemoryMap-v0", {"reward": "memory_time"}),
    ("StaticAllocation-v0", {"goal": "fit"}),
    *[
        ("TensorReplacement-v0", {"schedule": "fixed", "placement": name})
        for name in ("bytes", "address")
    ],
    ("TensorReplacement-v0", {"placement": "address"}),
]
NIGHTLY = [pytest.param(*each, marks=pytest.mark.nightly) for each in OTHERS]


def name_of(value):
    return " ".join(map(str, value.values())) if isinstance(value, dict) else None


@pytest.mark.parametrize(("env_id", "settings"), [*DEFAULTS, *NIGHTLY], ids=name_of)
def test_all_traces_without_implicit_promotion(env_id, settings):
    """With `jax_numpy_dtype_promotion="strict"` and `jax_numpy_rank_promotion="raise"`, in
    wrappers too.
    """
    env = jaxsched.make(env_id, **settings)
    wrapped = EpisodeStats(TimeLimit(env, 5))

    def everything(key):
        instance = env.default_source(key)
        state, timestep = env.reset(key, instance)
        scores = {name: rule(state) for name, rule in env.heuristics.items()}
        bounds = (
            env.bound(state),
            env.lower_bound(instance),
            env.objective(state),
            env.feasible(state),
        )
        stepped = env.step(key, state, jnp.int32(0))
        played = rollout(wrapped, key, instance, greedy(next(iter(env.heuristics.values()))))
        return timestep, env.action_mask(state), scores, bounds, stepped, played

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        jax.eval_shape(everything, jax.random.key(0))
