"""Platforms, job profiles and static graphs: what is read, what is refused and how it is named,
by file and by dict.
"""

from __future__ import annotations

import copy
import json
import pathlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsched.envs.soc.io import load_job, load_platform, load_static
from jaxsched.envs.soc.platforms import Job, Platform, StaticGraph, check
from jaxsched.host.checks import INT32_MAX
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import MAX_FILE_BYTES

LOADERS = {"platform": load_platform, "job": load_job, "static": load_static}

PLATFORM = {
    "schema": "jaxsched-soc-platform/1",
    "name": "small",
    "clusters": [
        {
            "id": 0,
            "name": "cpu",
            "num_pes": 2,
            "opp": [{"freq_mhz": 600}, {"freq_mhz": 900}],
            "exec_time": {"a": 4, "b": 6},
            "power_profile_w": {"600": [0.1, 0.2], "1000": [0.5, 0.8]},
        },
        {"id": 1, "name": "acc", "num_pes": 1, "exec_time": {"b": 1}, "task_power": {"b": 7}},
        {"id": 2, "name": "memory", "num_pes": 1, "is_memory": True, "exec_time": {}},
    ],
    "pes": [
        {"id": 0, "cluster": 0},
        {"id": 1, "cluster": 0},
        {"id": 2, "cluster": 1},
        {"id": 3, "cluster": 2},
    ],
    "cluster_bandwidth": [[10, 5, 2], [4, 0, 3], [6, 7, 0]],
    "self_bandwidth": 100,
}
JOB = {
    "schema": "jaxsched-soc-job/1",
    "name": "pair",
    "num_tasks": 3,
    "head": [0],
    "tail": [1, 2],
    "tasks": [
        {"id": 0, "name": "a", "predecessors": [], "earliest_start": 0, "deadline": 2},
        {"id": 1, "name": "b", "predecessors": [0]},
        {"id": 2, "name": "c", "predecessors": [0]},
    ],
    "edges": [{"src": 0, "dst": 1, "volume": 12}, {"src": 0, "dst": 2, "volume": 0}],
}
STATIC = {
    "schema": "jaxsched-static-dag/1",
    "name": "two",
    "exec_time": [[3, None], [2, 5]],
    "edges": [{"src": 0, "dst": 1, "volume": 8}],
    "bandwidth": [[0, 1], [2, 0]],
}
VALID = {"platform": PLATFORM, "job": JOB, "static": STATIC}
GONE = object()


def changed(data, path, value):
    """A copy with `value` at `path`, or without that key."""
    data = copy.deepcopy(data)
    at = data
    for part in path[:-1]:
        at = at[part]
    if value is GONE:
        del at[path[-1]]
    elif isinstance(at, list) and path[-1] == len(at):
        at.append(value)
    else:
        at[path[-1]] = value
    return data


def refusal(load, value) -> str:
    """The message of the `InstanceError`, or that there was none."""
    try:
        load(value)
    except InstanceError as error:
        return str(error)
    return "accepted"


# ------------------------------------------------------------------------------------- what is read


def test_a_platform_is_flat():
    platform = load_platform(PLATFORM)
    assert platform.pes == ("cpu.0", "cpu.1", "acc")
    assert platform.exec_time == {"a": (4, 4, None), "b": (6, 6, 1)}
    assert platform.bandwidth.dtype == np.int32
    assert platform.bandwidth.tolist() == [[100, 10, 5], [10, 100, 5], [4, 4, 100]]
    assert platform.to_memory is not None
    assert platform.from_memory is not None
    assert (platform.to_memory.tolist(), platform.from_memory.tolist()) == ([2, 2, 3], [6, 6, 7])
    with pytest.raises(ValueError, match="read-only"):
        platform.bandwidth[0, 0] = 1


def test_power_is_that_of_one_busy_pe_at_the_first_frequency_listed_from_the_top_one_on():
    platform = load_platform(PLATFORM)
    assert platform.power == {"a": (0.5, 0.5, None), "b": (0.5, 0.5, 7.0)}
    assert platform.energy("b", 2, 3) == 21
    assert platform.energy("a", 2, 3) is None
    assert (
        load_platform(changed(PLATFORM, ("clusters", 0, "power_profile_w"), GONE)).energy("a", 0, 1)
        is None
    )


