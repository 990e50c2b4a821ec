"""Buffers from lists and CSV files: all columns of MiniMalloc, faults named to the character,
nothing else escapes.
"""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from jaxsched.core import InstanceError
from jaxsched.envs import memory
from jaxsched.envs.memory.io import parse
from tests.envs.memory.cases import random_rows

HEADER = b"id,lower,upper,size\n"


def rows_of(buffers):
    return list(buffers)


# ------------------------------------------------------------------------------------------ reading


def test_half_open_columns():
    buffers = parse(HEADER + b"b1,0,3,4\nb2,3,9,4\n", "x.csv")
    assert rows_of(buffers) == [
        {"id": "b1", "start": 0, "end": 3, "size": 4},
        {"id": "b2", "start": 3, "end": 9, "size": 4},
    ]


@pytest.mark.parametrize("name", ["id", "buffer", "buffer_id"])
@pytest.mark.parametrize("lower", ["lower", "start", "begin"])
def test_an_inclusive_end_and_other_names(name, lower):
    buffers = parse(f"size,{lower},end,{name}\n4,0,2,x\n4,3,3,y\n".encode(), "x.csv")
    assert rows_of(buffers) == [
        {"id": "x", "start": 0, "end": 3, "size": 4},
        {"id": "y", "start": 3, "end": 4, "size": 4},
    ]


def test_optional_columns():
    text = b"id,lower,upper,size,alignment,gaps,hint,offset\na,0,9,4,8,2-3 5-7,1,16\nb,0,9,4,,,,\n"
    assert rows_of(parse(text, "x.csv")) == [
        {
            "id": "a",
            "start": 0,
            "end": 9,
            "size": 4,
            "alignment": 8,
            "offset": 16,
            "gaps": [(2, 3), (5, 7)],
        },
        {"id": "b", "start": 0, "end": 9, "size": 4},
    ]


def test_gaps_beside_an_inclusive_end_are_inclusive():
    (row,) = parse(b"id,start,end,size,gaps\na,0,8,4,2-3\n", "x.csv")
    assert (row["end"], row["gaps"]) == (9, [(2, 4)])


def test_spaces_quotes_blank_lines_and_line_ends_of_windows():
    buffers = parse(b'\xef\xbb\xbf\r\nid , lower,upper,size\r\n\r\n"a,b" , 0 ,3, 4\r\n', "x.csv")
    assert rows_of(buffers) == [{"id": "a,b", "start": 0, "end": 3, "size": 4}]


def test_the_data_folder(data_dir):
    for path in sorted((data_dir / "memory").rglob("*.csv")):
        if path.stat().st_size < 2**16:
            assert len(memory.read_csv(path)) == len(path.read_text().splitlines()) - 1
    most = {"A": 1048576, "C": 1039360, "D": 986112, "J": 989184}  # the folder's README
    for name, value in most.items():
        buffers = memory.read_csv(
            data_dir / "memory" / "minimalloc" / "challenging" / f"{name}.1048576.csv"
        )
        assert (memory.lower_bound(buffers), buffers.unit) == (value, 1024)


# ---------------------------------------------------------------------------------------- malformed

