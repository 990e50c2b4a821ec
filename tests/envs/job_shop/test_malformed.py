"""Malformed files: each fault is named to the character, and nothing but an `InstanceError`
escapes.
"""

from __future__ import annotations

import json
import random
import tracemalloc

import jax
import pytest

from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import from_jobs, load, read_schedule, write_schedule
from jaxsched.envs.job_shop.formats import parse
from jaxsched.envs.job_shop.orders import parse_orders
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import MAX_FILE_BYTES

HEADER = b"job,step,machine,minutes\n"
DATED = b"job,step,machine,minutes,release,due,weight\n"
TAILLARD = b"Nb of jobs, Nb of Machines\n 2 2 1 1\nTimes\n 1 2\n 3 4\nMachines\n 1 2\n 2 1\n"


def job_shop_lib(**entries):
    """What `JobShopInstance.to_dict()` of job-shop-lib 1.7.2 gives, with other entries."""
    shop = {
        "name": "x",
        "duration_matrix": [[1, 2], [3]],
        "machines_matrix": [[0, 1], [1]],
        "metadata": {},
    }
    return json.dumps(shop | entries).encode()


def lists_of(content, file):
    return parse_orders(content, file)[0] if file.endswith(".csv") else parse(content, file)


def leaves(instance):
    return [leaf.tolist() for leaf in jax.tree.leaves(instance)]


# ------------------------------------------------------------------------------------------ by hand

ONE_PER_MACHINE = (
    "one per machine (for jobs of other lengths add the total of operations to the first line)"
)

