"""Job shops as JSON, one object a file: what job-shop-lib's `JobShopInstance.to_dict()` holds, or an
entry of our data files, `{"name", "jobs", "machines", "operations": [[[machine, duration], ...], ...]}`.

Raises `InstanceError` only, with the line and column of the value at fault.
"""

from __future__ import annotations

import reprlib
from typing import Any

from jaxsched.envs.job_shop.lists import Lists, check, place
from jaxsched.host.checks import INT32_MAX, Fault, integer
from jaxsched.host.text import Json, Text

FLEXIBLE = (
    "a flexible job shop, whose operations have a choice of machines: "
    "it is for FlexibleJobShop-v0 (job_shop.flexible.load)"
)


def read_json_instance(text: Text) -> Lists:
    """The instance in a file of JSON, told by its keys; raises `InstanceError`."""
    json_object = Json(text, "an instance")
    if "operations" in json_object.entry:
        return _data_entry(json_object)
    if "duration_matrix" in json_object.entry and "machines_matrix" in json_object.entry:
        return _job_shop_lib(json_object)
    raise json_object.fail(
        "needs `operations`, or `duration_matrix` and `machines_matrix` as job-shop-lib writes them"
    )


def _data_entry(source: Json) -> Lists:
    """An entry of our data files; bounds are ignored, see `job_shop.bounds`."""
    entry = source.entry
    source.known(
        [
            "name",
            "jobs",
            "machines",
            "operations",
            "lower_bound",
            "upper_bound",
            "optimal",
            "trivial_lower_bound",
        ]
    )
    try:
        lists = check(entry["operations"], num_machines=entry.get("machines"))
    except Fault as fault:
        if fault.field == "number of machines":
            raise source.fail(fault.reason, "machines") from None
        path = place(fault)
        if len(path) >= 2:
            alternatives = entry["operations"][path[0]][path[1]]
            if isinstance(alternatives, list) and any(isinstance(a, list) for a in alternatives):
                raise source.fail(FLEXIBLE, "operations", *path[:2]) from None
        raise source.fail(fault.reason, "operations", *path) from None
    check_count(source, len(lists.jobs))
    return lists


def check_count(source: Json, num_jobs: int) -> None:
    """Refuse an entry `jobs` that is not the number of jobs."""
    announced = source.entry.get("jobs")
    if announced is not None and (type(announced) is not int or announced != num_jobs):
        raise source.fail(f"jobs is {reprlib.repr(announced)}, but there are {num_jobs}", "jobs")


JOB_SHOP_LIB_DATES = ("release_dates_matrix", "due_dates_matrix", "deadlines_matrix")


def job_shop_lib_matrices(source: Json) -> tuple[list[list[Any]], list[list[Any]]]:
    """Durations and machines of what `JobShopInstance.to_dict()` of job-shop-lib 1.7 holds.

    Only their shape is checked.
    """
    source.known(["name", "duration_matrix", "machines_matrix", "metadata", *JOB_SHOP_LIB_DATES])
    metadata = source.entry.get("metadata")
    for key in JOB_SHOP_LIB_DATES:
        if isinstance(metadata, dict) and metadata.get(key) is not None:
            raise source.fail(
                f"{key} inside metadata: put it beside duration_matrix", "metadata", key
            )
    durations = _matrix(source, "duration_matrix")
    return durations, _matrix(source, "machines_matrix", durations)


def _job_shop_lib(source: Json) -> Lists:
    """An instance of job-shop-lib, as far as this environment knows it."""
    durations, machines = job_shop_lib_matrices(source)
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
                reason = f"job {j}, operation {k} has {len(machine)} machines to choose from"
                raise source.fail(f"{reason}: {FLEXIBLE}", "machines_matrix", j, k)
        jobs.append(
            [
                (m[0] if isinstance(m, list) else m, d)
                for m, d in zip(row, durations[j], strict=True)
            ]
        )
    try:
        check(jobs)  # first, so that no date is blamed for a duration that it does not follow from
        return check(jobs, release=_releases(source, durations), due=_due_dates(source, durations))
    except Fault as fault:
        raise source.fail(fault.reason, matrix_key(fault), *place(fault)[:2]) from None


def matrix_key(fault: Fault) -> str:
    """The matrix of job-shop-lib that a fault is in."""
    matrices = {
        "duration": "duration_matrix",
        "release": "release_dates_matrix",
        "release date": "release_dates_matrix",
        "due date": "due_dates_matrix",
    }
    return matrices.get(fault.field, "machines_matrix")


def _matrix(source: Json, key: str, like: list[list[Any]] | None = None) -> list[list[Any]]:
    """A list of lists, with as many entries as those of `like`."""
    rows = source.entry[key]
    if not isinstance(rows, list):
        raise source.fail(f"{key}: expected a list of lists, got {reprlib.repr(rows)}", key)
    for j, row in enumerate(rows):
        if not isinstance(row, list):
            raise source.fail(
                f"{key}: expected a list for job {j}, got {reprlib.repr(row)}", key, j
            )
        if like is not None and j < len(like) and len(row) != len(like[j]):
            raise source.fail(
                f"{key}: job {j} has {len(row)} entries, expected {len(like[j])}", key, j
            )
    if like is not None and len(rows) != len(like):
        raise source.fail(f"{key}: {len(rows)} jobs, expected {len(like)}", key)
    return rows


def _releases(source: Json, durations: list[list[Any]]) -> list[int]:
    """The release date of each job's first operation; later ones must follow from it and the
    work before them.
    """
    key, releases = "release_dates_matrix", [0] * len(durations)
    rows = _matrix(source, key, durations) if source.entry.get(key) is not None else []
    for j, row in enumerate(rows):
        earliest = 0
        for k, date in enumerate(row):
            at = ("job", j), ("operation", k)
            integer(date, *at, field="release date")
            if k == 0:
                releases[j] = earliest = date
            elif date > earliest:
                reason = f"release date {date} is not supported, only that of the first operation"
                raise Fault(reason, *at, field="release date")
            earliest += durations[j][k]
    return releases


def _due_dates(source: Json, durations: list[list[Any]]) -> list[int | None]:
    """The due date of each job's last operation; those of others must be missing or the same."""
    key = "due_dates_matrix"
    dues: list[int | None] = [None] * len(durations)
    rows = _matrix(source, key, durations) if source.entry.get(key) is not None else []
    for j, row in enumerate(rows):
        for k, date in enumerate(row):
            if date is None:
                continue
            at = ("job", j), ("operation", k)
            integer(date, *at, least=-INT32_MAX, field="due date")
            if date != row[-1]:
                reason = f"due date {date} is not supported, only that of the last operation"
                raise Fault(reason, *at, field="due date")
            dues[j] = date
    return dues
