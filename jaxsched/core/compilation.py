"""How the programs of this package are compiled."""

from __future__ import annotations

from typing import Any

import jax


def compiler_options() -> dict[str, Any] | None:
    """Options for `jax.jit` on the default backend, None for its defaults.

    On a CPU less is optimised by LLVM, and fusions are emitted the older way: less than half the
    time to compile, for programs of this package that run no slower.
    """
    if jax.default_backend() != "cpu":
        return None
    return {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