# The message without the name of the file in front.
MALFORMED = {
    "standard.txt": {
        "empty": (b"", ": no first line `jobs machines`: the file is empty"),
        "comments only": (b"# a\n\n# b\n", ": no first line `jobs machines`: the file is empty"),
        "header of one": (
            b"# x\n2\n",
            ":2:2: the first line must be `jobs machines`, got 1 numbers",
        ),
        "header of four": (
            b"1 1 1 1\n0 1\n",
            ":1:7: the first line must be `jobs machines`, got 4 numbers",
        ),
        "header of words": (b"jobs machines\n", ":1:1: 'jobs' is not an integer in digits 0-9"),
        "no jobs": (b"0 3\n", ":1:1: an instance needs jobs and machines, got 0 and 3"),
        "no machines": (b"3 0\n", ":1:3: an instance needs jobs and machines, got 3 and 0"),
        "truncated after header": (
            b"2 1\n",
            ":1:4: the file ends after 0 of 2 jobs; each has a line of its own",
        ),
        "truncated between lines": (
            b"2 1\n0 1\n",
            ":2:4: the file ends after 1 of 2 jobs; each has a line of its own",
        ),
        "truncated between pairs": (
            b"1 2\n0 1\n",
            f":2:4: job 0 has 1 operations, expected 2, {ONE_PER_MACHINE}",
        ),
        "truncated inside a pair": (
            b"1 2\n0 1 1\n",
            ":2:6: job 0 has 3 numbers, but an operation is a pair `machine duration`",
        ),
        "truncated ragged": (
            b"2 2 4\n0 1 1 1\n0 1\n",
            ":1:5: the first line announces 4 operations, but there are 3",
        ),
        "empty job": (
            b"2 1\n0 1\n\n",
            ":3:1: the file ends after 1 of 2 jobs; each has a line of its own",
        ),
        "surplus operations": (
            b"1 1\n0 1 0 1\n",
            f":2:5: job 0 has 2 operations, expected 1, {ONE_PER_MACHINE}",
        ),
        "surplus line": (b"1 1\n0 1\n0 1\n", ":3:1: a line after the last of 1 jobs"),
        "negative duration": (b"1 1\n0 -1\n", ":2:3: '-1' is negative"),
        "negative machine": (b"1 1\n-1 1\n", ":2:1: '-1' is negative"),
        "negative jobs": (b"-1 1\n", ":1:1: '-1' is negative"),
        "decimal": (b"1 1\n0 1.5\n", ":2:3: '1.5' is not an integer in digits 0-9"),
        "exponent": (b"1 1\n0 1e3\n", ":2:3: '1e3' is not an integer in digits 0-9"),
        "underscore": (b"1 1\n0 1_0\n", ":2:3: '1_0' is not an integer in digits 0-9"),
        "plus": (b"1 1\n0 +1\n", ":2:3: '+1' is not an integer in digits 0-9"),
        "comma": (b"1 1\n0,1\n", ":2:1: '0,1' is not an integer in digits 0-9"),
        "late comment": (b"1 1\n0 1 # x\n", ":2:5: '#' is not an integer in digits 0-9"),
        "other digits": ("1 1\n0 \u0661\n".encode(), ":2:3: '١' is not an integer in digits 0-9"),
        "wide digits": ("1 1\n0 \uff15\n".encode(), ":2:3: '５' is not an integer in digits 0-9"),
        "superscript": ("1 1\n0 ²\n".encode(), ":2:3: '²' is not an integer in digits 0-9"),
        "overlong": (b"1 1\n0 12345678901\n", ":2:3: '12345678901' has more than 10 digits"),
        "very long": (
            b"1 1\n0 " + b"9" * 9999 + b"\n",
            ":2:3: '99999999999999999999...' has more than 10 digits",
        ),
        "beyond int32": (
            b"1 1\n0 2147483648\n",
            ":2:3: job 0, operation 0: duration does not fit int32",
        ),
        "sum beyond int32": (
            b"2 1\n0 2147483647\n0 1\n",
            ":3:3: job 1, operation 0: the durations so far exceed int32",
        ),
        "machine out of range": (
            b"1 2\n0 1 2 1\n",
            ":2:5: job 0, operation 1: machine 2 is out of range, there are 2, counted from 0; "
            "machines_from=1 counts from 1",
        ),
        "too many operations": (
            b"99999 99999\n",
            ":1:1: too many operations: the first line announces more than 4194304",
        ),
        "too many machines": (b"1 70000 1\n0 1\n", ":1:3: 70000 machines: more than 65536"),
        "binary": (b"1 1\n\x89PNG\xff\n", ":2:1: not a text file (save it as UTF-8)"),
        "zero bytes": (b"1 1\n0\x001\n", ":2:2: not a text file (save it as UTF-8)"),
        "half of UTF-16": (
            "1 1\n0 1\n".encode("utf-16")[:-1],
            ":2:8: not a text file (save it as UTF-8)",
        ),
    },
    "taillard.txt": {
        "only a head": (
            b"Nb of jobs, Nb of Machines\n",
            ": no numbers `jobs machines` above `Times`",
        ),
        "no numbers": (
            b"Nb of jobs\nTimes\n1\nMachines\n1\n",
            ":2:1: no numbers `jobs machines` above `Times`",
        ),
        "words first": (
            b"Times\n1\nMachines\n1\n",
            ":1:1: no numbers `jobs machines` above `Times`",
        ),
        "one number": (b"2\nTimes\n1\n", ":1:2: the first numbers must be `jobs machines`, got 1"),
        "no Times": (b"Nb of jobs\n1 1\n1\nMachines\n1\n", ":3:1: expected the word `Times` here"),
        "no Machines": (b"1 1\nTimes\n1\n", ":3:2: the file ends before `Machines`"),
        "cut in Times": (
            b"2 1\nTimes\n1\nMachines\n1\n1\n",
            ":4:1: `Times` has 1 of 2 lines, one per job",
        ),
        "cut in Machines": (TAILLARD[:-5], ":7:5: the file ends after 1 of 2 lines of `Machines`"),
        "ends in Times": (b"2 1\nTimes\n1\n", ":3:2: the file ends after 1 of 2 lines of `Times`"),
        "short row": (
            TAILLARD.replace(b" 3 4", b" 3"),
            ":5:3: job 1 has 1 numbers in `Times`, expected 2, one per machine",
        ),
        "long row": (
            TAILLARD.replace(b" 1 2\n 2", b" 1 2 1\n 2"),
            ":7:6: job 0 has 3 numbers in `Machines`, expected 2, one per machine",
        ),
        "machine 0": (
            TAILLARD.replace(b" 2 1\n", b" 0 1\n"),
            ":8:2: job 1, operation 0: machine 0 is out of range, there are 2, counted from 1; "
            "machines_from=0 counts from 0",
        ),
        "machine beyond": (
            TAILLARD.replace(b" 2 1\n", b" 2 3\n"),
            ":8:4: job 1, operation 1: machine 3 is out of range, there are 2, counted from 1",
        ),
        "duration too large": (
            TAILLARD.replace(b" 3 4", b" 3 3000000000"),
            ":5:4: job 1, operation 1: duration does not fit int32",
        ),
        "word in a row": (
            TAILLARD.replace(b" 3 4", b" 3 x"),
            ":5:4: 'x' is not an integer in digits 0-9",
        ),
        "second instance": (
            TAILLARD + TAILLARD,
            ":9:1: a line after the last of 2 jobs; a file holds one instance",
        ),
        "rows too many": (
            TAILLARD.replace(b"Machines\n 1", b" 5 6\nMachines\n 1"),
            ":6:2: expected the word `Machines` here",
        ),
        "no jobs": (
            TAILLARD.replace(b" 2 2 1", b" 0 2 1"),
            ":2:2: an instance needs jobs and machines, got 0 and 2",
        ),
        "sum": (
            TAILLARD.replace(b" 3 4", b" 3 2147483642"),
            ":5:4: job 1, operation 1: the durations so far exceed int32",
        ),
    },
    "instance.json": {
        "empty": (b"", ":1:1: not JSON: Expecting value"),
        "cut": (job_shop_lib()[:-1], ":1:97: not JSON: Expecting ',' delimiter"),
        "array": (
            b"[" + job_shop_lib() + b"]",
            ":1:1: expected an instance as one JSON object, got an array",
        ),
        "number": (b"7", ":1:1: expected an instance as one JSON object, got 7"),
        "neither": (
            b'{"name": "x"}',
            ":1:1: needs `operations`, or `duration_matrix` and `machines_matrix` as job-shop-lib writes them",
        ),
        "key twice": (
            b'{"operations": [], "operations": []}',
            ": the key 'operations' is given twice in one object",
        ),
        "deep": (b"[" * 100000, ": not JSON: nested too deeply"),
        "wrong key": (
            b'{"operations": [[[0, 1]]],\n "machnes": 1}',
            ":2:13: unknown key 'machnes'; did you mean machines?",
        ),
        "foreign key": (
            b'{"operations": [[[0, 1]]], "release": [1]}',
            ":1:39: unknown key 'release'; known: name, jobs, machines, operations, "
            "lower_bound, upper_bound, optimal, trivial_lower_bound",
        ),
        "no jobs": (b'{"operations": []}', ":1:16: there are no jobs"),
        "empty job": (b'{"operations": [[[0, 1]], []]}', ":1:27: job 1: no operations"),
        "float": (
            b'{"operations": [[[0, 1],\n  [0, 1.5]]]}',
            ":2:7: job 0, operation 1: duration 1.5 is not an integer",
        ),
        "huge": (
            b'{"operations": [[[0, ' + b"9" * 5000 + b"]]]}",
            ":1:22: job 0, operation 0: duration does not fit int32",
        ),
        "triple": (
            b'{"operations": [[[0, 1, 2]]]}',
            ":1:18: job 0, operation 0: expected (machine, duration), got 3 values",
        ),
        "out of range": (
            b'{"machines": 1, "operations": [[[1, 1]]]}',
            ":1:34: job 0, operation 0: machine 1 is out of range, there are 1, counted from 0",
        ),
        "machines": (
            b'{"machines": "1", "operations": [[[0, 1]]]}',
            ":1:14: number of machines '1' is not an integer",
        ),
        "jobs": (b'{"jobs": 2, "operations": [[[0, 1]]]}', ":1:10: jobs is 2, but there are 1"),
        "object as a job": (
            b'{"operations": [{"a": 1}]}',
            ":1:17: job 0: expected an array, got {'a': 1}",
        ),
        "flexible": (
            job_shop_lib(machines_matrix=[[0, [1, 2]], [1]]),
            ":1:73: job 0, operation 1 has 2 machines to choose from: a flexible job shop, whose "
            "operations have a choice of machines: it is for FlexibleJobShop-v0 (job_shop.flexible.load)",
        ),
        "rows differ": (
            job_shop_lib(machines_matrix=[[0, 1], [1, 0]]),
            ":1:77: machines_matrix: job 1 has 2 entries, expected 1",
        ),
        "jobs differ": (
            job_shop_lib(machines_matrix=[[0, 1]]),
            ":1:68: machines_matrix: 1 jobs, expected 2",
        ),
        "no matrix": (
            job_shop_lib(duration_matrix=3),
            ":1:34: duration_matrix: expected a list of lists, got 3",
        ),
        "no list": (
            job_shop_lib(duration_matrix=[[1, 2], 3]),
            ":1:43: duration_matrix: expected a list for job 1, got 3",
        ),
        "negative": (
            job_shop_lib(duration_matrix=[[1, -2], [3]]),
            ":1:39: job 0, operation 1: duration -2 is negative",
        ),
        "text": (
            job_shop_lib(machines_matrix=[[0, "1"], [1]]),
            ":1:73: job 0, operation 1: machine '1' is not an integer",
        ),
        "deadline": (
            job_shop_lib(deadlines_matrix=[[None, 9], [None]]),
            ":1:127: job 0, operation 1: deadlines are not supported, only due dates",
        ),
        "release inside": (
            job_shop_lib(release_dates_matrix=[[4, 6], [0]]),
            ":1:128: job 0, operation 1: release date 6 is not supported, only that of the first operation",
        ),
        "release float": (
            job_shop_lib(release_dates_matrix=[[4, 5], [0.5]]),
            ":1:133: job 1, operation 0: release date 0.5 is not an integer",
        ),
        "due inside": (
            job_shop_lib(due_dates_matrix=[[7, 9], [None]]),
            ":1:121: job 0, operation 0: due date 7 is not supported, only that of the last operation",
        ),
        "release negative": (
            job_shop_lib(release_dates_matrix=[[-9, 0], [0]]),
            ":1:125: job 0, operation 0: release date -9 is negative",
        ),
        "in metadata": (
            job_shop_lib(metadata={"due_dates_matrix": [[1]]}),
            ":1:116: due_dates_matrix inside metadata: put it beside duration_matrix",
        ),
        "jsl key": (
            job_shop_lib(setup_times=[1]),
            ":1:114: unknown key 'setup_times'; known: name, duration_matrix, machines_matrix, metadata, "
            "release_dates_matrix, due_dates_matrix, deadlines_matrix",
        ),
        "release too large": (
            job_shop_lib(release_dates_matrix=[[2147483647, 0], [0]]),
            ":1:124: job 0: release 2147483647 and all durations, 6, exceed int32",
        ),
        "not UTF-8": (b'{"name": "\x81"}', ":1:11: not a text file (save it as UTF-8)"),
    },
    "orders.csv": {
        "empty": (b"", ": no header `job,step,machine,minutes`: the file is empty"),
        "blank": (b"\n \n", ": no header `job,step,machine,minutes`: the file is empty"),
        "header only": (HEADER, ":1:25: no rows below the header"),
        "close column": (
            HEADER.replace(b"minutes", b"minute"),
            ":1:18: unknown column 'minute'; did you mean minutes?",
        ),
        "column twice": (b"job," + HEADER, ":1:5: column job is given twice"),
        "column missing": (b"job,step,minutes\n", ":1:17: no column machine in the header"),
        "colons": (
            b"job:step:machine:minutes\n",
            ":1:25: no column job, step, machine, minutes in the header; it has 'job:step:machine:minutes'",
        ),
        "too few cells": (HEADER + b"A,1,m\n", ":2:6: 3 cells, but the header has 4"),
        "too many cells": (HEADER + b"A,1,m,5,x\n", ":2:9: more cells than the 4 of the header"),
        "no job": (HEADER + b" ,1,m,5\n", ":2:2: job is empty"),
        "no machine": (HEADER + b"A,1,,5\n", ":2:5: machine is empty"),
        "no minutes": (HEADER + b"A,1,m,\n", ":2:7: minutes is empty"),
        "no step": (HEADER + b"A,,m,5\n", ":2:3: step is empty"),
        "step twice": (
            HEADER + b"A,1,m,5\nB,1,m,5\nA,1,n,6\n",
            ":4:3: job 'A' has step 1 twice, the first in line 2",
        ),
        "step of words": (
            HEADER + b"A,one,m,5\n",
            ":2:3: step 'one' is not an integer in digits 0-9",
        ),
        "negative step": (HEADER + b"A,-1,m,5\n", ":2:3: step '-1' is negative"),
        "minutes": (
            HEADER + b"A,1,m,5.5\n",
            ":2:7: minutes '5.5' is not a whole number of minutes",
        ),
        "negative minutes": (HEADER + b"A,1,m,-5\n", ":2:7: minutes '-5' is negative"),
        "minutes too large": (
            HEADER + b"A,1,m,3000000000\n",
            ":2:7: job 'A': duration does not fit int32",
        ),
        "overlong minutes": (
            HEADER + b"A,1,m,30000000000\n",
            ":2:7: minutes '30000000000' has more than 10 digits",
        ),
        "sum": (
            HEADER + b"A,1,m,2147483647\nB,2,m,1\n",
            ":3:7: job 'B': the durations so far exceed int32",
        ),
        "other digits": (
            HEADER + "A,1,m,\u0665\n".encode(),
            ":2:7: minutes '٥' is not an integer in digits 0-9",
        ),
        "open quote": (
            HEADER + b'A,1,"m,5\n',
            ":2:5: a cell in quotes does not end: quote whole cells, on one line",
        ),
        "quote in a cell": (
            HEADER + b'A,1,m"x",5\n',
            ":2:5: a cell in quotes does not end: quote whole cells, on one line",
        ),
        "not text": (HEADER + b"A,1,\x81,5\n", ":2:5: not a text file (save it as UTF-8)"),
        "release differs": (
            DATED + b"A,1,m,5,3,,\nA,2,m,5,4,,\n",
            ":3:9: job 'A': release '4' differs from '3' in line 2",
        ),
        "due differs": (
            DATED + b"A,1,m,5,,2026-11-23,\nA,2,m,5,,2026-11-24,\n",
            ":3:10: job 'A': due '2026-11-24' differs from '2026-11-23' in line 2",
        ),
        "weight differs": (
            DATED + b"A,1,m,5,,,1\nA,2,m,5,,,2\n",
            ":3:11: job 'A': weight '2' differs from '1' in line 2",
        ),
        "weight": (
            DATED + b"A,1,m,5,,,heavy\n",
            ":2:11: weight 'heavy' is not an integer in digits 0-9",
        ),
        "mixed": (
            DATED + b"A,1,m,5,2026-11-23,,\nB,2,m,5,,700,\n",
            ":3:10: due '700': dates and minutes are mixed, see release '2026-11-23' in line 2",
        ),
        "mixed in a row": (
            DATED + b"A,1,m,5,3,2026-11-23,\n",
            ":2:11: due '2026-11-23': dates and minutes are mixed, see release '3' in line 2 "
            "(minutes '5,3'? a decimal comma needs quotes around its cell)",
        ),
        "due long ago": (
            DATED + b"A,1,m,100,,-2147483600,\n",
            ":2:12: job 'A': due date -2147483600 is too long before the end of all work, 100",
        ),
        "no date": (
            DATED + b"A,1,m,5,tomorrow,,\n",
            ":2:9: release 'tomorrow' is neither minutes nor a date such as 2026-11-23T08:00",
        ),
        "slashes": (
            DATED + b"A,1,m,5,03/11/2026,,\n",
            ":2:9: release '03/11/2026' may be 2026-11-03 or 2026-03-11: write it like these, "
            "the order of day and month is not clear",
        ),
        "no such day": (
            DATED + b"A,1,m,5,2026-02-30,,\n",
            ":2:9: release '2026-02-30' is not in the calendar",
        ),
        "hour 24": (
            DATED + b"A,1,m,5,2026-02-20T24:00,,\n",
            ":2:9: release '2026-02-20T24:00' is not in the calendar",
        ),
        "time zone": (
            DATED + b"A,1,m,5,2026-11-23T08:00Z,,\n",
            ":2:9: release '2026-11-23T08:00Z' has a time zone: give local times without one",
        ),
        "offset": (
            DATED + b"A,1,m,5,2026-11-23T08:00+01:00,,\n",
            ":2:9: release '2026-11-23T08:00+01:00' has a time zone: give local times without one",
        ),
        "seconds": (
            DATED + b"A,1,m,5,2026-11-23T08:00:30,,\n",
            ":2:9: release '2026-11-23T08:00:30' is not a whole minute",
        ),
        "negative weight": (DATED + b"A,1,m,5,,,-3\n", ":2:11: weight '-3' is negative"),
        "release too large": (
            DATED + b"A,1,m,5,3000000000,,\n",
            ":2:9: job 'A': release does not fit int32",
        ),
        "dates too far apart": (
            DATED + b"A,1,m,5,0001-01-01,,\nB,1,m,5,9999-01-01,,\n",
            ":3:9: job 'B': release does not fit int32",
        ),
        "due too large": (
            DATED + b"A,1,m,5,,3000000000,\n",
            ":2:10: job 'A': due date does not fit int32",
        ),
        "weight too large": (
            DATED + b"A,1,m,5,,,3000000000\n",
            ":2:11: job 'A': weight does not fit int32",
        ),
    },
}

