"""The text formats of the field, read and written.

The *standard format*, one instance a file:

    # comment
    jobs machines
    machine duration  machine duration  ...     one line per job, in route order; machines count from 0

Every job visits every machine once, as in all classic sets. Where they do not (ours: ragged jobs),
the first line holds a third number, the total of operations, so that a file cut short is never
taken for a ragged one. What stands above the numbers in files of OR-Library (`instance NAME`, a
description, lines of `+`) is skipped.

*Taillard's format*, recognised by its words:

    Nb of jobs, Nb of Machines, Time seed, Machine seed, Upper bound, Lower bound       optional, any text
    jobs machines ...                           further numbers are ignored
    Times
    duration duration ...                       one line per job, in route order
    Machines
    machine machine ...                         one line per job, in route order; machines count from 1

Without the words it is *two matrices*, recognised by two lines per job.

*JSON*, one object a file: `json_formats.py`.

Machines count as said above unless the file can only count otherwise: from 0 where a machine 0
occurs and all are below the number of machines, from 1 where that number occurs and no 0.
`machines_from` overrules this.

Which layout the numbers of a file have is told by its content (`layout`), never by its name alone:
a flexible job shop (.fjs, `flexible/io.py`) is refused here.

Parsers take the bytes of a file, build nothing but lists, and raise `InstanceError` only. Nothing
in a file is run, opened or looked up.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Collection

import numpy as np

from jaxsched.envs.job_shop.json_formats import FLEXIBLE, read_json_instance
from jaxsched.envs.job_shop.lists import MAX_CELLS, Lists, check, place, to_jobs
from jaxsched.envs.job_shop.types import Instance
from jaxsched.host.checks import Fault
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import Text, number_fault, write_text

_TAILLARD = re.compile(
    r"^[ \t]*(?:times|machines|nb of jobs\b.*)[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_INSTANCE = re.compile(r"^[ \t]*instance[ \t]+\S+[ \t]*$", re.IGNORECASE | re.MULTILINE)
_RULER = re.compile(r"\s*\++\s*")
Place = Callable[[int, int, int], tuple[int, int]]  # job, operation, item -> line, token


def parse(content: bytes, file: str, machines_from: int | None = None) -> Lists:
    """The instance in the bytes of a file in any format of this module; `file` is for messages.

    `machines_from`: 0 or 1, where machines count from; by default told by the file.
    """
    text = Text(content, file)
    if is_json(text):
        if machines_from == 1:
            raise text.fail("`machines_from`: machines count from 0 in JSON")
        return read_json_instance(text)
    kind = layout(text, "standard")
    if kind == "fjs":
        raise text.fail(FLEXIBLE)
    return parse_numbers(text, kind, machines_from)


def is_json(text: Text) -> bool:
    """Whether a file is meant to be JSON."""
    return text.text.lstrip()[:1] in ("{", "[") or text.file.lower().endswith(".json")


def parse_numbers(text: Text, kind: str, machines_from: int | None) -> Lists:
    """The instance in a file of numbers of a `layout` other than `fjs`."""
    parsers = {"standard": _standard, "matrices": _matrices, "taillard": _taillard}
    return parsers[kind](text, machines_from)


def number_lines(text: Text) -> list[int]:
    """The lines that count: not blank ones, comments, or the head of OR-Library's files."""
    lines = text.rows()
    if not _INSTANCE.search(text.text):
        return lines
    heads = [n for n in lines if _INSTANCE.fullmatch(text.lines[n])]
    if len(heads) > 1:
        reason = f"{len(heads)} instances in one file: keep one, with the lines below its name"
        raise text.fail(reason, heads[1], 0)
    below = [n for n in lines if n > heads[0] and not _RULER.fullmatch(text.lines[n])]

    def is_description(line: int) -> bool:
        return re.search(r"[^0-9\s]", text.lines[line]) is not None

    below = list(itertools.dropwhile(is_description, below))
    if not below:
        raise text.fail("no line `jobs machines` below the name of the instance", heads[0], 0)
    return below


