"""Environment ids to what makes them and to what they offer, lazily: a family is imported when
it is first used.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from jaxsched.core.environment import Environment
from jaxsched.core.offer import Offer
from jaxsched.core.rules import RulesEnvironment
from jaxsched.host.errors import UnknownNameError

# "module:attribute", or what is called with the settings
EntryPoint = str | Callable[..., Environment]

ENTRY_POINTS: dict[str, EntryPoint] = {
    "BlockingJobShop-v0": "jaxsched.envs.job_shop.blocking.env:BlockingJobShop",
    "FlexibleJobShop-v0": "jaxsched.envs.job_shop.flexible.env:FlexibleJobShop",
    "JobShop-v0": "jaxsched.envs.job_shop.env:JobShop",
    "MemoryMap-v0": "jaxsched.envs.memory.mapping.env:MemoryMap",
    "SoC-v0": "jaxsched.envs.soc.env:SoC",
    "StaticAllocation-v0": "jaxsched.envs.memory.allocation.env:StaticAllocation",
    "TensorReplacement-v0": "jaxsched.envs.memory.replacement.env:TensorReplacement",
}
OFFERS: dict[str, str | Offer] = {
    "BlockingJobShop-v0": "jaxsched.envs.job_shop.blocking.offer:OFFER",
    "FlexibleJobShop-v0": "jaxsched.envs.job_shop.flexible.offer:OFFER",
    "JobShop-v0": "jaxsched.envs.job_shop.offer:OFFER",
    "MemoryMap-v0": "jaxsched.envs.memory.mapping.offer:OFFER",
    "SoC-v0": "jaxsched.envs.soc.offer:OFFER",
    "StaticAllocation-v0": "jaxsched.envs.memory.allocation.offer:OFFER",
    "TensorReplacement-v0": "jaxsched.envs.memory.replacement.offer:OFFER",
}


def list_envs() -> list[str]:
    """Ids that `make` accepts."""
    return sorted(ENTRY_POINTS)


def register(id: str, entry_point: EntryPoint, offer: str | Offer | None = None) -> None:
    """Add an environment, and what it offers to evaluation and to the command line.

    `entry_point` is an environment class, a function of the settings, or "module:attribute", which
    is imported on first use; `offer` is an `Offer` or "module:attribute". Raises `ValueError` for
    an id that stands for something else already.
    """
    if ENTRY_POINTS.get(id, entry_point) != entry_point:
        raise ValueError(f"environment {id!r} is registered already; choose another id")
    ENTRY_POINTS[id] = entry_point
    if offer is not None:
        OFFERS[id] = offer


def make(id: str, **settings: Any) -> Environment:
    """The environment `id` with its settings, for example `make("JobShop-v0",
    candidates="non_delay")`.
    """
    if not isinstance(id, str) or id not in ENTRY_POINTS:
        raise UnknownNameError("environment", id, ENTRY_POINTS)
    entry_point = _imported(ENTRY_POINTS[id])
    if inspect.isclass(entry_point) and issubclass(entry_point, RulesEnvironment):
        defaults = entry_point().settings
        _require_known(id, settings, list(defaults))
        return entry_point(dataclasses.replace(defaults, **settings))
    parameters = inspect.signature(entry_point).parameters
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        _require_known(id, settings, list(parameters))
    env = entry_point(**settings)
    if not isinstance(env, Environment):
        made = type(env).__name__
        raise TypeError(
            f"what is registered as {id!r} returns a {made}, neither an Environment nor a wrapper"
        )
    return env


def offer(env: Environment) -> Offer:
    """What the problem of `env` offers beside its rules; an empty `Offer` for one that is not
    registered.
    """
    found = _imported(OFFERS.get(env.id, Offer()))
    if not isinstance(found, Offer):
        raise TypeError(
            f"what is registered as the offer of {env.id!r} is a {type(found).__name__}, not an Offer"
        )
    return found


def _imported(target: Any) -> Any:
    """The attribute that "module:attribute" names; anything else as it is."""
    if not isinstance(target, str):
        return target
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def _require_known(id: str, settings: dict[str, Any], known: list[str]) -> None:
    for name in settings:
        if name not in known:
            raise UnknownNameError(f"setting of {id}", name, known)
