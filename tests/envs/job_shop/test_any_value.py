"""Any value anywhere in a file or list is read or refused with an `InstanceError` (issue 16, row
0).

Every run draws the same examples; the nightly runs draw thousands of others, and print what
reproduces a failure. What they found stands in `FOUND`.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import json

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import flexible, formats, lists
from jaxsched.envs.job_shop.flexible import io as flexible_io
from jaxsched.envs.job_shop.orders import parse_orders
from jaxsched.host.checks import Fault
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import Json, Text

SOME = settings(max_examples=150)
MANY = settings(derandomize=False, max_examples=5_000, print_blob=True)

JOB_SHOP_LIB = {
    "name": "x",
    "duration_matrix": [[1, 2], [3]],
    "machines_matrix": [[0, 1], [1]],
    "release_dates_matrix": [[4, 5], [0]],
    "due_dates_matrix": [[None, 9], [7]],
    "deadlines_matrix": [[None, None], [None]],
    "metadata": {"optimum": None},
}
ENTRY = {"name": "x", "jobs": 1, "machines": 2, "operations": [[[0, 1], [1, 2]]]}
FLEXIBLE = {"name": "x", "jobs": 1, "machines": 2, "operations": [[[[0, 1], [1, 2]], [[1, 3]]]]}
FLEXIBLE_LIB = {"duration_matrix": [[1, 2]], "machines_matrix": [[[0, 1], 1]], "metadata": {}}
SCHEDULE = {
    "makespan": 7,
    "operations": [
        {"job": 0, "step": 0, "machine": 1, "start": 0, "end": 3},
        {"job": 0, "step": 1, "machine": 0, "start": 3, "end": 7},
    ],
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([2**31 - 1, 2**31, -(2**31), 2**63, 10**25, -(10**400)]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["0", "\ud800", "2026-11-23", "9" * 30]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@st.composite
def with_any_value(draw, document):
    """A copy of `document`, where one value, chosen on any level, is another."""
    document = copy.deepcopy(document)
    where = {"document": document}
    key = "document"
    while isinstance(where[key], list | dict) and where[key] and draw(st.integers(0, 4)):
        where = where[key]
        keys = list(where) if isinstance(where, dict) else range(len(where))
        key = draw(st.sampled_from(keys))
    replaced = draw(values)
    if where == {"document": document}:
        return replaced
    where[key] = replaced
    return document


def fails_well(read, *arguments):
    """Whatever is wrong is an `InstanceError` of one line."""
    try:
        read(*arguments)
    except InstanceError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 500


def read_files(document):
    content = json.dumps(document).encode()
    for parse in (formats.parse, flexible_io.parse):
        fails_well(parse, content, "a.json")


documents = st.one_of(*map(with_any_value, (JOB_SHOP_LIB, ENTRY, FLEXIBLE, FLEXIBLE_LIB)))


@SOME
@given(documents)
def test_any_value_in_a_json_file(document):
    read_files(document)


@pytest.mark.nightly
@MANY
@given(documents)
def test_any_value_in_a_json_file_at_night(document):
    read_files(document)


def check_lists(value):
    """As `from_jobs` without the arrays, which take most of its time."""
    for check in (lists.check, flexible.lists.check):
        with contextlib.suppress(Fault):
            check(value)
    for field in ("release", "due", "weight"):
        with contextlib.suppress(Fault):
            lists.check([[(0, 1)], [(0, 2)]], **{field: value})


jobs = st.one_of(
    values, with_any_value(ENTRY["operations"]), with_any_value(FLEXIBLE["operations"])
)


@SOME
@given(jobs)
def test_any_value_in_lists(value):
    check_lists(value)


@pytest.mark.nightly
@MANY
@given(jobs)
def test_any_value_in_lists_at_night(value):
    check_lists(value)


SHOP = jax.device_get(lists.from_jobs([[(1, 3), (0, 4)]]))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def read_plan(folder, document):
    path = folder / "plan.json"
    path.write_text(json.dumps(document))
    fails_well(lambda: job_shop.read_schedule(path, SHOP))
    dated = job_shop.Orders(SHOP, ("a",), ("m", "n"), datetime.datetime(2026, 11, 23), ((1, 2),))
    fails_well(lambda: job_shop.read_schedule(path, SHOP, orders=dated))


@SOME
@given(document=with_any_value(SCHEDULE))
def test_any_value_in_a_plan(folder, document):
    read_plan(folder, document)


@pytest.mark.nightly
@MANY
@given(document=with_any_value(SCHEDULE))
def test_any_value_in_a_plan_at_night(folder, document):
    read_plan(folder, document)


CELLS = st.one_of(
    st.text(max_size=6),
    st.text("0123456789-+.,:;/ TZ'\"\thAPM\u00a0", max_size=16),
    st.from_regex(
        r"\A[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([T ][0-9]{1,2}:[0-9]{2}(:[0-9.]{2,5})?)?\Z"
    ),
    st.sampled_from(
        ["", "-1", "1.5 h", "9" * 40, "9999-12-31", "0001-01-01", "2147483647", "-2147483647"]
    ),
)


@st.composite
def tables(draw):
    """A table of three orders, some of its cells any text, in a separator and an encoding."""
    rows = [
        ["job", "step", "machine", "minutes", "release", "due", "weight"],
        ["A", "1", "saw", "5", "2026-11-23", "2026-11-24", "2"],
        ["A", "2", "mill", "7", "", "", ""],
        ["B", "1", "saw", "6", "", "2026-11-25", ""],
    ]
    for _ in range(draw(st.integers(1, 3))):
        rows[draw(st.sampled_from([0, 1, 1, 2, 3]))][draw(st.integers(0, 6))] = draw(CELLS)
    text = "\n".join(draw(st.sampled_from(",;\t|")).join(row) for row in rows)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    return text.encode(encoding, "replace")


def read_table(content):
    for start in (None, "2026-11-23T06:00"):
        fails_well(lambda: parse_orders(content, "a.csv", start=start))  # noqa: B023


@SOME
@given(tables())
def test_any_cell_in_a_table(content):
    read_table(content)


@pytest.mark.nightly
@MANY
@given(tables())
def test_any_cell_in_a_table_at_night(content):
    read_table(content)


NUMBERS = st.one_of(
    st.integers(0, 4).map(str),
    st.integers(0, 4).map(str),
    st.sampled_from(
        ["-1", "1.15", "2147483647", "9" * 11, "#", "instance x", "+++", "Times", "Machines"]
    ),
)
number_files = st.lists(st.lists(NUMBERS, max_size=7), max_size=7).map(
    lambda rows: "\n".join(" ".join(row) for row in rows).encode()
)


def read_numbers(content):
    for file in ("a.txt", "a.fjs"):
        for parse in (formats.parse, flexible_io.parse):
            for base in (None, 0, 1):
                fails_well(parse, content, file, base)


@SOME
@given(number_files)
def test_any_numbers_in_a_file(content):
    read_numbers(content)


@pytest.mark.nightly
@MANY
@given(number_files)
def test_any_numbers_in_a_file_at_night(content):
    read_numbers(content)


@pytest.mark.parametrize("levels", [100, 300, *range(880, 1000, 3), 2_000, 100_000])
@pytest.mark.parametrize("document", ['{"metadata": %s, "machnes": 1}', '{"operations": %s}'])
def test_any_depth(levels, document):
    """However deep, it is one line."""
    content = (document % ("[" * levels + "]" * levels)).encode()
    for parse in (formats.parse, flexible_io.parse):
        fails_well(parse, content, "a.json")


def test_a_place_too_deep_to_be_found_is_the_file(monkeypatch):
    source = Json(Text(b'{"a": 1}', "a.json"), "a thing")

    def too_deep(path):
        raise RecursionError

    monkeypatch.setattr(source, "_find", too_deep)
    assert str(source.fail("wrong", "a")) == "a.json:1:1: wrong"


FOUND = [
    {"duration_matrix": None, "machines_matrix": None},
    {"duration_matrix": [None], "machines_matrix": [[0]]},
    {"duration_matrix": [[1]], "machines_matrix": [[{}]]},
    {"duration_matrix": [[1]], "machines_matrix": [[[[0]]]]},
    {"duration_matrix": [[float("nan")]], "machines_matrix": [[0]], "release_dates_matrix": [[0]]},
    {
        "duration_matrix": [[float("inf"), 1]],
        "machines_matrix": [[0, 0]],
        "release_dates_matrix": [[0, 9]],
    },
    {"duration_matrix": [[1]], "machines_matrix": [[0]], "due_dates_matrix": [[[1]]]},
    {"operations": {"0": []}},
    {"operations": [[[0, 1]]], "jobs": True},
    {"operations": [[[[0, 1]]]], "machines": []},
]


@pytest.mark.parametrize("document", FOUND)
def test_found(document):
    with pytest.raises(InstanceError):
        formats.parse(json.dumps(document).encode(), "a.json")
