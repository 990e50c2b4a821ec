"""Exact costs of the hot path, gated in CI: HLO instructions and bytes of one compiled step, traces
per shape.

    python benchmarks/gates.py            print the numbers beside the committed ones
    python benchmarks/gates.py --update   write benchmarks/results/gates.json, after a change that is meant

Counts depend on the XLA version, not on the machine, so the committed numbers bind for the JAX
version they name.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import random

import jaxsched
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import blocking, flexible

PATH = Path(__file__).parent / "results" / "gates.json"
BATCH = 64
# The tests may switch XLA's emitters of fusions off to compile sooner; here programs are compiled
# as users do.
OPTIONS = (
    {"xla_cpu_use_fusion_emitters": True}
    if "fusion_emitters" in os.environ.get("XLA_FLAGS", "")
    else None
)
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = ", re.MULTILINE)


def cost(function: Any, *args: Any) -> dict[str, int]:
    """HLO instructions (all computations) and bytes accessed, of `function` compiled for this
    backend.
    """
    compiled = jax.jit(function).lower(*args).compile(OPTIONS)
    analysis = compiled.cost_analysis()
    return {
        "instructions": len(INSTRUCTION.findall(compiled.as_text())),
        "bytes": int(analysis["bytes accessed"]),
    }


def measure() -> dict[str, dict[str, int]]:
    """The gated programs: a vmapped batch of 64 shops of 10 x 10, flexible ones of 10 x 5;
    blocking ones fail.
    """
    env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(10, 10)
    keys = random.split(random.key(0), BATCH)

    def first(env: jaxsched.Environment) -> Any:
        return jax.vmap(lambda key: env.reset(key, source(key))[0])(keys)

    state = first(env)
    insert = jaxsched.make("JobShop-v0", candidates="insert", max_visits=1)
    event = jaxsched.make("JobShop-v0", candidates="event")
    choice, choice_source = jaxsched.make("FlexibleJobShop-v0"), flexible.sd1(10, 5)
    choices = jax.vmap(lambda key: choice.reset(key, choice_source(key))[0])(keys)
    swaps, failing = jaxsched.make("BlockingJobShop-v0"), blocking.interrupted(source, 0.1)
    shops = jax.vmap(lambda key: swaps.reset(key, failing(key))[0])(keys)
    action = jnp.zeros((BATCH,), jnp.int32)

    def given(env: jaxsched.Environment) -> Any:
        """The rules alone: one transition by an action that is legal."""
        return jax.vmap(lambda state, action: env.apply(keys[0], state, action, jnp.bool_(True)))

    return {
        "apply": cost(given(env), state, action),
        "apply, insert": cost(given(insert), first(insert), action),
        "apply, event": cost(given(event), first(event), action),
        "step without observation": cost(
            jax.vmap(lambda k, s, a: env.step(k, s, a)[0]), keys, state, action
        ),
        "step": cost(jax.vmap(env.step), keys, state, action),
        "reset": cost(jax.vmap(env.reset), keys, state.instance),
        "flexible: apply": cost(given(choice), choices, action),
        "flexible: step": cost(jax.vmap(choice.step), keys, choices, action),
        "blocking: apply": cost(jax.vmap(swaps.apply), keys, shops, action, action == 0),
        "blocking: step": cost(jax.vmap(swaps.step), keys, shops, action),
    }


def committed() -> dict[str, Any]:
    return json.loads(PATH.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    programs = measure()
    if arguments.update:
        data = {
            "jax": jax.__version__,
            "backend": jax.default_backend(),
            "batch": BATCH,
            "programs": programs,
        }
        PATH.write_text(json.dumps(data, indent=1) + "\n")
    before = committed()["programs"]
    assert before.keys() == programs.keys(), "the programs changed: --update"
    print(f"{'program':28}{'instructions':>24}{'bytes':>28}")
    for name, now in programs.items():
        cells = [f"{before[name][unit]} -> {now[unit]}" for unit in ("instructions", "bytes")]
        print(f"{name:28}{cells[0]:>24}{cells[1]:>28}")


if __name__ == "__main__":
    main()