def test_without_a_memory_node_and_with_the_diagonal_as_self_bandwidth():
    data = changed(PLATFORM, ("clusters", 2), GONE)
    data["pes"].pop()
    data["cluster_bandwidth"] = [[10, 5], [4, 9]]
    data["self_bandwidth"] = None
    platform = load_platform(data)
    assert platform.to_memory is platform.from_memory is None
    assert platform.bandwidth.tolist() == [[10, 10, 5], [10, 10, 5], [4, 4, 9]]


def test_a_job():
    assert load_job(JOB) == Job("pair", ("a", "b", "c"), ((0, 1, 12), (0, 2, 0)))
    assert load_job({"name": "x", "tasks": [{"name": "t"}], "edges": []}).num_tasks == 1


def test_a_static_graph():
    graph = load_static(STATIC)
    assert (graph.exec_time, graph.edges) == (((3, None), (2, 5)), ((0, 1, 8),))
    assert graph.bandwidth.tolist() == [[0, 1], [2, 0]]


def test_names_of_the_package():
    platform = load_platform("socrates_top")
    assert platform.num_pes == 3
    jobs = [load_job(f"socrates_top{i}") for i in range(1, 11)]
    assert all(job.num_tasks == 10 for job in jobs)
    check(platform, jobs)
    assert (
        len(load_static("topcuoglu_2002").exec_time),
        len(load_static("arabnejad_2014").exec_time),
    ) == (10, 10)
    assert platform.power is not None
    assert platform.power["task_1"] == (14, 16, 9)


def test_the_package_ships_what_its_licence_allows():
    folder = pathlib.Path(__file__).parents[3] / "jaxsched" / "envs" / "soc" / "data"
    files = sorted(folder.glob("*.json"))
    assert len(files) == 13
    for file in files:
        data = json.loads(file.read_text())
        assert data["origin"]
        assert data["licence"].startswith("MIT") or data["licence"] == "facts from a publication"
    assert "Permission is hereby granted" in (folder / "LICENSE.socrates").read_text()


def test_names_of_the_data_folder(data_dir):
    platform = load_platform("ds3_multiple_bal")
    assert platform.num_pes == 16
    assert platform.bandwidth[4, 10] == 10
    assert platform.power is not None
    assert platform.power["crc_1"][:5] == (0.39, 0.39, 0.39, 0.39, 3.32)
    profiles = ["wifi_tx", "wifi_rx", "range_detection", "single_carrier_tx", "single_carrier_rx"]
    check(platform, [load_job(f"ds3_{name}") for name in [*profiles, "temporal_mitigation"]])
    for kind, prefix in (("platform", "soc"), ("job", "job"), ("static", "static")):
        for file in (data_dir / "soc").glob(f"{prefix}_*.json"):
            assert LOADERS[kind](file).name == LOADERS[kind](json.loads(file.read_text())).name


