"""Platforms, job profiles and static graphs by name, from JSON files and from dicts.

The schemas (`jaxsched-soc-platform/1`, `jaxsched-soc-job/1`, `jaxsched-static-dag/1`) are
documented in the README of this folder. A platform file is written by clusters; a `Platform` is
flat, one entry per PE, without the memory node.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxsched.envs.soc.platforms import EDGE, MAX_CELLS, MAX_PES, Data, Job, Platform, StaticGraph
from jaxsched.host.checks import (
    Fault,
    array,
    boolean,
    check_name,
    check_unique,
    integer,
    integers,
    is_array,
    mapping,
    number,
    shorten,
)
from jaxsched.host.errors import InstanceError, did_you_mean
from jaxsched.host.text import Json, Text, read_bytes


def load_platform(source: Data) -> Platform:
    """The platform of a name, a file, or a dict of the schema `jaxsched-soc-platform/1`.

    Names are looked up in the package (`socrates_top`), then in the folder `$JAXSCHED_DATA`
    (`soc/soc_*.json`). Raises `InstanceError` with file, line, field and value for malformed data,
    with close matches or the remedy for an unknown name.
    """
    return _load(source, "soc", "platform", "jaxsched-soc-platform/1", _platform)


def load_job(source: Data) -> Job:
    """The job profile of a name, a file, or a dict of the schema `jaxsched-soc-job/1`.

    Names are looked up in the package (`socrates_top1` to `socrates_top10`), then in the folder
    `$JAXSCHED_DATA` (`soc/job_*.json`). Raises `InstanceError` as `load_platform` does.
    """
    return _load(source, "job", "job profile", "jaxsched-soc-job/1", _job)


def load_static(source: Data) -> StaticGraph:
    """The static graph of a name, a file, or a dict of the schema `jaxsched-static-dag/1`.

    Names are looked up in the package (`topcuoglu_2002`, `arabnejad_2014`), then in the folder
    `$JAXSCHED_DATA` (`soc/static_*.json`). Raises `InstanceError` as `load_platform` does.
    """
    return _load(source, "static", "static graph", "jaxsched-static-dag/1", _static)


# -------------------------------------------------------------------------------- from JSON to data


class _Reader:
    """A JSON object, from a file or a dict of the user, and its values by path; `fail` points
    into the file.
    """

    def __init__(self, entry: Mapping[str, Any], json: Json | None):
        self.entry, self.json = entry, json

    def fail(self, fault: Fault) -> InstanceError:
        return fault if self.json is None else self.json.fail(fault.reason, *fault.keys)

    def get(self, *path: str | int) -> Any:
        """The value at `path`; raises `Fault` where it is missing or in no container."""
        value: Any = self.entry
        for depth, part in enumerate(path):
            inside = is_array(value) if isinstance(part, int) else isinstance(value, Mapping)
            if not inside:
                kind = "an array" if isinstance(part, int) else "an object"
                raise Fault(f"expected {kind}, got {shorten(value)}", *path[:depth])
            if isinstance(part, str) and part not in value:
                raise Fault(f"{part!r} is missing", *path[:depth])
            value = value[part]
        return value

    def has(self, *path: str | int) -> bool:
        """Whether the last key of `path` is there, with another value than null."""
        return self.object(*path[:-1]).get(str(path[-1])) is not None

    def object(self, *path: str | int, known: Sequence[str] = ()) -> Mapping[str, Any]:
        return mapping(self.get(*path), *path, known=known)

    def array(self, *path: str | int) -> Sequence[Any]:
        return array(self.get(*path), *path)

    def integer(self, *path: str | int, least: int = 0) -> int:
        return integer(self.get(*path), *path, least=least)

    def integers(self, *path: str | int) -> list[int]:
        return integers(self.get(*path), *path)

    def ids(self, *path: str | int) -> None:
        """Every object of the array has its position as `id`, where it has one."""
        for i in range(len(self.array(*path))):
            if "id" in self.object(*path, i) and self.integer(*path, i, "id") != i:
                raise Fault(
                    f"{self.get(*path, i, 'id')}, expected {i}: ids are positions", *path, i, "id"
                )


_ABOUT = ("schema", "name", "origin", "licence", "notes", "units")
_PLATFORM = (*_ABOUT, "clusters", "pes", "cluster_bandwidth", "self_bandwidth", "default_bandwidth")
_CLUSTER = (
    *(
        "id",
        "name",
        "type",
        "num_pes",
        "is_memory",
        "opp",
        "exec_time",
        "task_power",
        "power_profile_w",
    ),
    *("power_gated_profile_w", "dvfs_default", "throttle_freq_mhz", "dtpm_throttle_freq_mhz"),
    "ignored_duplicate_exec_time",
)
_JOB = (*_ABOUT, "source_name", "num_tasks", "head", "tail", "tasks", "edges")
_TASK = ("id", "name", "predecessors", "earliest_start", "deadline")


def _platform(reader: _Reader) -> Platform:
    reader.object(known=_PLATFORM)
    num_clusters = len(reader.array("clusters"))
    reader.ids("clusters")
    reader.ids("pes")
    of_pe = [_cluster_of_pe(reader, i, num_clusters) for i in range(len(reader.array("pes")))]
    clusters: list[_Cluster] = []
    for c in range(num_clusters):
        has_memory = any(cluster.is_memory for cluster in clusters)
        clusters.append(_cluster(reader, c, of_pe.count(c), has_memory))
    check_unique([cluster.name for cluster in clusters], "clusters", "name")
    memory = next((c for c, cluster in enumerate(clusters) if cluster.is_memory), None)
    pes = [c for c in of_pe if c != memory]
    if len(pes) > MAX_PES:
        raise Fault(f"{len(pes)} PEs, expected 1 to {MAX_PES}", "pes")
    bandwidth = _bandwidth(reader, clusters)
    matrix = bandwidth[np.ix_(pes, pes)]
    if reader.has("self_bandwidth"):
        np.fill_diagonal(matrix, reader.integer("self_bandwidth", least=1))
    tasks = dict.fromkeys(task for cluster in clusters for task in cluster.times)
    if len(tasks) * len(pes) > MAX_CELLS:
        raise Fault(
            f"{len(tasks)} tasks on {len(pes)} PEs: more than {MAX_CELLS} times", "clusters"
        )

    def by_pe(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
        return {task: tuple(rows[c].get(task) for c in pes) for task in tasks}

    power = [cluster.power for cluster in clusters]
    position = [pes[:i].count(c) for i, c in enumerate(pes)]
    return Platform(
        name=reader.get("name"),
        pes=tuple(
            clusters[c].name if clusters[c].num_pes == 1 else f"{clusters[c].name}.{n}"
            for c, n in zip(pes, position, strict=True)
        ),
        exec_time=by_pe([cluster.times for cluster in clusters]),
        bandwidth=matrix,
        to_memory=None if memory is None else bandwidth[pes, memory],
        from_memory=None if memory is None else bandwidth[memory, pes],
        power=by_pe(power) if any(power) else None,
    )


def _cluster_of_pe(reader: _Reader, i: int, num_clusters: int) -> int:
    reader.object("pes", i, known=("id", "cluster"))
    cluster = reader.integer("pes", i, "cluster")
    if cluster >= num_clusters:
        raise Fault(
            f"{cluster} is out of range, there are {num_clusters} clusters", "pes", i, "cluster"
        )
    return cluster


class _Cluster(NamedTuple):
    """Equal PEs, or the memory node."""

    name: str
    num_pes: int
    is_memory: bool
    times: dict[str, int]  # us, by task
    power: dict[str, float]  # by task, as in `Platform`


def _cluster(reader: _Reader, c: int, num_pes: int, has_memory: bool) -> _Cluster:
    """Cluster `c`, of which `pes` lists `num_pes`; `has_memory`: one before it is the memory
    node.
    """
    at = ("clusters", c)
    cluster = reader.object(*at, known=_CLUSTER)
    name = check_name(reader.get(*at, "name"), *at, "name")
    if reader.integer(*at, "num_pes", least=1) != num_pes:
        raise Fault(f"{cluster['num_pes']}, but `pes` lists {num_pes}", *at, "num_pes")
    is_memory = boolean(cluster.get("is_memory", False), *at, "is_memory")
    if is_memory and (has_memory or num_pes != 1):
        raise Fault("there is at most one memory node", *at, "is_memory")
    stated = reader.object(*at, "exec_time")
    times = {task: integer(us, *at, "exec_time", task) for task, us in stated.items()}
    if is_memory and times:
        raise Fault("the memory node runs no tasks", *at, "exec_time")
    return _Cluster(name, num_pes, is_memory, times, _power(reader, c, times))


def _bandwidth(reader: _Reader, clusters: Sequence[_Cluster]) -> np.ndarray:
    """i64[C, C]: units per us between clusters; may be 0 where nothing is sent."""
    num_clusters, has_own = len(clusters), reader.has("self_bandwidth")
    if len(reader.array("cluster_bandwidth")) != num_clusters:
        raise Fault(
            f"{len(reader.array('cluster_bandwidth'))} rows, expected {num_clusters}",
            "cluster_bandwidth",
        )
    bandwidth = np.ones((num_clusters, num_clusters), np.int64)
    for a, cluster in enumerate(clusters):
        row = reader.array("cluster_bandwidth", a)
        if len(row) != num_clusters:
            raise Fault(f"{len(row)} entries, expected {num_clusters}", "cluster_bandwidth", a)
        for b in range(num_clusters):
            unused = a == b and (cluster.is_memory or (has_own and cluster.num_pes == 1))
            bandwidth[a, b] = reader.integer("cluster_bandwidth", a, b, least=0 if unused else 1)
    return bandwidth


def _power(reader: _Reader, c: int, times: Mapping[str, int]) -> dict[str, float]:
    """Power of each task on a PE of cluster `c` at the top operating point, empty where the
    source states none.
    """
    at = ("clusters", c)
    if reader.has(*at, "task_power") and reader.object(*at, "task_power"):
        powers = {}
        for task, power in reader.object(*at, "task_power").items():
            if task in times:
                powers[task] = number(power, *at, "task_power", task)
        return powers
    if not reader.has(*at, "power_profile_w") or not reader.object(*at, "power_profile_w"):
        return {}
    points = reader.array(*at, "opp")
    top = max((reader.integer(*at, "opp", i, "freq_mhz") for i in range(len(points))), default=0)
    profile: dict[int, str] = {}
    for text in reader.object(*at, "power_profile_w"):
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            raise Fault(f"{shorten(text)} is not a frequency in MHz", *at, "power_profile_w", text)
        profile[int(text)] = text
    listed = min((frequency for frequency in profile if frequency >= top), default=None)
    if listed is None:
        raise Fault(
            f"no frequency of at least {top} MHz, the top operating point", *at, "power_profile_w"
        )
    path = (*at, "power_profile_w", profile[listed])
    if not reader.array(*path):
        raise Fault("is empty, expected the power with 1, 2, ... busy PEs", *path)
    return dict.fromkeys(times, number(reader.get(*path, 0), *path, 0))


def _job(reader: _Reader) -> Job:
    reader.object(known=_JOB)
    tasks = reader.array("tasks")
    reader.ids("tasks")
    names = []
    for k in range(len(tasks)):
        reader.object("tasks", k, known=_TASK)
        names.append(check_name(reader.get("tasks", k, "name"), "tasks", k, "name"))
        # read and never used by the simulators, nor here
        for key in ("earliest_start", "deadline"):
            if reader.has("tasks", k, key):
                reader.integer("tasks", k, key)
    job = Job(name=reader.get("name"), tasks=tuple(names), edges=_edges(reader))

    # What the file says twice must agree.
    if reader.has("num_tasks") and reader.integer("num_tasks") != len(tasks):
        raise Fault(f"{reader.get('num_tasks')}, but there are {len(tasks)} tasks", "num_tasks")
    sources: list[set[int]] = [set() for _ in tasks]
    for src, dst, _ in job.edges:
        sources[dst].add(src)
    for k in range(len(tasks)):
        if reader.has("tasks", k, "predecessors"):
            given = reader.integers("tasks", k, "predecessors")
            if sorted(given) != sorted(sources[k]):
                raise Fault(
                    f"{given}, but the edges say {sorted(sources[k])}", "tasks", k, "predecessors"
                )
    inner = {src for src, _, _ in job.edges}
    ends = {
        "head": [k for k, s in enumerate(sources) if not s],
        "tail": [k for k in range(len(tasks)) if k not in inner],
    }
    for key, found in ends.items():
        if reader.has(key):
            given = reader.integers(key)
            if sorted(given) != found:
                raise Fault(f"{given}, but the edges say {found}", key)
    return job


def _static(reader: _Reader) -> StaticGraph:
    reader.object(known=(*_ABOUT, "exec_time", "edges", "bandwidth"))
    times, bandwidth = reader.get("exec_time"), reader.get("bandwidth")
    return StaticGraph(reader.get("name"), times, _edges(reader), bandwidth)


def _edges(reader: _Reader) -> tuple[tuple[int, int, int], ...]:
    edges = []
    for i in range(len(reader.array("edges"))):
        reader.object("edges", i, known=EDGE)
        edges.append(tuple(reader.integer("edges", i, key) for key in EDGE))
    return tuple(edges)


# -------------------------------------------------------------------------------------------- names

_T = TypeVar("_T")


def _load(source: Data, prefix: str, what: str, schema: str, build: Callable[[_Reader], _T]) -> _T:
    """What `build` makes of a dict, a file, or a name in the files `prefix_*.json`."""
    if isinstance(source, Mapping):
        reader = _Reader(source, None)
    elif isinstance(source, str | os.PathLike):
        reader = _parsed(_path(os.fsdecode(source), prefix, what), what)
    else:
        raise InstanceError(f"expected a {what} by name, path or dict, got {shorten(source)}")
    try:
        given = reader.entry.get("schema", schema)
        if not isinstance(given, str) or given != schema:
            raise Fault(f"{shorten(given)} is not a {what}, expected {schema!r}", "schema")
        return build(reader)
    except Fault as fault:
        raise reader.fail(fault) from None


def _path(text: str, prefix: str, what: str) -> Path:
    """The file of that path or name."""
    if os.path.isfile(text):
        return Path(text)
    named: dict[str, Path] = {}
    for folder in _folders():
        named = {**_names(folder, prefix), **named}  # the package first
        if text in named:
            return named[text]
    hint = did_you_mean(text, sorted(named))
    remedy = "more may be in a data folder: set JAXSCHED_DATA"
    if data := os.environ.get("JAXSCHED_DATA"):
        remedy = f"JAXSCHED_DATA={data} has no soc/{prefix}_*.json with it"
    raise InstanceError(f"no file and no {what} named {shorten(text)}; {hint} ({remedy})")


def _parsed(path: Path, what: str) -> _Reader:
    json = Json(Text(read_bytes(path), str(path)), f"a {what}")
    return _Reader(json.entry, json)


def _folders() -> Iterator[Any]:
    """The package first: its own names are found without a look at the environment."""
    yield resources.files(__package__ or "") / "data"
    if folder := os.environ.get("JAXSCHED_DATA"):
        yield Path(folder, "soc")


def _names(folder: Any, prefix: str) -> dict[str, Path]:
    """The `name` fields of the files `prefix_*.json` of a folder."""
    if not folder.is_dir():
        return {}
    named = {}
    with resources.as_file(folder) as path:
        for file in sorted(path.glob(f"{prefix}_*.json")):
            stat = file.stat()
            named[_name(file, stat.st_mtime_ns, stat.st_size)] = file
    return named


@functools.lru_cache(maxsize=1024)
def _name(path: Path, modified: int, size: int) -> str:
    """The name in a file; time and size are part of the cache's key, so that an edit is seen."""
    reader = _parsed(path, "platform, job profile or static graph")
    try:
        return check_name(reader.get("name"), "name")
    except Fault as fault:
        raise reader.fail(fault) from None
