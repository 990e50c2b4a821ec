"""The command line. Each command is a function: its arguments are the options, its docstring the help.

Nothing heavy is imported here, so that `--help` answers at once: JAX comes with the first command that needs it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jaxsched.core.environment import Environment, Instance, Policy
    from jaxsched.evaluation import Report
    from jaxsched.evaluation.evaluate import MakePolicy
    from jaxsched.training import TrainConfig

EXTRAS = {  # what the optional extras bring, by the names that are imported
    "train": ("orbax", "rich", "safetensors", "tyro"),
    "viz": ("matplotlib",),
    "solvers": ("ortools",),
    "search": ("mctx",),
}


# ------------------------------------------------------------------------------------------------------ commands


def list_names() -> None:
    """List environments with their rules, training presets and named instances."""
    from jaxsched.envs.registry import family, list_envs, make
    from jaxsched.policies.io import shipped_policies

    for name in list_envs():
        env = make(name)
        print(f"{name}: {(inspect.getdoc(type(env)) or '').partition(chr(10))[0]}")
        print(f"  rules: {', '.join(env.heuristics)}")
        print("  presets:")
        for preset, value in getattr(family(env), "PRESETS", {}).items():
            print(f"    {preset:<10} {value.about}")
        print("  instances:")
        sets = getattr(family(env), "instance_sets", dict)()
        for names, about in {**sets, "generated:N": "so many of the environment's source"}.items():
            print(f"    {names:<11} {about}")
        if policies := shipped_policies(env):
            print(f"  policies: {', '.join(policies)}")


def doctor() -> int:
    """Show versions, devices, memory and extras, and try every environment from end to end."""
    from importlib.util import find_spec

    import jax

    from jaxsched.envs.registry import list_envs, make
    from jaxsched.evaluation import evaluate, generate
    from jaxsched.evaluation.report import versions

    for package, version in versions().items():
        print(f"{package:<9} {version}")
    for device in jax.devices():
        memory = (device.memory_stats() or {}).get("bytes_limit")
        print(f"device    {device} ({device.device_kind}{f', {memory / 2**30:.1f} GiB' if memory else ''})")
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
        print(f"memory    {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB")
    print(f"cpus      {os.cpu_count()}")
    x64: bool = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    cache: str | None = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    print(f"x64       {'on' if x64 else 'off'}")
    print(f"cache     {cache or 'off: JAX_COMPILATION_CACHE_DIR=FOLDER keeps compiled programs'}")
    print(f"data      {os.environ.get('JAXSCHED_DATA') or 'JAXSCHED_DATA is not set: packaged instances only'}")
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        print(f"{extra:<9} {f'without {_and(missing)}: {_pip(extra)}' if missing else 'installed'}")

    healthy = True
    for name in list_envs():
        try:
            env = make(name)
            rule = next(iter(env.heuristics))
            row = evaluate(env, generate(env.default_source, 1), rule).rows[0]
            outcome = f"works: {rule} reaches {row.objective} on {row.size}, lower bound {row.lower_bound}"
        except Exception as error:  # whatever is wrong is the result
            healthy, outcome = False, f"FAILS: {type(error).__name__}: {error}"
        print(f"check     {name} {outcome}")
    return 0 if healthy else 1


def train(
    env: str = "JobShop-v0",
    /,
    *,
    preset: str = "quick",
    config: tuple[str, ...] = (),
    seed: int = 0,
    num_seeds: int = 1,
    start_from: Path | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    evaluate_every: int = 20,
    evaluate_on: str | None = None,
    compare: tuple[str, ...] | None = None,
    samples: int = 64,
    time_limit: float = 3.0,
    num_workers: int = 2,
    draw: str | None = None,
    options: bool = False,
) -> None:
    """Train a policy, compare it with rules and an exact solver, draw a schedule. Without arguments: the main job.

    Every field of the training configuration is an option too, such as --num-updates 100, --learning-rate 3e-4 or
    --network.width 128; --options lists them. The folder of the run gets config.json, log.jsonl, curve.png,
    checkpoints, policy.safetensors, results.json and the chart.

    Args:
        env: Environment id; `jaxsched list` shows them.
        preset: Training settings of the environment, by name.
        config: Changes to them, NAME=VALUE; `--NAME VALUE` does the same.
        seed: Seed of the run.
        num_seeds: Train so many seeds side by side, from `seed` on.
        start_from: Begin with the policy of this run folder, or a policy.safetensors, instead of a random one.
        out: New folder of the run. Default: the next number in runs/.
        resume: Go on with the run in this folder, with the settings it was started with.
        evaluate_every: Updates between evaluations for the learning curve; 0 for none.
        evaluate_on: Instances of these evaluations.
        compare: Groups of instances to compare on at the end; `--compare` alone for no comparison.
        samples: Episodes of the methods that keep the best of many.
        time_limit: Seconds per instance for the exact solver; 0 leaves it out.
        num_workers: Threads of the exact solver.
        draw: Compared instance whose best schedule by the policy is drawn.
        options: List the options of the training configuration and stop.
    """
    import jax

    from jaxsched import evaluation, training
    from jaxsched.envs.registry import family, make
    from jaxsched.evaluation.comparison import greedy_maker
    from jaxsched.evaluation.report import write_text
    from jaxsched.policies.io import load_policy
    from jaxsched.training.config import from_dict

    command = {"env": env, "preset": preset, "config": config, "seed": seed, "num_seeds": num_seeds}
    command["start_from"] = str(start_from) if start_from else None
    if resume is not None:
        if out is not None:
            raise ValueError("--resume goes on in the folder of the run: leave out --out")
        saved = _read_json(resume / "command.json")
        # A configuration given again is compared with the saved one by `training.train`.
        command = saved | {"config": [*saved["config"], *config]}
        env, preset, seed, num_seeds = (command[name] for name in ("env", "preset", "seed", "num_seeds"))
    start = command.get("start_from")
    presets = getattr(family(make(env)), "PRESETS", {})
    settings = _lookup("preset", preset, presets)
    environment = make(env, **settings.settings)
    train_config = _configure(from_dict(dict(settings.training)), command["config"])
    initial = load_policy(start, environment)[1] if start else None
    if options:
        for name, value in _fields(train_config).items():
            print(f"--{name.replace('_', '-')} {value}")
        return

    showcase = getattr(family(environment), "SHOWCASES", {}).get(env)
    groups = compare if compare is not None else showcase.groups if showcase else ()
    instances, members = evaluation.load_groups(environment, groups)  # a misspelt name fails before the training
    track = evaluate_on or (showcase.track if showcase else "")
    tracked = evaluation.load_groups(environment, [track])[0] if track and evaluate_every else {}

    def score(apply: Any, params: Any) -> dict[str, float]:
        report = evaluation.evaluate(environment, tracked, greedy_maker(apply), params=params)
        if report.mean_gap is None:
            return {f"mean objective on {track}": report.mean_objective}
        return {f"gap on {track} (%)": report.mean_gap}

    run_dir = resume or out or training.new_run_dir()
    if resume is None and not (run_dir / "config.json").exists():
        write_text(run_dir / "command.json", json.dumps(command) + "\n", overwrite=True)
    print(f"run {run_dir}: {env}, preset {preset}, seed {seed}", flush=True)
    apply, state = training.train(
        environment,
        settings.source,
        train_config,
        run_dir=run_dir,
        seed=seed,
        num_seeds=num_seeds,
        resume=resume is not None,
        initial=initial,
        evaluate=score if tracked else None,
        evaluate_every=evaluate_every,
        mesh=training.data_mesh(),
    )
    if not instances:
        return

    entries = []
    for i in range(num_seeds):
        params = state.params if num_seeds == 1 else jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
        label = "policy" if num_seeds == 1 else f"policy of seed {seed + i}"
        entries += evaluation.policy_entries(environment, apply, params, samples=samples, seed=seed, label=label)
    if showcase:
        rule_env = make(env, **{**settings.settings, **showcase.rule_settings})
        entries += evaluation.rule_entries(rule_env, showcase.rules)
        rule = showcase.randomised_rule
        entries.append(evaluation.randomised_entry(rule_env, rule, settings.source, samples=samples, seed=seed))
    if time_limit and hasattr(family(environment), "solve_exact"):
        if _installed("solvers"):
            entries.append(evaluation.exact_entry(environment, time_limit=time_limit, num_workers=num_workers))
        else:
            print(f"the exact solver is left out; it needs: {_pip('solvers')}")
    reports = evaluation.comparison(instances, entries, members)
    evaluation.write_json(run_dir / "results.json", reports, overwrite=resume is not None)

    name = draw or (showcase.draw if showcase and showcase.draw in instances else next(iter(instances)))
    row = min((report[name] for report in reports[: 2 * num_seeds]), key=lambda row: row.objective)
    for suffix in (".svg", ".png"):
        if suffix == ".png" and not _installed("viz"):
            print(f"no picture as PNG; it needs: {_pip('viz')}")
            continue
        path = run_dir / f"gantt_{Path(name).stem}{suffix}"
        named = _Named(family(environment), instances[name], None)
        _draw(named, row.solution, path, f"{name}, {row.policy}", resume is not None)
    print(f"{run_dir}: results.json, curve.png, gantt_{Path(name).stem}.svg, policy.safetensors")


def evaluate(
    *,
    instances: str,
    policy: Path | None = None,
    rule: str | None = None,
    samples: int = 1,
    temperature: float | None = None,
    env: str = "JobShop-v0",
    objective: str | None = None,
    settings: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Score a policy or a rule on instances against the best known bounds; every solution is validated.

    Args:
        instances: Names, ranges, families and paths, separated by commas: ft06,ta01-ta10,la,shop.txt; or
            generated:200, so many of the environment's source.
        policy: Folder of a run, its policy.safetensors, or the name of a policy that comes with the package.
        rule: Priority rule by name.
        samples: Keep the best of so many episodes.
        temperature: Of the sampling; 0 plays the best action. Default: 0 for one sample; otherwise 1 for a policy
            and 0.3 for a rule.
        env: Environment id.
        objective: What to minimise, where the environment has a choice.
        settings: Settings of the environment, NAME=VALUE. Default for rules: those they are compared under.
        seed: Seed of the sampling.
        out: Write the results to this JSON file.
        force: Overwrite it where it exists.
    """
    from jaxsched import evaluation
    from jaxsched.evaluation.report import instance_table, print_table, refuse_existing

    refuse_existing(out, force)
    environment = _make(env, settings, objective, plays_rule=rule is not None)
    loaded, _ = evaluation.load_groups(environment, [instances], seed)
    report = _play(environment, loaded, policy, rule, samples, temperature, seed)
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
    temperature: float | None = None,
    time_limit: float = 10.0,
    num_workers: int | None = None,
    polish: bool = False,
    explain: bool = False,
    env: str = "JobShop-v0",
    objective: str | None = None,
    settings: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    gantt: Path | None = None,
    force: bool = False,
) -> None:
    """Solve one instance exactly, by a rule or by a policy; print objective, bound and gap.

    Args:
        instance: Name or file, for a shop also its orders as a .csv; or generated-0, -1, ... of the source.
        method: How. Default: by the policy or the rule where one is given, otherwise exactly.
        rule: Priority rule by name.
        policy: Folder of a run, or its policy.safetensors.
        samples: Keep the best of so many episodes of the rule or policy.
        temperature: Of their sampling, as in `jaxsched evaluate`.
        time_limit: Seconds for the exact solver.
        num_workers: Threads of the exact solver. Default: all cores.
        polish: Improve the schedule of the rule or policy with the exact solver.
        explain: Say what binds the schedule: machine, job or chain.
        env: Environment id.
        objective: What to minimise, where the environment has a choice.
        settings: Settings of the environment, NAME=VALUE. Default for rules: those they are compared under.
        seed: Seed of the sampling or the solver.
        out: Write the schedule to this .csv file, or with all figures to this .json file.
        gantt: Draw it into this .svg, .png or .html file.
        force: Overwrite files that exist.
    """
    from jaxsched import evaluation
    from jaxsched.evaluation.report import refuse_existing, write_text

    for path in (out, gantt):
        refuse_existing(path, force)
    if out is not None and out.suffix not in (".csv", ".json"):
        raise ValueError(f"{out}: a schedule is written as .csv or .json")
    method = method or ("policy" if policy else "rule" if rule else "exact")
    if method == "policy" and policy is None:
        raise ValueError("--method policy needs --policy FOLDER")
    if method == "rule" and rule is None:
        raise ValueError("--method rule needs --rule NAME; `jaxsched list` shows the names")
    environment = _make(env, settings, objective, plays_rule=method == "rule")
    named = _load(environment, instance, seed)
    loaded = {instance: named.instance}
    exactly = {"time_limit": time_limit, "num_workers": num_workers, "seed": seed}
    if method == "exact":
        report = evaluation.evaluate_exact(environment, loaded, **exactly)
    else:
        chosen = (policy, None) if method == "policy" else (None, rule)
        report = _play(environment, loaded, *chosen, samples, temperature, seed)
        if polish:
            first = report[instance]
            print(f"{report.label}: {first.objective} in {first.seconds:.2f} s")
            hints = {instance: first.solution}
            label = f"{report.label}, polished"
            report = evaluation.evaluate_exact(environment, loaded, hints=hints, label=label, **exactly)
    row = report[instance]
    reference = row.upper_bound or row.lower_bound
    gap = 100 * (row.objective / reference - 1) if reference else 0.0
    what = environment.settings.get("objective", "objective").replace("_", " ")
    print(f"{row.instance} ({row.size}) by {row.policy} in {row.seconds:.2f} s")
    print(f"{what:<11} {row.objective}")
    print(f"lower bound {row.lower_bound}{' (the optimum is reached)' if row.objective == row.lower_bound else ''}")
    if reference:
        print(f"gap         {gap:.2f} % to the {f'best known {reference}' if row.upper_bound else 'lower bound'}")
    if explain:
        aim = {name: value for name, value in environment.settings.items() if name == "objective"}
        for line in named.call("explain", row.solution, **aim):
            print(f"- {line}")
    if out is not None and out.suffix == ".csv":
        named.call("write_schedule", row.solution, out, overwrite=force)
    elif out is not None:
        data = row.to_dict() | {"solution": dataclasses.asdict(row.solution)}
        write_text(out, json.dumps(data, default=lambda array: array.tolist()) + "\n", overwrite=force)
    if gantt is not None:
        _draw(named, row.solution, gantt, f"{row.instance}, {row.policy}", force)


