"""`import jaxsched` is light: what only training, drawing or solving needs is imported when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

LAZY = ("flax", "gymnasium", "jraph", "matplotlib", "mctx", "optax", "orbax", "ortools", "rich", "safetensors", "tyro")


def modules_after(statement: str) -> set[str]:
    """Names in `sys.modules` of a fresh interpreter that ran `statement`."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
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
    modules_after("import jaxsched, jax\njax.config.update('jax_num_cpu_devices', 2)\nassert jax.device_count() == 2")
