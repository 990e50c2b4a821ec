"""What a training survives: kills, terminations, damaged checkpoints.

    python benchmarks/robustness.py kill --times 20        # kill -9 at random moments, then resume
    python benchmarks/robustness.py terminate --times 10   # SIGTERM at random moments, then resume
    python benchmarks/robustness.py damage                 # every file of a checkpoint, in six ways

The training is a tiny one that saves a checkpoint every second update, so that many of the moments
lie in a save. Resumed, its state at the end must be that of the run that nobody disturbed, bit for
bit; where SIGTERM was sent while it trained, it must have saved and exit with status 0. The exit
status is 1 where anything is not as it should be. Each command rewrites its part of
benchmarks/results/robustness.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = pathlib.Path(__file__).parent / "results" / "robustness.json"
UPDATES, CHUNK = 120, 2


def train(folder: pathlib.Path) -> None:
    """The training, started or resumed; prints the hash of the state that it ends with."""
    import jax
    import numpy as np

    import jaxsched
    from jaxsched.envs import job_shop
    from jaxsched.policies import NetworkConfig
    from jaxsched.training import SelfLabelingConfig
    from jaxsched.training.loop import train

    config = SelfLabelingConfig(
        num_updates=UPDATES,
        num_envs=4,
        num_samples=4,
        num_minibatches=2,
        network=NetworkConfig(width=16, num_layers=1, num_heads=2),
    )
    _, state = train(
        jaxsched.make("JobShop-v0"),
        job_shop.uniform(4, 3),
        config,
        run_dir=folder,
        resume=(folder / "config.json").exists(),
        chunk=CHUNK,
        checkpoint_every=CHUNK,
        progress=False,
    )
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((state.params, state.average, state.opt_state, state.update)):
        digest.update(np.asarray(leaf).tobytes())
    print("state", digest.hexdigest())


def start(folder: pathlib.Path) -> subprocess.Popen[str]:
    """The training as a process of its own."""
    command = [sys.executable, __file__, "train", "--folder", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, the hash that was printed (or nothing) and the last line of complaint."""
    out, err = process.communicate()
    found = re.search(r"^state (\w+)$", out, re.MULTILINE)
    return process.returncode, found[1] if found else "", (err.strip().splitlines() or [""])[-1]


def undisturbed(folder: pathlib.Path) -> tuple[str, float, float]:
    """The hash of the whole run, and the seconds to its first update and to its end."""
    began = time.monotonic()
    process, log = start(folder), folder / "log.jsonl"
    while process.poll() is None and not log.exists():
        time.sleep(0.01)
    first = time.monotonic() - began
    status, digest, complaint = finish(process)
    assert status == 0, complaint
    return digest, first, time.monotonic() - began


def logged(folder: pathlib.Path) -> int:
    log = folder / "log.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def interrupt(number: int, times: int, seed: int) -> tuple[dict[str, Any], bool]:
    """Send a signal at random moments, each to a run of its own, and resume it to its end."""
    rng, rows, folder = random.Random(seed), [], pathlib.Path(tempfile.mkdtemp())
    wanted, first, end = undisturbed(folder / "whole")
    while len(rows) < times:
        target = folder / str(len(rows))
        row = one_moment(number, target, rng, first, end)
        if row is None:  # it was through before
            shutil.rmtree(target)
            continue
        status, digest, complaint = finish(start(target))
        row["same state"] = status == 0 and digest == wanted
        rows.append(row)
        print(row, complaint if status else "", flush=True)
    shutil.rmtree(folder)
    good = all(row["same state"] and row.get("saved in time", True) for row in rows)
    return {"signal": signal.Signals(number).name, "updates": UPDATES, "moments": rows}, good