def import_file(file: Path, /, *, check: bool = False, out: Path | None = None, force: bool = False) -> int:
    """Read a shop's orders or an instance file, say what is in it, and what cannot be met.

    Args:
        file: Orders as .csv, or an instance file.
        check: End with status 1 where a due date cannot be met.
        out: Write the instance in the standard format to this file.
        force: Overwrite it where it exists.
    """
    from jaxsched.envs.registry import make
    from jaxsched.evaluation.report import refuse_existing

    refuse_existing(out, force)
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    named = _load(make("JobShop-v0"), str(file))
    lines, faults = named.call("summary")
    print("\n".join([f"{file}: {lines[0]}", *lines[1:], *(f"cannot be met: {fault}" for fault in faults)]))
    if out is not None:
        named.family.write_standard(named.instance, out, overwrite=force)
        print(f"written: {out}")
    return 1 if check and faults else 0


def draw(
    instance: str,
    /,
    *,
    rule: str | None = None,
    policy: Path | None = None,
    samples: int = 1,
    temperature: float | None = None,
    env: str = "JobShop-v0",
    settings: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Draw the schedule of a rule or a policy as SVG, PNG or HTML.

    Args:
        instance: Name or file.
        rule: Priority rule by name.
        policy: Folder of a run, or its policy.safetensors.
        samples: Keep the best of so many episodes.
        temperature: Of the sampling, as in `jaxsched evaluate`.
        env: Environment id.
        settings: Settings of the environment, NAME=VALUE. Default for rules: those they are compared under.
        seed: Seed of the sampling.
        out: The .svg, .png or .html file. Default: the name of the instance with .svg.
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
        temperature=temperature,
        env=env,
        settings=settings,
        seed=seed,
        gantt=path,
        force=force,
    )
    print(f"chart       {path}")


