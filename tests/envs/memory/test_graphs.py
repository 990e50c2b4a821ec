"""Generated programs: well-formed graphs, and the lives that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from jaxsched.envs import memory
from jaxsched.envs.memory import graphs

MAKERS = {
    "layered": lambda rng, backward: memory.layered(rng, 12, backward=backward),
    "attention": lambda rng, backward: memory.attention(rng, 2, backward=backward),
    "u_net": lambda rng, backward: memory.u_net(rng, 3, backward=backward),
    "series_parallel": lambda rng, backward: memory.series_parallel(rng, 20, backward=backward),
}


def check_graph(graph):
    """Every tensor is made once, before it is read; ids count from 0; sizes are multiples of 64."""
    ready = {tensor["id"] for tensor in graph["tensors"] if tensor["backed"]}
    assert [tensor["id"] for tensor in graph["tensors"]] == list(range(len(graph["tensors"])))
    assert [op["id"] for op in graph["ops"]] == list(range(len(graph["ops"])))
    for op in graph["ops"]:
        assert len(set(op["inputs"])) == len(op["inputs"])
        assert set(op["inputs"]) <= ready
        for tensor in op["outputs"]:
            assert tensor not in ready
            ready.add(tensor)
    assert len(ready) == len(graph["tensors"])
    assert all(tensor["size"] > 0 and tensor["size"] % 64 == 0 for tensor in graph["tensors"])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_graphs_are_well_formed(name, backward):
    for seed in range(5):
        graph = MAKERS[name](np.random.default_rng(seed), backward)
        check_graph(graph)
        assert MAKERS[name](np.random.default_rng(seed), backward) == graph
        buffers = memory.live_ranges(graph)
        assert len(buffers) == sum(not tensor["backed"] for tensor in graph["tensors"])
        assert memory.verify(buffers, memory.allocate(buffers, method="xla")) == []


@pytest.mark.parametrize("name", MAKERS)
def test_backward_reaches_every_weight_and_keeps_activations(name):
    forward = MAKERS[name](np.random.default_rng(1), False)
    graph = MAKERS[name](np.random.default_rng(1), True)
    assert graph["ops"][: len(forward["ops"])] == forward["ops"]
    gradients = [op for op in graph["ops"] if op["name"].endswith("_gradient")]
    read = {tensor for op in gradients for tensor in op["inputs"]}
    weights = {tensor["id"] for tensor in forward["tensors"] if tensor["backed"]} - {0}
    used = {tensor for op in forward["ops"] for tensor in op["inputs"]}
    assert weights & used <= read
    ratio = memory.lower_bound(memory.live_ranges(graph)) / memory.lower_bound(
        memory.live_ranges(forward)
    )
    assert ratio > 1


def test_live_ranges_by_hand():
    graph = {
        "tensors": [{"id": i, "size": 64 * (i + 1), "backed": i == 0} for i in range(4)],
        "ops": [
            {"id": 0, "name": "f", "inputs": [0], "outputs": [1]},
            {"id": 1, "name": "g", "inputs": [0, 1], "outputs": [2]},
            {"id": 2, "name": "h", "inputs": [2], "outputs": [3]},
        ],
    }
    lives = {
        row["id"]: (row["start"], row["end"], row["size"]) for row in memory.live_ranges(graph)
    }
    assert lives == {1: (0, 2, 128), 2: (1, 3, 192), 3: (2, 3, 256)}
    assert next(iter(memory.live_ranges(graph, backed=True))) == {
        "id": 0,
        "start": 0,
        "end": 2,
        "size": 64,
    }


def test_drawn_programs_keep_their_limits():
    sizes = []
    for seed in range(40):
        graph = memory.draw_program(seed, most=200)
        check_graph(graph)
        sizes.append(len(memory.live_ranges(graph)))
        assert memory.draw_program(seed, most=200) == graph
    assert 20 <= min(sizes) < max(sizes) <= 200
    assert set(graphs.GENERATORS) == set(MAKERS)