CASES = [(file, *case) for file, cases in MALFORMED.items() for case in cases.values()]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    CASES,
    ids=[f"{file}: {name}" for file, cases in MALFORMED.items() for name in cases],
)
def test_malformed_files(file, content, message):
    with pytest.raises(InstanceError) as error:
        lists_of(content, file)
    fault = error.value
    assert str(fault) == file + message
    where = [str(part) for part in (fault.file, fault.line, fault.column) if part is not None]
    assert str(fault) == ":".join(where) + f": {fault.reason}"


@pytest.mark.parametrize("file", MALFORMED)
def test_load_names_the_path(file, tmp_path):
    content, message = next(case for case in MALFORMED[file].values() if case[1].startswith(":1:"))
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(InstanceError) as error:
        load(path)
    assert str(error.value) == f"{path}{message}"


# ------------------------------------------------------------------------------------------ by dice


def cell(name):
    return '"' + name.replace('"', '""') + '"'


def as_standard(lists):
    rows = [" ".join(f"{machine} {duration}" for machine, duration in job) for job in lists.jobs]
    return "\n".join(
        [f"{len(rows)} {lists.num_machines} {sum(map(len, lists.jobs))}", *rows]
    ).encode()


def as_json(lists):
    return job_shop_lib(
        duration_matrix=[[duration for _, duration in job] for job in lists.jobs],
        machines_matrix=[[machine for machine, _ in job] for job in lists.jobs],
        release_dates_matrix=[
            [date] * len(job) for date, job in zip(lists.release, lists.jobs, strict=True)
        ],
        due_dates_matrix=[
            [date] * len(job) for date, job in zip(lists.due, lists.jobs, strict=True)
        ],
    )


