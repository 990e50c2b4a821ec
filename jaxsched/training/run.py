"""The folder of a training run: its configuration, its log, its checkpoints; and the progress line."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched.host.files import write_whole
from jaxsched.host.plain import plain
from jaxsched.policies.io import CheckpointMismatchError, difference
from jaxsched.training.checkpoint import Checkpoints, versions
from jaxsched.training.common import TrainState

CONFIG, LOG = "config.json", "log.jsonl"


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


class Run:
    """An open run folder. Use as a context manager: leaving it waits for the last checkpoint."""

    def __init__(
        self,
        folder: Path,
        configuration: dict[str, Any],
        resume: bool,
        from_update: int | None = None,
    ):
        """Make the folder and write config.json; refuse a folder in use, and a resume with another
        configuration, but for more updates.

        Raises `ValueError` for a setting that JSON does not hold, before there is a folder.
        """
        _check_json(configuration)
        if from_update is not None and not resume:
            raise ValueError("from_update says where to go on: it needs resume")
        # The updates that the run had, where it gets more now.
        self.lengthened: int | None = None
        data = configuration | {"versions": versions()}
        if (folder / CONFIG).exists():
            self.lengthened = _check_same(folder, configuration, resume)
        elif resume:
            raise FileNotFoundError(f"{folder}: no run to resume ({CONFIG} is missing)")
        else:
            folder.mkdir(parents=True, exist_ok=True)
        if self.lengthened is not None or not resume:
            write_whole(folder / CONFIG, json.dumps(data, indent=1) + "\n")
        self.folder, self.resume, self.from_update = folder, resume, from_update
        self._checkpoints = Checkpoints(folder)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: Any) -> None:
        self._checkpoints.__exit__(*error)

    def restore(self, state: TrainState) -> TrainState:
        """The state of the newest checkpoint, or of the one that was asked for, where the run is
        resumed; else the given one. The clock of the run starts, and log rows after that checkpoint
        are dropped.
        """
        if self.resume:
            state = self._checkpoints.restore(state, self.from_update) or state
        self._started = time.perf_counter() - self._seconds_logged(updates_done(state))
        return state

    def _seconds_logged(self, done: int) -> float:
        path = self.folder / LOG
        if not path.exists():
            return 0.0
        rows = [row for row in self.rows() if row["update"] <= done]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
        return rows[-1]["seconds"] if rows else 0.0

    def rows(self) -> list[dict[str, Any]]:
        """The log; without a last line that was being written when the process was killed."""
        path = self.folder / LOG
        rows = []
        with contextlib.suppress(json.JSONDecodeError, FileNotFoundError):
            for line in path.read_text(encoding="utf-8").splitlines():
                rows.append(json.loads(line))
        return rows

    def log(
        self, first: int, metrics: list[dict[str, Any]], num_sources: int = 1
    ) -> list[dict[str, Any]]:
        """Rows of the log for updates from `first` on, with the seconds of the run, and the number
        of the source where several take turns; see `write`.
        """
        seconds = round(time.perf_counter() - self._started, 2)
        return [
            {"update": first + i, "seconds": seconds}
            | ({"source": (first + i - 1) % num_sources} if num_sources > 1 else {})
            | {name: value.tolist() for name, value in each.items()}
            for i, each in enumerate(metrics)
        ]

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows to the log."""
        with (self.folder / LOG).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def save(self, state: TrainState) -> None:
        """A checkpoint of `state`, which the caller may donate afterwards."""
        self._checkpoints.save(state, updates_done(state))


def updates_done(state: TrainState) -> int:
    """Of a state, or of the first of several seeds."""
    return int(np.asarray(state.update).reshape(-1)[0])


def plain_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """What an evaluation returned as numbers of Python, or None, which the log can hold."""
    types = bool, int, float, type(None)
    return {str(name): plain(value, f"metric {name}", *types) for name, value in metrics.items()}


def _check_json(configuration: dict[str, Any]) -> None:
    for part, value in configuration.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ValueError(f"{CONFIG} cannot hold the {part}: {error}") from None


def _check_same(folder: Path, configuration: dict[str, Any], resume: bool) -> int | None:
    """Refuse another configuration; a run may get more updates: the number that it had."""
    if not resume:
        raise FileExistsError(
            f"{folder}: holds a run already; use --resume {folder} or another folder"
        )
    saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    saved.pop("versions", None)
    had, wanted = (each["training"]["num_updates"] for each in (saved, configuration))
    same = copy.deepcopy(saved)
    if wanted > had:
        same["training"]["num_updates"] = wanted
    if lines := difference(same, configuration):
        raise CheckpointMismatchError(
            f"{folder}: a run of another configuration: " + "; ".join(lines)
        )
    return had if wanted > had else None


@contextlib.contextmanager
def progress_bar(total: int, show: bool) -> Iterator[Callable[[int, dict[str, Any]], None]]:
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
