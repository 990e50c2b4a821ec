"""Environment ids to classes, one lazy line each, and family names to their folders."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jaxsched.core.environment import Environment
from jaxsched.core.errors import UnknownNameError

ENTRY_POINTS: dict[str, str | Callable[..., Environment]] = {
    "BlockingJobShop-v0": "jaxsched.envs.job_shop.blocking.env:make_blocking_job_shop",
    "FlexibleJobShop-v0": "jaxsched.envs.job_shop.flexible.env:FlexibleJobShop",
    "JobShop-v0": "jaxsched.envs.job_shop.env:make_job_shop",
    "MemoryMap-v0": "jaxsched.envs.memory.mapping.env:make_memory_map",
    "SoC-v0": "jaxsched.envs.soc.env:make_soc",
    "StaticAllocation-v0": "jaxsched.envs.memory.allocation.env:StaticAllocation",
    "TensorReplacement-v0": "jaxsched.envs.memory.replacement.env:TensorReplacement",
}


def list_envs() -> list[str]:
    """Ids that `make` accepts."""
    return sorted(ENTRY_POINTS)


def register(id: str, entry_point: str | Callable[..., Environment]) -> None:
    """Add an environment: a callable, or "module:attribute" that is imported on first use."""
    if ENTRY_POINTS.get(id, entry_point) != entry_point:
        raise ValueError(f"environment {id!r} is registered already; choose another id")
    ENTRY_POINTS[id] = entry_point


def make(id: str, **settings: Any) -> Environment:
    """The environment `id` with its settings, for example `make("JobShop-v0", candidates="non_delay")`."""
    if id not in ENTRY_POINTS:
        raise UnknownNameError("environment", id, ENTRY_POINTS)
    entry_point = ENTRY_POINTS[id]
    if isinstance(entry_point, str):
        module, attribute = entry_point.split(":")
        entry_point = getattr(importlib.import_module(module), attribute)
    known = inspect.signature(entry_point).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name in settings:
        if name not in known and not takes_any:
            raise UnknownNameError(f"setting of {id}", name, known)
    env = entry_point(**settings)
    if not isinstance(env, Environment):
        raise TypeError(f"{id} was registered with what makes a {type(env).__name__}, no Environment and no wrapper")
    return env


def family(env: Environment) -> ModuleType:
    """The package of an environment, a family or a part of one: `load`, `bounds`, `solve_exact`, `PRESETS`, ..."""
    return importlib.import_module(type(env.unwrapped).__module__.rpartition(".")[0])
