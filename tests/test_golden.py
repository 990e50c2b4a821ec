"""Golden trajectories: integers of fixed episodes, equal in any batch, with x64 on or off, and to
the committed ones.

After a deliberate change of rules or generator, `python -m tests.test_golden --write` renews the
committed file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched import make
from jaxsched.core import Environment, masked_argmax
from jaxsched.envs import job_shop, memory, soc
from jaxsched.envs.job_shop import blocking, flexible
from jaxsched.envs.job_shop.settings import CANDIDATES
from jaxsched.envs.job_shop.types import undated
from tests import shapes

FILE = pathlib.Path(__file__).parent / "golden" / "job_shop.json"
LEGAL_FILE = FILE.with_name("soc_and_memory.json")
SOURCE = job_shop.sources.uniform(
    shapes.JOBS, shapes.MACHINES, 0, 12, shapes.OPS, recirculation=True, min_ops=1
)
STEPS = 2 * shapes.JOBS * shapes.OPS
BATCHES = 1, 7, 512
# Sub-problems: environment, source, and the number of actions that are drawn.
FORMS: dict[str, tuple[Environment, Any, int]] = {
    "flexible": (make("FlexibleJobShop-v0"), flexible.sd1(4, 3), 4 * 3),
    "blocking": (
        make("BlockingJobShop-v0"),
        blocking.interrupted(job_shop.uniform(4, 3, 0, 9), (0.0, 0.3)),
        4,
    ),
}
# Played by random legal actions to the end; environment and source.
SHARED = {"communication": "shared_memory", "cap_mode": "socrates"}
OPEN = {"cap": 6, "steady": False}
LEGAL_FORMS: dict[str, tuple[Environment, Any]] = {
    "soc_joint": (make("SoC-v0"), soc.streams(num_jobs=4)),
    "soc_fifo": (
        make("SoC-v0", view="fifo", **SHARED),
        soc.streams(num_jobs=4, communication="shared_memory"),
    ),
    "soc_order": (
        make("SoC-v0", view="order", cap_mode="open"),
        soc.streams(num_jobs=None, horizon=120, **OPEN),
    ),
    "soc_noise": (make("SoC-v0", reward="makespan"), soc.streams(num_jobs=4, noise_std=0.3)),
    "mapping": (make("MemoryMap-v0"), memory.random_programs(12)),
    "allocation": (make("StaticAllocation-v0"), memory.random_lives(12)),
    "allocation_fit": (make("StaticAllocation-v0", goal="fit"), memory.random_lives(12)),
    "replacement": (make("TensorReplacement-v0"), memory.programs(16, 6, 8)),
    "replacement_address": (
        make("TensorReplacement-v0", schedule="fixed", placement="address"),
        memory.programs(16, 6, 8),
    ),
}
LEGAL_BATCH = 16


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def play(env: Environment, source: Any, num_actions: int, keys):
    """Instances, actions and all states of episodes of random jobs, legal or not; each is a
    function of its key.
    """

    def episode(key):
        source_key, reset_key, step_key, action_key = jax.random.split(key, 4)
        instance = source(source_key)
        # in `event` with no-ops
        actions = jax.random.randint(action_key, (STEPS,), -1, num_actions + 1, jnp.int32)

        def step(state, given):
            after, timestep = env.step(given[0], state, given[1])
            metrics = timestep.metrics
            return after, (
                after.replace(instance=None),
                timestep.elapsed,
                metrics["illegal"],
                metrics["objective_delta"],
            )

        _, seen = jax.lax.scan(
            step, env.reset(reset_key, instance)[0], (jax.random.split(step_key, STEPS), actions)
        )
        return instance, actions, seen

    return jax.vmap(episode)(keys)


@functools.cache
def digests(name: str, batch: int) -> list[str]:
    """One digest per episode; the episodes of a smaller batch are the first ones of a larger."""
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(
        jnp.arange(batch, dtype=jnp.uint32)
    )
    env, source, num_actions = FORMS.get(name) or (
        make("JobShop-v0", candidates=name),
        SOURCE,
        shapes.JOBS,
    )
    instance, actions, seen = play(env, source, num_actions, keys)
    if name == "blocking":  # without chances and keys of failures, which show in what happens
        instance = undated(instance)
    leaves = jax.tree.leaves(jax.device_get((instance, actions, seen)))
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.int32), np.dtype(bool)}
    return hashes(leaves)


def hashes(leaves: list[np.ndarray]) -> list[str]:
    """One digest for each index of the first axis of the arrays."""
    batch = leaves[0].shape[0]
    rows = [
        np.ascontiguousarray(leaf.reshape(batch, -1), leaf.dtype.newbyteorder("<"))
        for leaf in leaves
    ]
    return [
        hashlib.sha256(b"".join(row[i].tobytes() for row in rows)).hexdigest()[:16]
        for i in range(batch)
    ]


@functools.partial(jax.jit, static_argnums=(0, 1))
def play_legal(env: Environment, source: Any, keys):
    """Of episodes of random legal actions: actions, decisions, objective changes, times, final
    objective and bound.

    One action in eight is any number, legal or not.
    """

    def episode(key):
        source_key, reset_key, step_key = jax.random.split(key, 3)
        instance = source(source_key)

        def step(state, key):
            state = state.replace(instance=instance)
            mask = env.action_mask(state)
            draw, which = jax.random.split(key)
            bits = jax.random.bits(draw, mask.shape, jnp.uint16).astype(jnp.int32)
            wild = jax.random.randint(which, (2,), 0, 8 * mask.shape[0], jnp.int32)
            action = jnp.where(wild[0] < mask.shape[0], wild[1], masked_argmax(bits, mask))
            after, timestep = env.step(key, state, action)
            metrics = timestep.metrics
            flags = (
                timestep.terminated,
                timestep.truncated,
                metrics["illegal"],
                metrics["decision"],
                metrics["feasible"],
            )
            return after.replace(instance=None), (
                action,
                metrics["objective_delta"],
                timestep.elapsed,
                flags,
            )

        keys = jax.random.split(step_key, env.max_steps(instance))
        final, seen = jax.lax.scan(
            step, env.reset(reset_key, instance)[0].replace(instance=None), keys
        )
        final = final.replace(instance=instance)
        return seen, env.objective(final), env.lower_bound(instance), env.baseline(instance)

    return jax.vmap(episode)(keys)


@functools.cache
def legal_digests() -> dict[str, list[str]]:
    """Of the environments of systems on chip and of memory: one digest per episode."""
    keys = jax.random.split(jax.random.key(1), LEGAL_BATCH)
    found = {}
    for name, (env, source) in LEGAL_FORMS.items():
        leaves = jax.tree.leaves(jax.device_get(play_legal(env, source, keys)))
        assert {leaf.dtype for leaf in leaves} == {np.dtype(np.int32), np.dtype(bool)}
        found[name] = hashes(leaves)
        assert len(set(found[name])) == LEGAL_BATCH
    return found


def golden() -> dict[str, dict[str, list[str] | str]]:
    """What is committed: digests of the first episodes, and one of all."""
    found = {}
    for name in (*CANDIDATES, *FORMS):
        every = digests(name, BATCHES[-1])
        found[name] = {
            "first": every[: BATCHES[1]],
            "all": hashlib.sha256("".join(every).encode()).hexdigest(),
        }
    return found


def test_trajectories_are_the_committed_ones():
    assert golden() == json.loads(FILE.read_text(encoding="utf-8"))


def test_legal_trajectories_are_the_committed_ones():
    assert legal_digests() == json.loads(LEGAL_FILE.read_text(encoding="utf-8"))


def test_the_batch_does_not_matter():
    every = digests("any", BATCHES[-1])
    assert len(set(every)) == BATCHES[-1]
    for batch in BATCHES:
        assert digests("any", batch) == every[:batch]


def test_x64_does_not_matter():
    """In a process of its own, as a user sets it; the other tests run without."""
    assert not jax.config.jax_enable_x64
    run = subprocess.run(
        [sys.executable, "-m", "tests.test_golden"],
        cwd=FILE.parents[2],
        env=os.environ | {"JAX_ENABLE_X64": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    printed = json.loads(run.stdout)
    assert printed.pop("x64")
    assert printed == golden()


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
        LEGAL_FILE.write_text(json.dumps(legal_digests(), indent=1) + "\n", encoding="utf-8")
    else:
        print(json.dumps({"x64": jax.config.jax_enable_x64} | golden()))