def test_lookup_of_names(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSCHED_DATA", raising=False)
    with pytest.raises(
        InstanceError, match=r"no file and no platform named 'small'; .*set JAXSCHED_DATA"
    ):
        load_platform("small")
    monkeypatch.setenv("JAXSCHED_DATA", str(tmp_path))
    with pytest.raises(InstanceError, match=r"JAXSCHED_DATA=.* has no soc/soc_\*\.json with it"):
        load_platform("small")
    (tmp_path / "soc").mkdir()
    file = tmp_path / "soc" / "soc_mine.json"
    file.write_text(json.dumps(PLATFORM))
    assert load_platform("small").pes[2] == "acc"
    file.write_text(json.dumps(changed(PLATFORM, ("name",), "other one")))  # an edit is seen
    with pytest.raises(InstanceError, match="known: other one, socrates_top"):
        load_platform("smooth")
    with pytest.raises(InstanceError, match="did you mean socrates_top7"):
        load_job("socrates_top7x")


# ---------------------------------------------------------------------------------- what is refused

# kind, path, value there, the message after the field's name
MALFORMED = [
    ("platform", ("clusters",), GONE, "'clusters' is missing"),
    ("platform", ("name",), GONE, "'name' is missing"),
    ("platform", ("name",), "", "name: '' is not a name"),
    ("platform", ("name",), "a\nb", r"name: 'a\\nb' is not a name"),
    ("platform", ("name",), 7, "name: 7 is not a name"),
    (
        "platform",
        ("schema",),
        "jaxsched-soc-job/1",
        "schema: 'jaxsched-soc-job/1' is not a platform",
    ),
    ("platform", ("schema",), 1, "schema: 1 is not a platform"),
    ("platform", ("cluster",), [], r"unknown key 'cluster'; did you mean clusters\?"),
    ("platform", ("clusters",), {}, r"clusters: expected an array, got {}"),
    ("platform", ("clusters", 0), 3, r"clusters\[0\]: expected an object, got 3"),
    (
        "platform",
        ("clusters", 0, "exec_times"),
        {},
        r"clusters\[0\]: unknown key .*did you mean exec_time",
    ),
    ("platform", ("clusters", 0, "id"), 1, r"clusters\[0\].id: 1, expected 0"),
    (
        "platform",
        ("clusters", 1, "name"),
        "cpu",
        r"clusters\[1\].name: 'cpu' is also the name of clusters\[0\]",
    ),
    ("platform", ("clusters", 0, "num_pes"), 3, r"clusters\[0\].num_pes: 3, but `pes` lists 2"),
    (
        "platform",
        ("clusters", 0, "num_pes"),
        0,
        r"clusters\[0\].num_pes: must be at least 1, got 0",
    ),
    (
        "platform",
        ("clusters", 1, "is_memory"),
        1,
        r"clusters\[1\].is_memory: 1 is not true or false",
    ),
    (
        "platform",
        ("clusters", 1, "is_memory"),
        True,
        r"clusters\[1\].exec_time: the memory node runs no tasks",
    ),
    (
        "platform",
        ("clusters", 2, "exec_time"),
        {"a": 1},
        r"clusters\[2\].exec_time: the memory node runs no tasks",
    ),
    (
        "platform",
        ("clusters", 0, "exec_time", "a"),
        -4,
        r"clusters\[0\].exec_time.a: -4 is negative",
    ),
    (
        "platform",
        ("clusters", 0, "exec_time", "a"),
        1.5,
        r"clusters\[0\].exec_time.a: 1.5 is not an integer",
    ),
    (
        "platform",
        ("clusters", 0, "exec_time", "a"),
        "4",
        r"clusters\[0\].exec_time.a: '4' is not an integer",
    ),
    (
        "platform",
        ("clusters", 0, "exec_time", "a"),
        True,
        r"clusters\[0\].exec_time.a: True is not an integer",
    ),
    (
        "platform",
        ("clusters", 0, "exec_time", "a"),
        None,
        r"clusters\[0\].exec_time.a: None is not an integer",
    ),
    (
        "platform",
        ("clusters", 0, "exec_time", "a"),
        2**31,
        r"clusters\[0\].exec_time.a: 2147483648 does not fit int32",
    ),
    ("platform", ("clusters", 0, "exec_time", ""), 2, "exec_time: '' is not a name"),
    ("platform", ("clusters", 0, "exec_time"), [], r"clusters\[0\].exec_time: expected an object"),
    (
        "platform",
        ("clusters", 1, "task_power", "b"),
        -1,
        r"clusters\[1\].task_power.b: -1 is not a number from 0",
    ),
    (
        "platform",
        ("clusters", 1, "task_power", "b"),
        "1",
        r"clusters\[1\].task_power.b: '1' is not a number",
    ),
    (
        "platform",
        ("clusters", 1, "task_power", "b"),
        float("nan"),
        r"clusters\[1\].task_power.b: nan is not a number",
    ),
    (
        "platform",
        ("clusters", 0, "power_profile_w", "x"),
        [1],
        r"power_profile_w.x: 'x' is not a frequency in MHz",
    ),
    ("platform", ("clusters", 0, "power_profile_w", "1000"), [], r"power_profile_w.1000: is empty"),
    (
        "platform",
        ("clusters", 0, "power_profile_w", "1000"),
        GONE,
        "power_profile_w: no frequency of at least 900 MHz",
    ),
    (
        "platform",
        ("pes", 1, "cluster"),
        3,
        r"pes\[1\].cluster: 3 is out of range, there are 3 clusters",
    ),
    ("platform", ("pes", 1, "cluster"), -1, r"pes\[1\].cluster: -1 is negative"),
    ("platform", ("pes", 1, "id"), 0, r"pes\[1\].id: 0, expected 1"),
    ("platform", ("pes", 4), {"cluster": 2}, r"clusters\[2\].num_pes: 1, but `pes` lists 2"),
    (
        "platform",
        ("cluster_bandwidth", 0, 1),
        0,
        r"cluster_bandwidth\[0\]\[1\]: must be at least 1, got 0",
    ),
    (
        "platform",
        ("cluster_bandwidth", 0, 2),
        0,
        r"cluster_bandwidth\[0\]\[2\]: must be at least 1, got 0",
    ),
    (
        "platform",
        ("cluster_bandwidth", 0, 0),
        0,
        r"cluster_bandwidth\[0\]\[0\]: must be at least 1, got 0",
    ),
    (
        "platform",
        ("cluster_bandwidth", 1, 0),
        -3,
        r"cluster_bandwidth\[1\]\[0\]: must be at least 1, got -3",
    ),
    (
        "platform",
        ("cluster_bandwidth", 1, 0),
        None,
        r"cluster_bandwidth\[1\]\[0\]: None is not an integer",
    ),
    (
        "platform",
        ("cluster_bandwidth", 1),
        [1, 2],
        r"cluster_bandwidth\[1\]: 2 entries, expected 3",
    ),
    ("platform", ("cluster_bandwidth", 3), [1, 2, 3], "cluster_bandwidth: 4 rows, expected 3"),
    ("platform", ("self_bandwidth",), 0, "self_bandwidth: must be at least 1, got 0"),
    ("job", ("tasks",), [], "tasks: 0 tasks, expected 1"),
    ("job", ("tasks",), None, "tasks: expected an array, got None"),
    ("job", ("tasks", 1, "name"), "a", r"tasks\[1\].name: 'a' is also the name of tasks\[0\]"),
    ("job", ("tasks", 1, "name"), GONE, r"tasks\[1\]: 'name' is missing"),
    ("job", ("tasks", 1, "id"), 2, r"tasks\[1\].id: 2, expected 1"),
    ("job", ("tasks", 1, "deadline"), -1, r"tasks\[1\].deadline: -1 is negative"),
    (
        "job",
        ("tasks", 1, "predecessors"),
        [2],
        r"tasks\[1\].predecessors: \[2\], but the edges say \[0\]",
    ),
    ("job", ("num_tasks",), 4, "num_tasks: 4, but there are 3 tasks"),
    ("job", ("head",), [1], r"head: \[1\], but the edges say \[0\]"),
    ("job", ("tail",), [], r"tail: \[\], but the edges say \[1, 2\]"),
    ("job", ("edges", 0, "dst"), 3, r"edges\[0\].dst: 3 is no task, there are 3, counted from 0"),
    ("job", ("edges", 0, "src"), -1, r"edges\[0\].src: -1 is negative"),
    ("job", ("edges", 0, "volume"), -12, r"edges\[0\].volume: -12 is negative"),
    ("job", ("edges", 0, "volume"), 1e3, r"edges\[0\].volume: 1000.0 is not an integer"),
    ("job", ("edges", 0, "volume"), GONE, r"edges\[0\]: 'volume' is missing"),
    ("job", ("edges", 0, "data"), 1, r"edges\[0\]: unknown key 'data'; known: src, dst, volume"),
    ("job", ("edges", 0, "src"), 1, r"edges\[0\]: task 1 cannot precede itself"),
    ("job", ("edges", 1, "dst"), 1, r"edges\[1\]: a second edge from task 0 to task 1"),
    (
        "job",
        ("edges", 2),
        {"src": 1, "dst": 0, "volume": 1},
        "edges: the tasks (0 -> 1 -> 0|1 -> 0 -> 1) are a cycle",
    ),
    ("static", ("exec_time",), [], "exec_time: 0 tasks"),
    ("static", ("exec_time", 0), [], r"exec_time\[0\]: 0 PEs"),
    ("static", ("exec_time", 1), [1], r"exec_time\[1\]: 1 times for 2 PEs"),
    ("static", ("exec_time", 1, 0), -1, r"exec_time\[1\]\[0\]: -1 is negative"),
    ("static", ("exec_time", 0, 0), None, r"exec_time\[0\]: no PE can run this task"),
    ("static", ("bandwidth", 0, 1), 0, r"bandwidth\[0\]\[1\]: must be at least 1, got 0"),
    ("static", ("bandwidth", 0), [0], r"bandwidth\[0\]: 1 numbers for 2 PEs"),
    ("static", ("bandwidth",), [[0]], r"bandwidth: 1 rows for 2 PEs"),
    ("static", ("edges", 0, "dst"), 2, r"edges\[0\].dst: 2 is no task"),
    # Issue 16, row 0: what is walked into is not a container. The first is the case of the table.
    ("platform", ("clusters", 0, "opp", 0), None, r"clusters\[0\].opp\[0\]: expected an object"),
    ("platform", ("clusters", 0, "opp", 0), 7, r"opp\[0\]: expected an object, got 7"),
    ("platform", ("clusters", 0, "opp", 0), "freq_mhz", r"opp\[0\]: expected an object, got"),
    ("platform", ("clusters", 0, "opp", 0), ["freq_mhz"], r"opp\[0\]: expected an object, got \["),
    ("platform", ("clusters", 0, "opp"), {"0": 1}, r"clusters\[0\].opp: expected an array, got {"),
    ("platform", ("clusters", 0, "opp"), GONE, r"clusters\[0\]: 'opp' is missing"),
    ("platform", ("clusters", 0, "power_profile_w"), [1], "power_profile_w: expected an object"),
    ("platform", ("clusters", 0, "power_profile_w"), False, "power_profile_w: expected an object"),
    ("platform", ("clusters", 0, "power_profile_w", "1000"), "0.5", "w.1000: expected an array"),
    (
        "platform",
        ("clusters", 0, "power_profile_w", "1000"),
        [True],
        r"power_profile_w.1000\[0\]: True is not a number",
    ),
    ("platform", ("clusters", 1, "task_power"), 0, "task_power: expected an object, got 0"),
    ("platform", ("clusters", 1, "task_power"), [["b", 7]], "task_power: expected an object"),
    ("platform", ("clusters", 0, "exec_time", "a\nb"), None, r"exec_time\['a\\nb'\]: None is not"),
    ("platform", ("pes", 1), None, r"pes\[1\]: expected an object, got None"),
    ("platform", ("pes", 1), [0], r"pes\[1\]: expected an object, got \[0\]"),
    ("platform", ("pes",), "00", "pes: expected an array, got '00'"),
    ("platform", ("cluster_bandwidth", 1), {"0": 1}, r"bandwidth\[1\]: expected an array"),
    ("platform", ("cluster_bandwidth", 1, 0), [4], r"bandwidth\[1\]\[0\]: \[4\] is not"),
    ("platform", ("self_bandwidth",), False, "self_bandwidth: False is not an integer"),
    ("platform", ("schema",), ["jaxsched-soc-platform/1"], "schema: .* is not a platform"),
    ("job", ("tasks", 0), None, r"tasks\[0\]: expected an object, got None"),
    ("job", ("tasks",), {"0": {"name": "a"}}, "tasks: expected an array, got {"),
    ("job", ("tasks", 1, "predecessors"), 0, r"tasks\[1\].predecessors: expected an array, got 0"),
    ("job", ("tasks", 1, "predecessors"), [None], r"predecessors\[0\]: None is not an int"),
    ("job", ("head",), 0, "head: expected an array, got 0"),
    ("job", ("head",), {"0": 0}, "head: expected an array, got {"),
    ("job", ("tail",), "12", "tail: expected an array, got '12'"),
    ("job", ("edges", 0), None, r"edges\[0\]: expected an object, got None"),
    ("job", ("edges", 0), [0, 1, 12], r"edges\[0\]: expected an object, got \[0, 1, 12\]"),
    ("job", ("edges",), None, "edges: expected an array, got None"),
    ("static", ("exec_time",), {"0": [1]}, "exec_time: expected an array, got {"),
    ("static", ("exec_time", 0), None, r"exec_time\[0\]: expected an array, got None"),
    ("static", ("exec_time", 0), "12", r"exec_time\[0\]: expected an array, got '12'"),
    ("static", ("exec_time", 0, 0), float("inf"), r"exec_time\[0\]\[0\]: inf is not an integer"),
    ("static", ("exec_time", 0, 0), [[[[[[[3]]]]]]], r"time\[0\]\[0\]: .* is not an integer"),
    ("static", ("bandwidth",), 3, "bandwidth: expected an array, got 3"),
    ("static", ("bandwidth", 1), None, r"bandwidth\[1\]: expected an array, got None"),
    ("static", ("bandwidth", 0, 1), True, r"bandwidth\[0\]\[1\]: True is not an integer"),
    ("static", ("bandwidth", 0, 1), 1.5, r"bandwidth\[0\]\[1\]: 1.5 is not an integer"),
    ("static", ("bandwidth", 0, 1), 10**19, r"bandwidth\[0\]\[1\]: 10+ does not fit int32"),
]


@pytest.mark.parametrize(("kind", "path", "value", "message"), MALFORMED)
def test_malformed_values_are_named(tmp_path, kind, path, value, message):
    """From a dict, and from a file, where the line points at the value too."""
    data = changed(VALID[kind], path, value)
    with pytest.raises(InstanceError, match=message) as from_dict:
        LOADERS[kind](data)
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data, indent=1))
    with pytest.raises(InstanceError, match=message) as from_file:
        LOADERS[kind](file)
    assert from_file.value.reason.lower() == from_dict.value.reason.lower()
    assert from_file.value.file == str(file)
    assert "\n" not in str(from_file.value)


