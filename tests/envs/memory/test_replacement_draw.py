"""Pictures of plans of `replace`: well-formed, one box per stay, one mark per move, whatever the
plan.
"""

from __future__ import annotations

import dataclasses
import random
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import pytest

from jaxsched.envs import memory
from tests.envs.memory.replacement_cases import random_capacity, random_graph

SVG = "{http://www.w3.org/2000/svg}"
GRAPH = {
    "tensors": [
        {"id": "w", "size": 2, "backed": True},
        {"id": "<a>", "size": 3},
        {"id": "b", "size": 4},
        {"id": "c", "size": 1},
    ],
    "ops": [
        {"id": 0, "name": "one", "inputs": ["w"], "outputs": ["<a>"]},
        {"id": 1, "name": "two", "inputs": [], "outputs": ["b"]},
        {"id": 2, "name": "three", "inputs": ["<a>", "w"], "outputs": ["c"]},
    ],
}


def plan_of(placement: str) -> memory.replacement.Plan:
    where: list[dict[str, int] | None] = [
        {"w": 0, "<a>": 2},
        {"w": 0, "b": 2},
        {"w": 0, "<a>": 2, "c": 5},
    ]
    steps = [
        {"op": 0, "spill": [], "retrieve": ["w"], "keep": []},
        {"op": 1, "spill": ["<a>"], "retrieve": [], "keep": ["w"]},
        {"op": 2, "spill": [], "retrieve": ["<a>"], "keep": ["w"]},
    ]
    steps = [
        step | {"address": at if placement == "address" else None}
        for step, at in zip(steps, where, strict=True)
    ]
    return memory.replacement.Plan(steps, 6, 0, False, 6, "fixed", placement, 2)


def titles(picture, tag: str, kind: str) -> list[str]:
    root = ElementTree.fromstring(picture.svg)
    return [
        item.find(f"{SVG}title").text
        for item in root.iter(f"{SVG}{tag}")
        if item.get("class") == kind
    ]


def test_stays_moves_and_steps():
    plan = plan_of("address")
    assert memory.verify(GRAPH, plan) == []
    picture = memory.replacement_svg(GRAPH, plan, title="a & b")
    assert picture._repr_html_().startswith("<div")
    assert sorted(titles(picture, "g", "tensor")) == [
        "<a>: made, then spilled, 3 bytes, steps [0, 1), addresses [2, 5)",
        "<a>: retrieved, 3 bytes, steps [2, 3), addresses [2, 5)",
        "b: made, 4 bytes, steps [1, 2), addresses [2, 6)",
        "c: made, 1 bytes, steps [2, 3), addresses [5, 6)",
        "w: first load, 2 bytes, steps [0, 3), addresses [0, 2)",
    ]
    legend = ElementTree.fromstring(picture.svg).findall(f"{SVG}text[@class='key']")
    assert [text.text for text in legend][-3:] == ["first load", "retrieve", "spill"]
    assert sorted(titles(picture, "path", "move")) == [
        "first load of w before step 0",
        "retrieve of <a> before step 2",
        "spill of <a> before step 1",
    ]
    assert titles(picture, "g", "step") == [
        "step 0: 0 (one); retrieve w",
        "step 1: 1 (two); spill <a>",
        "step 2: 2 (three); retrieve <a>",
    ]


def test_with_bytes_every_tensor_has_a_row():
    picture = memory.replacement_svg(GRAPH, plan_of("bytes"))
    boxes = [
        rect
        for group in ElementTree.fromstring(picture.svg).iter(f"{SVG}g")
        for rect in group.iter(f"{SVG}rect")
        if group.get("class") == "tensor"
    ]
    assert len(boxes) == 5
    assert len({box.get("y") for box in boxes}) == 4
    assert "w: first load, 2 bytes, steps [0, 3)" in titles(picture, "g", "tensor")


@pytest.mark.parametrize("placement", ["bytes", "address"])
def test_bytes_of_the_marks_are_the_traffic(placement):
    rng = random.Random(3)
    for _ in range(40):
        graph = memory.Graph.from_dict(random_graph(rng))
        plan = memory.replace(
            graph, random_capacity(rng, graph.to_dict()), "fixed", placement, "belady"
        )
        moved = {"first load": 0, "retrieve": 0, "spill": 0}
        sizes = {str(id): size for id, size in zip(graph.tensor_ids, graph.size, strict=True)}
        for text in titles(memory.replacement_svg(graph, plan), "path", "move"):
            kind, _, rest = text.partition(" of ")
            moved[kind] += sizes[rest.partition(" before ")[0]]
        assert moved["first load"] == plan.compulsory
        assert moved["retrieve"] + moved["spill"] == plan.traffic


@pytest.mark.parametrize("placement", ["bytes", "address"])
def test_matplotlib(placement, tmp_path):
    mpl.use("Agg")
    above, below = memory.replacement_chart(GRAPH, plan_of(placement))
    assert len(above.patches) == 5
    assert sum(bar.get_height() for bar in below.patches) == 2 + 3 + 3
    above.figure.savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_what_cannot_be_drawn_is_said():
    good = plan_of("address")
    for change, message in (
        ({"op": 7}, "step 0: the graph has no operator 7"),
        ({"retrieve": ["v"]}, "step 0: the graph has no tensor 'v'"),
        ({"address": {"w": 0}}, "step 0: '<a>' is resident, but has no address"),
    ):
        bad = dataclasses.replace(good, steps=[good.steps[0] | change, *good.steps[1:]])
        with pytest.raises(ValueError, match=message):
            memory.replacement_svg(GRAPH, bad)
