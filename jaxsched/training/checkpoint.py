"""Checkpoints of a train state through orbax: asynchronous, and verified before anything is read.

Beside `checkpoints/STEP`, which orbax writes, stands `manifests/STEP.json` with the SHA-256 of
every file of it and with what it was written by. The manifest is written when the checkpoint is
complete; `STEP.begun` stands there until then, so that a checkpoint whose writing was killed is
told from one that has lost its manifest.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from jaxsched.host.files import write_whole
from jaxsched.training.common import TrainState

PACKAGES = ("jaxsched", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")


class CorruptCheckpointError(ValueError):
    """A checkpoint is not what was written; the message names the file, and the last good one."""


def versions() -> dict[str, str]:
    """Of the packages that a run depends on."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def topology() -> dict[str, Any]:
    """The devices that a run is on: resumes are bit-exact on the same ones."""
    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "num_processes": jax.process_count(),
    }


class Checkpoints:
    """The checkpoints of one run folder. Use as a context manager: leaving it waits for the last
    write.
    """

    def __init__(self, run_dir: Path, keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp, self._run_dir = ocp, run_dir
        self.folder, self._manifests = run_dir / "checkpoints", run_dir / "manifests"
        self._writer = ThreadPoolExecutor(1, "manifest")
        self._written: Future[None] | None = None
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(self.folder.absolute(), options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self._wait()
        finally:
            self._writer.shutdown()
            self._manager.close()

    def save(self, state: TrainState, step: int) -> None:
        """Write `state`; returns once it is copied to the host, so the caller may donate it."""
        if self._manager.latest_step() == step:
            return
        self._wait()
        self._manifests.mkdir(exist_ok=True)
        kept = set(self._manager.all_steps())
        for path in self._manifests.glob("*.json"):  # of checkpoints that orbax has removed
            if int(path.stem) not in kept:
                path.unlink()
        (self._manifests / f"{step}.begun").touch()
        self._manager.save(step, args=self._ocp.args.StandardSave(state))
        self._written = self._writer.submit(self._complete, step)

    def _wait(self) -> None:
        """Until the last checkpoint and its manifest are written."""
        if self._written is not None:
            written, self._written = self._written, None
            written.result()

    def _complete(self, step: int) -> None:
        """Wait for a checkpoint, and write its manifest."""
        self._manager.wait_until_finished()
        path = self._manifests / f"{step}.json"
        manifest = {
            "step": step,
            "versions": versions(),
            "topology": topology(),
            "files": _hashes(self.folder / str(step)),
        }
        write_whole(path, _signed(manifest))
        path.with_suffix(".begun").unlink()

    def restore(self, like: TrainState, step: int | None = None) -> TrainState | None:
        """The newest complete checkpoint, or that of `step`, in the structure and placement of
        `like`; None where there is none yet.

        It is verified before it is read; what was still being written, and what is later than
        `step`, is moved to `set_aside`. Raises `CorruptCheckpointError`.
        """
        steps = self._complete_steps()
        if step is None:
            if not steps:
                return None
            step = steps[-1]
        elif step not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise ValueError(f"{self.folder}: no checkpoint of update {step}; there are: {there}")
        else:
            self._set_aside([later for later in steps if later > step])
        if complaint := self.complaint(step):
            good = [other for other in steps if other < step and not self.complaint(other)]
            offer = (
                f"the last good one is of update {good[-1]}: resume with --from-update {good[-1]}"
                if good
                else "there is no other good one; start the run again in a new folder"
            )
            raise CorruptCheckpointError(f"{complaint}; {offer}")
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(step, args=self._ocp.args.StandardRestore(abstract))
        assert isinstance(restored, TrainState)
        return restored

    def _complete_steps(self) -> list[int]:
        """The steps that were completed, those of lost folders and lost manifests too."""
        there = set(self._manager.all_steps())
        begun = {int(path.stem) for path in self._manifests.glob("*.begun")}
        named = {int(path.stem) for path in self._manifests.glob("*.json")}
        unfinished = begun - named
        self._set_aside(sorted(there & unfinished))
        for step in begun:
            (self._manifests / f"{step}.begun").unlink()
        there -= unfinished
        # A manifest whose checkpoint orbax has removed since is older than all that are left.
        return sorted(there | {step for step in named if step > max(there, default=-1)})

    def complaint(self, step: int) -> str | None:
        """What is wrong with a checkpoint, by its manifest; None where it is as it was written."""
        folder, path = self.folder / str(step), self._manifests / f"{step}.json"
        if not path.exists():
            return f"{folder}: its manifest is missing, {path}"
        try:
            text = path.read_text(encoding="utf-8")
            manifest = json.loads(text)
            wanted = manifest["files"].items()
            del manifest["sha256"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{path}: not a manifest"
        if text != _signed(manifest):
            return f"{path}: not what was written, by its own SHA-256"
        if not folder.exists():
            return f"{folder}: the checkpoint is missing"
        found = _hashes(folder)
        for name, digest in wanted:
            if name not in found:
                return f"{folder / name}: missing"
            if found.pop(name) != digest:
                return f"{folder / name}: not what was written, by its SHA-256"
        return f"{folder / min(found)}: not in the manifest" if found else None

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            for path in (self.folder / str(step), self._manifests / f"{step}.json"):
                if path.exists():
                    target = _free(self._run_dir / "set_aside" / path.name)
                    target.parent.mkdir(exist_ok=True)
                    path.rename(target)
        if steps:
            self._manager.reload()


def _signed(manifest: dict[str, Any]) -> str:
    """The text of a manifest, with its own SHA-256."""
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps(manifest | {"sha256": digest}, indent=1) + "\n"


def _hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def _free(path: Path) -> Path:
    """`path`, or the first of path.1, path.2, ... that is not there."""
    number, free = 0, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