def test_the_line_is_that_of_the_value(tmp_path):
    file = tmp_path / "bad.json"
    text = json.dumps(changed(PLATFORM, ("clusters", 1, "exec_time", "b"), -7), indent=1)
    file.write_text(text)
    with pytest.raises(InstanceError) as error:
        load_platform(file)
    assert error.value.line is not None
    assert '"b": -7' in text.splitlines()[error.value.line - 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ("[]", "expected a platform as one JSON object, got an array"),
        ("{", "not JSON"),
        ('{"name": "a", "name": "b"}', "the key 'name' is given twice"),
        ('{"name": ' + "[" * 100_000, "nested too deeply"),
        ('{"pes": [{"cluster": 1' + "0" * 5000 + "}]}", "."),
        ('{"pes": [{"cluster": 0, "cluster": 1}]}', "the key 'cluster' is given twice"),
        ('{"clusters": [], "pes": null}', "pes: expected an array, got None"),
        ("\0", "not a text file"),
    ],
)
def test_what_is_no_such_file(tmp_path, content, message):
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(InstanceError, match=message):
        load_platform(file)


def test_overlong_files_are_refused_unread(tmp_path):
    path = tmp_path / "long.json"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    for load in LOADERS.values():
        with pytest.raises(InstanceError, match="larger than 4 MiB"):
            load(path)