def layout(text: Text, own: str) -> str:
    """How the numbers of a file are laid out: `standard`, `taillard`, `matrices` or `fjs`.

    `own`: the layout that the reader is for, returned where the file fits none and is not named
    *.fjs. Of the few files that fit the standard format and .fjs, those named *.fjs are the
    latter, those whose jobs visit every machine once, or whose first line gives the total of
    operations, the former; others raise `InstanceError`.
    """
    if _TAILLARD.search(text.text):
        return "taillard"
    if text.file.lower().endswith(".fjs"):
        own = "fjs"
    lines = number_lines(text)
    if len(lines) < 2:
        return own
    first = lines.pop(0)
    head = text.lines[first].split()
    if len(head) < 2 or any(map(number_fault, head[:2])):
        return own
    num_jobs, num_machines = map(int, head[:2])
    width = len(text.lines[lines[0]].split())
    if len(head) != 3 and len(lines) > num_jobs and width == num_machines:
        return "matrices"
    if len(lines) != num_jobs or not num_machines:
        return own
    try:
        rows = [text.numbers(line) for line in lines]
    except InstanceError:
        return own
    total = len(head) == 3 and head[2] == str(sum(map(len, rows)) // 2)
    if len(head) == 2:
        is_standard = all(len(row) == 2 * num_machines for row in rows)
    else:
        is_standard = total and all(len(row) % 2 == 0 for row in rows)
    is_standard = is_standard and all(max(row[::2]) <= num_machines for row in rows)
    is_flexible = all(_is_flexible(row, num_machines) for row in rows)
    if is_standard and is_flexible:
        if text.file.lower().endswith(".fjs"):
            return "fjs"
        machines = list(range(num_machines))
        if total or all(sorted(row[::2]) == machines for row in rows):
            return "standard"
        raise text.fail(
            "both a job shop in the standard format and a flexible one (.fjs): name it *.fjs for "
            "FlexibleJobShop-v0, or add the total of operations to the first line for JobShop-v0",
            first,
            0,
        )
    return "standard" if is_standard else "fjs" if is_flexible else own


def _is_flexible(row: list[int], num_machines: int) -> bool:
    """Whether a line is a job of .fjs, machines from 0 or 1."""
    at = 1
    for _ in range(row[0]):
        count = row[at] if at < len(row) else 0
        machines = row[at + 1 : at + 1 + 2 * count : 2]
        at += 1 + 2 * count
        if not 1 <= count <= num_machines or at > len(row) or max(machines) > num_machines:
            return False
    return at == len(row) > 1


def write_standard(
    instance: Instance, path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Write `instance` in the standard format, without its padding.

    Raises `FileExistsError` where the file exists and `overwrite` is False, `InstanceError` where
    the instance has release dates, due dates or weights, which the format cannot hold.
    """
    jobs = [job for job in to_jobs(instance) if job]
    real = np.asarray(instance.op_mask).any(1)
    for field, default in (("release", 0), ("due_mask", False), ("weight", 1)):
        if (np.asarray(getattr(instance, field))[real] != default).any():
            raise InstanceError(
                f"the standard format cannot hold the field {field!r} of this instance"
            )
    num_machines = int(np.flatnonzero(np.asarray(instance.machine_mask)).max(initial=0)) + 1
    header = [len(jobs), num_machines]
    machines = list(range(num_machines))
    if any(sorted(machine for machine, _ in job) != machines for job in jobs):
        header.append(sum(map(len, jobs)))
    rows = [header, *([number for pair in job for number in pair] for job in jobs)]
    write_text(path, (" ".join(map(str, row)) + "\n" for row in rows), overwrite)


# ------------------------------------------------------------------------------- standard, Taillard


def _standard(text: Text, machines_from: int | None) -> Lists:
    lines = number_lines(text)
    if not lines:
        raise text.fail("no first line `jobs machines`: the file is empty")
    first, *lines = lines
    header = text.numbers(first)
    if len(header) not in (2, 3):
        raise text.fail(
            f"the first line must be `jobs machines`, got {len(header)} numbers", first, 3
        )
    num_jobs, num_machines = _size(text, first, header, ragged=len(header) == 3)
    jobs = []
    for job, line in enumerate(lines):
        if job == num_jobs:
            raise text.fail(f"a line after the last of {num_jobs} jobs", line, 0)
        row = text.numbers(line)
        if len(row) % 2:
            reason = (
                f"job {job} has {len(row)} numbers, but an operation is a pair `machine duration`"
            )
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
        raise text.fail(
            f"the first line announces {header[2]} operations, but there are {operations}", first, 2
        )

    def position(job: int, op: int, item: int) -> tuple[int, int]:
        return lines[job], 2 * op + item

    jobs = _renumbered(text, jobs, num_machines, machines_from, 0, position)
    return _checked(text, jobs, num_machines, first, position)


def _matrices(text: Text, machines_from: int | None) -> Lists:
    first, *lines = number_lines(text)
    num_jobs, num_machines = _size(text, first, text.numbers(first))
    durations = _matrix_rows(text, lines[:num_jobs], num_jobs, num_machines, "the durations")
    machines = _matrix_rows(text, lines[num_jobs:], num_jobs, num_machines, "the machines")
    if len(lines) > 2 * num_jobs:
        reason = f"a line after two matrices of {num_jobs} lines, durations and machines"
        raise text.fail(reason, lines[2 * num_jobs], 0)
    return _from_matrices(text, durations, machines, lines, first, machines_from)


def _taillard(text: Text, machines_from: int | None) -> Lists:
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
    places: list[int] = []
    for word, shown in words.items():
        if at == len(lines):
            raise text.fail(f"the file ends before `{shown}`", len(text.lines) - 1, 2**31)
        if _word(text, lines[at]) != word:
            raise text.fail(f"expected the word `{shown}` here", lines[at], 0)
        below = lines[at + 1 : at + 1 + num_jobs]
        for job, line in enumerate(below):
            if _word(text, line) in words:
                raise text.fail(f"`{shown}` has {job} of {num_jobs} lines, one per job", line, 0)
        matrices.append(_matrix_rows(text, below, num_jobs, num_machines, f"`{shown}`"))
        places += below
        at += 1 + num_jobs
    if at < len(lines):
        raise text.fail(
            f"a line after the last of {num_jobs} jobs; a file holds one instance", lines[at], 0
        )
    return _from_matrices(text, matrices[0], matrices[1], places, first, machines_from)


def _matrix_rows(
    text: Text,
    lines: list[int],
    num_jobs: int,
    num_machines: int,
    what: str,
) -> list[list[int]]:
    """The first lines, one per job, each with a number per machine."""
    rows = []
    for job, line in enumerate(lines[:num_jobs]):
        row = text.numbers(line)
        if len(row) != num_machines:
            reason = f"job {job} has {len(row)} numbers in {what}, expected {num_machines}"
            raise text.fail(f"{reason}, one per machine", line, num_machines)
        rows.append(row)
    if len(rows) < num_jobs:
        reason = f"the file ends after {len(rows)} of {num_jobs} lines of {what}"
        raise text.fail(reason, len(text.lines) - 1, 2**31)
    return rows


def _from_matrices(
    text: Text,
    durations: list[list[int]],
    machines: list[list[int]],
    lines: list[int],
    first: int,
    machines_from: int | None,
) -> Lists:
    """The instance in two matrices, whose rows are in `lines`; machines usually count from 1."""

    def position(job: int, op: int, item: int) -> tuple[int, int]:
        return lines[job if item else len(durations) + job], op

    jobs = [list(zip(*rows, strict=True)) for rows in zip(machines, durations, strict=True)]
    num_machines = len(durations[0])
    jobs = _renumbered(text, jobs, num_machines, machines_from, 1, position)
    return _checked(text, jobs, num_machines, first, position)


def first_machine(
    used: Collection[int],
    num_machines: int,
    machines_from: int | None,
    usual: int,
) -> int:
    """Where the machines `used` in a file count from, 0 or 1.

    As `machines_from` says; by default from 0 where 0 occurs and all are below `num_machines`,
    from 1 where `num_machines` occurs and 0 does not; otherwise as `usual` in the format.
    """
    if machines_from is not None:
        return machines_from
    ends = 0 in used, num_machines in used
    if ends[0] == ends[1] or max(used) > num_machines:
        return usual
    return 0 if ends[0] else 1


def out_of_range(machine: int, num_machines: int, base: int) -> str | None:
    """What to say of a machine that does not count from `base`, None if it does."""
    if base <= machine < base + num_machines:
        return None
    reason = f"machine {machine} is out of range, there are {num_machines}, counted from {base}"
    if machine in (0, num_machines):
        reason += f"; machines_from={1 - base} counts from {1 - base}"
    return reason


def _renumbered(
    text: Text,
    jobs: list[list[tuple[int, int]]],
    num_machines: int,
    machines_from: int | None,
    usual: int,
    position: Place,
) -> list[list[tuple[int, int]]]:
    """The jobs with machines from 0; `usual`: where the format counts from, see `first_machine`.

    Raises `InstanceError` at a machine out of range.
    """
    used = {machine for job in jobs for machine, _ in job}
    base = first_machine(used, num_machines, machines_from, usual)
    for j, job in enumerate(jobs):
        for k, (machine, _) in enumerate(job):
            if fault := out_of_range(machine, num_machines, base):
                raise text.fail(f"job {j}, operation {k}: {fault}", *position(j, k, 0))
    return [[(machine - base, duration) for machine, duration in job] for job in jobs]


def _word(text: Text, line: int) -> str:
    return text.lines[line].strip().rstrip(":").rstrip().lower()


def _size(text: Text, line: int, header: list[int], ragged: bool = False) -> tuple[int, int]:
    """The numbers of jobs and machines of the first line."""
    num_jobs, num_machines = header[:2]
    if num_jobs == 0 or num_machines == 0:
        reason = f"an instance needs jobs and machines, got {num_jobs} and {num_machines}"
        raise text.fail(reason, line, int(num_jobs > 0))
    if num_jobs * (1 if ragged else num_machines) > MAX_CELLS:
        raise text.fail(
            f"too many operations: the first line announces more than {MAX_CELLS}", line, 0
        )
    return num_jobs, num_machines


def _checked(
    text: Text,
    jobs: list[list[tuple[int, int]]],
    num_machines: int,
    first: int,
    position: Place,
) -> Lists:
    """`check`, with `position(job, op, item)` telling the line and token of a fault; others are
    of line `first`.
    """
    try:
        return check(jobs, num_machines=num_machines)
    except Fault as fault:
        where = place(fault)
        if len(where) < 2:
            raise text.fail(fault.reason, first, 1) from None
        job, op, item = (*where, 0)[:3]
        raise text.fail(fault.reason, *position(job, op, item)) from None
