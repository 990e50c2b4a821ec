"""`import jaxsched` is light: what only training, drawing or solving needs is imported when it
is used.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

LAZY = (
    "flax",
    "gymnasium",
    "jraph",
    "matplotlib",
    "mctx",
    "optax",
    "orbax",
    "ortools",
    "rich",
    "safetensors",
    "tyro",
)


def modules_after(statement: str) -> set[str]:
    """Names in `sys.modules` of a fresh interpreter that ran `statement`."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def after_import() -> set[str]:
    return modules_after("import jaxsched")


def test_the_probe_sees_an_import():
    assert "colorsys" in modules_after("import colorsys")


@pytest.mark.parametrize("name", LAZY)
def test_import_jaxsched_leaves_out(name: str, after_import: set[str]):
    assert "jaxsched" in after_import
    assert name not in after_import


def test_import_starts_no_backend():
    """Devices are chosen after the import, which JAX refuses once a backend is up."""
    modules_after(
        "import jaxsched, jax\njax.config.update('jax_num_cpu_devices', 2)\nassert jax.device_count() == 2"
    )


def test_no_module_starts_a_backend_or_reads_a_variable():
    """Every module of the package, in a fresh process; the first that does either is named."""
    modules_after(
        """
import importlib, os, pkgutil, sys
import jaxsched
from jax._src import xla_bridge  # the only place that says whether a backend is up

get = os._Environ.__getitem__

def watched(self, name):
    frames, frame = [], sys._getframe(1)
    while frame is not None:
        frames.append(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    ours = next((each for each in frames if each not in ("os", "_collections_abc")), "")
    assert not ours.startswith("jaxsched"), f"{ours} reads {name} when it is imported"
    return get(self, name)

os._Environ.__getitem__ = watched
for module in pkgutil.walk_packages(jaxsched.__path__, "jaxsched."):
    importlib.import_module(module.name)
    assert not xla_bridge._backends, f"{module.name} starts a backend"
"""
    )


@pytest.mark.parametrize("name", ["blocking", "flexible"])
def test_the_shops_are_attributes_of_their_family(name: str):
    modules_after(f"from jaxsched.envs import job_shop\njob_shop.{name}.load")
