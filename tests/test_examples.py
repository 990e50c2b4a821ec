"""The examples run as they are, and stay short."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
LINES = {"my_network": 40, "my_trainer": 80, "early_stopping": 50}  # fewer than these


def run(name: str, folder: pathlib.Path) -> str:
    """The output of an example as a program, which leaves its run in `folder`."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "001" / "policy.safetensors").exists()
    return done.stdout


def test_all_are_short():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LINES)
    for name, limit in LINES.items():
        assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) < limit, name


def test_a_network_of_ones_own_is_loaded_again(tmp_path: pathlib.Path):
    found = re.search(r"makespan of ft06, whose optimum is 55: (\d+)$", run("my_network", tmp_path))
    assert found
    assert 55 <= int(found[1]) < 197  # one job after the other takes 197


def test_an_algorithm_of_ones_own_learns(tmp_path: pathlib.Path):
    found = re.search(
        r"greedy policy: ([\d.]+) before training, ([\d.]+) after it$", run("my_trainer", tmp_path)
    )
    assert found
    assert float(found[2]) < float(found[1])


@pytest.mark.nightly
def test_a_training_stops_early(tmp_path: pathlib.Path):
    found = re.search(r"stopped after (\d+) updates$", run("early_stopping", tmp_path))
    assert found
    assert 15 <= int(found[1]) < 100