def as_orders(lists, jobs, machines, _, steps, notes):
    rows = [DATED.decode()]
    for j, job in enumerate(lists.jobs):
        due = "" if lists.due[j] is None else lists.due[j]
        for step, (machine, minutes) in zip(steps[j], job, strict=True):
            columns = (
                cell(jobs[j]),
                step,
                cell(machines[machine]),
                minutes,
                lists.release[j],
                due,
                lists.weight[j],
            )
            rows.append(",".join(map(str, columns)) + "\n")
    return "".join(rows).encode()


def survives(content, file):
    """Whether the file is valid; then it round-trips, and otherwise it raises an `InstanceError`
    about itself.
    """
    try:
        if file.endswith(".csv"):
            parsed = parse_orders(content, file)
            # Rows are written job by job, so machines may come in another order; the second time
            # they do not.
            again = parse_orders(as_orders(*parsed), file)
            names = [[[(p[2][m], d) for m, d in job] for job in p[0].jobs] for p in (parsed, again)]
            assert names[0] == names[1]
            assert parsed[1] == again[1]
            assert parsed[4] == again[4]
            one, other = parsed[0], again[0]
            assert sorted(parsed[2]) == sorted(again[2])
        else:
            one = parse(content, file)
            other = parse(as_json(one) if file.endswith(".json") else as_standard(one), file)
            assert one.jobs == other.jobs
        assert (one.release, one.due, one.weight) == (other.release, other.due, other.weight)
    except InstanceError as error:
        fault = error
    else:
        return True
    assert fault.file == file
    assert "\n" not in str(fault)
    assert len(str(fault)) < 400
    return False


