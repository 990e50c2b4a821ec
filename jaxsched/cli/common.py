"""What several commands share: names of the user's made into environments, instances, policies and pictures."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxsched.core.environment import Environment, Instance, Policy
    from jaxsched.evaluation import Report
    from jaxsched.evaluation.evaluate import MakePolicy

EXTRAS = {  # what the optional extras bring, by the names that are imported
    "train": ("orbax", "rich", "safetensors", "tyro"),
    "viz": ("matplotlib",),
    "solvers": ("ortools",),
    "search": ("mctx",),
    "omnimalloc": ("omnimalloc",),
}


@dataclasses.dataclass(frozen=True)
class Named:
    """An instance, and the names it was read with: `orders`, or None."""

    family: Any
    instance: Instance
    orders: Any

    def call(self, function: str, *args: Any, **options: Any) -> Any:
        """`function` of the family for this instance, in the names of the orders where there are any.

        The instance is left out where the solution says all that the function needs.
        """
        called = getattr(self.family, function, None)
        if called is None:
            raise ValueError(f"{self.family.__name__} offers no {function}")
        problem = (self.instance,) if "instance" in inspect.signature(called).parameters else ()
        return called(*problem, *args, **options, **({"orders": self.orders} if self.orders else {}))


def load(env: Environment, name: str, seed: int = 0) -> Named:
    """The named instance or file, with the names of its jobs and machines where it is a table of orders."""
    from jaxsched.envs.registry import family
    from jaxsched.evaluation import load_one

    module = family(env)
    if name.endswith(".csv") and Path(name).is_file() and hasattr(module, "read_orders"):
        orders = module.read_orders(name)
        return Named(module, orders.instance, orders)
    return Named(module, load_one(env, name, seed), None)


def make_environment(
    env: str, settings: Sequence[str], objective: str | None = None, *, plays_rule: bool = False
) -> Environment:
    """The environment with NAME=VALUE settings; where none are given, rules get those of the comparison."""
    from jaxsched.envs.registry import family, make

    values = {name: value_of(text) for name, text in map(pair, settings)}
    if plays_rule and not settings:
        showcase = getattr(family(make(env)), "SHOWCASES", {}).get(env)
        values = dict(showcase.rule_settings) if showcase else {}
    return make(env, **values, **({"objective": objective} if objective else {}))


def play(
    env: Environment,
    instances: Mapping[str, Instance],
    policy: Path | None,
    rule: str | None,
    samples: int,
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
        temperature = 0.0 if samples == 1 else 1.0 if policy else 0.3
    if temperature < 0:
        raise ValueError(f"a temperature is not negative, got {temperature}")
    label = rule or "policy"
    if temperature > 0:
        label += f" at temperature {temperature:g}, best of {samples}"
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
    return evaluation.evaluate(env, instances, make, params=params, samples=samples, seed=seed, label=label)


def draw_solution(named: Named, solution: Any, path: Path, title: str, force: bool) -> None:
    """The solution as an .svg, .png or .html file."""
    from jaxsched.evaluation.report import refuse_existing

    refuse_existing(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".svg", ".html"):
        named.call(f"gantt_{path.suffix[1:]}", solution, title=title).save(path, overwrite=force)
    elif path.suffix == ".png":
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = named.call("gantt", solution, ax=figure.subplots())
        axes.set_title(f"{title}: {axes.get_title(loc='left')}", loc="left")
        figure.savefig(path, dpi=120)
    else:
        raise ValueError(f"{path}: a chart is an .svg, .png or .html file")


def lookup(what: str, name: str, known: Mapping[str, Any]) -> Any:
    """`known[name]`, or an error with the close matches."""
    if name not in known:
        from jaxsched.core.errors import UnknownNameError

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
