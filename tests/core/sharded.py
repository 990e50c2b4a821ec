"""Run by `test_sharded` in a process of its own: on two devices, `jax.shard_map` equals `vmap`.

Arguments: what is run, and `types` to trace it only.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

import jaxsched
from jaxsched.core import EpisodeStats, TimeLimit, greedy, replay, rollout
from jaxsched.core.evolution import play
from jaxsched.policies import NetworkConfig
from jaxsched.policies.network import example_observation
from jaxsched.search import BeamConfig, beam_search
from jaxsched.training import ImitationConfig, PPOConfig, SelfLabelingConfig, make_training

jax.config.update("jax_num_cpu_devices", 2)
NETWORK = NetworkConfig(width=16, num_layers=1, num_heads=2)
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
data, whole = PartitionSpec("data"), PartitionSpec()
keys = jax.random.split(jax.random.key(0), 4)


def compare(function, argument, match=np.testing.assert_array_equal):
    """`function`, batched over its first axis, on shards with what it gives on one device."""
    mapped = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=data, out_specs=data))
    if only_types:
        jax.eval_shape(mapped, argument)
        return
    sharded, plain = jax.device_get((mapped(argument), jax.jit(function)(argument)))
    for one, other in zip(jax.tree.leaves(sharded), jax.tree.leaves(plain), strict=True):
        match(one, other)


def close(one, other):
    """Equal but for the order of sums."""
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def episodes(id):
    """Episodes on instances of their own, again from their actions, and through wrappers."""
    env = jaxsched.make(id)
    rule = next(iter(env.heuristics))
    wrapped = EpisodeStats(TimeLimit(env, 3))

    def episode(key):
        instance = env.default_source(key)
        played = rollout(env, key, instance, greedy(env.heuristics[rule]))
        reset_key, step_key = jax.random.split(key)
        final, _ = replay(env, step_key, env.reset(reset_key, instance)[0], played.action)
        cut = rollout(wrapped, key, instance, greedy(wrapped.heuristics[rule]))
        wish = jnp.zeros_like(played.action)
        evolved = play(env, env.heuristics[rule], key, instance, wish)
        return (
            played.objective,
            played.action,
            played.reward,
            env.objective(final),
            cut.mask,
            evolved,
        )

    compare(jax.vmap(episode), keys)


def beam():
    env = jaxsched.make("JobShop-v0")
    source = jaxsched.envs.job_shop.uniform(3, 3)
    apply, params = NETWORK(jax.random.key(0), example_observation(env, source))

    def search(key):
        first, _ = env.reset(key, source(key))
        return beam_search(env, apply, params, key, first, 9, BeamConfig(4)).objective

    compare(jax.vmap(search), keys)


def training(config):
    """A seed on each device, from the same programs as seeds side by side."""
    env = jaxsched.make("JobShop-v0")
    source = jaxsched.envs.job_shop.uniform(3, 3)
    given = {"num_envs": 4, "num_minibatches": 2, "num_epochs": 1, "num_updates": 2}
    init, make = make_training(env, source, dataclasses.replace(config, network=NETWORK, **given))
    apply, _ = init(keys[0])
    update = make(apply)
    states = jax.vmap(lambda key: init(key)[1])(keys[:2])
    compare(jax.vmap(lambda state: update(state)[0].params), states, close)


if __name__ == "__main__":
    names, only_types = sys.argv[1].split(","), "types" in sys.argv[2:]
    configs = {
        "ppo": PPOConfig(),
        "self_labeling": SelfLabelingConfig(num_samples=4),
        "imitation": ImitationConfig(teacher="mwkr", num_own=2),
    }
    for name in names:
        if name == "beam":
            beam()
        elif name in configs:
            training(configs[name])
        else:
            episodes(name)