def random_file(rng, kind):
    """A valid file of a format, with few jobs."""
    num_jobs, num_machines = rng.randint(1, 4), rng.randint(1, 4)
    jobs = [
        [(m, rng.randint(0, 99)) for m in rng.sample(range(num_machines), num_machines)]
        for _ in range(num_jobs)
    ]
    if kind == "standard.txt":
        rows = [
            f"{num_jobs} {num_machines}",
            *(" ".join(f"{m} {d}" for m, d in job) for job in jobs),
        ]
    elif kind == "taillard.txt":
        rows = ["Nb of jobs, Nb of Machines", f"{num_jobs} {num_machines} 1 1 1 1", "Times"]
        rows += [" ".join(str(d) for _, d in job) for job in jobs]
        rows += ["Machines", *(" ".join(str(m + 1) for m, _ in job) for job in jobs)]
    elif kind == "data.json":
        rows = [
            json.dumps(
                {"name": "x", "machines": num_machines, "operations": jobs},
                indent=rng.choice([None, 1]),
            )
        ]
    elif kind == "instance.json":
        release, due = ([rng.randint(a, a + 9) for _ in jobs] for a in (0, 400))
        rows = [
            job_shop_lib(
                duration_matrix=[[d for _, d in job] for job in jobs],
                machines_matrix=[[m for m, _ in job] for job in jobs],
                release_dates_matrix=[[date] * num_machines for date in release],
                due_dates_matrix=[[None] * (num_machines - 1) + [date] for date in due],
            ).decode()
        ]
    else:
        dates = rng.choice(
            [("3", "700"), ("2026-11-23T08:00", "2026-11-24"), ("", "2026-11-24 12:00"), ("", "")]
        )
        rows = [
            f"J{j},{10 * k},M{m},{d},{dates[0]},{dates[1]},{j % 3}"
            for j, job in enumerate(jobs)
            for k, (m, d) in enumerate(job)
        ]
        rng.shuffle(rows)
        rows.insert(0, DATED.decode().strip())
    return rng.choice(["\n", "\r\n"]).join(rows).encode()