def test_sizes_that_would_fill_the_memory_are_refused():
    """A small file can ask for a large matrix."""
    many = 1200
    data = copy.deepcopy(PLATFORM)
    data["clusters"][0]["num_pes"] = many
    data["pes"] = [{"cluster": 0}] * many + [{"cluster": 1}, {"cluster": 2}]
    with pytest.raises(InstanceError, match="1201 PEs, expected 1 to 1024"):
        load_platform(data)
    data["clusters"][0]["num_pes"] = 1000
    data["pes"] = [{"cluster": 0}] * 1000 + [{"cluster": 1}, {"cluster": 2}]
    data["clusters"][0]["exec_time"] = {str(i): 1 for i in range(2000)}
    with pytest.raises(InstanceError, match="2001 tasks on 1001 PEs: more than 1048576 times"):
        load_platform(data)
    with pytest.raises(InstanceError, match="5000 tasks, expected 1 to 4096"):
        load_job({"name": "long", "tasks": [{"name": str(i)} for i in range(5000)], "edges": []})


def test_an_unknown_key_with_a_line_end_is_one_line():
    data = copy.deepcopy(VALID["job"])
    data["edges"][0] = {"\n": None}
    assert "\n" not in refusal(LOADERS["job"], data)


@pytest.mark.parametrize("kind", sorted(LOADERS))
@pytest.mark.parametrize("source", [None, 7, 1.5, ["socrates_top"], b"socrates_top", {1: 2}, {}])
def test_what_is_no_source_is_refused(kind, source):
    """Issue 16, row 0."""
    with pytest.raises(InstanceError, match=r"expected a |the key 1 is not a text|is missing"):
        LOADERS[kind](source)


