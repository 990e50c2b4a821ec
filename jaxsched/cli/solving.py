"""Instances solved, scored, read and drawn: `evaluate`, `solve`, `import`, `draw`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxsched.cli.common import load, make_environment, make_source, play
from jaxsched.cli.outputs import (
    check_chart,
    check_table,
    check_writable,
    save_all,
    save_chart,
    save_solution,
)

if TYPE_CHECKING:
    from jaxsched.core.environment import Environment
    from jaxsched.evaluation import Row


def evaluate(
    *,
    instances: str,
    policy: Path | None = None,
    rule: str | None = None,
    samples: int = 1,
    rounds: int = 1,
    temperature: float | None = None,
    env: str = "JobShop-v0",
    objective: str | None = None,
    settings: tuple[str, ...] = (),
    source: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Score a policy or a rule on instances against the best known bounds; every solution is
    validated.

    Args:
        instances: Names, ranges, families and paths, separated by commas:
            ft06,ta01-ta10,la,shop.txt; or generated:200, so many of the environment's source.
        policy: Folder of a run, its policy.safetensors, or the name of a policy that comes with the
            package.
        rule: Priority rule by name.
        samples: Keep the best of so many episodes.
        rounds: More than 1: spend the work of these episodes on rounds that sample the rest of the
            best one anew.
        temperature: Of the sampling; 0 plays the best action. Default: 0 for one sample; otherwise
            0.6 for a policy and 0.3 for a rule.
        env: Environment id.
        objective: What to minimise, where the environment has a choice.
        settings: Settings of the environment, NAME=VALUE. Default for rules: those they are
            compared under.
        source: Options of the source of generated instances, NAME=VALUE.
        seed: Seed of the sampling.
        out: Write the results to this JSON file.
        force: Overwrite it where it exists.
    """
    from jaxsched import evaluation
    from jaxsched.evaluation.report import instance_table, print_table

    check_writable(out, force)
    environment = make_environment(env, settings, objective, plays_rule=rule is not None)
    loaded, _ = evaluation.load_groups(
        environment, [instances], seed, source=make_source(environment, source)
    )
    report = play(environment, loaded, policy, rule, samples, rounds, temperature, seed)
    print_table(f"{report.label} on {instances}", *instance_table(report))
    if out is not None:
        evaluation.write_json(out, [report], overwrite=force)


def solve(
    instance: str,
    /,
    *,
    method: Literal["exact", "rule", "policy"] | None = None,
    rule: str | None = None,
    policy: Path | None = None,
    samples: int = 1,
    rounds: int = 1,
    temperature: float | None = None,
    time_limit: float = 10.0,
    num_workers: int | None = None,
    polish: bool = False,
    explain: bool = False,
    env: str = "JobShop-v0",
    objective: str | None = None,
    settings: tuple[str, ...] = (),
    start: str | None = None,
    read: tuple[str, ...] = (),
    source: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    gantt: Path | None = None,
    force: bool = False,
) -> None:
    """Solve one instance exactly, by a rule or by a policy; print objective, bound and gap.

    Args:
        instance: Name or file, for a shop also its orders as a .csv; or generated-0, -1, ... of the
            source.
        method: How. Default: by the policy or the rule where one is given, otherwise exactly.
        rule: Priority rule by name.
        policy: Folder of a run, or its policy.safetensors.
        samples: Keep the best of so many episodes of the rule or policy.
        rounds: In which they follow the best one, as in `jaxsched evaluate`.
        temperature: Of their sampling, as in `jaxsched evaluate`.
        time_limit: Seconds for the exact solver, its start and its model included.
        num_workers: Threads of the exact solver. Default: all cores.
        polish: Improve the schedule of the rule or policy with the exact solver.
        explain: Say what binds the schedule: machine, job or chain.
        env: Environment id.
        objective: What to minimise, where the environment has a choice.
        settings: Settings of the environment, NAME=VALUE. Default for rules: those they are
            compared under.
        start: Start of planning, for a table of orders: a date such as 2026-11-23T08:00.
        read: Options of the reader of a file, NAME=VALUE.
        source: Options of the source of generated instances, NAME=VALUE.
        seed: Seed of the sampling or the solver.
        out: Write the solution to this .csv file, or with all figures to this .json file.
        gantt: Draw it into this .svg, .png, .pdf or .html file.
        force: Overwrite files that exist.
    """
    import dataclasses

    from jaxsched import evaluation
    from jaxsched.envs.registry import offer

    method = method or ("policy" if policy else "rule" if rule else "exact")
    if method == "policy" and policy is None:
        raise ValueError("--method policy needs --policy FOLDER")
    if method == "rule" and rule is None:
        raise ValueError("--method rule needs --rule NAME; `jaxsched list` shows the names")
    if out is not None and out == gantt:
        raise ValueError(f"{out}: --out and --gantt name the same file")
    environment = make_environment(env, settings, objective, plays_rule=method == "rule")
    offered = offer(environment)
    if (method == "exact" or polish) and offered.exact is None:
        raise ValueError(f"{env} offers no exact solver; give a --rule NAME or a --policy FOLDER")
    if explain and offered.explain is None:
        raise ValueError(f"{env} offers no explanations; leave out --explain")
    check_table(environment, out, force)
    check_chart(environment, gantt, force)
    loaded = load(environment, instance, seed, read=read, start=start, source=source)
    problem = {instance: loaded.instance}
    exactly = {"time_limit": time_limit, "num_workers": num_workers, "seed": seed}
    if method == "exact":
        row = evaluation.evaluate_exact(environment, problem, **exactly)[instance]
    else:
        chosen = (policy, None) if method == "policy" else (None, rule)
        report = play(environment, problem, *chosen, samples, rounds, temperature, seed)
        row = report[instance]
        if polish:
            first = row
            print(f"{report.label}: {first.objective * loaded.unit} in {first.seconds:.2f} s")
            hints = {instance: first.solution}
            label = f"{report.label}, polished"
            row = evaluation.evaluate_exact(
                environment, problem, hints=hints, label=label, **exactly
            )[instance]
            # Who proved that the hint is optimal, if anybody did.
            proof = row.method.removeprefix("hint")
            found = (
                f"{first.policy}{proof}"
                if row.method.startswith("hint")
                else f"{label} by {row.method}"
            )
            row = dataclasses.replace(row, method=found)
    _print_row(environment, row, loaded.unit)
    if explain and offered.explain is not None:
        for line in offered.explain(environment, loaded.instance, row.solution, names=loaded.names):
            print(f"- {line}")
    writes = {}
    if out is not None:
        writes[out] = lambda: save_solution(environment, loaded, row, out, force)
    if gantt is not None:
        title = f"{row.instance}, {row.method}"
        writes[gantt] = lambda: save_chart(environment, loaded, row.solution, gantt, title, force)
    save_all(row, writes)


