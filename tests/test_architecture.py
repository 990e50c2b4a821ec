"""Who may import whom (CONTRIBUTING.md, "The house") and how long functions are, read from the
source with `ast`.

A module is named by its path below `jaxsched`, such as `envs/job_shop/rules.py`.
"""

from __future__ import annotations

import ast
import graphlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jaxsched"
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in PACKAGE.rglob("*.py")
}

# Optional or slow to import: only inside functions.
LAZY = {
    "gymnasium",
    "matplotlib",
    "mctx",
    "omnimalloc",
    "orbax",
    "ortools",
    "rich",
    "safetensors",
    "tyro",
}
# Reading these runs code from the file.
UNSAFE_MODULES = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load"}


class Import(NamedTuple):
    """One imported module; `jaxsched` ones are relative to the package: `core.graph` for
    `jaxsched.core.graph`.
    """

    line: int
    target: str
    ours: bool
    in_function: bool

    def within(self, *rooms: str) -> bool:
        return any(self.target == room or self.target.startswith(f"{room}.") for room in rooms)


def imports(module: str, source: str) -> Iterator[Import]:
    """Every import of the module but those for type checkers only, relative ones resolved."""
    package = module.split("/")[:-1]

    def visit(node: ast.AST, in_function: bool) -> Iterator[Import]:
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                for child in node.orelse:
                    yield from visit(child, in_function)
                return
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(level=0, module=str(base)):
                names = [f"{base}.{alias.name}" for alias in node.names]
            case ast.ImportFrom(level=level):
                base = [
                    "jaxsched",
                    *package[: len(package) - level + 1],
                    *filter(None, [node.module]),
                ]
                names = [".".join([*base, alias.name]) for alias in node.names]
            case _:
                names = []
        for name in names:
            root, _, rest = name.partition(".")
            yield Import(
                getattr(node, "lineno", 0),
                rest if root == "jaxsched" else name,
                root == "jaxsched",
                in_function,
            )
        in_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, in_function)

    yield from visit(ast.parse(source), in_function=False)


def allowed(module: str) -> tuple[str, ...] | None:
    """What the module may import of ours; None: everything."""
    match module.split("/"):
        case ["host", *_]:
            return ("host",)
        case ["core", *_]:
            return ("core", "host")
        case ["envs", file] if file.endswith(".py"):
            return ("core", "envs", "host")
        case ["envs", family, *_]:
            return ("core", f"envs.{family}", "host")
        case ["policies" | "search" | "training" as room, *_]:
            return (
                "core",
                "host",
                "policies",
                *({"search", "training"} if room == "training" else {room}),
            )
        case _:
            return None


def violations(module: str, source: str) -> list[str]:
    """One line for each broken rule; empty: none."""
    found = []
    for item in imports(module, source):
        rooms = allowed(module)
        if item.ours and rooms is not None and not item.within(*rooms):
            found.append(
                f"{module}:{item.line}: imports jaxsched.{item.target}, may import only {', '.join(rooms)}"
            )
        if item.ours:
            continue
        root = item.target.partition(".")[0]
        if root == "jraph" and not (module == "core/graph.py" or module.startswith("policies/")):
            found.append(f"{module}:{item.line}: jraph belongs to core/graph.py and policies/")
        if root in LAZY and not item.in_function:
            found.append(f"{module}:{item.line}: import {root} inside the function that needs it")
        if root in UNSAFE_MODULES:
            found.append(f"{module}:{item.line}: {root} runs code from the file it reads")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in UNSAFE_CALLS:
            found.append(
                f"{module}:{node.lineno}: {ast.unparse(node.func)} runs code from what it reads"
            )
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            found.append(
                f"{module}:{node.value.lineno}: allow_pickle runs code from the file it reads"
            )
    return found


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_module_keeps_the_rules(module: str):
    assert violations(module, SOURCES[module]) == []


def dependencies(sources: dict[str, str]) -> dict[str, set[str]]:
    """The modules of ours that each module imports, also inside functions."""
    files = {
        module.removesuffix(".py").removesuffix("/__init__").replace("/", "."): module
        for module in sources
    }
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        found[module] = set()
        for item in imports(module, source):
            target = item.target
            while item.ours and target and target not in files:
                target = target.rpartition(".")[0]
            if item.ours and target and files[target] != module:
                found[module].add(files[target])
    return found


