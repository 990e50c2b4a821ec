"""jaxsched: accelerator-native environments for resource scheduling. Importing it loads nothing
heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsched.core import (
        Environment,
        Infeasible,
        InstanceError,
        Pool,
        Rollout,
        TimeStep,
        rollout,
    )
    from jaxsched.envs.registry import list_envs, make, register

__version__ = "0.1.0"
__all__ = [
    "Environment",
    "Infeasible",
    "InstanceError",
    "Pool",
    "Rollout",
    "TimeStep",
    "list_envs",
    "make",
    "register",
    "rollout",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jaxsched' has no attribute {name!r}")
    module = (
        "jaxsched.envs.registry" if name in ("list_envs", "make", "register") else "jaxsched.core"
    )
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
