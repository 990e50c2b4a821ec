"""`train`."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxsched.cli.common import is_installed, lookup, pair, pip_line

if TYPE_CHECKING:
    from jaxsched.core.environment import Environment, Instance, Source
    from jaxsched.core.offer import Comparison, Preset
    from jaxsched.evaluation.comparison import Entry
    from jaxsched.evaluation.results import Row
    from jaxsched.training import TrainConfig
    from jaxsched.training.loop import Evaluate


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
    from_update: int | None = None,
    evaluate_every: int = 20,
    evaluate_on: str | None = None,
    log_to: tuple[str, ...] = (),
    compare: tuple[str, ...] | None = None,
    samples: int | None = None,
    time_limit: float | None = None,
    num_workers: int = 2,
    draw: str | None = None,
    options: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a policy, compare it with rules and an exact solver, draw a schedule. Without
    arguments: the main job.

    Every field of the training configuration is an option too, such as --num-updates 100,
    --learning-rate 3e-4 or --network.width 128; --options lists them. The folder of the run gets
    config.json, log.jsonl, curve.png, checkpoints, policy.safetensors, results.json and the chart.

    Args:
        env: Environment id; `jaxsched list` shows them.
        preset: Training settings of the environment, by name.
        config: Changes to them, NAME=VALUE; `--NAME VALUE` does the same.
        seed: Seed of the run.
        num_seeds: Train so many seeds side by side, from `seed` on.
        start_from: Begin with the policy of this run folder, or a policy.safetensors, instead of a
            random one.
        out: New folder of the run. Default: the next number in runs/.
        resume: Go on with the run in this folder, with everything it was started with; what is
            given again takes its place. The configuration may not change, but for more updates.
        from_update: Go on from the checkpoint of this update instead of the newest one, which is
            moved to `set_aside` in the folder of the run.
        evaluate_every: Updates between evaluations for the learning curve; 0 for none.
        evaluate_on: Instances of these evaluations. Default: generated ones, which the comparison
            does not contain.
        log_to: `tensorboard` or `wandb`: what is logged is written for these too, in folders of
            their names in that of the run.
        compare: Groups of instances to compare on at the end; `--compare` alone for no comparison.
        samples: Episodes of the methods that keep the best of many. Default: 64, or as the preset says.
        time_limit: Seconds per instance for the exact solver, 0 leaves it out. Default: 3, or as
            the preset says.
        num_workers: Threads of the exact solver.
        draw: Compared instance whose best schedule by the policy is drawn.
        options: List the options of the training configuration and stop.
        dry_run: Compile an update, say what it needs, and stop; an error where the device has less.
    """
    from jaxsched.training.loggers import LOGGERS

    for name in log_to:
        lookup("logger", name, dict.fromkeys(LOGGERS))
        if not is_installed(name):
            raise ImportError(f"--log-to {name} needs: {pip_line(name)}")
    command = {
        "env": env,
        "preset": preset,
        "config": config,
        "seed": seed,
        "num_seeds": num_seeds,
        "start_from": str(start_from) if start_from else None,
        "evaluate_every": evaluate_every,
        "evaluate_on": evaluate_on,
        "log_to": log_to,
        "compare": compare,
        "samples": samples,
        "time_limit": time_limit,
        "num_workers": num_workers,
        "draw": draw,
    }
    if resume is not None:
        if out is not None:
            raise ValueError("--resume goes on in the folder of the run: leave out --out")
        command = _resumed(resume, command)
    elif from_update is not None:
        raise ValueError("--from-update says where to go on: it needs --resume RUN")
    if options:
        for name, value in _fields(_chosen(command)[-1]).items():
            print(f"--{name.replace('_', '-')} {value}")
        return
    if dry_run:
        _dry_run(command)
        return
    _train(command, resume, from_update, out)


def _dry_run(command: Mapping[str, Any]) -> None:
    """Say what an update needs; `ValueError` where the device has less."""
    from jaxsched import training
    from jaxsched.training import estimate

    environment, preset, config = _chosen(command)
    mesh = training.data_mesh(_devices(config))
    there = estimate.device_bytes()
    for number, source in enumerate(preset.sources):
        if len(preset.sources) > 1:
            print(f"source {number + 1} of {len(preset.sources)}")
        print("compiling an update ...", flush=True)
        found = estimate.estimate(environment, source, config, mesh)
        print(
            f"parameters            {found.num_parameters:,}\n"
            f"state                 {found.state_bytes / 2**20:,.1f} MiB\n"
            f"observations kept     {found.kept_bytes / 2**20:,.1f} MiB (estimate)\n"
            f"an update needs       {found.needed_bytes / 2**20:,.1f} MiB"
            f"{f' of {there / 2**20:,.0f} MiB on the device' if there else ''}, by the compiler\n"
            f"steps                 {found.max_steps} an episode, {config.num_envs} episodes or "
            f"instances an update, {config.num_updates} updates\n"
            f"compilation           {found.compile_seconds:.1f} s"
        )
        needed = found.needed_bytes * command["num_seeds"]
        if there and needed > there:
            ways = estimate.smaller(config, needed, there)
            raise ValueError(f"an update does not fit the device; try {ways}")