def one_moment(
    number: int, target: pathlib.Path, rng: random.Random, first: float, end: float
) -> dict[str, Any] | None:
    """Start a run, send the signal at a random moment, and say how it was left."""
    process, at_start = start(target), rng.random() < 0.2
    if not at_start:  # from the first update on
        while process.poll() is None and not logged(target):
            time.sleep(0.01)
    wait = rng.uniform(0, first if at_start else end - first)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        before = logged(target)
        process.send_signal(number)
        status, _, complaint = finish(process)
        if (target / "curve.png").exists():
            return None
        row: dict[str, Any] = {"updates before": before, "exit status": status}
        row["a checkpoint was being written"] = any((target / "manifests").glob("*.begun"))
        if number == signal.SIGTERM and before:
            steps = [int(path.name) for path in (target / "checkpoints").glob("[0-9]*")]
            row["saved in time"] = status == 0 and max(steps, default=0) >= before
            if not row["saved in time"]:
                print(complaint)
        return row
    return None


def flip(path: pathlib.Path, other: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: pathlib.Path, other: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: pathlib.Path, other: pathlib.Path) -> None:
    path.write_bytes(b"")


def append(path: pathlib.Path, other: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def delete(path: pathlib.Path, other: pathlib.Path) -> None:
    path.unlink()


def swap(path: pathlib.Path, other: pathlib.Path) -> None:
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


WAYS: tuple[Callable[[pathlib.Path, pathlib.Path], None], ...] = (
    flip,
    truncate,
    empty,
    append,
    delete,
    swap,
)


def damage() -> tuple[dict[str, Any], bool]:
    """Every file of the newest checkpoint and its manifest, in every way."""
    folder = pathlib.Path(tempfile.mkdtemp())
    undisturbed(folder / "whole")
    newest = pathlib.Path("checkpoints") / str(UPDATES)
    files = sorted(
        path.relative_to(folder / "whole")
        for path in (folder / "whole" / newest).rglob("*")
        if path.is_file()
    )
    files.append(pathlib.Path("manifests") / f"{UPDATES}.json")
    rows, good = [], True
    for number, name in enumerate(files):
        for way in WAYS:
            run = folder / "damaged"
            shutil.copytree(folder / "whole", run)
            other = run / files[number - 1]
            before = (run / name).read_bytes()
            way(run / name, other)
            if (run / name).exists() and (run / name).read_bytes() == before:
                shutil.rmtree(run)
                continue  # an empty file, or two that are equal
            status, _, complaint = refuse(run)
            found = status == 3 and f"--from-update {UPDATES - CHUNK}" in complaint
            good &= found
            rows.append({"file": kind(name), "way": way.__name__, "found": found})
            print(rows[-1], complaint if not found else "", flush=True)
            shutil.rmtree(run)
    shutil.rmtree(folder)
    return {"cases": rows, "found": sum(row["found"] for row in rows), "of": len(rows)}, good


def kind(name: pathlib.Path) -> str:
    """The name of a file without what is drawn anew in every run."""
    return re.sub(r"[0-9a-f]{16,}", "DIGEST", name.as_posix())


def refuse(run: pathlib.Path) -> tuple[int, str, str]:
    """Restore as a resumed run does: 3 and the complaint where the checkpoint is refused."""
    from jaxsched.training import CorruptCheckpointError
    from jaxsched.training.checkpoint import Checkpoints

    with Checkpoints(run) as checkpoints:
        try:
            checkpoints.restore(None)  # pyright: ignore[reportArgumentType]
        except CorruptCheckpointError as error:
            return 3, "", str(error)
        except Exception as error:
            return 1, "", f"{type(error).__name__}: {error}"
    return 0, "", "restored"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("kill", "terminate", "damage", "train"))
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.command == "train":
        train(arguments.folder)
        return 0
    if arguments.command == "damage":
        found, good = damage()
    else:
        number = signal.SIGKILL if arguments.command == "kill" else signal.SIGTERM
        found, good = interrupt(number, arguments.times, arguments.seed)
    import jax

    about = {"good": good, "jax": jax.__version__, "machine": platform.machine()}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[arguments.command] = about | found
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print("as it should be" if good else "NOT as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
