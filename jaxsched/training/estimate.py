"""What an update needs, before any is made: its program is compiled and not run."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from jaxsched.core.compilation import compiler_options
from jaxsched.core.environment import Environment, Source
from jaxsched.training.config import TrainConfig
from jaxsched.training.episodes import kept_bytes
from jaxsched.training.loop import make_training


class Estimate(NamedTuple):
    """Of one update. Bytes are those of one device, by the compiler's count."""

    num_parameters: int
    state_bytes: int  # of the train state: weights, their average, the optimiser's
    kept_bytes: int  # of observations until their gradients, an estimate of ours
    needed_bytes: int  # of everything, the largest of the program
    max_steps: int  # of an episode
    compile_seconds: float


def estimate(
    env: Environment, source: Source, config: TrainConfig, mesh: Mesh | None = None
) -> Estimate:
    """Trace and compile an update of `train` with these arguments."""
    init, make = make_training(env, source, config, mesh)
    apply, state = init(jax.random.key(0))
    began = time.perf_counter()
    update = jax.jit(make(apply), donate_argnums=0, compiler_options=compiler_options())
    memory = update.lower(state).compile().memory_analysis()
    seconds = time.perf_counter() - began
    assert memory is not None  # every backend of this package says it
    keeps = config.keep == "observations"
    return Estimate(
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        state_bytes=memory.argument_size_in_bytes,
        kept_bytes=kept_bytes(env, source, config.num_envs) if keeps else 0,
        needed_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        max_steps=env.max_steps(jax.eval_shape(source, jax.random.key(0))),
        compile_seconds=seconds,
    )


def device_bytes() -> int | None:
    """The memory of the first device; of a CPU that of the machine, None where the system does not
    say.
    """
    if limit := (jax.devices()[0].memory_stats() or {}).get("bytes_limit"):
        return limit
    return machine_bytes()


def machine_bytes() -> int | None:
    """The memory of the machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def smaller(config: TrainConfig, needed: int, there: int) -> str:
    """What to change where an update needs more than there is."""
    num_envs = config.num_envs
    while num_envs > config.num_minibatches and needed * num_envs > there * config.num_envs:
        num_envs -= config.num_minibatches
    ways = [f"num_envs {num_envs}"] if num_envs < config.num_envs else []
    if config.keep == "observations":
        ways.append("keep actions, which plays episodes again for their gradients")
    size = config.num_envs // config.num_minibatches
    if config.micro_batch not in range(1, min(size, 9)):
        ways.append(
            f"micro_batch {min(size, 8)}, the episodes whose gradients are computed at once"
        )
    return "; or ".join(ways) or "a smaller network"