def _train(
    command: Mapping[str, Any], resume: Path | None, from_update: int | None, out: Path | None
) -> None:
    """Train by a whole command, and show what came of it."""
    from jaxsched import evaluation, training
    from jaxsched.evaluation.report import write_text
    from jaxsched.policies.io import load_policy
    from jaxsched.training.loggers import loggers

    environment, chosen, config = _chosen(command)
    start, draw, every = (command[name] for name in ("start_from", "draw", "evaluate_every"))
    initial = load_policy(start, environment)[1] if start else None
    given = {"groups": command["compare"], "draw": draw, "samples": command["samples"] or None}
    shown = _comparison(environment, chosen, given | {"time_limit": command["time_limit"]})
    # A misspelt name fails before the training.
    instances, members = evaluation.load_groups(environment, shown.groups)
    if draw is not None and draw not in instances:
        raise ValueError(f"--draw {draw}: not among the compared instances")
    track = _tracker(environment, command["evaluate_on"], shown.track) if every else None
    run_dir = resume or out or training.new_run_dir()
    if resume is None and not (run_dir / "config.json").exists():
        write_text(run_dir / "command.json", json.dumps(command) + "\n", overwrite=True)
    print(
        f"run {run_dir}: {command['env']}, preset {command['preset']}, seed {command['seed']}",
        flush=True,
    )
    try:
        apply, state = training.train(
            environment,
            chosen.source,
            config,
            run_dir=run_dir,
            seed=command["seed"],
            num_seeds=command["num_seeds"],
            resume=resume is not None,
            from_update=from_update,
            initial=initial,
            evaluate=track,
            evaluate_every=every,
            on_update=loggers(command["log_to"], run_dir),
            mesh=training.data_mesh(_devices(config)),
        )
    except training.Stopped as stopped:
        print(f"{stopped}; go on with: jaxsched train --resume {run_dir}", flush=True)
        return
    if not instances:
        return
    entries = _entries(environment, apply, state.average, chosen, shown, command)
    reports = evaluation.comparison(instances, entries, members)
    evaluation.write_json(run_dir / "results.json", reports, overwrite=resume is not None)
    name = shown.draw if shown.draw in instances else next(iter(instances))
    own = reports[: 2 * command["num_seeds"]]
    row = min((report[name] for report in own), key=lambda row: row.objective)
    pictures = _draw(environment, instances[name], name, row, run_dir, resume is not None)
    print(f"{run_dir}: {', '.join(['results.json', 'curve.png', 'policy.safetensors', *pictures])}")


def _chosen(command: Mapping[str, Any]) -> tuple[Environment, Preset, TrainConfig]:
    """The environment of a command, its preset and its configuration."""
    from jaxsched.envs.registry import make, offer
    from jaxsched.training.algorithms import from_dict

    preset = lookup("preset", command["preset"], offer(make(command["env"])).presets)
    config = _configure(from_dict(dict(preset.training)), command["config"])
    return make(command["env"], **preset.settings), preset, config


def _devices(config: TrainConfig) -> int:
    """How many devices a training uses; says so where these are not all."""
    import jax

    from jaxsched import training

    num_devices = training.devices_that_fit(config)
    if num_devices < jax.device_count():
        size = config.num_envs // config.num_minibatches
        print(
            f"on {num_devices} of {jax.device_count()} devices, over which minibatches of {size} "
            "environments lie evenly (num_envs / num_minibatches)"
        )
    return num_devices


def _resumed(run_dir: Path, command: Mapping[str, Any]) -> dict[str, Any]:
    """The command that started a run; what is given now, and is no default, takes its place."""
    saved = _read_json(run_dir / "command.json")
    defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    given = {name: value for name, value in command.items() if value != defaults[name]}
    changes = list(saved["config"])
    if (run_dir / "config.json").exists():  # which knows of updates that were added since
        number = _read_json(run_dir / "config.json")["training"]["num_updates"]
        changes.append(f"num_updates={number}")
    # A configuration given again is compared with the saved one by `training.train`.
    return {**command, **saved, **given, "config": [*changes, *command["config"]]}