def map_file(
    file: Path,
    /,
    *,
    capacity: str | None = None,
    method: str = "all",
    alignment: int = 1,
    time_limit: float = 60.0,
    seed: int = 0,
    out: Path | None = None,
    picture: Path | None = None,
    force: bool = False,
) -> int:
    """Give buffers their addresses; print peak, lower bound and gap of each method. Status 1 where none fits.

    Args:
        file: Buffers as .csv, in MiniMalloc's format.
        capacity: Memory there is, in the units of the file, or such as 512KiB or 1MiB.
        method: One of `jaxsched.envs.memory.ALLOCATION_METHODS`, some of them separated by commas, or all heuristics
            and the search.
        alignment: Round sizes and offsets up to multiples of it.
        time_limit: Seconds for each search or exact solver.
        seed: Seed of the search.
        out: Write the buffers with the offsets of the best plan to this .csv file.
        picture: Draw the best plan into this .svg or .png file.
        force: Overwrite files that exist.
    """
    from jaxsched.core.errors import Infeasible
    from jaxsched.envs import memory
    from jaxsched.evaluation.report import print_table, refuse_existing

    for path in (out, picture):
        refuse_existing(path, force)
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise ValueError(f"{picture}: a picture is an .svg or .png file")
    limit = None if capacity is None else _amount(capacity)
    names = [*memory.HEURISTICS, "search"] if method == "all" else method.split(",")
    if "policy" in names:
        raise ValueError("a policy is played by `jaxsched.envs.memory.allocate` only")
    buffers, best, body, reasons = memory.read_csv(file), None, [], []
    for name in names:
        try:
            plan = memory.allocate(buffers, limit, name, alignment, time_limit=time_limit, seed=seed)
        except Infeasible as error:
            plan = error.plan
            reasons.append(f"{name}: {error}")
        proof = " (optimal)" if plan.proved else ""
        row = [name, str(plan.peak), f"{plan.lower_bound}{proof}", f"{plan.gap:.2f}", f"{plan.seconds:.2f}"]
        body.append(row if limit is None else [*row, "yes" if plan.peak <= limit else f"no, {plan.peak - limit} more"])
        best = plan if best is None or plan.peak < best.peak else best
    titles = ["method", "peak", "lower bound", "gap %", "seconds", *(["fits"] if limit is not None else [])]
    print_table(f"{file.name}: {len(buffers)} buffers" + (f", capacity {limit}" if limit else ""), titles, body)
    assert best is not None
    fits = limit is None or best.peak <= limit
    if not fits:
        print(reasons[-1])
    if out is not None:
        memory.write_csv(buffers, out, best, overwrite=force)
        print(f"offsets {out}")
    if picture is not None and picture.suffix == ".svg":
        memory.memory_map_svg(buffers, best, title=file.stem).save(picture, overwrite=force)
    elif picture is not None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 6), layout="constrained")
        FigureCanvasAgg(figure)
        memory.memory_map(buffers, best, ax=figure.subplots())
        figure.savefig(picture, dpi=120)
    if picture is not None:
        print(f"picture {picture}")
    return 0 if fits else 1