@pytest.mark.parametrize("depth", [900, 950, 980, 990, 1000])
def test_nesting_near_the_limit_of_python(tmp_path, depth):
    """Issue 16, row 0: what can just be parsed can also be pointed at."""
    file = tmp_path / "deep.json"
    nested = "[" * depth + "]" * depth
    file.write_text(json.dumps(PLATFORM)[:-1] + f', "notes": {nested}, "name ": 1}}')
    assert refusal(load_platform, file).startswith(str(file))


# Values of JSON, and what only Python has: other keys, arrays, sets, thousands of digits.
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEY = st.text(max_size=3) | st.sampled_from(["name", "id", "opp", "freq_mhz", "src", "head"])
JSON = st.recursive(LEAF, lambda c: st.lists(c, max_size=3) | st.dictionaries(KEY, c, max_size=3))
ODD = [
    10**5000,
    {1: 2},
    {None: 1, "a": 2},
    {"x"},
    b"a",
    np.float32("nan"),
    np.array(3),
    np.eye(2),
    object(),
    [10**5000],
]
ANYTHING = JSON | st.sampled_from(ODD)


def damage(data, document, anything):
    """The document with a value anywhere: in the place of another one, or under a new key."""
    at, path = document, []
    while isinstance(at, dict | list) and at and (not path or data.draw(st.booleans())):
        key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        path.append(key)
        at = at[key]
    if isinstance(at, dict) and data.draw(st.booleans()):
        path.append(data.draw(KEY))
    return changed(document, path, data.draw(anything))


