"""`TensorReplacement-v0` against the plain-Python simulator: every step, in every placement and schedule."""

from __future__ import annotations

import functools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.envs import memory
from jaxsched.envs.memory.replacement.types import PLACEMENTS, SCHEDULES
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


def play_reference(graph: dict[str, Any], capacity: int, schedule: str, placement: str, rng: random.Random):
    """Random play: the actions, and what there is to see after every step."""
    sim = reference.Simulator(to_reference(graph, capacity), schedule, placement)
    num_tensors = len(graph["tensors"])
    actions, trace = [], []
    for _ in range(STEPS):
        ops, victims = sim.legal()
        legal = [*ops, *(NUM_OPS + a for a in victims)]
        action = rng.choice(legal) if legal and rng.random() < 0.95 else rng.randrange(-1, NUM_OPS + NUM_TENSORS + 2)
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
                "left": [len(sim.readers_left(a)) if a < num_tensors else 0 for a in range(NUM_TENSORS)],
            }
        )
    return actions, {name: [step[name] for step in trace] for name in trace[0]}


@functools.partial(jax.jit, static_argnums=0)
def play(env: jaxsched.Environment, instances: memory.ReplacementInstance, actions: jax.Array) -> dict[str, jax.Array]:
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

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(instances, actions)


def check_steps(schedule: str, placement: str, seed: int) -> int:
    """Compares every step; returns how many decisions were played."""
    rng = random.Random(seed)
    graphs = [random_graph(rng) for _ in range(BATCH)]
    limits = [random_capacity(rng, graph, stuck=True) for graph in graphs]
    pairs = list(zip(graphs, limits, strict=True))
    plays = [play_reference(graph, limit, schedule, placement, rng) for graph, limit in pairs]
    actions, expected = zip(*plays, strict=True)
    units = np.array([memory.Graph.from_dict(graph).unit for graph in graphs])
    instances = stacked([memory.replacement_instance(graph, limit) for graph, limit in pairs])
    env = memory.TensorReplacement(schedule, placement)
    actual = jax.device_get(play(env, instances, np.array(actions, np.int32)))
    assert actual.keys() == expected[0].keys()
    for name, value in actual.items():
        wanted = np.array([trace[name] for trace in expected])
        assert value.shape == wanted.shape
        scale = units.reshape(-1, *[1] * (value.ndim - 1)) if name in ("objective_delta", "bound", "offset") else 1
        wrong = np.argwhere(value * scale != wanted)
        if wrong.size:
            i, t = wrong[0, :2]
            raise AssertionError(
                f"{name} after {actions[i][: t + 1]} is {value[i, t].tolist()}, not {wanted[i, t].tolist()}: {pairs[i]}"
            )
    return int((~actual["illegal"]).sum())


@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_every_step_equals_the_simulator(schedule, placement):
    decisions = sum(check_steps(schedule, placement, seed) for seed in range(3))
    assert decisions > 5_000


@pytest.mark.nightly
@pytest.mark.parametrize(("schedule", "placement"), MODES)
def test_every_step_equals_the_simulator_250000(schedule, placement):
    decisions, seed = 0, 3
    while decisions < 250_000:
        decisions += check_steps(schedule, placement, seed)
        seed += 1