def bench(
    env: str = "JobShop-v0",
    /,
    *,
    batch: int = 1024,
    seconds: float = 2.0,
    settings: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Measure reset, step and observe on this device: random play on instances of the environment's own source.

    Args:
        env: Environment id.
        batch: Episodes side by side.
        seconds: At least so long per measurement, compilation apart.
        settings: Settings of the environment, NAME=VALUE.
        seed: Seed of the instances and actions.
        out: Write the results to this JSON file.
        force: Overwrite it where it exists.
    """
    from jaxsched.evaluation import throughput
    from jaxsched.evaluation.report import header, number, print_table, refuse_existing, write_text
    from jaxsched.policies.io import describe

    refuse_existing(out, force)
    environment = _make(env, settings)
    results = throughput(environment, environment.default_source, batch=batch, seconds=seconds, seed=seed)
    titles = ["measured", "schedules/s", "decisions/s", "wall s", "CPU s", "compile s"]
    body = [
        [r.what, f"{r.schedules_per_second:,.0f}", f"{r.decisions_per_second:,.0f}"]
        + [number(value) for value in (r.wall_seconds, r.cpu_seconds, r.compile_seconds)]
        for r in results
    ]
    print_table(f"{env}, batch {batch}", titles, body)
    if out is not None:
        data = {"header": header(), "environment": describe(environment), "batch": batch, "seed": seed}
        write_text(
            out,
            json.dumps(data | {"results": [dataclasses.asdict(r) for r in results]}, indent=1) + "\n",
            overwrite=force,
        )


COMMANDS: dict[str, Callable[..., int | None]] = {
    "list": list_names,
    "doctor": doctor,
    "train": train,
    "evaluate": evaluate,
    "solve": solve,
    "import": import_file,
    "draw": draw,
    "map": map_file,
    "bench": bench,
}


# ----------------------------------------------------------------------------------------------------- entry point


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 2 the user's error, told in one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or bool(os.environ.get("JAXSCHED_DEBUG"))
    try:
        return _run([argument for argument in arguments if argument != "--debug"])
    except SystemExit as stop:  # the parser's: help, or an option it cannot read
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug or not _is_users(error):
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        import jaxsched

        print(f"jaxsched {jaxsched.__version__}")
        return 0
    name, *rest = arguments
    command = _lookup("command", name, COMMANDS)
    try:
        import tyro
    except ImportError:
        raise ImportError(f"the command line needs tyro: {_pip('train')}") from None
    rest = _known_options(name, command, rest)
    return tyro.cli(command, prog=f"jaxsched {name}", args=rest, config=(tyro.conf.FlagCreatePairsOff,)) or 0


def _overview() -> str:
    lines = [
        f"  {name:<9} {(inspect.getdoc(command) or '').partition(chr(10))[0]}" for name, command in COMMANDS.items()
    ]
    return "\n".join(
        [
            "usage: jaxsched COMMAND [OPTIONS]",
            "",
            "Resource scheduling in JAX: train graph policies, compare them with rules and exact solvers.",
            "",
            *lines,
            "",
            "`jaxsched COMMAND --help` shows its options; --debug shows the traceback of an error.",
        ]
    )


def _known_options(name: str, command: Callable[..., Any], arguments: list[str]) -> list[str]:
    """Refuse options that the command has not; for `train` they are fields of the configuration."""
    known = {option.replace("_", "-") for option in inspect.signature(command).parameters} | {"help"}
    kept: list[str] = []
    changes: list[str] = []
    into = kept
    for argument in arguments:
        option, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            if into is changes and changes[-1].endswith("="):
                changes[-1] += argument
            elif into is changes:
                raise ValueError(f"one value too many: {argument!r} after --{changes[-1]}")
            else:
                into.append(argument)
        elif option.replace("_", "-") in known:
            into = kept
            into.append(argument)
        elif "config" in known:
            into = changes
            into.append(f"{option}={value}" if equals else f"{option}=")
        else:
            _lookup(f"option of {name}", f"--{option}", {f"--{other}": None for other in known})
    return [*kept, "--config", *changes] if changes else kept


def _is_users(error: Exception) -> bool:
    """Whether the message says all that the user needs: unknown names, bad input, files, missing extras."""
    from jaxsched.core.errors import UnknownNameError

    return isinstance(error, UnknownNameError | ValueError | OSError | ImportError)


def _message(error: Exception) -> str:
    """The error in one line, with the pip line for what an extra would bring."""
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        for extra, modules in EXTRAS.items():
            if error.name.partition(".")[0] in modules:
                return f"{text}: {_pip(extra)}"
    return text


# ------------------------------------------------------------------------------------------------------- helpers


@dataclasses.dataclass(frozen=True)
class _Named:
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


def _load(env: Environment, name: str, seed: int = 0) -> _Named:
    """The named instance or file, with the names of its jobs and machines where it is a table of orders."""
    from jaxsched.envs.registry import family
    from jaxsched.evaluation import load_one

    module = family(env)
    if name.endswith(".csv") and Path(name).is_file() and hasattr(module, "read_orders"):
        orders = module.read_orders(name)
        return _Named(module, orders.instance, orders)
    return _Named(module, load_one(env, name, seed), None)


def _make(env: str, settings: Sequence[str], objective: str | None = None, *, plays_rule: bool = False) -> Environment:
    """The environment with NAME=VALUE settings; where none are given, rules get those of the comparison."""
    from jaxsched.envs.registry import family, make

    values = {name: _value(text) for name, text in map(_pair, settings)}
    if plays_rule and not settings:
        showcase = getattr(family(make(env)), "SHOWCASES", {}).get(env)
        values = dict(showcase.rule_settings) if showcase else {}
    return make(env, **values, **({"objective": objective} if objective else {}))


def _play(
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


def _draw(named: _Named, solution: Any, path: Path, title: str, force: bool) -> None:
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


def _fields(config: TrainConfig) -> dict[str, Any]:
    """Values of a configuration by name; those of nested ones as `network.width`."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values.update(
                {f"{field.name}.{inner.name}": getattr(value, inner.name) for inner in dataclasses.fields(value)}
            )
        else:
            values[field.name] = value
    return values


