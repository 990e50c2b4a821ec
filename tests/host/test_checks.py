"""Checks of what users give: what they accept, what they say, and that there is one of each."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.host import checks
from jaxsched.host.checks import INT32_MAX, Fault
from jaxsched.host.errors import InstanceError, did_you_mean

PACKAGE = pathlib.Path(jaxsched.__file__).parent


@pytest.mark.parametrize(
    ("path", "message", "keys"),
    [
        ((), "is odd", ()),
        (("pes", 3, "name"), "pes[3].name: is odd", ("pes", 3, "name")),
        ((("job", 0), ("operation", 2)), "job 0, operation 2: is odd", (0, 2)),
        ((("job", 0), ("operation", 2), ("", 1)), "job 0, operation 2: is odd", (0, 2, 1)),
        ((("", 4), ("buffer", "b1")), "buffer 'b1': is odd", (4, "b1")),
        ((("value", "f"), "gaps", 1), "value 'f'.gaps[1]: is odd", ("f", "gaps", 1)),
        (("two\nlines", ("id", "\n")), "['two\\nlines'], id '\\n': is odd", ("two\nlines", "\n")),
    ],
)
def test_a_fault_spells_its_path(path, message, keys):
    fault = Fault("is odd", *path, field="size")
    assert (str(fault), fault.reason, fault.what) == (message, message, "is odd")
    assert (fault.path, fault.keys, fault.field) == (path, keys, "size")
    assert isinstance(fault, InstanceError)


INTEGERS = [3, np.int8(3), np.uint64(3), np.array(3), jnp.int32(3)]


@pytest.mark.parametrize("value", INTEGERS, ids=repr)
def test_integers_of_all_types(value):
    number = checks.integer(value)
    assert (number, type(number)) == (3, int)


LARGE = {"least": -(2**62 - 1), "most": 2**62 - 1}


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (True, {}, "size True is not an integer"),
        (np.bool_(True), {}, "size .*True.* is not an integer"),
        (np.array(True), {}, r"size array\(True\) is not an integer"),
        (jnp.array(True), {}, "size Array.* is not an integer"),
        (np.array([3]), {}, r"size array\(\[3\]\) is not an integer"),
        (3.0, {}, "size 3.0 is not an integer"),
        ("3", {}, "size '3' is not an integer"),
        (None, {}, "size None is not an integer"),
        (-1, {}, "size -1 is negative"),
        (np.int8(-1), {}, "size -1 is negative"),
        (0, {"least": 1}, "size must be at least 1, got 0"),
        (-5, {"least": -4}, "size must be at least -4, got -5"),
        (INT32_MAX + 1, {}, "size does not fit int32"),
        (np.int64(INT32_MAX + 1), {"least": -INT32_MAX}, "size does not fit int32"),
        (-INT32_MAX - 1, {"least": -INT32_MAX}, "size does not fit int32"),
        (10**5000, {}, "size does not fit int32"),
        (2**62, LARGE, r"size is beyond 2\*\*62"),
        (-(2**62), LARGE, r"size is beyond 2\*\*62"),
    ],
    ids=lambda value: checks.shorten(value)[:20],
)
def test_integers_are_refused(value, bounds, message):
    with pytest.raises(Fault, match=f"^job 2: {message}$") as caught:
        checks.integer(value, ("job", 2), field="size", **bounds)
    assert (caught.value.path, caught.value.field) == ((("job", 2),), "size")


def test_integers_within_their_bounds():
    for value, bounds in [(0, {}), (INT32_MAX, {}), (-3, {"least": -3}), (-(2**62) + 1, LARGE)]:
        assert checks.integer(value, **bounds) == value
    assert checks.integers(np.array([3, 1]), "head") == [3, 1]
    with pytest.raises(Fault, match=re.escape("head[1]: 4294967296 does not fit int32")):
        checks.integers([3, 2**32], "head")


ARRAYS = [[1, 2], (1, 2), range(1, 3), iter([1, 2]), np.array([1, 2]), jnp.array([1, 2])]
NO_ARRAYS = [3, None, "ab", b"ab", {"a": 1}, np.array(3), np.str_("ab")]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: type(value).__name__)
def test_arrays(value):
    assert list(checks.array(value)) == [1, 2]


@pytest.mark.parametrize("value", NO_ARRAYS, ids=repr)
def test_what_is_no_array(value):
    with pytest.raises(Fault, match=r"^pes\[0\]: expected an array, got "):
        checks.array(value, "pes", 0)


@pytest.mark.parametrize(
    ("value", "message", "keys"),
    [
        (3, "expected an object with id, size, got 3", ()),
        ([], r"expected an object with id, size, got \[\]", ()),
        ({"id": 1, 7: 2}, "the key 7 is not a text", ()),
        ({"id": 1, "sise": 2}, r"unknown key 'sise'; did you mean size\?", ("sise",)),
        ({"id": 1, "x": 2}, "unknown key 'x'; known: id, size, gaps", ("x",)),
        ({"id": 1, "gaps": 2}, "'size' is missing", ()),
    ],
)
def test_what_is_no_mapping(value, message, keys):
    with pytest.raises(Fault, match=f"^value 3: {message}$") as caught:
        checks.mapping(value, ("value", 3), known=["gaps"], required=["id", "size"])
    assert caught.value.keys == (3, *keys)


def test_mappings():
    for value in ({"id": 1, "size": 2}, {"id": 1, "size": 2, "gaps": []}):
        assert checks.mapping(value, known=["gaps"], required=["id", "size"]) is value
    assert checks.mapping({"any": 1}) == {"any": 1}


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (checks.boolean, 1, "x: 1 is not true or false"),
        (checks.boolean, "no", "x: 'no' is not true or false"),
        (checks.number, True, "x: True is not a number"),
        (checks.number, float("nan"), "x: nan is not a number from 0 to 1e+30"),
        (checks.check_name, "", "x: '' is not a name: 1 to 200 printable characters"),
        (checks.check_name, "a\nb", "x: 'a\\nb' is not a name: 1 to 200 printable characters"),
        (checks.rising, [2, 1], "x[1]: 1 is before the one ahead of it, 2: times"),
    ],
)
def test_other_values_are_refused(check: Callable[..., Any], value, message):
    with pytest.raises(Fault) as caught:
        check(value, "x")
    assert str(caught.value).startswith(message)


def test_other_values():
    assert [checks.boolean(np.bool_(True)), checks.boolean(False)] == [True, False]
    assert checks.number(np.float32(0.5)) == 0.5
    with pytest.raises(Fault, match=re.escape("tasks[1].name: 'a' is also the name of tasks[0]")):
        checks.check_unique(["a", "a"], "tasks", "name")


LONG = {"huge": 10**5000, "in a list": [10**5000], "text": "a\nb" * 10**6, "deep": [[[[[[3]]]]]]}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_what_is_shown_is_short(value):
    assert len(checks.shorten(value)) < 100
    assert "\n" not in checks.shorten(value)


def test_did_you_mean():
    known = ["JobShop-v0", "FlexibleJobShop-v0", "SoC-v0"]
    assert did_you_mean("jobshop-v1", known).startswith("did you mean JobShop-v0")
    assert did_you_mean("SOC-V0", known) == "did you mean SoC-v0?"
    assert did_you_mean("tetris", known) == "known: JobShop-v0, FlexibleJobShop-v0, SoC-v0"
    assert did_you_mean("tetris", known, "") == ""
    assert did_you_mean(7, known, "none") == "none"
    assert did_you_mean("sec-v0", known, "none", cutoff=1.0) == "none"


# --------------------------------------------------------------------------- one of each kind


def where(found: Callable[[ast.AST], bool]) -> list[str]:
    """The modules with a node that `found` is true of; validators are independent and count not."""
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name != "validate.py" and any(map(found, ast.walk(tree))):
            modules.append(path.relative_to(PACKAGE).as_posix())
    return modules


def is_integer_check(node: ast.AST) -> bool:
    """Whether a function takes an index and refuses booleans, or says that a value is no integer.

    Texts of files are no values: they are not in digits.
    """
    if not isinstance(node, ast.FunctionDef):
        return False
    source = "\n".join(ast.unparse(each) for each in node.body if not isinstance(each, ast.Expr))
    says = re.search("is not an integer(?! in digits)", source)
    refuses = re.search(r"isinstance\(\w+, bool", source) and "operator.index" in source
    return bool(says or refuses)


def has_text(part: str) -> Callable[[ast.AST], bool]:
    """Whether a node is a text with that part."""
    return lambda node: isinstance(node, ast.Constant) and part in str(node.value)


def is_fault(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and node.name.endswith("Fault")


def test_there_is_one_of_each():
    """Issue 16, part 3: there were three classes of faults, and six of each of the others."""
    assert where(is_fault) == ["host/checks.py"]
    assert where(is_integer_check) == ["host/checks.py"]
    assert where(has_text("did you mean")) == ["host/errors.py"]
    assert where(has_text("unknown key")) == ["host/checks.py"]


def test_a_second_one_is_found():
    """The search of the test above, tried on what it is to find and on what not."""
    second = "def f(x):\n    return None if isinstance(x, bool | np.bool_) else operator.index(x)"
    said = "def f(x):\n    raise ValueError(f'{x} is not an integer')"
    other = "def f(x):\n    'What is not an integer is refused.'\n    return operator.index(x)"
    for text, found in ((second, True), (said, True), (other, False)):
        assert is_integer_check(ast.parse(text).body[0]) is found
