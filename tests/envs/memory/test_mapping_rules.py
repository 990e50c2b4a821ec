"""`MemoryMap-v0` against the plain-Python simulator: every step, the invariants, cases by hand."""

from __future__ import annotations

import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.envs import memory
from jaxsched.envs.memory.mapping import rules
from jaxsched.envs.memory.mapping.settings import Settings
from tests.envs.memory.map_cases import NUM_ACCESSES, NUM_INSTRUCTIONS, random_program, stacked
from tests.reference import mapping as reference

BATCH = 256
STEPS = NUM_ACCESSES + 3  # some are wasted on actions that are not legal
COPY, NOCOPY, DROP = range(3)


def play_reference(program: dict[str, Any], scale: Any, rng: random.Random):
    """Random play: the actions, and what there is to see at every step, in the units of the
    instance.
    """
    sim = reference.Simulator(program)
    actions, trace, wasted = [], [], 0
    eager = rng.random() < 0.5
    for _ in range(STEPS):
        legal, before = sim.legal(), sim.baseline if sim.dead() else sim.latency
        action = rng.choice(legal) if legal else rng.randrange(-1, 5)
        if eager and legal and rng.random() < 0.6:
            action = legal[0]
        if legal and wasted < STEPS - NUM_ACCESSES and rng.random() < 0.15:
            action = rng.randrange(-1, 5)
        illegal = action not in legal
        offset = 0
        if illegal:
            wasted += 1
        else:
            offset = (sim.effect(action)[1] or 0) // scale.address
            sim.apply(action)
        after = sim.baseline if sim.dead() else sim.latency
        actions.append(action)
        trace.append(
            {
                "mask": [a in legal for a in range(3)],
                "illegal": illegal,
                "objective_delta": (before - after) // scale.time,
                "bound": after // scale.time,
                "feasible": not sim.dead(),
                "done": sim.over() or sim.dead(),
                "offset": offset,
                "supply": [s // scale.time for s in sim.supply]
                + [0] * (NUM_INSTRUCTIONS - len(sim.supply)),
                "memory": [m // scale.time for m in sim.cost]
                + [0] * (NUM_INSTRUCTIONS - len(sim.cost)),
            }
        )
    return actions, {name: [step[name] for step in trace] for name in trace[0]}


@jax.jit
def play(instances: memory.mapping.Instance, actions: jax.Array) -> dict[str, jax.Array]:
    """What `play_reference` reports, of a batch of environments; leaves are [batch, STEPS, ...]."""
    env, key = jaxsched.make("MemoryMap-v0"), jax.random.key(0)

    def step(state, action):
        after, timestep = env.step(key, state, action)
        metrics = timestep.metrics
        is_fast = ~metrics["illegal"] & (action != DROP)
        return after, {
            "mask": env.action_mask(state),
            "illegal": metrics["illegal"],
            "objective_delta": metrics["objective_delta"],
            "bound": env.bound(after),
            "feasible": metrics["feasible"],
            "done": timestep.terminated,
            "offset": jnp.where(is_fast, after.offset[state.position], 0),
            "supply": after.supply,
            "memory": after.memory,
        }

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(
        instances, actions
    )


def check_steps(seed: int) -> tuple[int, int]:
    """Compares every step; returns how many decisions were played, and how many dead ends were
    met.
    """
    rng = random.Random(seed)
    programs = [random_program(rng) for _ in range(BATCH)]
    scales = [
        memory.mapping.to_instance(memory.Program.from_dict(program))[1] for program in programs
    ]
    plays = [
        play_reference(program, scale, rng) for program, scale in zip(programs, scales, strict=True)
    ]
    actions, expected = zip(*plays, strict=True)
    actual = jax.device_get(play(stacked(programs), np.array(actions, np.int32)))
    assert actual.keys() == expected[0].keys()
    for name, value in actual.items():
        wanted = np.array([trace[name] for trace in expected])
        assert value.shape == wanted.shape
        wrong = np.argwhere(value != wanted)
        if wrong.size:
            i, t = wrong[0, :2]
            raise AssertionError(
                f"{name} after {actions[i][: t + 1]} is {value[i, t].tolist()}, not {wanted[i, t].tolist()}: "
                f"{programs[i]}"
            )
    return int((~actual["illegal"]).sum()), int((~actual["feasible"][:, -1]).sum())


def test_every_step_equals_the_simulator_20000():
    decisions, dead = np.sum([check_steps(seed) for seed in range(10)], 0)
    assert decisions > 20_000
    assert dead > 100


@pytest.mark.nightly
def test_every_step_equals_the_simulator_1000000():
    decisions, seed = 0, 10
    while decisions < 1_000_000:
        decisions += check_steps(seed)[0]
        seed += 1


@jax.jit
@jax.vmap
def rewound(
    instance: memory.mapping.Instance, key: jax.Array
) -> tuple[memory.mapping.State, memory.mapping.State]:
    """All states of a random episode, and what its last one rewound to their positions gives;
    [NUM_ACCESSES, ...].
    """

    def step(state, key):
        legal = state.choices.legal
        action = jnp.argmax(legal * jax.random.uniform(key, (3,))).astype(jnp.int32)
        return rules.apply(state, Settings(), action, legal.any()), state

    final, states = jax.lax.scan(
        step, rules.init(instance, Settings()), jax.random.split(key, NUM_ACCESSES)
    )
    return states, jax.vmap(rules.rewind, (None, 0))(final, states.position)


def test_rewinding_gives_the_state_that_was():
    rng = random.Random(7)
    instances = stacked([random_program(rng) for _ in range(64)])
    states, again = rewound(instances, jax.random.split(jax.random.key(7), 64))
    assert int(states.position[:, -1].max()) > 10
    jax.tree.map(np.testing.assert_array_equal, again, states)
