"""Lists, the .fjs format, JSON and names: read, written, and refused with the place of the
fault.
"""

from __future__ import annotations

import json
import random
import tracemalloc

import jax
import numpy as np
import pytest

from jaxsched.envs.job_shop import flexible
from jaxsched.envs.job_shop.flexible.io import parse
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import MAX_FILE_BYTES
from tests.envs.job_shop.flexible.cases import random_jobs

JOBS = [[[(0, 3), (2, 5)], [(1, 0)]], [[(2, 7), (0, 7), (1, 1)]]]
FJS = b"2 3 2\n2 2 1 3 3 5 1 2 0\n1 3 3 7 1 7 2 1\n"


def sorted_jobs(jobs):
    return [[sorted(operation) for operation in job] for job in jobs]


# -------------------------------------------------------------------------------------------- lists


def test_from_jobs_and_back():
    instance = flexible.from_jobs(JOBS)
    assert (instance.num_jobs, instance.num_ops, instance.num_machines) == (2, 2, 3)
    assert instance.duration.tolist() == [[[3, 0, 5], [0, 0, 0]], [[7, 1, 7], [0, 0, 0]]]
    assert instance.eligible_mask[0].tolist() == [[True, False, True], [False, True, False]]
    assert instance.op_mask.tolist() == [[True, True], [True, False]]
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(instance)} == {"int32", "bool"}
    assert flexible.to_jobs(instance) == sorted_jobs(JOBS)
    assert flexible.from_jobs(JOBS, num_machines=5).machine_mask.tolist() == [True] * 5
    assert flexible.to_jobs(flexible.from_jobs(np.array([[[[1, 4]], [[0, 2]]]]))) == [
        [[(1, 4)], [(0, 2)]]
    ]


REFUSED = {
    "nothing": ([], {}, "there are no jobs"),
    "no operations": ([[[(0, 1)]], []], {}, "job 1: no operations"),
    "no machine": ([[[(0, 1)], []]], {}, "job 0, operation 1: no machine can do it"),
    "twice": ([[[(0, 1), (0, 2)]]], {}, "job 0, operation 0: machine 0 is given twice"),
    "three": (
        [[[(0, 1, 2)]]],
        {},
        "job 0, operation 0: expected (machine, duration), got 3 values",
    ),
    "a classic job shop": ([[(0, 1)]], {}, "job 0, operation 0: expected an array, got 0"),
    "text": ([[["01"]]], {}, "job 0, operation 0: expected an array, got '01'"),
    "float": ([[[(0, 1.0)]]], {}, "job 0, operation 0: duration 1.0 is not an integer"),
    "bool": ([[[(True, 1)]]], {}, "job 0, operation 0: machine True is not an integer"),
    "negative": ([[[(0, -1)]]], {}, "job 0, operation 0: duration -1 is negative"),
    "machine": (
        [[[(0, 1), (2, 1)]]],
        {"num_machines": 2},
        "job 0, operation 0: machine 2 is out of range, there are 2, counted from 0",
    ),
    "machines": ([[[(0, 1)]]], {"num_machines": 2**17}, "131072 machines: more than 65536"),
    "cells": (
        [[[(0, 1)]] * 100] * 100,
        {"num_machines": 60_000},
        "100 jobs of up to 100 operations on 60000 machines: more than 4194304 in all",
    ),
    "overflow": (
        [[[(0, 1), (1, 2**30)]]],
        {},
        "job 0, operation 0: 2 machines times the longest durations so far exceed int32: use a coarser unit of time",
    ),
}


