"""Checkpoints: whole or refused, whatever happened to them; stops that are asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxsched.policies.io import load_policy
from jaxsched.training import CorruptCheckpointError, Stopped, loop
from jaxsched.training.checkpoint import Checkpoints
from jaxsched.training.config import replace
from tests.training import tiny
from tests.training.tiny import ENV, SOURCE

CONFIG = replace(tiny.CONFIG, num_updates=4)
OPTIONS = {"chunk": 2, "checkpoint_every": 2, "progress": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with checkpoints of updates 2 and 4, and its state."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    _, state = loop.train(ENV, SOURCE, CONFIG, run_dir=folder, **OPTIONS)
    return folder, state


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(finished[0], tmp_path / "run")


def resume(run, config=CONFIG, **options):
    return loop.train(ENV, SOURCE, config, run_dir=run, resume=True, **OPTIONS | options)


def restore(run, like, step=None):
    """What a resumed run does before it trains."""
    with Checkpoints(run) as checkpoints:
        return checkpoints.restore(like, step)


def same(state, other) -> bool:
    pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path):
    """Another bit in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 1 - len(data) // 9])


@pytest.mark.parametrize("damage", [flip, truncate, os.unlink], ids=lambda each: each.__name__)
def test_damage_to_any_file_is_found_before_anything_is_read(run, finished, damage):
    newest = run / "checkpoints" / "4"
    files = [*files_of(newest), run / "manifests" / "4.json"]
    assert len(files) > 5
    for path in files:
        whole = path.read_bytes()
        if not whole and damage is not os.unlink:
            continue
        damage(path)
        with pytest.raises(CorruptCheckpointError) as error:
            restore(run, finished[1])
        offer = "the last good one is of update 2: resume with --from-update 2"
        assert str(error.value).endswith(offer), error.value
        assert "\n" not in str(error.value)
        path.write_bytes(whole)
    assert same(restore(run, finished[1]), finished[1])


def test_swapped_files_and_files_that_were_added_are_found(run, finished):
    newest = run / "checkpoints" / "4"
    one, other = sorted(files_of(newest), key=lambda path: path.stat().st_size)[-2:]
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    with pytest.raises(CorruptCheckpointError, match="not what was written, by its SHA-256"):
        restore(run, finished[1])
    other.write_bytes(one.read_bytes())
    one.write_bytes(data)
    (newest / "more").touch()
    with pytest.raises(CorruptCheckpointError, match=r"4/more: not in the manifest"):
        restore(run, finished[1])


def test_a_lost_folder_is_found_and_the_offer_can_be_taken(run, finished):
    shutil.rmtree(run / "checkpoints" / "4")
    with pytest.raises(CorruptCheckpointError, match=r"4: the checkpoint is missing; .* 2"):
        resume(run)
    _, state = resume(run, from_update=2)
    assert same(state, finished[1])
    assert (run / "set_aside" / "4.json").exists()
    assert {path.name for path in (run / "manifests").iterdir()} == {"2.json", "4.json"}
    restore(run, finished[1], 2)
    assert {path.name for path in (run / "set_aside").iterdir()} == {"4.json", "4", "4.json.1"}
    with pytest.raises(ValueError, match="no checkpoint of update 3; there are: 2"):
        restore(run, finished[1], 3)
    flip(run / "manifests" / "2.json")
    with pytest.raises(CorruptCheckpointError, match="no other good one; start the run again"):
        restore(run, finished[1])


def test_what_was_being_written_does_not_count(run, finished):
    """Killed after the checkpoint was complete and before its manifest was."""
    (run / "manifests" / "4.json").unlink()
    (run / "manifests" / "4.begun").touch()
    assert int(restore(run, finished[1]).update) == 2
    assert (run / "set_aside" / "4").exists()
    assert not (run / "manifests" / "4.begun").exists()
    # Before there was a first one.
    (run / "manifests" / "2.json").unlink()
    (run / "manifests" / "2.begun").touch()
    _, state = resume(run)
    assert same(state, finished[1])


