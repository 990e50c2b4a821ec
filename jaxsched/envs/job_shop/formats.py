"""The text formats of the field, read and written.

The *standard format*, one instance a file:

    # comment
    jobs machines
    machine duration  machine duration  ...     one line per job, in route order; machines count from 0

Every job has as many operations as there are machines, as in all classic sets. Where they have not (ours: ragged jobs),
the first line holds a third number, the total of operations, so that a file cut short is never taken for a ragged one.

*Taillard's format*, recognised by its words:

    Nb of jobs, Nb of Machines, Time seed, Machine seed, Upper bound, Lower bound       optional, any text
    jobs machines ...                           further numbers are ignored
    Times
    duration duration ...                       one line per job, in route order
    Machines
    machine machine ...                         one line per job, in route order; machines count from 1

*JSON*, one object a file: what job-shop-lib's `JobShopInstance.to_dict()` holds, or an entry of our data files,
`{"name", "jobs", "machines", "operations": [[[machine, duration], ...], ...]}`.

Parsers take the bytes of a file, build nothing but lists, and raise `InstanceError` only. Nothing in a file is run,
opened or looked up.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsched.core.errors import InstanceError
from jaxsched.core.text import Json, Text, write_text
from jaxsched.envs.job_shop.lists import MAX_CELLS, Fault, Lists, check, to_jobs
from jaxsched.envs.job_shop.types import Instance

_TAILLARD = re.compile(r"^[ \t]*(?:times|machines|nb of jobs\b.*)[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)


def parse(content: bytes, file: str) -> Lists:
    """The instance in the bytes of a file in any format of this module; `file` is for messages."""
    text = Text(content, file)
    if text.text.lstrip()[:1] in ("{", "[") or file.lower().endswith(".json"):
        return _json_instance(text)
    return _taillard(text) if _TAILLARD.search(text.text) else _standard(text)


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
    write_text(path, (" ".join(map(str, row)) + "\n" for row in rows), overwrite)


# ---------------------------------------------------------------------------------------------- standard, Taillard


def _standard(text: Text) -> Lists:
    lines = text.rows()
    if not lines:
        raise text.fail("no first line `jobs machines`: the file is empty")
    first, *lines = lines
    header = text.numbers(first)
    if len(header) not in (2, 3):
        raise text.fail(f"the first line must be `jobs machines`, got {len(header)} numbers", first, 3)
    num_jobs, num_machines = _size(text, first, header, ragged=len(header) == 3)
    jobs = []
    for job, line in enumerate(lines):
        if job == num_jobs:
            raise text.fail(f"a line after the last of {num_jobs} jobs", line, 0)
        row = text.numbers(line)
        if len(row) % 2:
            reason = f"job {job} has {len(row)} numbers, but an operation is a pair `machine duration`"
            raise text.fail(reason, line, len(row))
        if len(header) == 2 and len(row) != 2 * num_machines:
            raise text.fail(
                f"job {job} has {len(row) // 2} operations, expected {num_machines}, one per machine "
                "(for jobs of other lengths add the total of operations to the first line)",
                line,
                2 * num_machines,
            )
        jobs.append(list(zip(row[::2], row[1::2], strict=True)))
    if len(jobs) < num_jobs:
        reason = f"the file ends after {len(jobs)} of {num_jobs} jobs; each has a line of its own"
        raise text.fail(reason, len(text.lines) - 1, 2**31)
    operations = sum(map(len, jobs))
    if len(header) == 3 and header[2] != operations:
        raise text.fail(f"the first line announces {header[2]} operations, but there are {operations}", first, 2)

    def position(job: int, op: int, item: int) -> tuple[int, int]:
        return lines[job], 2 * op + item

    return _checked(text, jobs, num_machines, first, position)


def _taillard(text: Text) -> Lists:
    lines = text.rows()
    words = {"times": "Times", "machines": "Machines"}
    if re.search(r"[^\W\d_]", text.lines[lines[0]]) and _word(text, lines[0]) not in words:
        del lines[0]  # the text above the numbers
    if not lines or _word(text, lines[0]) in words:
        raise text.fail("no numbers `jobs machines` above `Times`", lines[0] if lines else None, 0)
    first = lines[0]
    header = text.numbers(first)
    if len(header) < 2:
        raise text.fail("the first numbers must be `jobs machines`, got 1", first, 1)
    num_jobs, num_machines = _size(text, first, header)

    at = 1
    matrices: list[list[list[int]]] = []
    for word, shown in words.items():
        if at == len(lines):
            raise text.fail(f"the file ends before `{shown}`", len(text.lines) - 1, 2**31)
        if _word(text, lines[at]) != word:
            raise text.fail(f"expected the word `{shown}` here", lines[at], 0)
        matrix = []
        for job, line in enumerate(lines[at + 1 : at + 1 + num_jobs]):
            if _word(text, line) in words:
                raise text.fail(f"`{shown}` has {job} of {num_jobs} lines, one per job", line, 0)
            row = text.numbers(line)
            if len(row) != num_machines:
                reason = f"job {job} has {len(row)} numbers below `{shown}`, expected {num_machines}, one per machine"
                raise text.fail(reason, line, num_machines)
            matrix.append(row)
        if len(matrix) < num_jobs:
            reason = f"the file ends after {len(matrix)} of {num_jobs} lines below `{shown}`"
            raise text.fail(reason, len(text.lines) - 1, 2**31)
        matrices.append(matrix)
        at += 1 + num_jobs
    if at < len(lines):
        raise text.fail(f"a line after the last of {num_jobs} jobs; a file holds one instance", lines[at], 0)

    def position(job: int, op: int, item: int) -> tuple[int, int]:
        return lines[2 + job if item else 3 + num_jobs + job], op

    for job, row in enumerate(matrices[1]):
        for op, machine in enumerate(row):
            if not 1 <= machine <= num_machines:
                reason = f"machine {machine} is out of range, there are {num_machines}, counted from 1"
                raise text.fail(f"job {job}, operation {op}: {reason}", *position(job, op, 0))
    jobs = [
        [(machine - 1, duration) for duration, machine in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]
    return _checked(text, jobs, num_machines, first, position)


def _word(text: Text, line: int) -> str:
    return text.lines[line].strip().rstrip(":").rstrip().lower()


def _size(text: Text, line: int, header: list[int], ragged: bool = False) -> tuple[int, int]:
    """The numbers of jobs and machines of the first line."""
    num_jobs, num_machines = header[:2]
    if num_jobs == 0 or num_machines == 0:
        reason = f"an instance needs jobs and machines, got {num_jobs} and {num_machines}"
        raise text.fail(reason, line, int(num_jobs > 0))
    if num_jobs * (1 if ragged else num_machines) > MAX_CELLS:
        raise text.fail(f"too many operations: the first line announces more than {MAX_CELLS}", line, 0)
    return num_jobs, num_machines


def _checked(
    text: Text,
    jobs: list[list[tuple[int, int]]],
    num_machines: int,
    first: int,
    position: Callable[[int, int, int], tuple[int, int]],
) -> Lists:
    """`check`, with `position(job, op, item)` telling the line and token of a fault; others are of line `first`."""
    try:
        return check(jobs, num_machines=num_machines)
    except Fault as fault:
        if fault.job is None or fault.op is None:
            raise text.fail(str(fault), first, 1) from None
        raise text.fail(str(fault), *position(fault.job, fault.op, fault.item or 0)) from None


# ------------------------------------------------------------------------------------------------------------ JSON


def _json_instance(text: Text) -> Lists:
    json_object = Json(text, "an instance")
    if "operations" in json_object.entry:
        return _data_entry(json_object)
    if "duration_matrix" in json_object.entry and "machines_matrix" in json_object.entry:
        return _job_shop_lib(json_object)
    raise json_object.fail("needs `operations`, or `duration_matrix` and `machines_matrix` as job-shop-lib writes them")


def _data_entry(source: Json) -> Lists:
    """An entry of our data files; bounds are ignored, see `job_shop.bounds`."""
    entry = source.entry
    source.known(
        ["name", "jobs", "machines", "operations", "lower_bound", "upper_bound", "optimal", "trivial_lower_bound"]
    )
    try:
        lists = check(entry["operations"], num_machines=entry.get("machines"))
    except Fault as fault:
        path = [part for part in (fault.job, fault.op, fault.item) if part is not None]
        key = "machines" if "machines" in fault.reason and not path else "operations"
        raise source.fail(str(fault), key, *path) from None
    if entry.get("jobs") is not None and entry["jobs"] != len(lists.jobs):
        raise source.fail(f"jobs is {reprlib.repr(entry['jobs'])}, but there are {len(lists.jobs)}", "jobs")
    return lists


def _job_shop_lib(source: Json) -> Lists:
    """What `JobShopInstance.to_dict()` of job-shop-lib 1.7 holds, as far as this environment knows it."""
    dates = ("release_dates_matrix", "due_dates_matrix", "deadlines_matrix")
    source.known(["name", "duration_matrix", "machines_matrix", "metadata", *dates])
    metadata = source.entry.get("metadata")
    for key in dates:
        if isinstance(metadata, dict) and metadata.get(key) is not None:
            raise source.fail(f"{key} inside metadata: put it beside duration_matrix", "metadata", key)

    durations = _matrix(source, "duration_matrix")
    machines = _matrix(source, "machines_matrix", durations)
    if source.entry.get("deadlines_matrix") is not None:
        for j, row in enumerate(_matrix(source, "deadlines_matrix", durations)):
            for k, deadline in enumerate(row):
                if deadline is not None:
                    reason = f"job {j}, operation {k}: deadlines are not supported, only due dates"
                    raise source.fail(reason, "deadlines_matrix", j, k)
    jobs = []
    for j, row in enumerate(machines):
        for k, machine in enumerate(row):
            if isinstance(machine, list) and len(machine) != 1:
                reason = f"job {j}, operation {k}: {len(machine)} machines to choose from, but a job shop has one"
                raise source.fail(reason, "machines_matrix", j, k)
        jobs.append([(m[0] if isinstance(m, list) else m, d) for m, d in zip(row, durations[j], strict=True)])
    try:
        return check(jobs, release=_releases(source, durations), due=_due_dates(source, durations))
    except Fault as fault:
        key = "duration_matrix" if fault.item else "machines_matrix"
        path = [part for part in (fault.job, fault.op) if part is not None]
        raise source.fail(str(fault), key, *path) from None


def _matrix(source: Json, key: str, like: list[list[Any]] | None = None) -> list[list[Any]]:
    """A list of lists, with as many entries as those of `like`."""
    rows = source.entry[key]
    if not isinstance(rows, list):
        raise source.fail(f"{key}: expected a list of lists, got {reprlib.repr(rows)}", key)
    for j, row in enumerate(rows):
        if not isinstance(row, list):
            raise source.fail(f"{key}: expected a list for job {j}, got {reprlib.repr(row)}", key, j)
        if like is not None and j < len(like) and len(row) != len(like[j]):
            raise source.fail(f"{key}: job {j} has {len(row)} entries, expected {len(like[j])}", key, j)
    if like is not None and len(rows) != len(like):
        raise source.fail(f"{key}: {len(rows)} jobs, expected {len(like)}", key)
    return rows


def _releases(source: Json, durations: list[list[Any]]) -> list[int]:
    """The release date of each job's first operation; later ones must follow from it and the work before them."""
    key, releases = "release_dates_matrix", [0] * len(durations)
    rows = _matrix(source, key, durations) if source.entry.get(key) is not None else []
    for j, row in enumerate(rows):
        earliest = 0
        for k, date in enumerate(row):
            what = f"job {j}, operation {k}: release date"
            source.integer(date, what, key, j, k)
            if k == 0:
                releases[j] = earliest = date
            elif date > earliest:
                raise source.fail(f"{what} {date} is not supported, only that of the first operation", key, j, k)
            earliest += durations[j][k] if type(durations[j][k]) is int else 0
    return releases


def _due_dates(source: Json, durations: list[list[Any]]) -> list[int | None]:
    """The due date of each job's last operation; those of others must be missing or the same."""
    key = "due_dates_matrix"
    dues: list[int | None] = [None] * len(durations)
    rows = _matrix(source, key, durations) if source.entry.get(key) is not None else []
    for j, row in enumerate(rows):
        for k, date in enumerate(row):
            what = f"job {j}, operation {k}: due date"
            if date is None:
                continue
            source.integer(date, what, key, j, k)
            if date != row[-1]:
                raise source.fail(f"{what} {date} is not supported, only that of the last operation", key, j, k)
            dues[j] = date
    return dues
