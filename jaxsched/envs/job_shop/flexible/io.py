"""Flexible job shops by name or path, and the best known bounds of the published ones.

The *.fjs format* of the field, one instance a file:

    # comment                              (ours: blank lines and comments are skipped)
    jobs machines [mean alternatives]      the third number is informative, any decimal
    operations  alternatives machine duration ...  alternatives machine duration ...    one line per job

A job's line begins with its number of operations; each begins with its number of alternatives, then
as many pairs. Machines count from 1; or from 0, where a machine 0 occurs and all are below the
number of machines. `machines_from` overrules this.

*JSON*, one object a file, machines from 0: an entry of our data files,
`{"name", "jobs", "machines", "operations": [[[[machine, duration], ...], ...], ...]}`, or what
job-shop-lib's `JobShopInstance.to_dict()` holds.

A classic job shop in any format of `job_shop/formats.py`, told by its content, is read as a shop
where every operation has one machine.

Readers take the bytes of a file, build nothing but lists, and raise `InstanceError` only. Nothing
in a file is run, opened or looked up.
"""

from __future__ import annotations

import os
import re
import reprlib
from typing import Any

import numpy as np

from jaxsched.core.result import Bounds
from jaxsched.envs.job_shop import formats, json_formats
from jaxsched.envs.job_shop.catalogue import Catalogue
from jaxsched.envs.job_shop.flexible.lists import (
    Jobs,
    Lists,
    Operation,
    check,
    to_instance,
    to_jobs,
)
from jaxsched.envs.job_shop.flexible.types import Instance
from jaxsched.envs.job_shop.lists import MAX_CELLS, place
from jaxsched.envs.job_shop.orders import is_orders
from jaxsched.host.checks import Fault
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import Json, Text, number_fault, read_bytes, write_text

CATALOGUE = Catalogue("jaxsched.envs.job_shop.flexible", "jobshop/fjsp", "mk01, la01_edata")

_DECIMAL = re.compile(r"[0-9]{1,10}(?:[.,][0-9]{0,20})?")


def load(name_or_path: str | os.PathLike[str], *, machines_from: int | None = None) -> Instance:
    """The instance in a file, or the published instance of that name.

    Files are read by their content, see the head of this module. `machines_from`: 0 or 1, where the
    machines of a file of numbers count from; by default told by the file. Names (mk01, la01_edata,
    dpp01a, ...) are looked up in the folder `$JAXSCHED_DATA` (`jobshop/fjsp/*.json`). Raises
    `InstanceError` with file, line, column and reason for a malformed file, and with the close
    matches for an unknown name.
    """
    text = os.fspath(name_or_path)
    if machines_from not in (None, 0, 1):
        raise ValueError(f"machines_from is 0 or 1, got {machines_from!r}")
    if os.path.isfile(text):
        return to_instance(parse(read_bytes(text), text, machines_from))
    if machines_from is not None:
        raise InstanceError(f"`machines_from` is of files, and {text!r} is none")
    found = CATALOGUE.operations(text)
    if found is None:
        raise CATALOGUE.not_found(text)
    operations, num_machines, file = found
    try:
        return to_instance(check(operations, num_machines=num_machines))
    except Fault as fault:
        raise InstanceError(f"{text}: {fault}", file=file) from None


def bounds(name: str) -> Bounds:
    """Best known bounds of the makespan of a published instance (mk01, la01_edata, ...; 402 in
    all).
    """
    return CATALOGUE.bounds(name)


def expand(spec: str) -> list[str]:
    """The names and paths in a comma-separated list: `"mk01,la01_edata-la40_edata,brandimarte"` has
    a name, a range and a set. Order is kept, repetitions are dropped. Raises `InstanceError` with
    the close matches.
    """
    return CATALOGUE.expand(spec)


def instance_sets() -> dict[str, str]:
    """The published sets: how many instances, and where they are from."""
    return CATALOGUE.sets()


