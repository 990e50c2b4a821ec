"""The notebooks: paired with their sources, committed with their pictures, and running from start
to end.

`python tests/test_notebooks.py [NAME ...]` executes `notebooks/*.py` at full size and writes the
`.ipynb` beside each. Outputs of cells tagged `timing` depend on the machine and are not committed.
"""

from __future__ import annotations

import base64
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types
from typing import Any

import jax
import jaxlib
import jupytext
import matplotlib.image
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
# what they call, the tests call too
ONLY_NIGHTLY = {"02_job_shop", "03_soc", "05_flexible_and_blocking"}
MIN_PICTURES = 6
FOLDERS = "content|home|opt|private|root|tmp|usr|var|work|Users"
MACHINE_PATH = re.compile(rf"(?<![\w.~])/(?:{FOLDERS})/|site-packages|\b[A-Z]:\\")

each_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def execute(path: pathlib.Path, folder: str | os.PathLike[str], *, quick: bool) -> Any:
    """The notebook of a `.py` source, executed in `folder` by a fresh kernel."""
    notebook = jupytext.read(path)
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    env.pop("JAXSCHED_QUICK", None)
    env.pop("MPLBACKEND", None)  # any choice would keep the kernel from showing pictures
    if quick:
        env["JAXSCHED_QUICK"] = "1"
    client = nbclient.NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=env)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_timing(cell: Any) -> bool:
    return "timing" in cell.metadata.get("tags", [])


def pictures(notebook: Any) -> list[str]:
    """Every PNG (decoded to something other than one colour) and every SVG with shapes in it."""
    found = []
    for cell in code_cells(notebook):
        for data in (output.get("data", {}) for output in cell.outputs):
            if "image/png" in data:
                pixels = matplotlib.image.imread(
                    io.BytesIO(base64.b64decode(data["image/png"])), format="png"
                )
                assert pixels.std() > 0, f"an empty picture: {cell.source}"
                found.append("png")
            elif "<svg" in data.get("text/html", ""):
                assert re.search(
                    'class="(operation|task|buffer|tensor|block)"', data["text/html"]
                ), f"an empty chart: {cell.source}"
                found.append("svg")
    return found


def texts(notebook: Any) -> list[str]:
    """Every text output but pictures."""
    found = []
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        found.append(output.get("text", ""))
        found += [
            str(value)
            for kind, value in output.get("data", {}).items()
            if not kind.startswith("image/")
        ]
    return found


def test_there_are_notebooks():
    assert SOURCES


@each_notebook
def test_pair(path: pathlib.Path):
    source, committed = jupytext.read(path), nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(committed)
    assert [(cell.cell_type, cell.source) for cell in committed.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ]
    assert list(map(is_timing, committed.cells)) == list(map(is_timing, source.cells))


@each_notebook
def test_committed_outputs(path: pathlib.Path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), (
        "not executed from start to end"
    )
    assert not [cell.source for cell in cells if is_timing(cell) and cell.outputs]
    assert not [
        output for cell in cells for output in cell.outputs if output.get("name") == "stderr"
    ]
    assert not [
        output for cell in cells for output in cell.outputs if output.output_type == "error"
    ]
    assert len(pictures(notebook)) >= MIN_PICTURES
    assert {"png", "svg"} <= set(pictures(notebook))
    assert not [match.group() for text in texts(notebook) if (match := MACHINE_PATH.search(text))]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, marks=pytest.mark.nightly if path.stem in ONLY_NIGHTLY else (), id=path.stem
        )
        for path in SOURCES
    ],
)
def test_runs_at_toy_size(path: pathlib.Path, tmp_path: pathlib.Path):
    notebook = execute(path, tmp_path, quick=True)
    committed = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert pictures(notebook) == pictures(committed)
    assert list(tmp_path.iterdir()), "the run was not left in the working folder"


@pytest.mark.parametrize(
    "text", ["/home/me/runs/001", "in '/tmp/x/y.py'", "lib/site-packages/jax", r"C:\Users\me"]
)
def test_a_machine_path_is_found(text: str):
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize(
    "text", ["runs/001", "policy.safetensors", "makespan / baseline", "a/homework/b"]
)
def test_a_relative_path_is_no_machine_path(text: str):
    assert not MACHINE_PATH.search(text)


@each_notebook
def test_colab_keeps_its_jax(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """The first cell installs the package in Colab, and holds JAX at the version that is there."""
    calls = []
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "check_call", calls.append)
    for name in ("XLA_PYTHON_CLIENT_PREALLOCATE", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # restored afterwards: the cell sets it
    cell = code_cells(jupytext.read(path))[0].source
    with pytest.raises(AssertionError, match="REPO_URL"):
        exec(cell, {})
    address = "https://git.example/us/jaxsched"
    cell, count = re.subn(r'^REPO_URL = ".*"', f'REPO_URL = "{address}"', cell, flags=re.MULTILINE)
    assert count == 1
    exec(cell, {})

    (command,) = calls
    assert command[1:4] == ["-m", "pip", "install"]
    assert f"jaxsched[train,viz,solvers] @ git+{address}" in command
    assert {f"jax=={jax.__version__}", f"jaxlib=={jaxlib.__version__}"} <= set(command)
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def main() -> None:
    """All, or those that are named: `python tests/test_notebooks.py 03_soc`."""
    for path in SOURCES:
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, folder, quick=False)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"  # stable from one execution to the next
            if is_timing(cell):
                cell["outputs"] = []
        notebook.metadata.pop("language_info", None)
        nbformat.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