def read_or_refused(data):
    """Any values at any places of a valid document are read, or refused with one line."""
    kind = data.draw(st.sampled_from(sorted(VALID)))
    document = VALID[kind]
    for _ in range(data.draw(st.integers(1, 3))):
        document = damage(data, document, ANYTHING)
    assert "\n" not in refusal(LOADERS[kind], document)


def built_or_refused(data):
    """The objects themselves, with any value in the place of an argument."""
    kind, arguments = data.draw(st.sampled_from(OBJECTS))
    field = data.draw(st.sampled_from(sorted(arguments)))
    value = data.draw(ANYTHING)
    if data.draw(st.booleans()):
        value = damage(data, arguments, ANYTHING)[field]
    assert "\n" not in refusal(lambda given: kind(**given), {**arguments, field: value})


OBJECTS = [
    (
        Platform,
        {
            "name": "p",
            "pes": ["x", "y"],
            "exec_time": {"a": [1, None], "b": [2, 3]},
            "bandwidth": [[1, 1], [2, 1]],
            "to_memory": [1, 2],
            "from_memory": [3, 1],
            "power": {"a": [1.5, None]},
        },
    ),
    (Job, {"name": "j", "tasks": ["a", "b"], "edges": [[0, 1, 3]]}),
    (
        StaticGraph,
        {
            "name": "s",
            "exec_time": [[1, 2], [None, 1]],
            "edges": [[0, 1, 3]],
            "bandwidth": [[0, 1], [1, 0]],
        },
    ),
]


@given(st.data())
@settings(max_examples=300)
def test_no_value_anywhere_crashes_a_loader(data):
    read_or_refused(data)


@given(st.data())
@settings(max_examples=200)
def test_no_value_anywhere_crashes_an_object(data):
    built_or_refused(data)


@pytest.mark.nightly
@pytest.mark.parametrize("check", [read_or_refused, built_or_refused])
def test_no_value_of_thousands_crashes(check):
    """The same with other values every night; what fails becomes a fixed example."""
    thousands = settings(derandomize=False, max_examples=5000, print_blob=True)
    thousands(given(st.data())(check))()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=200)
