"""Generated programs: what they promise, and random play on them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import UnknownNameError
from jaxsched.envs import memory
from jaxsched.envs.memory.mapping.instances import neighbours

NUM = 8  # instructions


@functools.partial(jax.jit, static_argnums=1)
def random_play(key: jax.Array, batch: int) -> dict[str, jax.Array]:
    """Whole episodes of random legal actions, with what must hold after every step, [batch, A];
    and the instances.
    """
    env, source = (
        jaxsched.make("MemoryMap-v0", reward="memory_time"),
        memory.random_programs(NUM, alias_percent=30),
    )

    def episode(key):
        instance = source(key)
        state, _ = env.reset(key, instance)
        slots = jnp.arange(NUM)

        def step(state, key):
            mask = env.action_mask(state)
            action = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))
            after, timestep = env.step(key, state, action)
            used = after.begin < after.end
            low, high = after.offset, after.offset + instance.width
            # Brute force over pairs: no two blocks overlap; all are within the capacity and the
            # program.
            meet = jnp.maximum(after.begin[:, None], after.begin) < jnp.minimum(
                after.end[:, None], after.end
            )
            clash = used[:, None] & used & meet & (low[:, None] < high) & (low < high[:, None])
            fast = (after.action != 2) & (jnp.arange(3 * NUM) < after.position)
            cost = jnp.where(fast, instance.fast, instance.slow)
            cost = jnp.where(instance.time == slots[:, None], cost, 0).sum(-1)
            latency = jnp.maximum(instance.compute, cost).sum()
            grouped = (instance.leader[:, None] == instance.leader) & (
                jnp.arange(3 * NUM) < after.position
            )
            grouped &= grouped.T
            split = grouped & (fast[:, None] != fast) | (
                grouped & fast[:, None] & fast & (low[:, None] != low)
            )
            return after, {
                "overlap": (clash & ~jnp.eye(3 * NUM, dtype=bool)).any(),
                "outside": (
                    used & ((high > instance.capacity) | (low < 0) | (after.end > NUM))
                ).any(),
                "supply": (after.supply < 0).any(),
                "latency": latency != after.latency,
                "group": split.any(),
                "negative": (timestep.metrics["objective_delta"] < 0) & ~after.dead,
                "reward": (timestep.reward < 0) & ~after.dead,
                "bound": (after.latency < env.lower_bound(instance)),
                "stuck": mask.any() & (after.position != state.position + 1),
            }

        final, seen = jax.lax.scan(step, state, jax.random.split(key, 3 * NUM))
        return seen | {"open": ~final.done}, instance

    return jax.vmap(episode)(jax.random.split(key, batch))


def check_invariants(seed: int) -> int:
    seen, _ = jax.device_get(random_play(jax.random.key(seed), 512))
    for name, values in seen.items():
        assert not values.any(), f"{name} in episode {np.argwhere(values)[0][0]} of seed {seed}"
    return 512 * 3 * NUM


def test_random_steps_keep_the_invariants_20000():
    assert sum(check_invariants(seed) for seed in range(2)) >= 20_000


@pytest.mark.nightly
def test_random_steps_keep_the_invariants_1000000():
    assert sum(check_invariants(seed) for seed in range(2, 90)) >= 1_000_000


def test_random_programs_are_programs():
    _, instances = jax.device_get(random_play(jax.random.key(0), 512))
    for i in range(512):
        instance = jax.tree.map(lambda leaf, i=i: leaf[i], instances)
        value, is_write = instance.value.tolist(), instance.is_write.tolist()
        assert (instance.previous.tolist(), instance.following.tolist()) == neighbours(value)
        known = set(np.flatnonzero(instance.is_input).tolist())
        for at in range(0, 3 * NUM, 3):
            assert is_write[at : at + 3] == [False, False, True]
            assert instance.time[at : at + 3].tolist() == [at // 3] * 3
            assert value[at] != value[at + 1]
            assert {value[at], value[at + 1]} <= known
            assert value[at + 2] not in known
            known.add(value[at + 2])
        reads = {v for v, write in zip(value, is_write, strict=True) if not write}
        assert all(instance.is_output[a] == (value[a] not in reads) for a in range(3 * NUM))
        for a, leader in enumerate(instance.leader.tolist()):
            assert value[leader] == value[a]
            assert leader <= a
            assert instance.leader[leader] == leader
    assert (instances.leader != np.arange(3 * NUM)).any()


def test_graph_programs_are_read_and_scaled():
    for seed in range(30):
        program = memory.draw_mapping(seed, 60)
        assert memory.Program.from_dict(program.to_dict()).to_dict() == program.to_dict()
        instance, scale = memory.mapping.to_instance(program)
        assert scale.address % 64 == 0
        assert int(instance.capacity) * scale.address <= program.capacity
        assert 5 <= program.slow_cost <= 30


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least one instruction"):
        memory.random_programs(0)
    with pytest.raises(ValueError, match="capacity needs low <= high"):
        memory.random_programs(4, capacity=(9, 3))
    with pytest.raises(UnknownNameError, match="unknown reward 'time'"):
        jaxsched.make("MemoryMap-v0", reward="time")
    env = jaxsched.make("MemoryMap-v0", reward="memory_time")
    assert jaxsched.make(env.id, **env.settings) == env