MALFORMED = {
    "empty": (b"", ": no header `id,lower,upper,size`: the file is empty"),
    "only a header": (HEADER, ":1:20: no rows below the header"),
    "no size": (b"id,lower,upper\na,0,1\n", ":1:15: no column size in the header"),
    "misnamed column": (
        b"id,lower,uper,size\n",
        ":1:10: unknown column 'uper'; did you mean upper?",
    ),
    "twice": (b"id,lower,upper,size,id\n", ":1:21: column id is given twice"),
    "upper and end": (
        b"id,lower,upper,size,end\n",
        ":1:21: column end, also called upper, is given twice",
    ),
    "too few cells": (HEADER + b"a,0,1\n", ":2:6: 3 cells, but the header has 4"),
    "too many cells": (HEADER + b"a,0,1,2,3\n", ":2:9: more cells than the 4 of the header"),
    "no id": (HEADER + b",0,1,2\n", ":2:1: id is empty"),
    "no number": (HEADER + b"a,0,x,2\n", ":2:5: upper 'x' is not an integer in digits 0-9"),
    "decimal": (HEADER + b"a,0,1,2.5\n", ":2:7: size '2.5' is not an integer in digits 0-9"),
    "negative": (HEADER + b"a,-1,1,2\n", ":2:3: lower '-1' is negative"),
    "overlong": (
        HEADER + b"a,0,1,12345678901\n",
        ":2:7: size '12345678901' has more than 10 digits",
    ),
    "very long": (HEADER + b"a,0,1," + b"9" * 9999 + b"\n", "9...' has more than 10 digits"),
    "inverted": (HEADER + b"a,0,1,2\nb,5,3,2\n", ":3:5: it ends at 3, before it starts at 5"),
    "never live": (HEADER + b"a,5,5,2\n", ":2:5: it ends at 5 as it starts, so it is never live"),
    "size 0": (HEADER + b"a,0,1,0\n", ":2:7: size must be at least 1, got 0"),
    "duplicate": (HEADER + b"a,0,1,2\na,1,2,2\n", ":3:1: another one has the same id"),
    "beyond int32": (
        HEADER + b"a,0,1,4294967296\nb,0,1,1\n",
        ":2:7: size exceeds int32 in units of",
    ),
    "alignment 0": (
        b"id,lower,upper,size,alignment\na,0,1,2,0\n",
        ":2:9: alignment must be at least 1, got 0",
    ),
    "offset": (
        b"id,lower,upper,size,alignment,offset\na,0,1,2,4,6\n",
        ":2:11: offset 6 is not a multiple of 4",
    ),
    "pinned overlap": (
        b"id,lower,upper,size,offset\na,0,2,4,0\nb,1,3,4,3\n",
        ":3:9: its offset 3 makes it overlap buffer 'a', pinned at 0",
    ),
    "gap outside": (
        b"id,lower,upper,size,gaps\na,0,4,2,3-5\n",
        ":2:9: the gap 3 to 5 is not within its life",
    ),
    "gap of words": (
        b"id,lower,upper,size,gaps\na,0,4,2,1:2\n",
        ":2:9: gap '1:2' is not of the form 5-7",
    ),
    "gap with a window": (
        b"id,lower,upper,size,gaps\na,0,4,2,1-2@0:1\n",
        ":2:9: gap '1-2@0:1' has a window",
    ),
    "only gaps": (
        b"id,lower,upper,size,gaps\na,0,4,2,0-2 2-4\n",
        ":2:9: its gaps leave nothing of its life",
    ),
    "binary": (HEADER + b"\x89PNG\xff\n", ":2:1: not a text file"),
    "zero bytes": (HEADER + b"a,0,\x001,2\n", ":2:5: not a text file"),
    "gap of a spreadsheet": (
        b"id,lower,upper,size,gaps\na,0,9,2,05. Jul\n",
        ":2:9: gap '05.' is not of the form 5-7; if a spreadsheet made a date of it, format the column as text",
    ),
    "gap as a date": (
        b"id,lower,upper,size,gaps\na,0,9,2,07.05.2026\n",
        ":2:9: gap '07.05.2026' is not of the form 5-7; if a spreadsheet made a date of it, format the column as text",
    ),
    "decimal commas without quotes": (
        HEADER + b"a,0,1,2,0\n",
        "more cells than the 4 of the header",
    ),
    "thousands or decimals": (HEADER + b"a,0,1,1.234\n", "size '1.234' may be 1234 or 1.234"),
    "half a byte": (b"id;lower;upper;size\na;0;1;2,5\n", ":2:7: size '2,5' is not an integer"),
    "open quote": (HEADER + b'"a,0,1,2\n', ":2:1: a cell in quotes does not end"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_fault_is_named(name):
    content, message = MALFORMED[name]
    with pytest.raises(InstanceError) as caught:
        parse(content, "x.csv")
    text = str(caught.value)
    assert text.startswith("x.csv")
    assert message in text
    assert len(text.splitlines()) == 1
    assert len(text) < 300


BUFFERS = {
    "not a dict": ([3], "buffer number 0: expected an object with id, start, end, size, got 3"),
    "no end": ([{"id": "a", "start": 0, "size": 1}], "buffer 'a': 'end' is missing"),
    "unknown": ([{"id": 1, "start": 0, "end": 1, "size": 1, "x": 2}], "buffer 1: unknown key 'x'"),
    "float": (
        [{"id": 1, "start": 0, "end": 1.5, "size": 1}],
        "buffer 1: end 1.5 is not an integer",
    ),
    "bool": (
        [{"id": 1, "start": 0, "end": True, "size": 1}],
        "buffer 1: end True is not an integer",
    ),
    "huge": ([{"id": 1, "start": 0, "end": 2**70, "size": 1}], "buffer 1: end is beyond 2**62"),
    "list id": (
        [{"id": [], "start": 0, "end": 1, "size": 1}],
        "buffer []: the id [] is not hashable",
    ),
    "gaps": (
        [{"id": 1, "start": 0, "end": 9, "size": 1, "gaps": [3]}],
        "buffer 1.gaps: expected an array, got 3",
    ),
    "gap of three": (
        [{"id": 1, "start": 0, "end": 9, "size": 1, "gaps": np.array([[3, 4, 5]])}],
        "buffer 1: gaps must be pairs (start, end)",
    ),
    # Of the kind of the list id: a tuple says that it is hashable until it is asked.
    "tuple id": (
        [{"id": ([],), "start": 0, "end": 1, "size": 1}],
        "buffer ([],): the id ([],) is not hashable",
    ),
    "inverted": (
        [{"id": 1, "start": 4, "end": 2, "size": 1}],
        "buffer 1: it ends at 2, before it starts at 4",
    ),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_a_fault_in_a_list_is_named(name):
    rows, message = BUFFERS[name]
    with pytest.raises(InstanceError) as caught:
        memory.Buffers(rows)
    assert str(caught.value).startswith(message)


def test_numpy_integers_are_integers():
    (row,) = memory.Buffers(
        [{"id": 0, "start": np.int32(1), "end": np.int64(3), "size": np.uint8(7)}]
    )
    assert row == {"id": 0, "start": 1, "end": 3, "size": 7}


def test_scaling_brings_large_sizes_within_int32():
    buffers = memory.Buffers(
        [{"id": i, "start": 0, "end": 1, "size": 2**40 * (i + 1)} for i in range(3)]
    )
    assert np.asarray(memory.allocation.to_instance(buffers).size).tolist() == [1, 2, 3]


def test_alignment_rounds_sizes_up():
    buffers = memory.Buffers(
        [{"id": i, "start": 0, "end": 1, "size": size} for i, size in enumerate((1, 64, 65))]
    )
    assert buffers.aligned(64).size.tolist() == [64, 64, 128]
    assert buffers.aligned(64).unit == 64
    pinned = memory.Buffers([{"id": 0, "start": 0, "end": 1, "size": 8, "offset": 8}])
    with pytest.raises(InstanceError, match="offset 8 is not a multiple of 64"):
        pinned.aligned(64)


# ---------------------------------------------------------------------------------- fuzz and limits


def test_nothing_but_instance_errors_escapes():
    rng = random.Random(0)
    seeds = [content for content, _ in MALFORMED.values() if len(content) < 200]
    seeds += [
        b"id,lower,upper,size,alignment,gaps,offset\na,0,9,4,8,2-3 5-7,16\nb,3,5,2,1,,\n"
    ] * 20
    alphabet = [
        b",",
        b"\n",
        b'"',
        b"-",
        b"@",
        b"0",
        b"9",
        b"id",
        b"end",
        b"\xff",
        b"\0",
        b" ",
        b"2147483648",
        "²".encode(),
    ]
    accepted = 0
    for _ in range(6_000):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(0, 4)):
            at = rng.randint(0, len(content))
            content[at : at + rng.randint(0, 3)] = rng.choice(alphabet)
        try:
            buffers = parse(bytes(content), "x.csv")
        except InstanceError:
            continue
        accepted += 1
        assert memory.lower_bound(buffers) > 0
    assert accepted > 500


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    tracemalloc.start()
    with pytest.raises(InstanceError, match="larger than 4 MiB"):
        memory.read_csv(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("filler", [b"9", b",", b"a,0,1,2\n", b'"', b"\n", b" "])
def test_a_large_file_of_garbage_stays_within_memory(filler):
    content = HEADER + filler * (2**21 // len(filler))
    tracemalloc.start()
    with pytest.raises(InstanceError):
        parse(content, "x.csv")
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


# ------------------------------------------------------------------------------------------ writing


def test_what_is_written_is_read_again(tmp_path):
    rng = random.Random(1)
    for i in range(50):
        buffers, path = memory.Buffers(random_rows(rng)), tmp_path / f"{i}.csv"
        memory.write_csv(buffers, path)
        assert rows_of(memory.read_csv(path)) == rows_of(buffers)


def test_a_plan_is_written_as_offsets(tmp_path):
    buffers = memory.Buffers([{"id": i, "start": 0, "end": 2, "size": 3} for i in "ab"])
    plan = memory.allocate(buffers, method="best_fit_size")
    memory.write_csv(buffers, tmp_path / "plan.csv", plan)
    assert (
        tmp_path / "plan.csv"
    ).read_text() == "id,lower,upper,size,offset\na,0,2,3,0\nb,0,2,3,3\n"
    solved = memory.read_csv(tmp_path / "plan.csv")  # all pinned
    again = memory.allocate(solved, method="search")
    assert (again.offsets.tolist(), again.proved) == ([0, 3], True)
    assert memory.verify(solved, again) == []


def test_no_file_is_overwritten_unless_told_to(tmp_path):
    buffers, path = (
        memory.Buffers([{"id": 'a,"b', "start": 0, "end": 2, "size": 3}]),
        tmp_path / "x.csv",
    )
    memory.write_csv(buffers, path)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        memory.write_csv(buffers, path)
    memory.write_csv(buffers, path, overwrite=True)
    assert memory.read_csv(path).ids == ('a,"b',)
    with pytest.raises(InstanceError, match="does not fit a cell"):
        memory.write_csv(
            memory.Buffers([{"id": "a\nb", "start": 0, "end": 2, "size": 3}]), tmp_path / "y.csv"
        )
    with pytest.raises(InstanceError, match="no negative times"):
        memory.write_csv(
            memory.Buffers([{"id": "a", "start": -1, "end": 2, "size": 3}]), tmp_path / "y.csv"
        )
    assert not (tmp_path / "y.csv").exists()
