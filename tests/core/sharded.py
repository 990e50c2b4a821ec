"""Run by `test_sharded` in a process of its own: on two devices, `jax.shard_map` equals `vmap`."""

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
from jaxsched.search import BeamConfig, beam_search
from jaxsched.training import ImitationConfig, PPOConfig, SelfLabelingConfig, make_training
from jaxsched.training.common import init_state, make_optimizer

jax.config.update("jax_num_cpu_devices", 2)
NETWORK = NetworkConfig(width=16, num_layers=1, num_heads=2)
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
data, whole = PartitionSpec("data"), PartitionSpec()
keys = jax.random.split(jax.random.key(0), 4)


def on_shards(function, *args, in_specs=data, out_specs=data):
    mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return jax.device_get(jax.jit(mapped)(*args))


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


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
        return played.objective, played.action, played.reward, env.objective(final), cut.mask, evolved

    same(on_shards(jax.vmap(episode), keys), jax.device_get(jax.jit(jax.vmap(episode))(keys)))


def beam():
    env = jaxsched.make("JobShop-v0")
    source = jaxsched.envs.job_shop.uniform(3, 3)
    config = PPOConfig(network=NETWORK)
    apply, state = init_state(jax.random.key(0), env, source, config, make_optimizer(config))

    def search(key):
        first, _ = env.reset(key, source(key))
        return beam_search(env, apply, state.params, key, first, 9, BeamConfig(4)).objective

    same(on_shards(jax.vmap(search), keys), jax.device_get(jax.jit(jax.vmap(search))(keys)))


def training(config):
    """A seed on each device, from the same programs as seeds side by side."""
    env = jaxsched.make("JobShop-v0")
    source = jaxsched.envs.job_shop.uniform(3, 3)
    given = {"num_envs": 4, "num_minibatches": 2, "num_epochs": 1, "num_updates": 2}
    init, make = make_training(env, source, dataclasses.replace(config, network=NETWORK, **given))
    apply, _ = init(keys[0])
    update = jax.vmap(make(apply))
    states = jax.vmap(lambda key: init(key)[1])(keys[:2])
    sharded, _ = on_shards(update, states)
    plain, _ = jax.device_get(jax.jit(update)(states))
    for a, b in zip(*(jax.tree.leaves(each.params) for each in (sharded, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    what = sys.argv[1]
    configs = {
        "ppo": PPOConfig(),
        "self_labeling": SelfLabelingConfig(num_samples=4),
        "imitation": ImitationConfig(teacher="mwkr", num_own=2),
    }
    if what == "beam":
        beam()
    elif what in configs:
        training(configs[what])
    else:
        episodes(what)
