"""`TensorReplacement-v0` against the plain-Python simulator: every step, in every placement and
schedule.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import greedy
from jaxsched.envs import memory
from jaxsched.envs.memory.replacement.settings import PLACEMENTS, SCHEDULES
from tests.envs.memory.replacement_cases import (
    NUM_OPS,
    NUM_READS,
    NUM_TENSORS,
    random_capacity,
    random_graph,
    stacked,
    to_reference,
)
from tests.reference import replacement as reference

BATCH = 256
STEPS = NUM_OPS + NUM_READS + 3  # some are wasted on actions that are not legal
MODES = [(schedule, placement) for schedule in SCHEDULES for placement in PLACEMENTS]


def play_reference(
    graph: dict[str, Any], capacity: int, schedule: str, placement: str, rng: random.Random
):
    """Random play: the actions, and what there is to see after every step."""
    sim = reference.Simulator(to_reference(graph, capacity), schedule, placement)
    num_tensors = len(graph["tensors"])
    actions, trace = [], []
    for _ in range(STEPS):
        ops, victims = sim.legal()
        legal = [*ops, *(NUM_OPS + a for a in victims)]
        action = (
            rng.choice(legal)
            if legal and rng.random() < 0.95
            else rng.randrange(-1, NUM_OPS + NUM_TENSORS + 2)
        )
        before, illegal = sim.traffic(), action not in legal
        if not illegal:
            if action < NUM_OPS:
                sim.choose(action)
            else:
                sim.evict(action - NUM_OPS)
        actions.append(action)
        trace.append(
            {
                "mask": [i in legal for i in range(NUM_OPS + NUM_TENSORS)],
                "illegal": illegal,
                "objective_delta": before - sim.traffic(),
                "bound": sim.traffic(),
                "feasible": not sim.stuck,
                "done": sim.done,
                "evicting": sim.waiting is not None,
                "clock": len(sim.order),
                "resident": [a in sim.resident for a in range(NUM_TENSORS)],
                "copied": [a in sim.copies for a in range(NUM_TENSORS)],
                "created": [a in sim.seen for a in range(NUM_TENSORS)],
                "offset": [sim.resident.get(a, 0) for a in range(NUM_TENSORS)],
                "left": [
                    len(sim.readers_left(a)) if a < num_tensors else 0 for a in range(NUM_TENSORS)
                ],
            }
        )
    return actions, {name: [step[name] for step in trace] for name in trace[0]}


@functools.partial(jax.jit, static_argnums=0)
def play(
    env: jaxsched.Environment, instances: memory.replacement.Instance, actions: jax.Array
) -> dict[str, jax.Array]:
    """What `play_reference` reports, of a batch of environments; leaves are [batch, STEPS, ...]."""
    key = jax.random.key(0)

    def step(state, action):
        after, timestep = env.step(key, state, action)
        metrics = timestep.metrics
        return after, {
            "mask": env.action_mask(state),
            "illegal": metrics["illegal"],
            "objective_delta": metrics["objective_delta"],
            "bound": env.bound(after),
            "feasible": metrics["feasible"],
            "done": timestep.terminated,
            "evicting": after.evicting,
            "clock": env.clock(after),
            "resident": after.resident,
            "copied": after.copied,
            "created": after.created,
            "offset": jnp.where(after.resident, after.offset, 0),
            "left": after.left,
        }

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(
        instances, actions
    )


def check_steps(schedule: str, placement: str, seed: int) -> int:
    """Compares every step; returns how many decisions were played."""
    rng = random.Random(seed)
    graphs = [random_graph(rng) for _ in range(BATCH)]
    limits = [random_capacity(rng, graph, stuck=True) for graph in graphs]
    pairs = list(zip(graphs, limits, strict=True))
    plays = [play_reference(graph, limit, schedule, placement, rng) for graph, limit in pairs]
    actions, expected = zip(*plays, strict=True)
    units = np.array([memory.Graph.from_dict(graph).unit for graph in graphs])
    instances = stacked([memory.replacement.to_instance(graph, limit) for graph, limit in pairs])
    env = jaxsched.make("TensorReplacement-v0", schedule=schedule, placement=placement)
    actual = jax.device_get(play(env, instances, np.array(actions, np.int32)))
    assert actual.keys() == expected[0].keys()
    for name, value in actual.items():
        wanted = np.array([trace[name] for trace in expected])
        assert value.shape == wanted.shape
        scale = (
            units.reshape(-1, *[1] * (value.ndim - 1))
            if name in ("objective_delta", "bound", "offset")
            else 1
        )
        wrong = np.argwhere(value * scale != wanted)
        if wrong.size:
            i, t = wrong[0, :2]
            raise AssertionError(
                f"{name} after {actions[i][: t + 1]} is {value[i, t].tolist()}, not {wanted[i, t].tolist()}: {pairs[i]}"
            )
    return int((~actual["illegal"]).sum())


@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_every_step_equals_the_simulator(schedule, placement):
    decisions = sum(check_steps(schedule, placement, seed) for seed in range(4))
    assert decisions > 5_000


@pytest.mark.nightly
@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_every_step_equals_the_simulator_250000(schedule, placement):
    decisions, seed = 0, 4
    while decisions < 250_000:
        decisions += check_steps(schedule, placement, seed)
        seed += 1


def test_sources_are_drawn_inside_jit():
    """Twice: the pool that the first trace makes must not belong to that trace."""
    default = jaxsched.make("TensorReplacement-v0").default_source
    for source in (default, memory.replacement.PRESETS["smoke"].source):
        one, other = (
            jax.jit(lambda key, k=k, source=source: source(key).capacity + k)(jax.random.key(0))
            for k in (0, 1)
        )
        assert int(other) == int(one) + 1


# --------------------------------------------------------------------------------------- invariants


@functools.partial(jax.jit, static_argnums=0)
def random_play(
    env: memory.TensorReplacement, instances: memory.replacement.Instance, key: jax.Array
):
    """Whole episodes of random legal actions, with what must hold after every step, [batch, T]."""

    def episode(key, instance):
        state, _ = env.reset(key, instance)
        num_ops, size = instance.num_ops, instance.size

        def step(state, key):
            mask = env.action_mask(state)
            action = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))
            after, _ = env.step(key, state, action)
            used = jnp.where(after.resident, size, 0).sum()
            low, high = after.offset, after.offset + size
            clash = (
                (low[:, None] < high)
                & (low < high[:, None])
                & after.resident[:, None]
                & after.resident
            )
            clash &= ~jnp.eye(len(low), dtype=bool) & (env.settings.placement == "address")
            ran = after.ran & ~state.ran
            inputs = (instance.reads & ran[:, None]).any(0)
            entered = after.resident & ~state.resident
            left = state.resident & ~after.resident
            # an input may enter again at once, elsewhere
            victim = jnp.arange(len(low)) == action - num_ops
            return after, {
                "overflow": used > instance.capacity,
                "overlap": clash.any(),
                "outside": (after.resident & (high > instance.capacity)).any(),
                "moved": (
                    after.resident & state.resident & ~victim & (after.offset != state.offset)
                ).any(),
                "dead": (after.resident & (after.left == 0)).any(),
                "unmade": (inputs & ~(state.created | instance.backed)).any(),
                "lost": (inputs & ~state.resident & ~state.copied & ~instance.backed).any(),
                "early": entered.any() & ~ran.any(),
                "idle": mask.any()
                & ~ran.any()
                & ((action >= num_ops) & ~left.any() | ~after.evicting),
                "cheap": env.bound(after) < env.bound(state),
                "decision": mask.any(),
                "several": ran.sum() > 1,
                "late": (action >= num_ops) & ~state.evicting & mask.any(),
            }

        final, seen = jax.lax.scan(step, state, jax.random.split(key, env.max_steps(instance)))
        num_steps = seen.pop("decision").sum(dtype=jnp.int32)
        return seen | {"open": ~final.done}, env.clock(final), num_steps

    return jax.vmap(episode)(jax.random.split(key, instances.capacity.shape[0]), instances)


def check_invariants(schedule: str, placement: str, seed: int) -> int:
    """Returns how many decisions were taken."""
    pool = memory.programs(64, 12, 24).instances
    env = jaxsched.make("TensorReplacement-v0", schedule=schedule, placement=placement)
    seen, ran, num_steps = jax.device_get(random_play(env, pool, jax.random.key(seed)))
    assert (ran == np.asarray(pool.op_mask).sum(-1)).all()
    for name, values in seen.items():
        assert not values.any(), f"{name} in episode {np.argwhere(values)[0][0]} of seed {seed}"
    return int(num_steps.sum())


def test_random_steps_keep_the_invariants_20000():
    assert sum(check_invariants("free", "address", seed) for seed in range(16)) >= 20_000


@pytest.mark.nightly
@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_random_steps_keep_the_invariants_1000000(schedule, placement):
    steps, seed = 0, 16
    while steps < 1_000_000:
        steps += check_invariants(schedule, placement, seed)
        seed += 1


# ------------------------------------------------------------------------------------------- scores


@functools.partial(jax.jit, static_argnums=(0, 1))
def play_rules(
    env: jaxsched.Environment, names: tuple[str, ...], instances: memory.replacement.Instance
) -> jax.Array:
    """Traffic i32[rule, batch] of every rule, played greedily."""
    policies = [greedy(env.heuristics[name]) for name in names]

    def traffic(rule, instance):
        def policy(key, state, observation):
            return jnp.stack([policy(key, state, observation) for policy in policies])[rule]

        return jaxsched.rollout(env, jax.random.key(0), instance, policy).objective

    return jax.vmap(jax.vmap(traffic, (None, 0)), (0, None))(jnp.arange(len(names)), instances)


def test_scores_equal_the_simulator():
    schedule, placement = "free", "bytes"
    rng, names = random.Random(7), ("belady", "greedy", "lean")
    graphs = [random_graph(rng) for _ in range(BATCH)]
    limits = [random_capacity(rng, graph) for graph in graphs]
    pairs = list(zip(graphs, limits, strict=True))
    env = jaxsched.make("TensorReplacement-v0", schedule=schedule, placement=placement)
    found = jax.device_get(
        play_rules(env, names, stacked([memory.replacement.to_instance(*pair) for pair in pairs]))
    )
    for r, name in enumerate(names):
        for i, (graph, limit) in enumerate(pairs):
            sim = reference.play(to_reference(graph, limit), schedule, placement, name)
            assert found[r, i] * memory.Graph.from_dict(graph).unit == sim.traffic(), (
                name,
                graph,
                limit,
            )
