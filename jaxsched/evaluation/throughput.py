"""How fast an environment runs on this device: whole episodes of random legal actions, nothing
optimised away.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxsched.core.environment import Environment, Instance, Source
from jaxsched.core.rollout import masked_argmax, reward_and_decision, strip, unroll


@dataclasses.dataclass(frozen=True)
class Throughput:
    """One measurement. CPU seconds of all threads stand beside wall seconds: XLA uses several
    cores.
    """

    what: str
    schedules_per_second: float
    decisions_per_second: float
    wall_seconds: float
    cpu_seconds: float
    compile_seconds: float


def throughput(
    env: Environment, source: Source, *, batch: int = 1024, seconds: float = 2.0, seed: int = 0
) -> list[Throughput]:
    """Episodes and decisions per second of `reset`, of `step`, and of `step` with `observe`,
    `batch` side by side.

    Final states are returned and every observation goes into a returned checksum. Each program runs
    for at least `seconds` after one run that is not counted.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    keys = random.split(random.key(seed), batch)
    instances = jax.block_until_ready(jax.jit(jax.vmap(source))(keys))

    def reset(key: Array, instance: Instance) -> Any:
        state, timestep = env.reset(key, instance)
        return (
            strip(state),
            checksum(timestep.observation),
            jnp.zeros((), jnp.int32),
        )

    def episode(key: Array, instance: Instance, observing: bool) -> Any:
        state, _ = env.reset(key, instance)

        def act(key: Array, state: Any) -> tuple[Array, Array]:
            mask = env.action_mask(state)
            action = masked_argmax(random.bits(key, mask.shape, jnp.uint16).astype(jnp.int32), mask)
            return action, checksum(env.observe(state)) if observing else jnp.zeros((), jnp.float32)

        final, (_, sums, (_, decisions)) = unroll(
            env, key, state, act, env.max_steps(instance), reward_and_decision
        )
        return strip(final), sums.sum(), decisions.sum(dtype=jnp.int32)

    programs = {
        "reset with observation": reset,
        "episodes, rules only": lambda key, instance: episode(key, instance, False),
        "episodes with observation": lambda key, instance: episode(key, instance, True),
    }
    return [
        _measure(what, jax.vmap(program), keys, instances, seconds)
        for what, program in programs.items()
    ]


def step_cost(env: Environment, source: Source, *, batch: int = 1024) -> dict[str, dict[str, int]]:
    """What one `step` of a batch costs by XLA's own count on this device, of the rules alone and
    with the observation.

    `bytes`: read and written per environment; `operations`: instructions of the compiled program, a
    fusion is one.
    """

    def rules(key: Array, state: Any, action: Array) -> Any:
        return strip(env.apply(key, state, action, action >= 0))

    def observing(key: Array, state: Any, action: Array) -> Any:
        return env.step(key, state, action)[1]

    keys = random.split(random.key(0), batch)
    state = jax.eval_shape(jax.vmap(lambda key: env.reset(key, source(key))[0]), keys)
    actions = jax.ShapeDtypeStruct((batch,), jnp.int32)
    costs = {}
    for what, step in (("rules only", rules), ("with observation", observing)):
        compiled = jax.jit(jax.vmap(step)).lower(keys, state, actions).compile()
        read = (compiled.cost_analysis() or {}).get("bytes accessed", 0.0)
        text = compiled.as_text() or ""
        entry = text[text.index("ENTRY") :].splitlines()
        operations = sum(" = " in line and " parameter(" not in line for line in entry)
        costs[what] = {"bytes": round(read / batch), "operations": operations}
    return costs


def checksum(tree: Any) -> Array:
    """f32[]: a sum over all numbers of a tree, so that none of them is optimised away."""
    return sum(
        (jnp.asarray(leaf).astype(jnp.float32).sum() for leaf in jax.tree.leaves(tree)),
        jnp.zeros(()),
    )


def _measure(
    what: str, program: Any, keys: Array, instances: Instance, seconds: float
) -> Throughput:
    began = time.perf_counter()
    compiled = jax.jit(program).lower(keys, instances).compile()
    compile_seconds = time.perf_counter() - began
    _, _, num_decisions = jax.block_until_ready(compiled(keys, instances))
    decisions = int(num_decisions.sum())

    runs = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while runs == 0 or time.perf_counter() - wall < seconds:
        jax.block_until_ready(compiled(keys, instances))
        runs += 1
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rate = runs / wall
    return Throughput(what, len(keys) * rate, decisions * rate, wall, cpu, compile_seconds)