def _comparison(environment: Environment, preset: Preset, given: Mapping[str, Any]) -> Comparison:
    """That of the preset, the problem or none, with the fields that are given (not None)."""
    from jaxsched.core.offer import Comparison
    from jaxsched.envs.registry import offer

    offered = offer(environment).comparison
    shown = preset.comparison or (
        offered(environment) if offered else Comparison((), {}, "", (), None, {})
    )
    return dataclasses.replace(
        shown, **{name: value for name, value in given.items() if value is not None}
    )


def _tracker(
    environment: Environment, named: str | None, generated: Mapping[str, Source]
) -> Evaluate | None:
    """What the learning curve shows: the mean gap on named instances, or the mean objective over
    its lower bound on generated ones; None where there is nothing to evaluate on.
    """
    from jaxsched import evaluation

    if named:
        return evaluation.tracker(
            environment, {named: evaluation.load_groups(environment, [named])[0]}
        )
    return evaluation.tracker(environment, generated) if generated else None


def _policies(average: Any, seed: int, num_seeds: int) -> dict[str, Any]:
    """Weights by the name of the policy; those of several seeds are stacked in `average`."""
    import jax

    if num_seeds == 1:
        return {"policy": average}
    return {
        f"policy of seed {seed + i}": jax.tree.map(lambda leaf, i=i: leaf[i], average)
        for i in range(num_seeds)
    }


def _entries(
    environment: Environment,
    apply: Any,
    average: Any,
    preset: Preset,
    shown: Comparison,
    command: Mapping[str, Any],
) -> list[Entry]:
    """The methods of the comparison: policies by their weights, rules, the exact solver."""
    from jaxsched import evaluation
    from jaxsched.envs.registry import make, offer

    seed, num_workers = command["seed"], command["num_workers"]
    policies = _policies(average, seed, command["num_seeds"])
    given = {"samples": shown.samples, "seed": seed}
    entries: list[Entry] = []
    for label, params in policies.items():
        entries += evaluation.policy_entries(
            environment, apply, params, label=label, rounds=shown.rounds, **given
        )
    rule_env = make(environment.id, **{**preset.settings, **shown.rule_settings})
    entries += evaluation.rule_entries(rule_env, shown.rules)
    if rule := shown.randomised_rule:
        source = preset.sources[0]
        entries.append(evaluation.randomised_entry(rule_env, rule, source, **given))
    time_limit = shown.time_limit
    if time_limit and offer(environment).exact is not None:
        if is_installed("solvers"):
            entries.append(
                evaluation.exact_entry(environment, time_limit=time_limit, num_workers=num_workers)
            )
        else:
            print(f"the exact solver is left out; it needs: {pip_line('solvers')}")
    return entries


def _draw(
    environment: Environment,
    instance: Instance,
    name: str,
    row: Row,
    run_dir: Path,
    overwrite: bool,
) -> list[str]:
    """The pictures of a solution that were written."""
    from jaxsched.envs.registry import offer

    draw_solution = offer(environment).picture
    if draw_solution is None:
        return []
    picture = draw_solution(environment, instance, row.solution, title=f"{name}, {row.policy}")
    written = []
    for suffix in (".svg", ".png"):
        if suffix == ".png" and not is_installed("viz"):
            print(f"no picture as PNG; it needs: {pip_line('viz')}")
            continue
        path = run_dir / f"gantt_{Path(name).stem}{suffix}"
        picture.save(path, overwrite=overwrite)
        written.append(path.name)
    return written


def _fields(config: TrainConfig) -> dict[str, Any]:
    """Values of a configuration by name; those of nested ones as `network.width`."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values.update(
                {
                    f"{field.name}.{inner.name}": getattr(value, inner.name)
                    for inner in dataclasses.fields(value)
                }
            )
        else:
            values[field.name] = value
    return values


def _configure(config: TrainConfig, changes: Sequence[str]) -> TrainConfig:
    """The configuration with NAME=VALUE changes, each read as the type of the field."""
    from jaxsched.training.algorithms import algorithm_of

    values: dict[str, Any] = {}
    for name, text in map(pair, changes):
        name = name.replace("-", "_")
        kind = type(lookup(f"option of {algorithm_of(config)}", name, _fields(config)))
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


def _read_json(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"{path.parent}: no run to resume ({path.name} is missing)")
    return json.loads(path.read_text(encoding="utf-8"))
