"""The host loop: chunks of jitted updates; between them logging, evaluation, checkpoints and the
progress line.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.sharding import Mesh

from jaxsched.core.environment import Environment, Source
from jaxsched.host.chart import COLOURS, clean, colour_of
from jaxsched.host.plain import plain
from jaxsched.policies.io import (
    FILE_NAME,
    CheckpointMismatchError,
    describe,
    difference,
    named,
    save_policy,
)
from jaxsched.policies.network import Apply, Params
from jaxsched.training import expert_iteration, imitation, ppo, self_labeling
from jaxsched.training.checkpoint import Checkpoints
from jaxsched.training.common import TrainState, Update, init_state, make_optimizer
from jaxsched.training.config import (
    ExpertIterationConfig,
    ImitationConfig,
    PPOConfig,
    SelfLabelingConfig,
    TrainConfig,
    to_dict,
)

Evaluate = Callable[[Apply, Params], dict[str, float]]


def new_run_dir(root: str | Path = "runs") -> Path:
    """Create the next numbered folder under `root`: 001, 002, ..."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in root.iterdir() if path.name.isdecimal()]
    for number in range(max(numbers, default=0) + 1, 10**6):
        with contextlib.suppress(FileExistsError):  # another run may have taken it meanwhile
            (root / f"{number:03d}").mkdir()
            return root / f"{number:03d}"
    raise RuntimeError(f"{root}: no free run number")


def make_training(
    env: Environment, source: Source, config: TrainConfig, mesh: Mesh | None = None
) -> tuple[Callable[[jax.Array], tuple[Apply, TrainState]], Callable[[Apply], Update]]:
    """`init(key) -> (apply, state)` and `make(apply) -> update` for the algorithm of `config`."""
    optimizer = make_optimizer(config)

    def init(key: jax.Array) -> tuple[Apply, TrainState]:
        return init_state(key, env, source, config, optimizer)

    def make(apply: Apply) -> Update:
        if isinstance(config, PPOConfig):
            return ppo.make_update(env, source, apply, optimizer, config, mesh)
        if isinstance(config, SelfLabelingConfig):
            return self_labeling.make_update(env, source, apply, optimizer, config, mesh)
        if isinstance(config, ImitationConfig):
            return imitation.make_update(env, source, apply, optimizer, config, mesh)
        if isinstance(config, ExpertIterationConfig):
            return expert_iteration.make_update(env, source, apply, optimizer, config, mesh)
        raise TypeError(f"no algorithm for {type(config).__name__}")

    return init, make


