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

import difflib
import itertools
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxsched.core.errors import InstanceError
from jaxsched.envs.job_shop.lists import MAX_CELLS, Fault, Lists, check, to_jobs
from jaxsched.envs.job_shop.types import Instance

MAX_FILE_BYTES = 4 * 2**20  # bounds the memory and time of a parser; the largest classic instance has 11 KiB
MAX_DIGITS = 10  # of an int32

_NUMBERS = re.compile(r"\s*+(?:[0-9]{1,10}(?:\s++|$))*+")  # possessive: linear in time, constant in memory
_TAILLARD = re.compile(r"^[ \t]*(?:times|machines|nb of jobs\b.*)[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_JSON_SPACE = re.compile(r"[ \t\n\r]*")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file of bounded size; a huge one is refused unread."""
    path = Path(path)
    refusal = InstanceError(f"larger than {MAX_FILE_BYTES // 2**20} MiB, the limit", file=str(path))
    if path.stat().st_size > MAX_FILE_BYTES:
        raise refusal
    with path.open("rb") as file:  # the file may grow meanwhile
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise refusal
    return content


class Text:
    """The lines of a file, and errors that point into them. Lines and tokens count from 0 here, from 1 in messages."""

    def __init__(self, content: bytes, file: str):
        self.file = file
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._not_text(content, error.start) from None
        if "\0" in text:
            raise self._not_text(content, content.index(b"\0"))
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.lines = self.text.removesuffix("\n").split("\n")

    def fail(self, reason: str, line: int | None = None, token: int | None = None) -> InstanceError:
        """An error in a line, at its `token` or behind its end where it has fewer."""
        if line is None or token is None:
            return self.fail_at(reason, line, None)
        found = next(itertools.islice(re.finditer(r"\S+", self.lines[line]), token, None), None)
        return self.fail_at(reason, line, found.start() if found else len(self.lines[line].rstrip()))

    def fail_at(self, reason: str, line: int | None, column: int | None) -> InstanceError:
        """An error at a character of a line."""
        one, other = (None if position is None else position + 1 for position in (line, column))
        return InstanceError(reason, file=self.file, line=one, column=other)

    def rows(self) -> list[int]:
        """The lines that are neither blank nor comments."""
        return [n for n, line in enumerate(self.lines) if (bare := line.strip()) and not bare.startswith("#")]

    def numbers(self, line: int) -> list[int]:
        """The integers >= 0 of a line."""
        content = self.lines[line]
        good = _NUMBERS.match(content)
        end = good.end() if good else 0
        if end == len(content):
            return list(map(int, content.split()))
        token = content[end:].split(maxsplit=1)[0]
        raise self.fail_at(number_fault(token) or "not a number", line, end)

    def _not_text(self, content: bytes, position: int) -> InstanceError:
        start = content.rfind(b"\n", 0, position) + 1
        column = len(content[start:position].decode("utf-8-sig" if start == 0 else "utf-8", "replace"))
        return self.fail_at("not a text file", content.count(b"\n", 0, position), column)


def number_fault(token: str) -> str | None:
    """Why `token` is not an integer >= 0 in at most ten digits 0-9, None if it is one."""
    shown = repr(token if len(token) <= 20 else token[:20] + "...")
    if re.fullmatch(r"-[0-9]+", token):
        return f"{shown} is negative"
    if not re.fullmatch(r"[0-9]+", token):  # not str.isdigit, which takes the digits of all scripts
        return f"{shown} is not an integer in digits 0-9"
    if len(token) > MAX_DIGITS:
        return f"{shown} has more than {MAX_DIGITS} digits"
    return None


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


def write_text(path: str | os.PathLike[str], lines: Iterable[str], overwrite: bool) -> None:
    """Write a file in UTF-8; raises `FileExistsError` where it exists and `overwrite` is False."""
    try:
        with open(path, "w" if overwrite else "x", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    except FileExistsError:
        raise FileExistsError(f"{os.fspath(path)} exists; pass overwrite=True to replace it") from None


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


def read_json(text: Text) -> Any:
    """The value in a JSON file; keys that are given twice are refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise text.fail(f"the key {reprlib.repr(twice)} is given twice in one object")
        return entries

    try:
        return json.loads(text.text, object_pairs_hook=unique, parse_int=_json_integer)
    except json.JSONDecodeError as error:
        raise text.fail_at(f"not JSON: {error.msg}", error.lineno - 1, error.colno - 1) from None
    except RecursionError:
        raise text.fail("not JSON: nested too deeply") from None


def _json_integer(digits: str) -> int:
    return int(digits[:20])  # enough to see that it is out of range; int of many digits is slow or refused


class Json:
    """An object of a JSON file, and errors that point to its values."""

    def __init__(self, text: Text, what: str):
        self.text, value = text, read_json(text)
        if not isinstance(value, dict):
            found = "an array" if isinstance(value, list) else reprlib.repr(value)
            raise text.fail_at(f"expected {what} as one JSON object, got {found}", 0, 0)
        self.entry: dict[str, Any] = value

    def fail(self, reason: str, *path: str | int) -> InstanceError:
        """An error at the value that `path`, keys and indices, leads to; at the nearest one around it if none."""
        position = self._find(path)
        line = self.text.text.count("\n", 0, position)
        return self.text.fail_at(reason, line, position - self.text.text.rfind("\n", 0, position) - 1)

    def known(self, keys: Iterable[str]) -> None:
        """Refuse keys other than `keys`: what is not understood is not dropped silently."""
        keys = list(keys)
        for key in self.entry:
            if key not in keys:
                close = difflib.get_close_matches(key[:50], keys, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(keys)}"
                raise self.fail(f"unknown key {reprlib.repr(key)}; {hint}", key)

    def matrix(self, key: str, like: list[list[Any]] | None = None) -> list[list[Any]]:
        """A list of lists, with as many entries as those of `like`."""
        rows = self.entry[key]
        if not isinstance(rows, list):
            raise self.fail(f"{key}: expected a list of lists, got {reprlib.repr(rows)}", key)
        for j, row in enumerate(rows):
            if not isinstance(row, list):
                raise self.fail(f"{key}: expected a list for job {j}, got {reprlib.repr(row)}", key, j)
            if like is not None and j < len(like) and len(row) != len(like[j]):
                raise self.fail(f"{key}: job {j} has {len(row)} entries, expected {len(like[j])}", key, j)
        if like is not None and len(rows) != len(like):
            raise self.fail(f"{key}: {len(rows)} jobs, expected {len(like)}", key)
        return rows

    def integer(self, value: Any, what: str, *path: str | int) -> int:
        """`value` as an integer >= 0."""
        if type(value) is not int or value < 0:
            fault = f"{value} is negative" if type(value) is int else f"{reprlib.repr(value)} is not an integer"
            raise self.fail(f"{what} {fault}", *path)
        return value

    def _find(self, path: Iterable[str | int]) -> int:
        text, decoder = self.text.text, json.JSONDecoder(parse_int=_json_integer)

        def skip(at: int) -> int:
            match = _JSON_SPACE.match(text, at)
            return match.end() if match else at

        def inside(at: int, part: str | int) -> int | None:
            if text[at] != ("{" if isinstance(part, str) else "["):
                return None
            at, count = skip(at + 1), 0
            while text[at] not in "]}":
                key: str | int = count
                if isinstance(part, str):
                    key, at = decoder.raw_decode(text, at)
                    at = skip(skip(at) + 1)  # the colon
                if key == part:
                    return at
                at = skip(decoder.raw_decode(text, at)[1])
                at, count = skip(at + (text[at] == ",")), count + 1
            return None

        at = skip(0)
        for part in path:
            found = inside(at, part)
            if found is None:
                break
            at = found
        return at


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

    durations = source.matrix("duration_matrix")
    machines = source.matrix("machines_matrix", durations)
    if source.entry.get("deadlines_matrix") is not None:
        for j, row in enumerate(source.matrix("deadlines_matrix", durations)):
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


def _releases(source: Json, durations: list[list[Any]]) -> list[int]:
    """The release date of each job's first operation; later ones must follow from it and the work before them."""
    key, releases = "release_dates_matrix", [0] * len(durations)
    rows = source.matrix(key, durations) if source.entry.get(key) is not None else []
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
    rows = source.matrix(key, durations) if source.entry.get(key) is not None else []
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
