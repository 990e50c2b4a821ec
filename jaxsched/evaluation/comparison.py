"""The leaderboard: methods side by side on the same instances."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
from jax import random

from jaxsched.core.environment import Environment, Instance, Policy, Source
from jaxsched.core.offer import Loaded
from jaxsched.core.padding import unstack
from jaxsched.envs.registry import offer
from jaxsched.evaluation.evaluate import evaluate, evaluate_exact
from jaxsched.evaluation.report import gap_table, print_table
from jaxsched.evaluation.results import Report
from jaxsched.evaluation.rules import MakePolicy, randomised_rule
from jaxsched.host.errors import InstanceError, UnknownNameError
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.network import Apply, Params

Entry = Callable[[Mapping[str, Instance]], Report]  # a method with its own environment and settings

_GENERATED = re.compile(r"generated:(\d{1,6})")
TEMPERATURES = (0.1, 0.3, 1.0)
# At which a trained policy is sampled for the best of many. On generated job shops the best of 64 of
# an earlier shipped policy was within half a per cent of that at 1: worse at 10 jobs, equal at 15,
# better at 20.
TEMPERATURE = 0.6
TRACKED, TRACK_SEED = 100, 20261129  # instances of each source that a learning curve is about


def compare(
    instances: Mapping[str, Instance], entries: Iterable[Entry], *, progress: bool = False
) -> list[Report]:
    """The report of every entry on the same instances, in order."""
    reports = []
    for entry in entries:
        reports.append(report := entry(instances))
        if progress:
            print(
                f"{report.label}: {report.seconds:.1f} s and {report.compile_seconds:.1f} s compiling",
                flush=True,
            )
    return reports


def comparison(
    instances: Mapping[str, Instance], entries: Iterable[Entry], groups: Mapping[str, Sequence[str]]
) -> list[Report]:
    """`compare`, and print mean gaps to the best known objective per group of instance names."""
    reports = compare(instances, entries, progress=True)
    titles, body = gap_table(reports, groups)
    print_table("gap to the best known objective in per cent", titles, body)
    return reports


def load_groups(
    env: Environment, specs: Sequence[str], seed: int = 0, *, source: Source | None = None
) -> tuple[dict[str, Instance], dict[str, list[str]]]:
    """Instances by name, and the names that each list such as `"ta01-ta10,ft06"` stands for.

    `"generated:200"` stands for so many instances of `source`, by default the environment's own,
    drawn from `seed`. Raises `InstanceError` with the close matches, or where the problem has no
    named instances.
    """
    instances: dict[str, Instance] = {}
    groups: dict[str, list[str]] = {}
    for spec in specs:
        if number := _GENERATED.fullmatch(spec):
            drawn = generate(source or env.default_source, int(number[1]), seed)
        else:
            offered = offer(env)
            if offered.load is None:
                raise _no_names(env, spec, "generated:100")
            names = offered.expand(env, spec) if offered.expand else spec.split(",")
            drawn = {name: offered.load(env, name, {}).instance for name in names}
        groups[spec] = list(drawn)
        instances |= drawn
    return instances, groups


def load_one(
    env: Environment,
    name: str,
    seed: int = 0,
    *,
    source: Source | None = None,
    options: Mapping[str, str] | None = None,
) -> Loaded:
    """A named instance or file; `"generated-3"` is one of those that `load_groups` draws from
    `seed`.

    `options` say how a file is read; the problem names those that it knows.
    """
    offered = offer(env)
    for option in options or ():
        if option not in offered.load_options:
            raise UnknownNameError(f"reading option of {env.id}", option, offered.load_options)
    if number := re.fullmatch(r"generated-(\d{1,6})", name):
        drawn = generate(source or env.default_source, int(number[1]) + 1, seed)
        return Loaded(drawn[name])
    if offered.load is None:
        rule = next(iter(env.heuristics), None)
        raise _no_names(env, name, "generated-0" + (f" by a rule such as {rule}" if rule else ""))
    return offered.load(env, name, options or {})


def _no_names(env: Environment, name: str, instead: str) -> InstanceError:
    return InstanceError(
        f"{env.id} has no instance {name!r}: it reads no files and has no named instances; try {instead}"
    )


def policy_entries(
    env: Environment,
    apply: Apply,
    params: Params,
    *,
    samples: int = 64,
    rounds: int = 1,
    seed: int = 0,
    label: str = "policy",
) -> list[Entry]:
    """A trained policy played greedily, the best of `samples` sampled episodes, and with more than
    one of `rounds` their work in rounds that follow the best one.
    """
    sampling = sampling_maker(apply)
    methods = {
        f"{label}, greedy": (greedy_maker(apply), 1, 1),
        f"{label}, best of {samples}": (sampling, samples, 1),
    }
    if rounds > 1:
        methods[f"{label}, {samples} in {rounds} rounds"] = sampling, samples, rounds
    return [
        functools.partial(
            evaluate,
            env,
            policy=make,
            params=params,
            samples=count,
            rounds=number,
            seed=seed,
            label=name,
        )
        for name, (make, count, number) in methods.items()
    ]


@dataclasses.dataclass(frozen=True)
class _Maker:
    """`params -> policy` for `evaluate`, equal for the same `apply` and temperature, so that it is
    compiled once; greedy at temperature 0.
    """

    apply: Apply
    temperature: float

    def __call__(self, params: Params) -> Policy:
        if self.temperature == 0:
            return greedy_policy(self.apply, params)
        return sampling_policy(self.apply, params, self.temperature)


def greedy_maker(apply: Apply) -> MakePolicy:
    """`params -> greedy policy`."""
    return _Maker(apply, 0.0)


def sampling_maker(apply: Apply, temperature: float = TEMPERATURE) -> MakePolicy:
    """`params -> sampling policy`."""
    return _Maker(apply, temperature)


def tracker(
    env: Environment, groups: Mapping[str, Source | Mapping[str, Instance]]
) -> Callable[[Apply, Params], dict[str, float]]:
    """`(apply, params) -> scores` for the learning curve of `training.train`: the greedy policy on
    groups of instances by label, of which a source gives `TRACKED`.

    A score is the mean gap where all best known bounds are known, else the mean objective over the
    lower bound, else the mean objective.
    """

    drawn = {
        label: generate(group, TRACKED, TRACK_SEED) if callable(group) else group
        for label, group in groups.items()
    }

    def score(apply: Apply, params: Params) -> dict[str, float]:
        scores = {}
        for label, instances in drawn.items():
            report = evaluate(env, instances, greedy_maker(apply), params=params)
            if report.mean_gap is not None:
                scores[f"gap on {label} (%)"] = report.mean_gap
            elif report.mean_ratio is not None:
                scores[f"objective / lower bound, {label}"] = report.mean_ratio
            else:
                scores[f"mean objective, {label}"] = report.mean_objective
        return scores

    return score


def rule_entries(env: Environment, rules: Sequence[str]) -> list[Entry]:
    """Priority rules, one entry each."""
    return [functools.partial(evaluate, env, policy=rule) for rule in rules]


def randomised_entry(
    env: Environment, rule: str, source: Source, *, samples: int = 64, seed: int = 0
) -> Entry:
    """Best of `samples` episodes of a randomised rule, at the best of `TEMPERATURES` on
    instances of `source`.
    """

    def entry(instances: Mapping[str, Instance]) -> Report:
        temperature = best_temperature(env, rule, source, samples=samples, seed=seed)
        return evaluate(
            env,
            instances,
            randomised_rule(env, rule),
            params=temperature,
            samples=samples,
            seed=seed,
            label=f"{rule} at temperature {temperature:g}, best of {samples}",
        )

    return entry


def best_temperature(
    env: Environment,
    rule: str,
    source: Source,
    *,
    samples: int = 64,
    num_instances: int = 100,
    seed: int = 0,
    temperatures: Sequence[float] = TEMPERATURES,
) -> float:
    """The temperature with the lowest mean objective of the best of `samples` on generated
    instances.
    """
    instances = generate(source, num_instances, seed)
    make = randomised_rule(env, rule)

    def cost(temperature: float) -> tuple[int, float]:
        report = evaluate(env, instances, make, params=temperature, samples=samples, seed=seed)
        return sum(row.truncated for row in report.rows), report.mean_objective

    return min(temperatures, key=cost)


def exact_entry(
    env: Environment, *, time_limit: float, num_workers: int | None, seed: int = 0
) -> Entry:
    """The family's exact solver, `time_limit` seconds per instance."""
    label = f"exact, {time_limit:g} s"
    return functools.partial(
        evaluate_exact, env, time_limit=time_limit, num_workers=num_workers, seed=seed, label=label
    )


def generate(source: Source, num_instances: int, seed: int = 0) -> dict[str, Instance]:
    """Instances of a source by the names generated-0, generated-1, ..., on the host."""
    keys = random.split(random.key(seed), num_instances)
    batch = unstack(jax.device_get(jax.jit(jax.vmap(source))(keys)))
    return {f"generated-{index}": instance for index, instance in enumerate(batch)}