PIECES = [
    b"",
    b"0",
    b"-1",
    b"9",
    b"2147483647",
    b"99999999999",
    b"1.5",
    b"1e3",
    b",",
    b";",
    b'"',
    b'""',
    b" ",
    b"\n",
    b"\r",
    b"\t",
    b"#",
]
PIECES += [
    b"Times",
    b"Machines",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"true",
    b"NaN",
    b":",
    b"job",
    b"due",
    b"2026-02-30",
    b"T24:00",
    b"Z",
]
PIECES += [
    b"\0",
    b"\xff",
    "\u0661".encode(),
    "\u2028".encode(),
    b"\xef\xbb\xbf",
    b"\x1c",
    b"\x85",
    b"x" * 300,
]


def mutated(rng, content):
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        one, other = sorted(rng.randint(0, len(content)) for _ in range(2))
        match rng.randrange(6):
            case 0:  # a piece in between
                content = content[:one] + rng.choice(PIECES) + content[one:]
            case 1:  # a piece instead of a few characters
                content = content[:one] + rng.choice(PIECES) + content[one + rng.randint(1, 3) :]
            case 2:  # cut out
                content = content[:one] + content[min(other, one + 20) :]
            case 3:  # cut off
                content = content[:other]
            case 4:  # twice
                content = content[:other] + content[one:]
            case 5:  # lines in another order
                lines = content.split(b"\n")
                rng.shuffle(lines)
                content = b"\n".join(lines)
    return content