def _print_row(environment: Environment, row: Row, unit: int) -> None:
    """Objective, bound and gap; `unit`: what the file counts in, in units of the row."""
    reference = row.upper_bound or row.lower_bound
    gap = 100 * (row.objective / reference - 1) if reference else 0.0
    what = environment.settings.get("objective", "objective").replace("_", " ")
    print(f"{row.instance} ({row.size}) by {row.method} in {row.seconds:.2f} s")
    print(f"{what:<11} {row.objective * unit}")
    proof = " (the optimum is reached)" if row.objective == row.lower_bound else ""
    print(f"lower bound {row.lower_bound * unit}{proof}")
    if reference:
        what = f"best known {reference * unit}" if row.upper_bound else "lower bound"
        print(f"gap         {gap:.2f} % to the {what}")


def import_file(
    file: Path,
    /,
    *,
    env: str = "JobShop-v0",
    start: str | None = None,
    read: tuple[str, ...] = (),
    check: bool = False,
    out: Path | None = None,
    force: bool = False,
) -> int:
    """Read a shop's orders or an instance file, say what is in it, and what cannot be met.

    Args:
        file: A table of orders, or an instance file.
        env: Environment id.
        start: Start of planning, for a table of orders: a date such as 2026-11-23T08:00.
        read: Options of the reader, NAME=VALUE.
        check: End with status 1 where a due date cannot be met.
        out: Write the instance in the standard format to this file.
        force: Overwrite it where it exists.
    """
    from jaxsched.envs.registry import make, offer

    environment = make(env)
    offered = offer(environment)
    if offered.summary is None:
        raise ValueError(f"{env} offers no summaries of files")
    if out is not None and offered.write_instance is None:
        raise ValueError(f"{out}: {env} offers no standard format to write")
    check_writable(out, force)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    loaded = load(environment, str(file), read=read, start=start)
    lines, faults = offered.summary(environment, loaded.instance, loaded.names)
    print(
        "\n".join(
            [f"{file}: {lines[0]}", *lines[1:], *(f"cannot be met: {fault}" for fault in faults)]
        )
    )
    if out is not None and offered.write_instance is not None:
        offered.write_instance(
            environment, loaded.instance, out, names=loaded.names, overwrite=force
        )
        print(f"written: {out}")
    return 1 if check and faults else 0


def draw(
    instance: str,
    /,
    *,
    rule: str | None = None,
    policy: Path | None = None,
    samples: int = 1,
    rounds: int = 1,
    temperature: float | None = None,
    env: str = "JobShop-v0",
    settings: tuple[str, ...] = (),
    start: str | None = None,
    read: tuple[str, ...] = (),
    source: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Draw the solution of a rule or a policy as SVG, PNG, PDF or HTML.

    Args:
        instance: Name or file.
        rule: Priority rule by name.
        policy: Folder of a run, or its policy.safetensors.
        samples: Keep the best of so many episodes.
        rounds: In which they follow the best one, as in `jaxsched evaluate`.
        temperature: Of the sampling, as in `jaxsched evaluate`.
        env: Environment id.
        settings: Settings of the environment, NAME=VALUE. Default for rules: those they are
            compared under.
        start: Start of planning, for a table of orders: a date such as 2026-11-23T08:00.
        read: Options of the reader of a file, NAME=VALUE.
        source: Options of the source of generated instances, NAME=VALUE.
        seed: Seed of the sampling.
        out: The .svg, .png, .pdf or .html file. Default: the name of the instance with .svg.
        force: Overwrite it where it exists.
    """
    path = out or Path(f"{Path(instance).stem}.svg")
    if policy is None and rule is None:
        raise ValueError("give a --rule NAME or a --policy FOLDER to draw")
    solve(
        instance,
        method="rule" if policy is None else "policy",
        rule=rule,
        policy=policy,
        samples=samples,
        rounds=rounds,
        temperature=temperature,
        env=env,
        settings=settings,
        start=start,
        read=read,
        source=source,
        seed=seed,
        gantt=path,
        force=force,
    )
    print(f"chart       {path}")