def test_no_module_imports_itself_in_a_circle():
    graphlib.TopologicalSorter(dependencies(SOURCES)).prepare()


def test_a_circle_is_found():
    circle = {
        "core/graph.py": "def late():\n    from jaxsched.core.padding import pad",
        "core/padding.py": "from . import graph",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(dependencies(circle)).prepare()


LONGEST = 60  # lines of a function below its docstring


def lengths(source: str) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines from the first statement below the docstring on."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            first = node.body[1 if documented else 0]
            yield node.name, (node.end_lineno or 0) - first.lineno + 1


def test_functions_are_short():
    found = [(module, *each) for module, source in SOURCES.items() for each in lengths(source)]
    assert [each for each in found if each[-1] > LONGEST] == []


def test_lengths_leave_out_signature_and_docstring():
    source = '''
def outer(
    x,
):
    """One line.

    And more.
    """
    # why

    def inner(): return 1
    return (
        x
    )
'''
    assert list(lengths(source)) == [("outer", 4), ("inner", 1)]


BROKEN = [
    ("host/text.py", "from jaxsched.core import padding"),
    ("core/graph.py", "from jaxsched.envs import registry"),
    ("core/graph.py", "from ..envs.job_shop import rules"),
    ("core/graph.py", "from .. import training"),
    ("core/graph.py", "def late():\n    import jaxsched.policies"),
    ("envs/job_shop/env.py", "from jaxsched.envs.soc import types"),
    ("envs/job_shop/env.py", "from ..registry import make"),
    ("envs/job_shop/env.py", "import jaxsched"),
    ("envs/registry.py", "from jaxsched.training import ppo"),
    ("policies/encoder.py", "from jaxsched.envs.job_shop import types"),
    ("policies/encoder.py", "from jaxsched.training import ppo"),
    ("search/beam.py", "import jaxsched.envs.registry"),
    ("training/ppo.py", "if True:\n    from jaxsched import envs"),
    ("core/padding.py", "import jraph"),
    ("envs/job_shop/env.py", "from jraph import GraphsTuple"),
    ("envs/job_shop/draw.py", "import matplotlib.pyplot as plt"),
    ("envs/job_shop/draw.py", "class Chart:\n    from matplotlib import pyplot"),
    ("cli/common.py", "try:\n    import tyro\nexcept ImportError:\n    tyro = None"),
    ("training/checkpoint.py", "def load(path):\n    import pickle"),
    ("training/checkpoint.py", "config = eval(text)"),
    ("training/checkpoint.py", "config = yaml.load(text)"),
    ("training/checkpoint.py", "params = np.load(path, allow_pickle=True)"),
]
SOUND = [
    (
        "core/wrappers.py",
        "from jaxsched.core import graph\nfrom .padding import pad\nfrom . import errors\nimport jax",
    ),
    ("core/graph.py", "import jraph"),
    ("core/graph.py", "from jaxsched.host.errors import InstanceError"),
    (
        "envs/job_shop/env.py",
        "from jaxsched.core.graph import X\nfrom . import rules\nfrom ...core import padding",
    ),
    ("envs/job_shop/exact.py", "def solve():\n    from ortools.sat.python import cp_model"),
    ("envs/registry.py", "from jaxsched.envs.job_shop import env"),
    ("policies/encoder.py", "import jraph\nfrom jaxsched.core.graph import X\nfrom . import heads"),
    (
        "training/ppo.py",
        "from jaxsched import core, policies\nfrom jaxsched.training import schedules",
    ),
    (
        "training/ppo.py",
        "if TYPE_CHECKING:\n    import orbax.checkpoint as ocp\nelse:\n    import jax",
    ),
    ("evaluation/evaluate.py", "import jaxsched\nfrom jaxsched import envs, training"),
    ("training/checkpoint.py", "params = np.load(path, allow_pickle=False)\nvalue = model.eval(x)"),
]


@pytest.mark.parametrize(("module", "source"), BROKEN)
def test_a_breach_is_found(module: str, source: str):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(("module", "source"), SOUND)
def test_no_false_alarm(module: str, source: str):
    assert violations(module, source) == []


def test_the_package_was_read():
    assert "envs/job_shop/types.py" in SOURCES
    assert any(
        item.within("core") and item.ours
        for name, text in SOURCES.items()
        for item in imports(name, text)
    )
