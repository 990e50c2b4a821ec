"""What several commands share: names of the user's made into environments, instances and
policies.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsched.core.environment import Environment, Instance, Policy, Source
    from jaxsched.core.offer import Loaded
    from jaxsched.evaluation import Report
    from jaxsched.evaluation.rules import MakePolicy

EXTRAS = {  # what the optional extras bring, by the names that are imported
    "train": ("orbax", "rich", "safetensors", "tyro"),
    "viz": ("matplotlib",),
    "solvers": ("ortools",),
    "search": ("mctx",),
    "omnimalloc": ("omnimalloc",),
    "tensorboard": ("tensorboardX",),
    "wandb": ("wandb",),
}


def cache_folder() -> Path:
    """Where compiled programs are kept: the user's cache, as the system has it."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jaxsched" / "compiled"


def first_sentence(documented: Any) -> str:
    """What a docstring begins with, on one line."""
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def load(
    env: Environment,
    name: str,
    seed: int = 0,
    *,
    read: Sequence[str] = (),
    start: str | None = None,
    source: Sequence[str] = (),
) -> Loaded:
    """The named instance or file, with the names of its parts where the file has any.

    `read` are NAME=VALUE options of the reader, `start` is the one of that name, and `source` are
    those of the generator of `generated-N`.
    """
    from jaxsched.evaluation import load_one

    options = dict(map(pair, read)) | ({"start": start} if start is not None else {})
    return load_one(env, name, seed, source=make_source(env, source), options=options)


def make_source(env: Environment, options: Sequence[str]) -> Source | None:
    """The problem's generator of instances with NAME=VALUE options; None where there are no
    options.
    """
    from jaxsched.envs.registry import offer

    if not options:
        return None
    make = offer(env).source
    if make is None:
        raise ValueError(f"{env.id} offers no options of its source")
    return make(env, {name: value_of(text) for name, text in map(pair, options)})


def make_environment(
    env: str, settings: Sequence[str], objective: str | None = None, *, plays_rule: bool = False
) -> Environment:
    """The environment with NAME=VALUE settings; where none are given, rules get those of the
    comparison.
    """
    from jaxsched.envs.registry import make, offer

    values = {name: value_of(text) for name, text in map(pair, settings)}
    if plays_rule and not settings:
        default = make(env)
        comparison = offer(default).comparison
        values = dict(comparison(default).rule_settings) if comparison else {}
    return make(env, **values, **({"objective": objective} if objective else {}))


def play(
    env: Environment,
    instances: Mapping[str, Instance],
    policy: Path | None,
    rule: str | None,
    samples: int,
    rounds: int,
    temperature: float | None,
    seed: int,
) -> Report:
    """Evaluate a trained policy or a rule, greedily or sampled."""
    import functools

    from jaxsched import evaluation
    from jaxsched.policies import greedy_policy, sampling_policy

    if (policy is None) == (rule is None):
        raise ValueError("give either a --policy FOLDER or a --rule NAME")
    if temperature is None:
        several = evaluation.TEMPERATURE if policy else 0.3
        temperature = 0.0 if samples == 1 else several
    if temperature < 0:
        raise ValueError(f"a temperature is not negative, got {temperature}")
    label = rule or "policy"
    if temperature > 0:
        label += f" at temperature {temperature:g}, best of {samples}"
    if rounds > 1:
        label += f" in {rounds} rounds"
    params: Any = None
    make: str | Policy | MakePolicy
    if policy is not None:
        from jaxsched.policies.io import load_policy

        apply, params = load_policy(policy, env)
        make = functools.partial(greedy_policy, apply)
        if temperature > 0:
            make = functools.partial(sampling_policy, apply, temperature=temperature)
    elif temperature > 0:
        make, params = evaluation.randomised_rule(env, str(rule)), temperature
    else:
        make = str(rule)
    return evaluation.evaluate(
        env, instances, make, params=params, samples=samples, rounds=rounds, seed=seed, label=label
    )


def lookup(what: str, name: str, known: Mapping[str, Any]) -> Any:
    """`known[name]`, or an error with the close matches."""
    if name not in known:
        from jaxsched.host.errors import UnknownNameError

        raise UnknownNameError(what, name, known)
    return known[name]


def pair(text: str) -> tuple[str, str]:
    """`NAME=VALUE` in two."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def value_of(text: str) -> Any:
    """A number or true, false, null as in JSON; any other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def is_installed(extra: str) -> bool:
    """Whether everything that the extra brings can be imported."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in EXTRAS[extra])


def pip_line(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "jaxsched[{extra}]"'


def join_names(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