def test_a_manifest_says_what_wrote_the_checkpoint(run):
    manifest = json.loads((run / "manifests" / "4.json").read_text())
    assert manifest["step"] == 4
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["topology"] == {"device": "cpu", "num_devices": 1, "num_processes": 1}


def test_who_can_read_the_folder_can_read_what_is_in_it(run):
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {"policy.safetensors", "4.json", "manifest.ocdbt"} <= {path.name for path in files}
    probe = run / "probe"
    probe.touch()
    readable = probe.stat().st_mode & 0o444
    assert [path for path in files if path.stat().st_mode & 0o444 != readable] == []


def test_a_log_that_was_cut_off_is_read(run, finished):
    log = run / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole[:-1] + '\n{"update": 5, "evaluation": {"gap": 2.0}')
    _, state = resume(run)
    assert same(state, finished[1])
    assert log.read_text() == whole


def test_a_run_may_get_longer(run, capsys):
    longer = replace(CONFIG, num_updates=6)
    _, state = resume(run, longer, progress=True)
    assert int(state.update) == 6
    out = capsys.readouterr().out
    assert "6 updates instead of 4: the learning rate follows the longer schedule" in out
    assert re.search(r"3\.33e-04 here instead of 0\.00e\+00", out)
    assert json.loads((run / "config.json").read_text())["training"]["num_updates"] == 6
    with pytest.raises(ValueError, match="num_updates: saved 6, wanted 4"):
        resume(run)


def test_from_update_needs_a_resume(tmp_path):
    with pytest.raises(ValueError, match="from_update"):
        loop.train(ENV, SOURCE, CONFIG, run_dir=tmp_path / "run", from_update=2, **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_the_best_weights_are_kept(tmp_path):
    figures, kept = iter([3.0, 1.0, 2.0, 5.0]), []

    def evaluate(apply, params):
        kept.append(jax.device_get(params))
        return {"gap": next(figures), "unknown": None}

    given = OPTIONS | {"evaluate": evaluate, "evaluate_every": 1}
    loop.train(ENV, SOURCE, CONFIG, run_dir=tmp_path / "run", **given)
    _, best = load_policy(tmp_path / "run" / "best.safetensors", ENV)
    jax.tree.map(np.testing.assert_array_equal, best, kept[1])
    # A resumed run knows what was best so far.
    figures = iter([1.5, 0.5])
    longer = replace(CONFIG, num_updates=6)
    loop.train(ENV, SOURCE, longer, run_dir=tmp_path / "run", resume=True, **given)
    _, best = load_policy(tmp_path / "run" / "best.safetensors", ENV)
    jax.tree.map(np.testing.assert_array_equal, best, kept[-1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_is_asked_for_is_saved(tmp_path, finished, number):
    before = signal.getsignal(number)

    def evaluate(apply, params):
        os.kill(os.getpid(), number)
        return {}

    given = OPTIONS | {"checkpoint_every": 0, "chunk": 1}
    with pytest.raises(Stopped, match="stopped after update 2 of 4, which is saved") as stopped:
        loop.train(
            ENV,
            SOURCE,
            CONFIG,
            run_dir=tmp_path / "run",
            evaluate=evaluate,
            evaluate_every=2,
            **given,
        )
    assert stopped.value.code == 0
    assert signal.getsignal(number) is before
    _, state = resume(tmp_path / "run")
    assert same(state, finished[1])


def test_a_terminated_command_exits_with_0_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "jaxsched", "train", "--preset", "smoke", "--out", "run"]
    options = ["--num-updates", "2000", "--evaluate-every", "0", "--compare"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run" / "log.jsonl"
    while process.poll() is None and not log.exists():
        time.sleep(0.05)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    done = len(log.read_text().splitlines())
    assert f"stopped after update {done} of 2000, which is saved; go on with: jaxsched" in out
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.is_dir()][-1]