def test_no_bytes_crash_a_loader(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("fuzz") / "x.json"
    file.write_bytes(content)
    for load in LOADERS.values():
        with pytest.raises(InstanceError):
            load(file)


@given(st.integers(0, len(json.dumps(PLATFORM)) - 1), st.integers(32, 126), st.booleans())
@settings(max_examples=200)
def test_no_damaged_byte_crashes_a_loader(tmp_path_factory, position, byte, cut):
    content = bytearray(json.dumps(PLATFORM).encode())
    content[position] = byte
    file = tmp_path_factory.mktemp("fuzz") / "x.json"
    file.write_bytes(content[:position] if cut else content)
    assert refusal(load_platform, file).startswith((str(file), "accepted"))


# --------------------------------------------------------------------------- objects, both together


def test_objects_check_themselves():
    with pytest.raises(InstanceError, match=r"bandwidth\[1\]\[0\]: must be at least 1, got 0"):
        Platform("p", ("x", "y"), {"a": (1, 2)}, np.array([[1, 1], [0, 1]]))
    with pytest.raises(InstanceError, match=r"exec_time.a: 1 times for 2 PEs"):
        Platform("p", ("x", "y"), {"a": (1,)}, np.ones((2, 2), int))
    with pytest.raises(InstanceError, match="from_memory: is given for one direction only"):
        Platform("p", ("x",), {"a": (1,)}, np.ones((1, 1), int), to_memory=np.ones(1, int))
    with pytest.raises(InstanceError, match=r"bandwidth\[0\]\[0\]: 1.5 is not an integer"):
        Platform("p", ("x",), {"a": (1,)}, np.array([[1.5]]))
    with pytest.raises(InstanceError, match=r"pes\[1\]: 'x' is also the name of pes\[0\]"):
        Platform("p", ("x", "x"), {"a": (1, 1)}, np.ones((2, 2), int))
    with pytest.raises(InstanceError, match="are a cycle"):
        Job("j", ("a", "b"), ((0, 1, 0), (1, 0, 0)))
    with pytest.raises(InstanceError, match=r"edges\[0\]: expected \(src, dst, volume\)"):
        Job("j", ("a", "b"), ((0, 1),))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InstanceError, match="no PE can run this task"):
        StaticGraph("s", ((None,),), (), np.ones((1, 1), int))


def test_long_cycles_are_cut_short():
    edges = [(k, (k + 1) % 50, 0) for k in range(50)]
    random.Random(0).shuffle(edges)
    with pytest.raises(InstanceError, match=r"the tasks (\d+ -> ){7}\.\.\. are a cycle"):
        Job("j", tuple(map(str, range(50))), tuple(edges))


def test_a_task_that_no_pe_can_run():
    with pytest.raises(
        InstanceError,
        match=r"job 'pair': tasks\[2\].name 'c': no PE of platform 'small' can run it",
    ):
        check(load_platform(PLATFORM), [load_job(JOB)])
    nowhere = Platform("p", ("x",), {"a": (None,)}, np.ones((1, 1), int))
    with pytest.raises(InstanceError, match=r"tasks\[0\].name 'a': no PE"):
        check(nowhere, [Job("j", ("a",), ())])


def test_two_jobs_of_one_name():
    platform = Platform("p", ("x",), {"a": (1,), "b": (1,)}, np.ones((1, 1), int))
    check(platform, [Job("j", ("a",), ()), Job("j", ("a",), ())])
    with pytest.raises(InstanceError, match="two different jobs have the name 'j'"):
        check(platform, [Job("j", ("a",), ()), Job("j", ("b",), ())])


def test_times_that_may_overflow():
    platform = Platform("p", ("x",), {"a": (INT32_MAX,), "b": (1,)}, np.ones((1, 1), int))
    check(platform, [Job("j", ("a",), ())])
    with pytest.raises(InstanceError, match=r"job 'k': .*exceeds int32: use a coarser unit"):
        check(platform, [Job("k", ("a", "b"), ())])
    with pytest.raises(InstanceError, match="exceeds int32"):
        check(platform, [Job("k", ("b",), ()), Job("l", ("b", "a"), ((0, 1, INT32_MAX),))])