def parse(content: bytes, file: str, machines_from: int | None = None) -> Lists:
    """The instance in the bytes of a file in any of the formats; `file` is for messages."""
    text = Text(content, file)
    if is_orders(content, file):
        raise text.fail("a table of orders: it is for JobShop-v0 (job_shop.read_orders)")
    if formats.is_json(text):
        if machines_from == 1:
            raise text.fail("`machines_from`: machines count from 0 in JSON")
        return _json(text)
    kind = formats.layout(text, "fjs")
    if kind == "fjs":
        return _fjs(text, machines_from)
    lists = formats.parse_numbers(text, kind, machines_from)
    jobs = [[[pair] for pair in job] for job in lists.jobs]
    try:
        return check(jobs, num_machines=lists.num_machines)
    except Fault as fault:
        raise text.fail(fault.reason) from None


def write_fjs(instance: Instance, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write `instance` as .fjs, without its padding; `load` reads back the same.

    Raises `FileExistsError` where the file exists and `overwrite` is False.
    """
    jobs = [job for job in to_jobs(instance) if job]
    operations = [operation for job in jobs for operation in job]
    num_machines = int(np.flatnonzero(np.asarray(instance.machine_mask)).max(initial=0)) + 1
    mean = sum(map(len, operations)) / len(operations)
    lines = [f"{len(jobs)} {num_machines} {mean:.2f}\n"]
    for job in jobs:
        row = [len(job)]
        for operation in job:
            row += [
                len(operation),
                *(number for machine, ticks in operation for number in (machine + 1, ticks)),
            ]
        lines.append(" ".join(map(str, row)) + "\n")
    write_text(path, lines, overwrite)


# ------------------------------------------------------------------------------------------ formats


def _fjs(text: Text, machines_from: int | None) -> Lists:
    lines = formats.number_lines(text)
    if not lines:
        raise text.fail("no first line `jobs machines`: the file is empty")
    first, *lines = lines
    num_jobs, num_machines = _header(text, first)
    jobs: Jobs = []  # machines as the file counts them, at first
    tokens: list[
        list[list[int]]
    ] = []  # where each alternative of each operation stands in its line
    for job, line in enumerate(lines):
        if job == num_jobs:
            raise text.fail(f"a line after the last of {num_jobs} jobs", line, 0)
        operations, places = _job(text, line, job, num_machines)
        jobs.append(operations)
        tokens.append(places)
    if len(jobs) < num_jobs:
        reason = f"the file ends after {len(jobs)} of {num_jobs} jobs; each has a line of its own"
        raise text.fail(reason, len(text.lines) - 1, 2**31)
    used = {machine for job in jobs for operation in job for machine, _ in operation}
    base = formats.first_machine(used, num_machines, machines_from, 1)
    for j, operations in enumerate(jobs):
        for k, operation in enumerate(operations):
            for a, (machine, _) in enumerate(operation):
                if fault := formats.out_of_range(machine, num_machines, base):
                    raise text.fail(f"job {j}, operation {k}: {fault}", lines[j], tokens[j][k][a])
            operations[k] = [(machine - base, duration) for machine, duration in operation]
    try:
        return check(jobs, num_machines=num_machines)
    except Fault as fault:
        where = place(fault)
        if len(where) < 3:
            raise text.fail(fault.reason, first, 1) from None
        job, op, alternative, item = (*where, 0)[:4]
        token = tokens[job][op][alternative] + item
        raise text.fail(_as_in_file(fault, base), lines[job], token) from None


def _header(text: Text, line: int) -> tuple[int, int]:
    """The numbers of jobs and machines."""
    header = text.lines[line].split()
    if len(header) not in (2, 3):
        reason = (
            f"the first line must be `jobs machines [mean alternatives]`, got {len(header)} numbers"
        )
        raise text.fail(reason, line, 3)
    for token, word in enumerate(header[:2]):
        if fault := number_fault(word):
            raise text.fail(fault, line, token)
    if len(header) == 3 and not _DECIMAL.fullmatch(header[2]):
        raise text.fail(
            f"mean alternatives {reprlib.repr(header[2])} is not a decimal number", line, 2
        )
    num_jobs, num_machines = map(int, header[:2])
    if num_jobs == 0 or num_machines == 0:
        reason = f"an instance needs jobs and machines, got {num_jobs} and {num_machines}"
        raise text.fail(reason, line, int(num_jobs > 0))
    if num_jobs * num_machines > MAX_CELLS:
        raise text.fail(
            f"too large: the first line announces more than {MAX_CELLS} jobs times machines",
            line,
            0,
        )
    return num_jobs, num_machines


def _job(
    text: Text,
    line: int,
    job: int,
    num_machines: int,
) -> tuple[list[Operation], list[list[int]]]:
    """The operations of a job's line, and the token of each alternative."""
    row = text.numbers(line)
    operations, places, at = [], [], 1
    for op in range(row[0]):
        if at == len(row):
            raise text.fail(
                f"job {job} announces {row[0]} operations, but the line ends after {op}", line, at
            )
        count = row[at]
        if count == 0:
            raise text.fail(f"job {job}, operation {op}: no machine can do it", line, at)
        if count > num_machines:
            reason = f"{count} alternatives, but there are {num_machines} machines"
            raise text.fail(f"job {job}, operation {op}: {reason}", line, at)
        stop = at + 1 + 2 * count
        if stop > len(row):
            reason = f"job {job}, operation {op}: the line ends inside its {count} pairs `machine duration`"
            raise text.fail(reason, line, len(row))
        place = list(range(at + 1, stop, 2))
        operations.append([(row[token], row[token + 1]) for token in place])
        places.append(place)
        at = stop
    if row[0] == 0:
        raise text.fail(f"job {job}: no operations", line, 0)
    if at < len(row):
        raise text.fail(f"job {job} has numbers after its {row[0]} operations", line, at)
    return operations, places


def _as_in_file(fault: Fault, base: int) -> str:
    """The message with machines as the file counts them."""

    def counted(match: re.Match[str]) -> str:
        return f"machine {int(match[1]) + base} is given"

    return re.sub(r"machine (\d+) is given", counted, fault.reason)


def _json(text: Text) -> Lists:
    source = Json(text, "an instance")
    if "operations" in source.entry:
        return _data_entry(source)
    if "duration_matrix" in source.entry and "machines_matrix" in source.entry:
        return _job_shop_lib(source)
    wanted = "`operations`, or `duration_matrix` and `machines_matrix` of job-shop-lib"
    raise source.fail(f"needs {wanted}")


def _data_entry(source: Json) -> Lists:
    """An entry of our data files, also of a classic shop; bounds are ignored, see `bounds`."""
    entry = source.entry
    keys = ["name", "jobs", "machines", "operations", "lower_bound", "upper_bound", "optimal"]
    source.known([*keys, "trivial_lower_bound"])
    jobs = entry["operations"]
    if _is_classic(jobs):
        jobs = [[[pair] for pair in job] for job in jobs]
    try:
        lists = check(jobs, num_machines=entry.get("machines"))
    except Fault as fault:
        if fault.field == "number of machines":
            raise source.fail(fault.reason, "machines") from None
        path = place(fault)
        if jobs is not entry["operations"]:
            del path[2:3]  # the only alternative
        raise source.fail(fault.reason, "operations", *path) from None
    json_formats.check_count(source, len(lists.jobs))
    return lists


def _is_classic(jobs: Any) -> bool:
    """Whether every operation is one pair of numbers instead of a list of such."""
    if not isinstance(jobs, list) or not all(isinstance(job, list) for job in jobs):
        return False
    operations = [operation for job in jobs for operation in job]
    for operation in operations:
        if not isinstance(operation, list) or len(operation) != 2:
            return False
        if any(isinstance(number, list) for number in operation):
            return False
    return bool(operations)


def _job_shop_lib(source: Json) -> Lists:
    """An instance of job-shop-lib without dates; its operations take as long on every machine."""
    durations, machines = json_formats.job_shop_lib_matrices(source)
    for key in json_formats.JOB_SHOP_LIB_DATES:
        if source.entry.get(key) is not None:
            raise source.fail(f"{key}: FlexibleJobShop-v0 has no dates", key)
    jobs = []
    for row, times in zip(machines, durations, strict=True):
        operations = []
        for choice, duration in zip(row, times, strict=True):
            alternatives = choice if isinstance(choice, list) else [choice]
            operations.append([(machine, duration) for machine in alternatives])
        jobs.append(operations)
    try:
        return check(jobs)
    except Fault as fault:
        raise source.fail(fault.reason, json_formats.matrix_key(fault), *place(fault)[:2]) from None
