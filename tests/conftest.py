"""Settings and fixtures of all tests."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import pathlib

# Set before JAX is imported, and in the environment, so that workers and subprocesses share the
# compilations.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# The tests compile more than they compute: without LLVM's optimisation, and with XLA's older
# emitters of loops, which take half the time. `make nightly` compiles as users do. A flag that a
# jaxlib does not know would end the process.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false"
    * importlib.metadata.version("jaxlib").startswith("0.10."),
)

import hypothesis
import jax
import pytest

# Compiling makes first examples slow, so no deadline. Everybody draws the same examples: a failure
# is of a change.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci")


@pytest.fixture(autouse=True)
def room_for_programs():
    """Forget compiled programs before they take up all memory mappings a process may have, where
    XLA crashes.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 40_000:  # of 65,530 on most systems
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of benchmark instances that are not in the package; skips the test where it is
    not given.
    """
    folder = os.environ.get("JAXSCHED_DATA")
    if folder:
        return pathlib.Path(folder)
    pytest.skip(
        "JAXSCHED_DATA is unset: it names the folder of benchmark instances that are not in the package"
    )