def _configure(config: TrainConfig, changes: Sequence[str]) -> TrainConfig:
    """The configuration with NAME=VALUE changes, each read as the type of the field."""
    from jaxsched.training.config import algorithm_of

    values: dict[str, Any] = {}
    for name, text in map(_pair, changes):
        name = name.replace("-", "_")
        kind = type(_lookup(f"option of {algorithm_of(config)}", name, _fields(config)))
        try:
            values[name] = kind(text)
        except ValueError:
            raise ValueError(f"{name} is of type {kind.__name__}, got {text!r}") from None
    nested: dict[str, dict[str, Any]] = {}
    for name in [name for name in values if "." in name]:
        outer, inner = name.split(".")
        nested.setdefault(outer, {})[inner] = values.pop(name)
    for outer, inner in nested.items():
        values[outer] = dataclasses.replace(getattr(config, outer), **inner)
    return dataclasses.replace(config, **values)


def _lookup(what: str, name: str, known: Mapping[str, Any]) -> Any:
    """`known[name]`, or an error with the close matches."""
    if name not in known:
        from jaxsched.core.errors import UnknownNameError

        raise UnknownNameError(what, name, known)
    return known[name]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _value(text: str) -> Any:
    """A number or true, false, null as in JSON; any other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _amount(text: str) -> int:
    """An amount of memory: `1048576`, `512KiB`, `1MiB`, `2GiB`."""
    number, factor = text.strip(), 1
    for power, unit in enumerate(("KiB", "MiB", "GiB"), 1):
        if number.lower().endswith(unit.lower()):
            number, factor = number[: -len(unit)].strip(), 1024**power
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise ValueError(f"capacity {text!r} is not an amount such as 1048576, 512KiB or 1MiB")
    return int(number) * factor


def _read_json(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"{path.parent}: no run to resume ({path.name} is missing)")
    return json.loads(path.read_text(encoding="utf-8"))


def _installed(extra: str) -> bool:
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in EXTRAS[extra])


def _pip(extra: str) -> str:
    return f'pip install "jaxsched[{extra}]"'


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
