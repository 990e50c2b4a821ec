"""`StaticAllocation-v0` against the plain-Python simulator: every step, and the optima of small
instances.
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
from jaxsched.core import InstanceError, UnknownNameError, greedy
from jaxsched.envs import memory
from jaxsched.envs.memory.allocation import heuristics, rules
from tests.envs.memory.cases import NUM_BUFFERS, padded, random_rows, stacked, to_reference
from tests.reference import allocation as reference

BATCH = 256
STEPS = NUM_BUFFERS + 3  # some are wasted on actions that are not legal


def play_reference(rows: list[dict[str, Any]], capacity: int | None, rng: random.Random):
    """Random play: the actions, and what there is to see at every step, in the units of the
    instance.
    """
    unit = memory.Buffers(rows).unit
    buffers = to_reference(rows, unit)
    sim = reference.Simulator(buffers, None if capacity is None else capacity // unit)
    movable = [i for i, b in enumerate(buffers) if b.pinned is None]
    number = {i: row for row, i in enumerate(movable)}

    def padded_list(values):
        return values + [0] * (NUM_BUFFERS - len(values))

    actions, trace, wasted = [], [], 0
    bound = sim.bound()
    for _ in range(STEPS):
        legal = [number[i] for i in sim.legal()]
        where = padded_list([sim.where(i) if i in sim.waiting else 0 for i in movable])
        action = rng.choice(legal) if legal else rng.randrange(-1, NUM_BUFFERS + 2)
        if legal and wasted < STEPS - NUM_BUFFERS and rng.random() < 0.2:
            action = rng.randrange(-1, NUM_BUFFERS + 2)
        illegal = action not in legal
        if illegal:
            wasted += 1
        else:
            sim.apply(movable[action])
        before, bound = bound, sim.bound()
        actions.append(action)
        trace.append(
            {
                "mask": [row in legal for row in range(NUM_BUFFERS)],
                "where": where,
                "illegal": illegal,
                "objective_delta": before - bound,
                "bound": bound,
                "feasible": not sim.overflow(),
                "done": not sim.waiting or sim.overflow(),
                "offset": padded_list([sim.offset.get(i, 0) for i in movable]),
            }
        )
    return actions, {name: [step[name] for step in trace] for name in trace[0]}


@functools.partial(jax.jit, static_argnums=0)
def play(
    env: jaxsched.Environment, instances: memory.allocation.Instance, actions: jax.Array
) -> dict[str, jax.Array]:
    """What `play_reference` reports, of a batch of environments; leaves are [batch, STEPS, ...]."""
    key = jax.random.key(0)

    def step(state, action):
        after, timestep = env.step(key, state, action)
        metrics = timestep.metrics
        waiting = state.instance.buffer_mask & ~state.placed
        return after, {
            "mask": env.action_mask(state),
            "where": jnp.where(waiting, rules.offsets(state), 0),
            "illegal": metrics["illegal"],
            "objective_delta": metrics["objective_delta"],
            "bound": env.bound(after),
            "feasible": metrics["feasible"],
            "done": timestep.terminated,
            "offset": after.offset,
        }

    return jax.vmap(lambda instance, row: jax.lax.scan(step, env.reset(key, instance)[0], row)[1])(
        instances, actions
    )


def check_steps(goal: str, seed: int) -> int:
    """Compares every step; returns how many decisions were played."""
    rng = random.Random(seed)
    cases = [random_rows(rng) for _ in range(BATCH)]
    limits: list[int | None] = [None] * BATCH
    if goal == "fit":
        limits = [
            int(memory.lower_bound(memory.Buffers(rows)) * rng.choice([1, 1.2, 1.5]))
            for rows in cases
        ]
    plays = [play_reference(rows, limit, rng) for rows, limit in zip(cases, limits, strict=True)]
    actions, expected = zip(*plays, strict=True)
    instances = stacked(
        [
            memory.allocation.to_instance(memory.Buffers(rows), limit)
            for rows, limit in zip(cases, limits, strict=True)
        ]
    )
    actual = jax.device_get(
        play(
            jaxsched.make("StaticAllocation-v0", goal=goal), instances, np.array(actions, np.int32)
        )
    )
    assert actual.keys() == expected[0].keys()
    for name, value in actual.items():
        wanted = np.array([trace[name] for trace in expected])
        assert value.shape == wanted.shape
        wrong = np.argwhere(value != wanted)
        if wrong.size:
            i, t = wrong[0, :2]
            raise AssertionError(
                f"{name} after {actions[i][: t + 1]} is {value[i, t].tolist()}, not {wanted[i, t].tolist()}: {cases[i]}"
            )
    return int((~actual["illegal"]).sum())


@pytest.mark.parametrize("goal", ["peak", "fit"])
def test_every_step_equals_the_simulator(goal):
    decisions = sum(check_steps(goal, seed) for seed in range(8))
    assert decisions > 5_000


@pytest.mark.nightly
@pytest.mark.parametrize("goal", ["peak", "fit"])
def test_every_step_equals_the_simulator_100000(goal):
    decisions = 0
    for seed in range(8, 200):
        decisions += check_steps(goal, seed)
    assert decisions > 100_000


# --------------------------------------------------------------------------------------- invariants


@functools.partial(jax.jit, static_argnums=(1, 2))
def random_play(key: jax.Array, num_buffers: int, batch: int) -> dict[str, jax.Array]:
    """Whole episodes of random legal actions on random lives, with what must hold after every
    step, [batch, N].
    """
    env, source = jaxsched.make("StaticAllocation-v0"), memory.random_lives(num_buffers)

    def episode(key):
        instance = source(key)
        state, _ = env.reset(key, instance)

        def step(carry, key):
            state, high = carry
            mask = env.action_mask(state)
            action = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))
            after, _ = env.step(key, state, action)
            # Brute force over pairs: no two placed buffers of a common section overlap in address.
            low, size = after.offset, instance.size
            meet = (
                (instance.live[:, None] & instance.live[None]).any(-1)
                & after.placed[:, None]
                & after.placed
            )
            clash = meet & (low[:, None] < low + size) & (low < (low + size)[:, None])
            clash &= ~jnp.eye(num_buffers, dtype=bool)
            peak = jnp.where(after.placed, low + size, 0).max()
            return (after, jnp.maximum(high, peak)), {
                "overlap": clash.any(),
                "moved": (jnp.where(state.placed, after.offset != state.offset, False)).any(),
                "sinks": env.bound(after) < env.bound(state),
                "below": env.bound(after) < peak,
                "negative": (low < 0).any(),
                "idle": mask.any() & (after.placed.sum() != state.placed.sum() + 1),
            }

        (final, high), seen = jax.lax.scan(
            step, (state, jnp.zeros((), jnp.int32)), jax.random.split(key, num_buffers)
        )
        return seen | {"open": ~final.done, "peak": env.bound(final) != high}

    return jax.vmap(episode)(jax.random.split(key, batch))


def check_invariants(seed: int) -> int:
    seen = jax.device_get(random_play(jax.random.key(seed), 16, 640))
    for name, values in seen.items():
        assert not values.any(), f"{name} in episode {np.argwhere(values)[0][0]} of seed {seed}"
    return 16 * 640


def test_random_steps_keep_the_invariants_20000():
    assert sum(check_invariants(seed) for seed in range(2)) >= 20_000


@pytest.mark.nightly
def test_random_steps_keep_the_invariants_1000000():
    assert sum(check_invariants(seed) for seed in range(2, 100)) >= 1_000_000


# ------------------------------------------------------------------------------------------ by hand


def test_an_order_by_hand():
    """Three lives in a row, the middle one meets both: on the ground, above the first, on the
    ground again.
    """
    rows = [("a", 0, 2, 3), ("b", 1, 4, 2), ("c", 3, 5, 4)]
    buffers = memory.Buffers(
        [dict(zip(("id", "start", "end", "size"), row, strict=True)) for row in rows]
    )
    env, key = jaxsched.make("StaticAllocation-v0"), jax.random.key(0)
    state, _ = env.reset(key, padded(memory.allocation.to_instance(buffers)))
    assert int(state.baseline) == 6  # b and c
    for action, offset in ((0, 0), (1, 3), (2, 5)):
        state, timestep = env.step(key, state, action)
        assert int(state.offset[action]) == offset
    assert bool(timestep.terminated)
    plan = env.solution(state)
    assert (plan.offsets.tolist(), plan.peak, plan.lower_bound, plan.proved) == (
        [0, 3, 5],
        9,
        6,
        False,
    )
    assert env.validate(memory.allocation.to_instance(buffers), plan) == []


def test_the_skyline_stays_above_placed_neighbours_and_clear_of_pinned_ones():
    """Size 2 between pinned blocks at [2, 4) and [6, 9): below both at 0, then between them,
    then on top.
    """
    rows = [{"id": i, "start": 0, "end": 1, "size": 2} for i in range(3)]
    rows += [
        {"id": "p", "start": 0, "end": 1, "size": 2, "offset": 2},
        {"id": "q", "start": 0, "end": 1, "size": 3},
    ]
    rows[-1]["offset"] = 6
    env, key = jaxsched.make("StaticAllocation-v0"), jax.random.key(0)
    state, _ = env.reset(key, padded(memory.allocation.to_instance(memory.Buffers(rows))))
    for action in range(3):
        # equal buffers: the first only
        assert np.flatnonzero(env.action_mask(state)).tolist() == [action]
        state, _ = env.step(key, state, action)
    assert np.asarray(state.offset)[:3].tolist() == [0, 4, 9]


def test_sections_are_the_largest_sets():
    """The second set is part of the first, the last two buffers never meet the others."""
    rows = [("a", 0, 9, 1), ("b", 0, 5, 1), ("c", 6, 8, 1), ("d", 10, 12, 1), ("e", 11, 13, 1)]
    buffers = memory.Buffers(
        [dict(zip(("id", "start", "end", "size"), row, strict=True)) for row in rows]
    )
    live = np.asarray(memory.allocation.to_instance(buffers).live)
    assert [np.flatnonzero(column).tolist() for column in live.T] == [[0, 1], [0, 2], [3, 4]]


def test_sections_of_random_buffers_are_the_largest_sets():
    rng = random.Random(0)
    for _ in range(300):
        rows = random_rows(rng)
        instance = memory.allocation.to_instance(memory.Buffers(rows))
        movable = [i for i, row in enumerate(rows) if row.get("offset") is None]
        pinned = [i for i, row in enumerate(rows) if row.get("offset") is not None]
        live = np.concatenate([instance.live, instance.pinned_live])
        ids = np.array(movable + pinned)
        found = {frozenset(ids[column].tolist()) for column in live.T}
        wanted = {frozenset(group) for group in reference.Simulator(to_reference(rows)).largest()}
        assert len(found) == live.shape[1]
        assert found == wanted


def test_sizes_are_scaled_by_their_greatest_common_divisor():
    rows = [
        {"id": i, "start": 0, "end": 2, "size": size, "alignment": 1}
        for i, size in enumerate((640, 1024, 192))
    ]
    assert np.asarray(memory.allocation.to_instance(memory.Buffers(rows)).size).tolist() == [
        10,
        16,
        3,
    ]
    rows[0]["alignment"] = 96  # 64 does not divide it
    assert np.asarray(memory.allocation.to_instance(memory.Buffers(rows)).size).tolist() == [
        20,
        32,
        6,
    ]


def test_what_does_not_fit_the_device_is_refused():
    rows = [{"id": i, "start": 0, "end": 1, "size": 2**30 + i} for i in range(3)]
    with pytest.raises(
        InstanceError, match=r"offsets may reach 3221225475 in units of 1, beyond int32"
    ):
        memory.allocation.to_instance(memory.Buffers(rows))
    rows = [
        {"id": 0, "start": 0, "end": 1, "size": 1},
        {"id": 1, "start": 2**40, "end": 2**40 + 1, "size": 1},
    ]
    with pytest.raises(InstanceError, match="the lives span more than int32 ticks"):
        memory.allocation.to_instance(memory.Buffers(rows))


def test_an_unknown_goal_is_refused():
    with pytest.raises(UnknownNameError, match="unknown goal 'peek'; did you mean peak"):
        jaxsched.make("StaticAllocation-v0", goal="peek")


# ------------------------------------------------------------------------------------------- scores


@functools.partial(jax.jit, static_argnums=0)
def play_rules(names: tuple[str, ...], instances: memory.allocation.Instance) -> jax.Array:
    """Offsets i32[rule, batch, N] of every rule, played greedily."""
    env = jaxsched.make("StaticAllocation-v0")
    policies = [greedy(env.heuristics[name]) for name in names]

    def final(rule, instance):
        def policy(key, state, observation):
            return jnp.stack([policy(key, state, observation) for policy in policies])[rule]

        return jaxsched.rollout(env, jax.random.key(0), instance, policy).state.offset

    return jax.vmap(jax.vmap(final, (None, 0)), (0, None))(jnp.arange(len(names)), instances)


def test_orders_equal_the_simulator():
    """Each order of the host heuristics, placed on the skyline; equal buffers trade places at
    most.
    """
    rng = random.Random(5)
    cases = [random_rows(rng) for _ in range(BATCH)]
    names = heuristics.ORDERS
    offsets = jax.device_get(
        play_rules(
            names, stacked([memory.allocation.to_instance(memory.Buffers(rows)) for rows in cases])
        )
    )
    for r, name in enumerate(names):
        for i, rows in enumerate(cases):
            buffers = to_reference(rows, memory.Buffers(rows).unit)
            sim = reference.Simulator(buffers)
            movable = [k for k, b in enumerate(buffers) if b.pinned is None]
            key = reference.ORDERS[name]
            while sim.waiting:
                sim.apply(
                    min(sim.legal(), key=lambda k, key=key, buffers=buffers: (key(buffers[k]), k))
                )
            assert offsets[r, i, : len(movable)].tolist() == [sim.offset[k] for k in movable], (
                name,
                rows,
            )
