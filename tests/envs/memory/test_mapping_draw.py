"""Pictures of mappings: well-formed, one box per block, one dot per fast access."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import pytest

from jaxsched.envs import memory

SVG = "{http://www.w3.org/2000/svg}"
PROGRAM = {
    "values": [{"id": "<x>", "size": 4, "input": True}, {"id": "y", "size": 2}],
    "instructions": [
        {"compute": 20, "accesses": [{"value": "y", "kind": "write"}]},
        {
            "compute": 1,
            "accesses": [{"value": "<x>", "kind": "read"}, {"value": "y", "kind": "read"}],
        },
    ],
    "capacity": 8,
    "slow_cost": 3,
    "fast_cost": 1,
    "copy_cost": 3,
}


@pytest.fixture
def given():
    program = memory.Program.from_dict(PROGRAM)
    return program, memory.mapping.Plan((1, 0, 1), 26, 38, 26)


def test_one_box_per_block_and_one_dot_per_fast_access(given):
    assert memory.verify(*given) == []
    root = ElementTree.fromstring(memory.mapping_svg(*given, title="a & b").svg)
    titles = [g.find(f"{SVG}title").text for g in root.iter(f"{SVG}g") if g.get("class") == "block"]
    assert titles == [
        "y: stays, instructions [0, 1), addresses [0, 2)",
        "<x>: copied in, instructions [0, 1), addresses [2, 6)",
        "<x>: stays, instructions [1, 2), addresses [2, 6)",
        "y: stays, instructions [1, 2), addresses [0, 2)",
    ]
    assert len(root.findall(f"{SVG}path[@class='hit']")) == 3
    supply = [
        g.find(f"{SVG}title").text for g in root.iter(f"{SVG}g") if g.get("class") == "supply"
    ]
    assert supply == ["0: copies take 12 of 20 ticks", "1: copies take 0 of 18 ticks"]


def test_matplotlib(given, tmp_path):
    mpl.use("Agg")
    above, below = memory.mapping_chart(*given)
    assert len(above.patches) == 4
    assert len(below.patches) == 4
    above.figure.savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_an_illegal_plan_is_refused(given):
    with pytest.raises(ValueError, match="access 0: COPY"):
        memory.mapping_svg(given[0], memory.mapping.Plan((0,), 1, 1, 1))