def train(
    env: Environment,
    source: Source,
    config: TrainConfig,
    *,
    run_dir: str | Path,
    seed: int = 0,
    num_seeds: int = 1,
    resume: bool = False,
    initial: Params | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    checkpoint_every: int = 20,
    chunk: int = 5,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> tuple[Apply, TrainState]:
    """Train and leave in `run_dir`: config.json, log.jsonl, checkpoints/, policy.safetensors,
    curve.png.

    `num_seeds` > 1 trains seeds `seed`, `seed + 1`, ... in one vmapped program; every leaf of the
    state and every metric then has a leading axis, and each seed's result is that of its own run up
    to float rounding. `evaluate` is called for the (first) seed every `evaluate_every` updates and
    at the end; it may keep the parameters. With `resume` the newest checkpoint is continued; the
    result is bit-exact for the same versions, device kind and device count. `initial` parameters,
    as `load_policy` returns them, replace the random ones of every seed (fine-tuning).
    """
    seed, num_seeds = plain(seed, "seed", int), plain(num_seeds, "num_seeds", int)
    chunk = plain(chunk, "chunk", int)
    evaluate_every = plain(evaluate_every, "evaluate_every", int)
    checkpoint_every = plain(checkpoint_every, "checkpoint_every", int)
    run_dir = Path(run_dir)
    _check_config(run_dir, env, config, seed, num_seeds, resume)
    init, make = make_training(env, source, config, mesh)

    def begin(key: jax.Array) -> tuple[Apply, TrainState]:
        apply, state = init(key)
        return apply, state if initial is None else state.replace(
            params=_fitting(initial, state.params)
        )

    apply, state = begin(random.key(seed))
    update = make(apply)
    if num_seeds > 1:
        keys = jax.vmap(random.key)(np.arange(seed, seed + num_seeds))
        state = jax.vmap(lambda key: begin(key)[1])(keys)
        update = jax.vmap(update)

    update = jax.jit(update, donate_argnums=0)

    log_path = run_dir / "log.jsonl"
    with Checkpoints(run_dir) as checkpoints, _progress_bar(config.num_updates, progress) as report:
        if resume:
            state = checkpoints.restore(state) or state
        done = int(np.asarray(state.update).reshape(-1)[0])
        seconds = _truncate_log(log_path, done)
        started = time.perf_counter() - seconds
        with log_path.open("a") as log:
            while done < config.num_updates:
                stops = [config.num_updates, done + chunk]
                stops += [
                    (done // every + 1) * every
                    for every in (evaluate_every, checkpoint_every)
                    if every
                ]
                length = min(stops) - done
                pending = []
                for _ in range(length):  # dispatched without waiting: the host reads once per chunk
                    state, metrics = update(state)
                    pending.append(metrics)
                pending = jax.device_get(pending)
                elapsed = time.perf_counter() - started
                done += length
                rows = [
                    {"update": done - length + 1 + i, "seconds": round(elapsed, 2)}
                    | {name: value.tolist() for name, value in metrics.items()}
                    for i, metrics in enumerate(pending)
                ]
                if evaluate and (
                    (evaluate_every and done % evaluate_every == 0) or done == config.num_updates
                ):
                    rows[-1]["evaluation"] = _plain_metrics(
                        evaluate(apply, _first(state.params, num_seeds))
                    )
                for row in rows:
                    log.write(json.dumps(row) + "\n")
                log.flush()
                report(done, rows[-1])
                if not all(np.isfinite(metrics["gradient_norm"]).all() for metrics in pending):
                    raise FloatingPointError(
                        f"update {done}: the gradient is not finite; the log is in {log_path}"
                    )
                if done == config.num_updates or (
                    checkpoint_every and done % checkpoint_every == 0
                ):
                    checkpoints.save(state, done)
    for i in range(num_seeds):
        params = (
            state.params
            if num_seeds == 1
            else jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
        )
        name = FILE_NAME if num_seeds == 1 else f"policy_seed{seed + i}.safetensors"
        save_policy(run_dir / name, params, config.network, env)
    draw_curve(run_dir)
    return apply, state


def _fitting(initial: Params, wanted: Params) -> Params:
    """A copy of `initial`, which the jitted update may donate; refused where its arrays are
    others than `wanted`.
    """
    saved, needed = (
        {name: str(leaf.shape) for name, leaf in named(params).items()}
        for params in (initial, wanted)
    )
    if lines := difference(saved, needed):
        raise CheckpointMismatchError(
            "the initial parameters are of another network: " + "; ".join(lines[:5])
        )
    return jax.tree.map(lambda leaf, like: jnp.array(leaf, like.dtype), initial, wanted)


def _first(params: Params, num_seeds: int) -> Params:
    """A copy of the (first) seed's parameters: the next update donates the buffers of the state."""
    return jax.tree.map(lambda leaf: jnp.array(leaf if num_seeds == 1 else leaf[0]), params)


def _plain_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` returned as numbers of Python, or None, which the log can hold."""
    types = bool, int, float, type(None)
    return {str(name): plain(value, f"metric {name}", *types) for name, value in metrics.items()}


def _check_config(
    run_dir: Path, env: Environment, config: TrainConfig, seed: int, num_seeds: int, resume: bool
) -> None:
    """Make the folder and write config.json; refuse a folder in use, and a resume with another
    configuration.

    Raises `ValueError` for a setting that JSON does not hold, before there is a folder.
    """
    data = {
        "environment": describe(env),
        "training": to_dict(config),
        "seed": seed,
        "num_seeds": num_seeds,
    }
    for part in ("environment", "training"):
        try:
            json.dumps(data[part])
        except TypeError as error:
            raise ValueError(f"config.json cannot hold the {part}: {error}") from None
    path = run_dir / "config.json"
    if path.exists():
        if not resume:
            raise FileExistsError(
                f"{run_dir}: holds a run already; use --resume {run_dir} or another folder"
            )
        saved = json.loads(path.read_text())
        saved.pop("versions", None)
        lines = difference(saved, data)
        if lines:
            raise CheckpointMismatchError(
                f"{run_dir}: a run of another configuration: " + "; ".join(lines)
            )
        return
    if resume:
        raise FileNotFoundError(f"{run_dir}: no run to resume (config.json is missing)")
    names = ("jaxsched", "jax", "jaxlib", "flax", "optax", "numpy")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    run_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data | {"versions": versions}, indent=1) + "\n")


def _truncate_log(path: Path, done: int) -> float:
    """Drop log rows after update `done` (written after the checkpoint); returns the seconds
    logged so far.
    """
    if not path.exists():
        return 0.0
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    rows = [row for row in rows if row["update"] <= done]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows[-1]["seconds"] if rows else 0.0


@contextlib.contextmanager
def _progress_bar(total: int, show: bool) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """A rich progress bar with ETA; plain lines where rich is missing or the output is not a
    terminal.
    """
    started, first, started_after = time.perf_counter(), [], []

    def text(row: dict[str, Any]) -> str:
        value = float(np.mean(row["objective_over_scale"]))
        numbers = row.get("evaluation", {}).items()
        extra = "".join(f", {name} {number:.2f}" for name, number in numbers if number is not None)
        return f"objective / reward scale {value:.3f}{extra}"

    def plain(done: int, row: dict[str, Any]) -> None:
        spent = time.perf_counter() - started
        first.append(done)
        started_after.append(spent)
        if len(first) == 1:  # the first chunk includes compilation and tells nothing about the rest
            print(f"update {done}/{total}, {spent:.0f} s with compilation: {text(row)}", flush=True)
            return
        left = (spent - started_after[0]) / (done - first[0]) * (total - done)
        print(
            f"update {done}/{total}, {spent:.0f} s, about {left:.0f} s left: {text(row)}",
            flush=True,
        )

    if not show:
        yield lambda done, row: None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        yield plain
        return
    if not Console().is_terminal:
        yield plain
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[text]}")) as bar:
        task = bar.add_task("training", total=total, text="compiling")
        yield lambda done, row: bar.update(task, completed=done, text=text(row))


def draw_curve(run_dir: Path) -> None:
    """curve.png from log.jsonl: training objective over its reward scale and every evaluation
    metric.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    rows = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    evaluated = [row for row in rows if "evaluation" in row]
    names = list(dict.fromkeys(name for row in evaluated for name in row["evaluation"]))
    beside = len(names) > 10  # the names do not fit into the panel
    size = (5.5 * (1 + bool(names)) + 3 * beside, max(3.8, 0.6 + 0.22 * len(names)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, 1 + bool(names), squeeze=False)[0]

    def curve(
        axis: Any, x: list[float], y: list[Any], label: str, number: int, **style: Any
    ) -> Any:
        """One line for each seed, all of one colour and under one name; returns the first."""
        dashes = ("-", "--", ":", "-.")[number // COLOURS % 4]
        first, *_ = axis.plot(x, y, color=colour_of(number)[0], linestyle=dashes, **style)
        first.set_label(clean(label))
        return first

    for i, (key, label) in enumerate(
        (("objective_over_scale", "sampled"), ("best_over_scale", "best of samples"))
    ):
        if rows and key in rows[0]:
            curve(
                axes[0],
                [row["update"] for row in rows],
                [row[key] for row in rows],
                label,
                i,
                linewidth=1,
            )
            axes[0].legend()
    axes[0].set(xlabel="update", ylabel="objective / reward scale", title="training instances")
    minutes = [row["seconds"] / 60 for row in evaluated]
    lines = []
    for i, name in enumerate(names):
        values = [row["evaluation"].get(name, np.nan) for row in evaluated]
        lines.append(curve(axes[1], minutes, values, name, i, marker="o", markersize=3))
    if names:
        axes[1].set(xlabel="minutes, compilation included", title="evaluation")
        legend = (
            figure.legend(handles=lines, loc="outside right upper")
            if beside
            else axes[1].legend(handles=lines)
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(run_dir / "curve.png", dpi=120)
