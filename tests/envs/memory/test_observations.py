"""What a policy sees of static allocation and of tensor replacement, by name, on instances small
enough for a look.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.core import GraphObservation
from jaxsched.core.graph import Nodes
from jaxsched.envs import memory

KEY = jax.random.key(0)


def assert_features(group, expected: dict[str, list[float]]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(group[name], values, rtol=1e-6, atol=1e-6, err_msg=name)


def all_names(seen: GraphObservation) -> list[tuple[str, int]]:
    return [
        (part.kind if isinstance(part, Nodes) else part.kinds[0], len(part.names))
        for part in (*seen.nodes, *seen.actions)
    ]


def test_allocation_after_one_buffer():
    """x and y share section 0, y and z section 1; x is placed, and y would rest on it."""
    buffers = memory.Buffers(
        [
            {"id": "x", "start": 0, "end": 2, "size": 4},
            {"id": "y", "start": 1, "end": 3, "size": 2},
            {"id": "z", "start": 2, "end": 4, "size": 6},
        ]
    )
    env = jaxsched.make("StaticAllocation-v0", goal="peak")
    state, first = env.reset(KEY, memory.allocation.to_instance(buffers))
    seen = env.step(KEY, state, 0)[1].observation
    assert all_names(seen) == [("buffer", 15), ("section", 6), ("place", 2)]
    assert_features(
        first.observation["buffer"],
        {
            "size / bound": [4 / 8, 2 / 8, 6 / 8],
            "sections / sections left": [1 / 2, 1, 1 / 2],
            "(offset - base) / bound": [0, 0, 0],
            "neighbours left / buffers left": [1 / 3, 2 / 3, 1 / 3],
        },
    )
    assert_features(
        seen["buffer"],
        {
            "size / bound": [0, 2 / 8, 6 / 8],
            "area / largest area": [0, 4 / 6, 1],
            "(offset - base) / bound": [0, 4 / 8, 0],
            "(end - base) / bound": [0, 6 / 8, 6 / 8],
            "mean hole below / bound": [0, 2 / 8, 0],
            "hole below / area": [0, 1, 0],
            "most left in its sections / bound": [0, 1, 1],
            "mean left in its sections / bound": [0, 5 / 8, 1],
            "(offset + most left - bound) / bound": [0, 4 / 8, 0],
            "(floor - base) / bound": [0, 4 / 8, 0],
            "neighbours left / buffers left": [0, 1 / 2, 1 / 2],
            "most buffers left in a section / buffers left": [0, 1, 1],
            "buffers left / (buffers + sections left)": [0, 1 / 2, 1 / 2],
        },
    )
    assert_features(
        seen["section"],
        {
            "(highest end - base) / bound": [4 / 8, 0],
            "left / bound": [2 / 8, 1],
            "(highest end + left - bound) / bound": [-2 / 8, 0],
            "buffers left here / buffers left": [1 / 2, 1],
            "largest size / bound": [2 / 8, 6 / 8],
            "(lowest offset - base) / bound": [4 / 8, 0],
        },
    )
    (place,) = seen.actions
    assert_features(
        place,
        {"growth of the bound / bound": [0, 4 / 8, 0], "mean hole below / bound": [0, 2 / 8, 0]},
    )
    assert (place.about, place.uses, place.resource[1:].tolist()) == ("buffer", "section", [0, 1])
    np.testing.assert_array_equal(seen.action_mask, [False, True, True])
    # x is gone, y and z share a section, and so do the sections follow each other
    assert seen.relation_names == ("shares a section", "next")
    wanted = np.zeros((5, 5), np.int8)
    wanted[1, 2] = wanted[2, 1] = 1
    wanted[3, 4] = wanted[4, 3] = 2
    np.testing.assert_array_equal(seen.relation, wanted)
    assert first.observation.relation[0, 1] == 1


GRAPH = {
    "tensors": [{"id": "x", "size": 4, "backed": True}, *({"id": n, "size": 2} for n in "yzw")],
    "ops": [
        {"id": 0, "inputs": ["x"], "outputs": ["y"]},
        {"id": 1, "inputs": [], "outputs": ["z"]},
        {"id": 2, "inputs": ["x", "y", "z"], "outputs": ["w"]},
    ],
}


@pytest.mark.parametrize("placement", ["bytes", "address"])
def test_replacement_after_one_operator(placement):
    """In units of 2 bytes the memory holds 5; x takes 2 of them and y, which was made, 1."""
    env = jaxsched.make("TensorReplacement-v0", schedule="free", placement=placement)
    state, _ = env.reset(KEY, memory.replacement.to_instance(GRAPH, 10))
    state, timestep = env.step(KEY, state, 0)
    seen = timestep.observation
    assert all_names(seen) == [
        ("operator", 8),
        ("tensor", 14),
        ("memory", 6),
        ("run", 3),
        ("evict", 3),
    ]
    assert_features(
        seen["operator"],
        {
            "inputs are made": [0, 1, 0],
            "waits for room": [0, 0, 0],
            "working set / capacity": [0, 1 / 5, 1],
            "leaves after it / capacity": [0, 0, 4 / 5],
            "position / operators left": [0, 0, 1 / 2],
            "inputs / 8": [0, 0, 3 / 8],
        },
    )
    at_address = placement == "address"
    assert_features(
        seen["tensor"],
        {
            "size / capacity": [2 / 5, 1 / 5, 1 / 5, 1 / 5],
            "is resident": [1, 1, 0, 0],
            "has a copy off-chip": [1, 0, 0, 0],
            "is backed": [1, 0, 0, 0],
            "was resident": [1, 1, 0, 0],
            "cost of evicting / capacity": [2 / 5, 2 / 5, 0, 0],
            "readers left / operators left": [1 / 2, 1 / 2, 1 / 2, 0],
            "next reader / operators left": [1 / 2, 1 / 2, 1 / 2, 0],
            "offset / capacity": [0, at_address * 2 / 5, 0, 0],
            "free above / capacity": [0, at_address * 2 / 5, 0, 0],
        },
    )
    assert_features(
        seen["memory"],
        {
            "used / capacity": [3 / 5],
            "made and to be read / capacity": [1 / 5],
            "deficit / capacity": [0],
            "largest gap / capacity": [2 / 5],
            "an operator waits": [0],
            "1 / operators left": [1 / 2],
        },
    )
    run, evict = seen.actions
    assert (run.about, run.uses, evict.about, evict.uses) == (
        "operator",
        "memory",
        "tensor",
        "memory",
    )
    np.testing.assert_array_equal(seen.action_node, np.arange(7))
    np.testing.assert_array_equal(seen.action_resource, np.full(7, 7))
    assert_features(run, {"position / operators left": [0, 0, 1 / 2]})
    assert_features(
        evict,
        {
            "(size - deficit) / capacity": [2 / 5, 1 / 5, 0, 0],
            "cost of evicting / capacity": [2 / 5, 2 / 5, 0, 0],
            "next reader / operators left": [1 / 2, 1 / 2, 0, 0],
        },
    )


def test_replacement_while_an_operator_waits():
    """In units of 2 bytes the memory holds 4: x takes 2 of them, y and z 1 each, and operator 2
    needs one more for w.
    """
    ops = [*GRAPH["ops"][:2], {"id": 2, "inputs": ["x", "z"], "outputs": ["w"]}]
    graph = {"tensors": GRAPH["tensors"], "ops": [*ops, {"id": 3, "inputs": ["y"], "outputs": []}]}
    env = jaxsched.make("TensorReplacement-v0", schedule="free")
    state, _ = env.reset(KEY, memory.replacement.to_instance(graph, 8))
    for action in (0, 1, 2):
        state, timestep = env.step(KEY, state, action)
    seen = timestep.observation
    np.testing.assert_array_equal(seen.action_mask, [0, 0, 0, 0, 1, 1, 1, 0])
    assert_features(
        seen["operator"],
        {"waits for room": [0, 0, 1, 0], "excess / capacity": [0, 0, 1 / 4, 0]},
    )
    assert_features(
        seen["tensor"],
        {
            "input of the one that waits": [1, 0, 1, 0],
            "output of the one that waits": [0, 0, 0, 1],
            "cost of evicting / capacity": [2 / 4, 2 / 4, 2 / 4, 0],
            "(size - deficit) / capacity": [1 / 4, 0, 0, 0],
            "next reader / operators left": [0, 1 / 2, 0, 0],
        },
    )
    assert_features(
        seen["memory"],
        {"used / capacity": [1], "deficit / capacity": [1 / 4], "an operator waits": [1]},
    )
    assert_features(seen.actions[1], {"(size - deficit) / capacity": [1 / 4, 0, 0, 0]})


def test_replacement_relates_operators_with_what_they_read_and_make():
    """Operators 0 to 2, then tensors x, y, z and w, 3 to 6."""
    env = jaxsched.make("TensorReplacement-v0")
    seen = env.reset(KEY, memory.replacement.to_instance(GRAPH, 10))[1].observation
    edges = jax.tree.map(np.asarray, seen.edges)
    found = {name: set() for name in seen.relation_names}
    for sender, receiver, number in zip(
        *(x[edges.mask].tolist() for x in (edges.senders, edges.receivers, edges.relation)),
        strict=True,
    ):
        found[seen.relation_names[number - 1]].add((receiver, sender))
    read = {(0, 3), (2, 3), (2, 4), (2, 5)}
    maker = {(4, 0), (5, 1), (6, 2)}
    assert found == {
        "read": read,
        "reader": {(tensor, op) for op, tensor in read},
        "maker": maker,
        "made": {(op, tensor) for tensor, op in maker},
    }
