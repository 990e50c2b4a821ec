"""Episodes, search and training within `jax.shard_map` (issue 16, row 5)."""

import subprocess
import sys
from pathlib import Path

import pytest

import jaxsched

SCRIPT = Path(__file__).with_name("sharded.py")


ALL = [*jaxsched.list_envs(), "beam", "ppo", "self_labeling", "imitation"]
NIGHTLY = [
    pytest.param(name, marks=pytest.mark.nightly) for name in ALL if name != "FlexibleJobShop-v0"
]


def run(*arguments):
    """The script in a process of its own, which sees two devices."""
    command = [sys.executable, SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_all_traces_on_shards():
    """Issue 16, row 5: types of the carry of a scan differed, in six of seven environments and in
    PPO; and in replay, evolution, the beam and the other trainers (siblings). With the default
    check.
    """
    run(",".join(ALL), "types")


@pytest.mark.parametrize("name", ["FlexibleJobShop-v0", *NIGHTLY])
def test_shards_equal_lanes(name):
    """Values, of one environment in every run."""
    run(name)