@pytest.mark.parametrize(
    "kind", ["standard.txt", "taillard.txt", "data.json", "instance.json", "orders.csv"]
)
def test_mutations_of_valid_files(kind):
    rng = random.Random(kind)
    valid = sum(survives(mutated(rng, random_file(rng, kind)), kind) for _ in range(3_000))
    assert 100 < valid < 2_900  # the dice reach both sides
    assert all(survives(random_file(rng, kind), kind) for _ in range(200))


@pytest.mark.parametrize("kind", ["standard.txt", "instance.json", "orders.csv"])
def test_garbage(kind):
    rng = random.Random(kind)
    for _ in range(500):
        survives(rng.randbytes(rng.randint(0, 60)), kind)
        survives(b"".join(rng.choice(PIECES) for _ in range(rng.randint(0, 30))), kind)


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_mutations_of_schedules(ending, tmp_path):
    rng, path = random.Random(ending), tmp_path / f"a.{ending}"
    instance = jax.device_get(from_jobs([[(1, 3), (0, 4)], [(0, 2), (1, 2)]]))
    schedule = job_shop.Schedule([[0, 3], [0, 3]], 7)
    write_schedule(instance, schedule, path)
    content = path.read_bytes()
    valid = 0
    for _ in range(500):
        path.write_bytes(mutated(rng, content))
        try:
            back = read_schedule(path, instance)
        except InstanceError:
            continue
        valid += 1
        assert [len(row) for row in back.start] == [2, 2]
    assert valid


