"""Episodes, search and training within `jax.shard_map` (issue 16, row 5)."""

import subprocess
import sys
from pathlib import Path

import pytest

import jaxsched

SCRIPT = Path(__file__).with_name("sharded.py")


@pytest.mark.parametrize("what", [*jaxsched.list_envs(), "beam", "ppo", "self_labeling", "imitation"])
def test_shards_equal_lanes(what):
    """Issue 16, row 5: types of the carry of a scan differed, in six of seven environments and in PPO;
    and in replay, evolution, the beam and the other trainers (siblings). With the default check.
    """
    done = subprocess.run([sys.executable, SCRIPT, what], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
