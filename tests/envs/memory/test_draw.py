"""Pictures of plans: well-formed, one box per live stretch in the right place."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from jaxsched.envs import memory

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    {"id": "<a>", "start": 0, "end": 4, "size": 2},
    {"id": "b", "start": 2, "end": 9, "size": 3, "gaps": [(4, 6)]},
    {"id": "c", "start": 1, "end": 3, "size": 1, "offset": 7},
]


@pytest.fixture
def buffers():
    return memory.Buffers(ROWS)


@pytest.mark.parametrize("even", [True, False])
def test_one_box_per_live_stretch(buffers, even):
    plan = memory.allocate(buffers, method="first_fit_size")
    root = ElementTree.fromstring(
        memory.memory_map_svg(buffers, plan, title="x & y", even=even).svg
    )
    boxes = [group for group in root.iter(f"{SVG}g") if group.get("class") == "buffer"]
    titles = [group.find(f"{SVG}title").text for group in boxes]
    assert titles == [
        "<a>: live [0, 4), size 2, addresses [3, 5)",
        "b: live [2, 9), size 3, addresses [0, 3)".replace("[2, 9)", "[2, 4)"),
        "b: live [6, 9), size 3, addresses [0, 3)",
        "c: live [1, 3), size 1, addresses [7, 8), pinned",
    ]
    heights = [float(group.find(f"{SVG}rect").get("height")) for group in boxes]
    np.testing.assert_allclose(np.array(heights) / heights[3], [2, 3, 3, 1], rtol=1e-3)


def test_pictures_show_themselves_and_protect_files(buffers, tmp_path):
    picture = memory.memory_map_svg(buffers, memory.allocate(buffers, method="xla"))
    assert "<svg" in picture._repr_html_()
    picture.save(tmp_path / "x.svg")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        picture.save(tmp_path / "x.svg")


def test_matplotlib(buffers, tmp_path):
    mpl.use("Agg")
    plan = memory.allocate(buffers, method="xla")
    ax = memory.memory_map(buffers, plan)
    assert len(ax.patches) >= 4
    assert f"{plan.peak:,}" in ax.get_title(loc="left")
    ax.figure.savefig(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_plan_of_other_buffers_is_refused(buffers):
    plan = dataclasses.replace(memory.allocate(buffers, method="xla"), offsets=np.array([0]))
    with pytest.raises(ValueError, match="3 buffers, but the plan has 1 offsets"):
        memory.memory_map_svg(buffers, plan)