# ----------------------------------------------------------------------------------------- too much


def test_100_mb_of_garbage_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("opened"))
    for name in ("a.txt", "a.json", "a.csv"):
        path = tmp_path / name
        with open(path, "wb") as file:
            file.truncate(100 * 10**6)  # sparse
        with pytest.raises(InstanceError, match="larger than 4 MiB, the limit"):
            load(path)


SIZE = MAX_FILE_BYTES
LARGEST = {
    "one line": ("a.txt", b"9 " * (SIZE // 2)),
    "long row": ("a.txt", b"1 1\n" + b"0 " * (SIZE // 2 - 2)),
    "many lines": ("a.txt", b"1\n" * (SIZE // 2)),
    "random": ("a.txt", random.Random(0).randbytes(SIZE)),
    "blanks": ("a.txt", b" " * SIZE),
    "brackets": ("a.json", b"[" * SIZE),
    "arrays": ("a.json", b"[" + b"[]," * (SIZE // 3 - 1)),
    "objects": ("a.json", b"[" + b'{"a":0},' * (SIZE // 8 - 1)),
    "digits": ("a.json", b'{"operations": [[[' + b"9" * (SIZE - 30)),
    "commas": ("a.csv", HEADER + b"," * (SIZE - 30)),
    "quotes": ("a.csv", HEADER + b'"' * (SIZE - 30)),
    "columns": ("a.csv", HEADER[:-1] + b",x" * (SIZE // 2 - 30)),
    "spaces": ("a.csv", HEADER + b"A,1,m,1" + b" " * (SIZE - 60) + b"x"),
    "rows": ("a.csv", HEADER + b",,\n" * (SIZE // 20)),
    "dates": ("a.csv", DATED + b"A,1,m,1,1/2/2026,,\n" * (SIZE // 100)),
}


@pytest.mark.parametrize(("file", "content"), LARGEST.values(), ids=LARGEST)
def test_the_largest_garbage_takes_little_memory(file, content):
    assert len(content) <= SIZE
    tracemalloc.start()
    try:
        with pytest.raises(InstanceError):
            lists_of(content, file)
        assert tracemalloc.get_traced_memory()[1] < 200 * 10**6
    finally:
        tracemalloc.stop()
