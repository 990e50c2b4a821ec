"""Any value anywhere in a program, graph or list of buffers is read or refused with an
`InstanceError`.

Issue 16, row 0.
"""

from __future__ import annotations

import contextlib
import copy
import json

import pytest

from jaxsched.core import InstanceError
from jaxsched.envs import memory

PROGRAM = {
    "values": [{"id": "x", "size": 3, "input": True}, {"id": "y", "size": 2, "output": True}],
    "instructions": [
        {
            "id": "b",
            "compute": 5,
            "accesses": [
                {"value": "x", "kind": "read", "alias": 1},
                {"value": "y", "kind": "write"},
            ],
        }
    ],
    "capacity": 4,
    "alignment": 2,
    "slow_cost": 2,
    "fast_cost": 1,
    "copy_cost": 1,
}
GRAPH = {
    "tensors": [{"id": "w", "size": 3, "backed": True}, {"id": "a", "size": 2}],
    "ops": [
        {"id": 1, "name": "n", "inputs": ["w"], "outputs": ["a"]},
        {"id": 3, "inputs": ["a", "w"], "outputs": []},
    ],
}
BUFFERS = [
    {
        "id": 0,
        "start": 0,
        "end": 9,
        "size": 3,
        "alignment": 1,
        "offset": 4,
        "gaps": [[2, 3], [4, 5]],
    },
    {"id": 1, "start": 2, "end": 3, "size": 1},
]
NUMBERS = [True, -1, 0, 1, 2, 1.5, float("nan"), float("inf"), 10**25, 2**31, 2**63, -(2**63)]
CONTAINERS = [
    [],
    {},
    [None],
    [[]],
    [{}],
    [1],
    [[1]],
    [[1, 2, 3]],
    ["x", "x"],
    {"id": None},
    {"x": 1},
]
OF_JSON = [None, "", "x", "\ud800", "9" * 30, *NUMBERS, *CONTAINERS]
OF_PYTHON = [(1, 2), object(), b"x", set(), range(3)]


def places(document, path=()):
    """The paths of keys to all values of a document, itself included."""
    yield path
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield from places(document[key], (*path, key))


def with_value(document, path, value):
    """A copy of the document where one value is another."""
    if not path:
        return value
    document = copy.deepcopy(document)
    where = document
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "plan"),
    [
        (PROGRAM, lambda given: memory.map_program(given, "belady")),
        (GRAPH, lambda given: memory.replace(given, "M_R", method="belady")),
        (BUFFERS, lambda given: memory.allocate(given, method="xla")),
    ],
    ids=["program", "graph", "buffers"],
)
def test_any_value_in_a_document(document, plan):
    plan(document)
    for path in places(document):
        for value in (*OF_JSON, *OF_PYTHON):
            with contextlib.suppress(InstanceError):
                plan(with_value(document, path, value))


@pytest.mark.parametrize("document", [PROGRAM, GRAPH], ids=["program", "graph"])
def test_any_value_in_a_file(document, tmp_path):
    file = tmp_path / "problem.json"
    for path in places(document):
        for value in OF_JSON:
            file.write_text(json.dumps(with_value(document, path, value)))
            with contextlib.suppress(InstanceError):
                memory.read_problem(file)


@pytest.mark.parametrize("value", [None, 3, True, {}, "x", b"x"])
def test_buffers_are_a_list(value):
    with pytest.raises(InstanceError, match="buffers: expected an array, got"):
        memory.Buffers(value)