@pytest.mark.parametrize(("jobs", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_lists_are_refused(jobs, options, message):
    with pytest.raises(InstanceError) as error:
        flexible.from_jobs(jobs, **options)
    assert str(error.value) == message


def test_the_largest_times_do_not_overflow():
    largest = (2**31 - 1) // 3 - 1
    jobs = [[[(0, largest - 5), (1, 5), (2, largest - 5)]], [[(0, 5)]]]
    schedule = flexible.dispatch(flexible.from_jobs(jobs), "mwkr", "any")
    assert schedule.makespan == 5
    worst = flexible.replay(flexible.from_jobs(jobs), [(0, 0), (1, 0)])
    assert (worst.start, worst.makespan) == ([[0], [largest - 5]], largest)


# ------------------------------------------------------------------------------------------ formats


def test_fjs_is_read():
    assert flexible.to_jobs(to_instance(FJS)) == sorted_jobs(JOBS)
    spaced = b"\xef\xbb\xbf# a comment\r\n\r\n 2\t3   1.15 \r\n" + FJS.partition(b"\n")[2].replace(
        b" ", b"  \t"
    )
    assert flexible.to_jobs(to_instance(spaced)) == sorted_jobs(JOBS)
    assert flexible.to_jobs(to_instance(FJS.replace(b"2 3 2\n", b"2 3\n"))) == sorted_jobs(JOBS)


def to_instance(content: bytes, file: str = "a.fjs") -> flexible.Instance:
    lists = parse(content, file)
    return flexible.from_jobs(lists.jobs, num_machines=lists.num_machines)


def test_fjs_is_written_and_read_back(tmp_path):
    path = tmp_path / "a.fjs"
    flexible.write_fjs(flexible.from_jobs(JOBS), path)
    assert path.read_bytes() == b"2 3 2.00\n2 2 1 3 3 5 1 2 0\n1 3 1 7 2 1 3 7\n"
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        flexible.write_fjs(flexible.from_jobs(JOBS), path)
    rng = random.Random(0)
    for _ in range(20):
        jobs = random_jobs(rng)
        instance = flexible.from_jobs(jobs, num_machines=4)
        flexible.write_fjs(instance, path, overwrite=True)
        jax.tree.map(np.testing.assert_array_equal, flexible.load(path), instance)


MALFORMED = {
    "empty": (b"", ": no first line `jobs machines`: the file is empty"),
    "comments": (b"# a\n\n", ": no first line `jobs machines`: the file is empty"),
    "header of one": (
        b"# x\n2\n",
        ":2:2: the first line must be `jobs machines [mean alternatives]`, got 1 numbers",
    ),
    "header of four": (
        b"1 1 1 1\n",
        ":1:7: the first line must be `jobs machines [mean alternatives]`, got 4 numbers",
    ),
    "words": (b"jobs machines\n", ":1:1: 'jobs' is not an integer in digits 0-9"),
    "mean": (b"1 1 1e9\n", ":1:5: mean alternatives '1e9' is not a decimal number"),
    "no jobs": (b"0 3\n", ":1:1: an instance needs jobs and machines, got 0 and 3"),
    "no machines": (b"3 0\n", ":1:3: an instance needs jobs and machines, got 3 and 0"),
    "too large": (
        b"9999999 9999999\n",
        ":1:1: too large: the first line announces more than 4194304 jobs times machines",
    ),
    "too many machines": (b"1 70000\n1 1 1 1\n", ":1:3: 70000 machines: more than 65536"),
    "no jobs follow": (
        b"2 1\n",
        ":1:4: the file ends after 0 of 2 jobs; each has a line of its own",
    ),
    "a job is missing": (
        b"2 1\n1 1 1 1\n",
        ":2:8: the file ends after 1 of 2 jobs; each has a line of its own",
    ),
    "a job too many": (b"1 1\n1 1 1 1\n1 1 1 1\n", ":3:1: a line after the last of 1 jobs"),
    "no operations": (b"1 1\n0\n", ":2:1: job 0: no operations"),
    "operations are missing": (
        b"1 1\n2 1 1 1\n",
        ":2:8: job 0 announces 2 operations, but the line ends after 1",
    ),
    "no machine": (b"1 2\n2 1 1 1 0\n", ":2:9: job 0, operation 1: no machine can do it"),
    "more than all": (
        b"1 2\n1 3 1 1 2 1 1 1\n",
        ":2:3: job 0, operation 0: 3 alternatives, but there are 2 machines",
    ),
    "inside a pair": (
        b"1 2\n1 2 1 1 2\n",
        ":2:10: job 0, operation 0: the line ends inside its 2 pairs `machine duration`",
    ),
    "surplus": (b"1 2\n1 1 1 1 7\n", ":2:9: job 0 has numbers after its 1 operations"),
    "machine 0": (
        b"1 2\n1 2 0 1 2 1\n",
        ":2:5: job 0, operation 0: machine 0 is out of range, there are 2, counted from 1; "
        "machines_from=0 counts from 0",
    ),
    "machine 3": (
        b"1 2\n1 1 3 1\n",
        ":2:5: job 0, operation 0: machine 3 is out of range, there are 2, counted from 1",
    ),
    "twice": (b"1 2\n1 2 2 1 2 1\n", ":2:9: job 0, operation 0: machine 2 is given twice"),
    "negative": (b"1 2\n1 1 1 -4\n", ":2:7: '-4' is negative"),
    "decimal": (b"1 2\n1 1 1 4.5\n", ":2:7: '4.5' is not an integer in digits 0-9"),
    "too long": (
        b"1 2\n1 1 1 2147483647\n",
        ":2:7: job 0, operation 0: 2 machines times the longest durations so far exceed int32: "
        "use a coarser unit of time",
    ),
    "digits": (b"1 2\n1 1 1 21474836470\n", ":2:7: '21474836470' has more than 10 digits"),
    "not text": (b"1 2\n\x81\xfe\n", ":2:1: not a text file (save it as UTF-8)"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_fjs(content, message):
    with pytest.raises(InstanceError) as error:
        parse(content, "a.fjs")
    assert str(error.value) == f"a.fjs{message}"


def entry(**values):
    return json.dumps({"name": "x", "jobs": 2, "machines": 3, "operations": JOBS} | values).encode()


def test_json_is_read():
    assert flexible.to_jobs(
        to_instance(entry(lower_bound=3, optimal=False), "a.json")
    ) == sorted_jobs(JOBS)


MALFORMED_JSON = {
    "array": (b"[]", ":1:1: expected an instance as one JSON object, got an array"),
    "nothing": (
        b"{}",
        ":1:1: needs `operations`, or `duration_matrix` and `machines_matrix` of job-shop-lib",
    ),
    "unknown": (entry(mashines=3), ":1:127: unknown key 'mashines'; did you mean machines?"),
    "jobs": (entry(jobs=3), ":1:23: jobs is 3, but there are 2"),
    "machines": (entry(machines="3"), ":1:38: number of machines '3' is not an integer"),
    "machine": (
        entry(operations=[[[[3, 1]]]]),
        ":1:59: job 0, operation 0: machine 3 is out of range, there are 3, counted from 0",
    ),
    "duration": (
        entry(operations=[[[[0, 1], [1, "2"]]]]),
        ":1:70: job 0, operation 0: duration '2' is not an integer",
    ),
    "no machine": (entry(operations=[[[]]]), ":1:57: job 0, operation 0: no machine can do it"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED_JSON.values(), ids=MALFORMED_JSON)
def test_malformed_json(content, message):
    with pytest.raises(InstanceError) as error:
        parse(content, "a.json")
    assert str(error.value) == f"a.json{message}"


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Some bytes replaced, removed, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) or 1)
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = bytes([rng.choice(b'0123456789 -.\n#[]{}",\xff')])
            case 1:
                del data[at : at + rng.randint(1, 3)]
            case 2:
                data[at:at] = data[at : at + rng.randint(1, 9)]
            case _:
                del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


@pytest.mark.parametrize(("file", "content"), [("a.fjs", FJS), ("a.json", entry())])
def test_mutated_files_are_read_or_refused(file, content):
    rng, valid, refused = random.Random(file), 0, []
    for _ in range(3_000):
        try:
            lists = parse(mutated(rng, content), file)
        except InstanceError as error:
            refused.append(error)
            continue
        valid += 1
        assert lists.jobs
        assert all(operation for job in lists.jobs for operation in job)
    assert valid
    assert refused
    assert all(error.file == file and "\n" not in str(error) for error in refused)


SIZE = MAX_FILE_BYTES
LARGEST = {
    "one line": b"9 " * (SIZE // 2),
    "long job": b"1 2\n" + b"1 " * (SIZE // 2 - 2),
    "many operations": b"1 2\n90000 " + b"1 1 1 " * 89_999,
    "many lines": b"1\n" * (SIZE // 2),
    "random": random.Random(0).randbytes(SIZE),
    "brackets": b"[" * SIZE,
    "arrays": b'{"operations": [' + b"[]," * (SIZE // 3 - 6),
}


@pytest.mark.parametrize("content", LARGEST.values(), ids=LARGEST)
def test_the_largest_garbage_takes_little_memory(content):
    assert len(content) <= SIZE
    tracemalloc.start()
    try:
        with pytest.raises(InstanceError):
            parse(content, "a")
        assert tracemalloc.get_traced_memory()[1] < 300 * 10**6
    finally:
        tracemalloc.stop()


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("opened"))
    with open(tmp_path / "a.fjs", "wb") as file:
        file.truncate(100 * 10**6)  # sparse
    with pytest.raises(InstanceError, match="larger than 4 MiB, the limit"):
        flexible.load(tmp_path / "a.fjs")


# -------------------------------------------------------------------------------------------- names


def test_names_and_bounds(monkeypatch):
    monkeypatch.delenv("JAXSCHED_DATA", raising=False)
    found = flexible.bounds("mk10")
    assert (found.lower, found.upper, found.date) == (189, 193, "2026-08-19")
    assert flexible.expand("mk09,mk01-mk03,la38_vdata-la40_vdata,kacem,mk01") == [
        *("mk09", "mk01", "mk02", "mk03", "la38_vdata", "la39_vdata", "la40_vdata"),
        *("kacem1", "kacem2", "kacem3", "kacem4"),
    ]
    assert sum(len(flexible.expand(name)) for name in flexible.instance_sets()) == 402
    for spec in ("mk16", "mk01-mk99", "la01_edata-la02_rdata", "mk", "hurink"):
        with pytest.raises(InstanceError, match="no instances named"):
            flexible.expand(spec)
    with pytest.raises(
        InstanceError, match="no bounds for instance 'ft06'; known are the families brandimarte, "
    ):
        flexible.bounds("ft06")
    with pytest.raises(
        InstanceError, match="no file and no instance named 'mk99'; did you mean mk"
    ):
        flexible.load("mk99")
    with pytest.raises(InstanceError) as error:
        flexible.load("mk01")
    assert str(error.value) == "the data of 'mk01' is not in the package: set JAXSCHED_DATA"


def test_every_published_instance_loads_from_the_data_folder(data_dir):
    files = sorted((data_dir / "jobshop" / "fjsp").glob("*.json"))
    entries = {entry["name"]: entry for file in files for entry in json.loads(file.read_text())}
    assert sorted(entries) == sorted(
        name for family in flexible.instance_sets() for name in flexible.expand(family)
    )
    for i, (name, data) in enumerate(entries.items()):
        assert (flexible.bounds(name).lower, flexible.bounds(name).upper) == (
            data["lower_bound"],
            data["upper_bound"],
        )
        if i % 16 == 0:
            assert flexible.to_jobs(flexible.load(name)) == sorted_jobs(
                [[tuple(pair) for pair in operation] for operation in job]
                for job in data["operations"]
            )
