"""Everything traces where JAX promotes neither dtypes nor ranks (issue 16, row 20)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import jaxsched
from jaxsched.core import EpisodeStats, TimeLimit, greedy, rollout
from jaxsched.envs import job_shop, memory, soc
from jaxsched.envs.job_shop import blocking, flexible
from jaxsched.envs.memory import allocation, mapping

DEFAULTS = [(env_id, {}, None) for env_id in jaxsched.list_envs()]
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


def down(key):
    """A shop without buffers whose machines fail and are maintained."""
    shop = blocking.interrupted(job_shop.uniform(4, 3), (0.0, 0.5), 2.0)(key)
    start = jnp.tile(jnp.array([[0, 60]], jnp.int32), (3, 1))
    return shop.replace(windows=blocking.Windows(start, start + jnp.array([[9, 30]], jnp.int32)))


def pinned(key):
    """Buffers with a pinned one, a gap, an alignment and a capacity."""
    rows: list[dict[str, Any]] = [
        {"id": 0, "start": 0, "end": 9, "size": 4, "gaps": [(2, 4)]},
        {"id": 1, "start": 1, "end": 5, "size": 3, "alignment": 2},
        {"id": 2, "start": 3, "end": 8, "size": 2, "offset": 4},
    ]
    return allocation.to_instance(memory.Buffers(rows), 20)


# What the default sources leave out.
SOURCES = [
    ("BlockingJobShop-v0", {}, down),
    ("BlockingJobShop-v0", {"swap": False, "wait": True, "lookahead": True}, down),
    ("BlockingJobShop-v0", {"wait": True, "reward": "waiting"}, down),
    (
        "JobShop-v0",
        {"objective": "weighted_tardiness"},
        job_shop.with_due_dates(job_shop.two_set(4, 3)),
    ),
    ("JobShop-v0", {"candidates": "event"}, job_shop.known_optimum(4, 3)),
    ("FlexibleJobShop-v0", {}, flexible.sd1(4, 3, min_jobs=2, min_machines=2)),
    ("SoC-v0", {}, soc.streams(num_jobs=4, noise_std=(0.1, 0.5), scale=(5.0, 20.0), cap=(1, 2))),
    (
        "SoC-v0",
        {"record": False, "cap_mode": "open"},
        soc.streams(
            num_jobs=4,
            noise_std=0.1,
            arrivals="fixed",
            horizon=90,
            warm_up=3,
            probabilities=(0.6, 0.4, 0, 0, 0),
        ),
    ),
    (
        "SoC-v0",
        {"rule": "heft", "cap_mode": "socrates"},
        soc.streams(systems=soc.random_systems(2, missing=0.2), num_jobs=3, noise_std=0.1),
    ),
    ("StaticAllocation-v0", {}, pinned),
    ("MemoryMap-v0", {}, mapping.random_programs(6, alias_percent=50)),
]
NIGHTLY = [
    pytest.param(*each, marks=pytest.mark.nightly)
    for each in (*((*each, None) for each in OTHERS), *SOURCES[1:])
]


def name_of(value):
    return " ".join(map(str, value.values())) if isinstance(value, dict) else None


@pytest.mark.parametrize(
    ("env_id", "settings", "source"), [*DEFAULTS, SOURCES[0], *NIGHTLY], ids=name_of
)
def test_all_traces_without_implicit_promotion(env_id, settings, source):
    """With `jax_numpy_dtype_promotion="strict"` and `jax_numpy_rank_promotion="raise"`, in
    wrappers too.
    """
    env = jaxsched.make(env_id, **settings)
    wrapped = EpisodeStats(TimeLimit(env, 5))

    def everything(key):
        instance = (source or env.default_source)(key)
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
