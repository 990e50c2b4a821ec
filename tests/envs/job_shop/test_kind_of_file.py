"""What a file is, is told by its content; formats as they are met in the wild (issue 16, rows 11
and 18).
"""

from __future__ import annotations

import json
import re

import pytest

from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import flexible, read_any, to_jobs
from jaxsched.envs.job_shop.io import CATALOGUE
from jaxsched.envs.job_shop.orders import is_orders
from jaxsched.host.errors import InstanceError

ORDERS = "job,step,machine,minutes\nA,1,saw,5\nA,2,mill,6\n"
STANDARD = "2 3\n0 5 1 6 2 7\n2 1 1 2 0 3\n"
JOBS = [[(0, 5), (1, 6), (2, 7)], [(2, 1), (1, 2), (0, 3)]]
MATRICES = "2 3\n5 6 7\n1 2 3\n1 2 3\n3 2 1\n"
TAILLARD = "Nb of jobs, Nb of Machines\n2 3 1 1\nTimes\n5 6 7\n1 2 3\nMachines\n1 2 3\n3 2 1\n"
FJS = "2 2 1.5\n1 2 1 4 2 8\n2 1 1 5 1 2 3\n"
CHOICES = [[[(0, 4), (1, 8)]], [[(0, 5)], [(1, 3)]]]
# one operation of 5 ticks; or, as a job shop, one of 1 and one of 5 on machine 1
BOTH = "1 2\n1 1 1 5\n"
ENTRY = json.dumps({"operations": JOBS})
FLEXIBLE_ENTRY = json.dumps({"operations": CHOICES})
LIB = json.dumps({"duration_matrix": [[5, 6]], "machines_matrix": [[0, 1]]})
FLEXIBLE_LIB = json.dumps({"duration_matrix": [[5, 6]], "machines_matrix": [[[0, 1], 1]]})
FOR_FLEXIBLE = "it is for FlexibleJobShop-v0"


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to


def message(read, *arguments, **options):
    with pytest.raises(InstanceError) as error:
        read(*arguments, **options)
    return str(error.value)


def single(jobs):
    """A job shop as a flexible one."""
    return [[[operation] for operation in job] for job in jobs]


# ------------------------------------------------------------------- row 11


@pytest.mark.parametrize(
    "name",
    ["orders.csv", "ORDERS.CSV", "orders.Csv", "orders.txt", "ORDERS.TSV", "orders", "o.json.bak"],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_orders_are_orders_by_any_name(write, name, separator):
    """Row 11: `ORDERS.CSV` lost its names."""
    path = write(name, ORDERS.replace(",", separator))
    instance, orders = read_any(path)
    assert orders is not None
    assert (orders.jobs, orders.machines) == (("A",), ("saw", "mill"))
    assert to_jobs(job_shop.load(path)) == to_jobs(instance) == [[(0, 5), (1, 6)]]


@pytest.mark.parametrize(
    "ending", [".txt", ".TXT", ".csv", ".CSV", ".fjs", ".FJS", ".dat", "", ".tsv"]
)
@pytest.mark.parametrize(
    "content", [STANDARD, MATRICES, TAILLARD, ENTRY, "# a comment, job, step\n" + STANDARD]
)
def test_a_job_shop_is_one_by_any_name(write, ending, content):
    path = write(f"shop{ending}", content)
    instance, orders = read_any(path)
    assert orders is None
    assert to_jobs(instance) == JOBS
    assert flexible.to_jobs(flexible.load(path)) == single(JOBS)


@pytest.mark.parametrize("ending", [".json", ".JSON", ".Json"])
def test_endings_of_json(write, ending):
    assert "not JSON" in message(job_shop.load, write(f"a{ending}", ""))
    assert to_jobs(job_shop.load(write(f"a{ending}", LIB))) == [[(0, 5), (1, 6)]]


@pytest.mark.parametrize("ending", [".fjs", ".FJS", ".txt", ".csv", ""])
@pytest.mark.parametrize(
    "content",
    [FJS, FLEXIBLE_ENTRY, FLEXIBLE_LIB, FJS.replace(" 1.5", ""), FJS.replace("1.5", "1,5")],
)
def test_a_flexible_shop_is_none_for_the_classic_loader(write, ending, content):
    """Row 11: makespan 10 instead of 8, without a word."""
    path = write(f"two{ending}", content)
    assert FOR_FLEXIBLE in message(job_shop.load, path)
    assert FOR_FLEXIBLE in message(read_any, path)
    assert flexible.load(path).num_ops > 0


def test_a_malformed_flexible_shop_is_none_either(write):
    assert FOR_FLEXIBLE in message(job_shop.load, write("a.fjs", FJS.replace("2 8", "2")))
    assert FOR_FLEXIBLE not in message(job_shop.load, write("a.txt", FJS.replace("2 8", "2")))


def test_a_file_that_is_both(write):
    """Its name tells, or the user."""
    assert FOR_FLEXIBLE in message(job_shop.load, write("a.fjs", BOTH))
    assert flexible.to_jobs(flexible.load(write("a.fjs", BOTH))) == [[[(0, 5)]]]
    path = write("a.txt", BOTH)
    for load in (job_shop.load, flexible.load):
        assert message(load, path) == (
            f"{path}:1:1: both a job shop in the standard format and a flexible one (.fjs): name it *.fjs for "
            "FlexibleJobShop-v0, or add the total of operations to the first line for JobShop-v0"
        )
    path = write("a.txt", BOTH.replace("1 2\n", "1 2 2\n"))
    assert to_jobs(job_shop.load(path)) == [[(1, 1), (1, 5)]]
    # a row that visits every machine once, as in all classic sets
    path = write("a.txt", "1 2\n1 1 0 7\n")
    assert to_jobs(job_shop.load(path)) == [[(1, 1), (0, 7)]]


def test_what_is_written_is_never_both(tmp_path):
    path = tmp_path / "a.txt"
    jobs = [[(1, 1), (1, 5)]]
    job_shop.write_standard(job_shop.from_jobs(jobs), path)
    assert path.read_text() == "1 2 2\n1 1 1 5\n"
    assert to_jobs(job_shop.load(path)) == jobs
    flexible.write_fjs(flexible.from_jobs([[[(0, 5)]]], num_machines=2), tmp_path / "b.txt")
    assert flexible.to_jobs(flexible.load(tmp_path / "b.txt")) == [[[(0, 5)]]]


@pytest.mark.parametrize("content", [ORDERS, ORDERS.replace(",", ";")])
def test_orders_are_not_flexible(write, content):
    found = message(flexible.load, write("orders.txt", content))
    assert found.endswith("a table of orders: it is for JobShop-v0 (job_shop.read_orders)")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", True), ("Auftrag;Schritt\n", True), ("1 1\n0 5\n", False), ("{}", False), ("[", False), ("# x\n", False),
        ("sep=;\n", True), ("\n\n Job ; Step\n", True), ("'job'\n", True),
    ],
)  # fmt: skip
def test_what_a_file_named_csv_is(content, expected):
    assert is_orders(content.encode(), "a.csv") is expected
    assert is_orders(content.encode(), "a.txt") is (
        expected and ("tep" in content or "sep" in content)
    )


def test_a_plan_is_no_table_of_orders(write):
    found = message(job_shop.load, write("plan.csv", "job,step,machine,start,end\nA,1,m,0,5\n"))
    assert found.endswith("plan.csv:1:27: no column minutes in the header; it has 'start', 'end'")


def test_files_of_the_data_folder_by_any_ending(tmp_path, monkeypatch):
    folder = tmp_path / "jobshop" / "jssp"
    folder.mkdir(parents=True)
    (folder / "MINE.JSON").write_text(json.dumps([{"name": "mine", "operations": JOBS}]))
    monkeypatch.setenv("JAXSCHED_DATA", str(tmp_path))
    assert "mine" in CATALOGUE.names()
    assert to_jobs(job_shop.load("mine")) == JOBS


# ------------------------------------------------------------------- row 18


@pytest.mark.parametrize(
    "content",
    [
        MATRICES, MATRICES.replace("2 3\n", "2 3 840612802 398197754 1231 1005\n", 1),
        MATRICES.replace("\n1 2 3\n1", "\n1 2 3\n\n1"),
        "# times\n" + MATRICES.replace("7\n1", "7 \r\n1") + "\n\n", MATRICES.replace(" ", "\t"),
        "2 3\n5 6 7\n1 2 3\n0 1 2\n2 1 0\n",  # machines from 0
    ],
)  # fmt: skip
def test_two_matrices_without_words(write, content):
    """Row 18: told by the counts from the standard format."""
    assert to_jobs(job_shop.load(write("a.txt", content))) == JOBS
    assert to_jobs(job_shop.load(write("b.txt", b"\xef\xbb\xbf" + content.encode()))) == JOBS


def test_six_by_six_in_two_matrices(write):
    jobs = to_jobs(job_shop.load("ft06"))
    rows = [[d for _, d in job] for job in jobs] + [[m + 1 for m, _ in job] for job in jobs]
    text = "6 6\n" + "".join(" ".join(map(str, row)) + "\n" for row in rows)
    assert to_jobs(job_shop.load(write("ft06.txt", text))) == jobs


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (MATRICES.replace("3 2 1", "3 2"), ":5:4: job 1 has 2 numbers in the machines, expected 3, one per machine"),
        (MATRICES.replace("\n1 2 3\n1", "\n1 2\n1"),
         ":3:4: job 1 has 2 numbers in the durations, expected 3, one per machine"),
        (MATRICES[:-6], ":4:6: the file ends after 1 of 2 lines of the machines"),
        (MATRICES + "1 2 3\n", ":6:1: a line after two matrices of 2 lines, durations and machines"),
        (MATRICES.replace("3 2 1", "3 2 4"),
         ":5:5: job 1, operation 2: machine 4 is out of range, there are 3, counted from 1"),
        (MATRICES.replace("3 2 1", "3 2 0"), ":5:5: job 1, operation 2: machine 0 is out of range, there are 3, "
         "counted from 1; machines_from=0 counts from 0"),
        (MATRICES.replace("5 6 7", "5 6 x"), ":2:5: 'x' is not an integer in digits 0-9"),
    ],
)  # fmt: skip
def test_malformed_matrices(write, content, where):
    path = write("a.txt", content)
    assert message(job_shop.load, path) == f"{path}{where}"


OR_LIBRARY = f""" instance ft06

 +++++++++++++++++++++++++++++
 Fisher and Thompson 6x6 instance, alternate name (mt06)
 {STANDARD} +++++++++++++++++++++++++++++
"""


@pytest.mark.parametrize(
    "content",
    [
        OR_LIBRARY, "This file contains a set of test instances.\n\n++++\n" + OR_LIBRARY,
        "instance x\n" + STANDARD,
        "\tINSTANCE x\r\n" + STANDARD, "instance x\n6x6, the second\n" + STANDARD,
        "# é\ninstance x\n".encode("cp1252") + STANDARD.encode(),
    ],
)  # fmt: skip
def test_files_of_or_library(write, content):
    """Row 18: `instance NAME` lines."""
    assert to_jobs(job_shop.load(write("a.txt", content))) == JOBS


def test_a_collection_is_named(write):
    """And a long description takes no longer than its lines."""
    found = message(job_shop.load, write("a.txt", "instance x\n" + "x\n" * 2**20))
    assert found.endswith("a.txt:1:1: no line `jobs machines` below the name of the instance")
    path = write("jobshop1.txt", OR_LIBRARY * 3)
    assert (
        message(job_shop.load, path)
        == f"{path}:9:2: 3 instances in one file: keep one, with the lines below its name"
    )


FROM_0 = "2 2\n1 2 0 4 1 8\n2 1 0 5 1 1 3\n"


@pytest.mark.parametrize("content", [FJS, FROM_0])
def test_machines_from_0_or_1(write, content):
    """Row 18: a file counts from 0 where a machine 0 occurs and all are below their number."""
    path, own = write("a.fjs", content), int(content == FJS)
    assert flexible.to_jobs(flexible.load(path)) == CHOICES
    assert flexible.to_jobs(flexible.load(path, machines_from=own)) == CHOICES
    wrong, machine = 1 - own, 2 if content == FJS else 0
    found = message(flexible.load, path, machines_from=wrong)
    assert re.search(
        rf"machine {machine} is out of range, there are 2, counted from {wrong}; machines_from={own} ",
        found,
    )


def test_machines_that_count_from_neither(write):
    path = write("a.fjs", FROM_0.replace("1 3\n", "2 3\n"))
    assert message(flexible.load, path) == (
        f"{path}:2:5: job 0, operation 0: machine 0 is out of range, there are 2, counted from 1; "
        "machines_from=0 counts from 0"
    )
    found = message(flexible.load, write("a.fjs", "1 3\n1 2 0 4 0 8\n"))
    # as the file counts
    assert found.endswith(":2:9: job 0, operation 0: machine 0 is given twice")
    found = message(flexible.load, write("a.fjs", "1 3\n1 2 2 4 2 8\n"))
    assert found.endswith(":2:9: job 0, operation 0: machine 2 is given twice")


def test_machines_from_1_in_the_standard_format(write):
    from_1 = "2 3\n1 5 2 6 3 7\n3 1 2 2 1 3\n"
    assert to_jobs(job_shop.load(write("a.txt", from_1))) == JOBS
    # it may be either: as usual
    assert to_jobs(job_shop.load(write("b.txt", "1 3 1\n1 5\n"))) == [[(1, 5)]]
    assert to_jobs(job_shop.load(write("b.txt", "1 3 1\n1 5\n"), machines_from=1)) == [[(0, 5)]]
    found = message(job_shop.load, write("a.txt", from_1), machines_from=0)
    assert found.endswith(
        "machine 3 is out of range, there are 3, counted from 0; machines_from=1 counts from 1"
    )


@pytest.mark.parametrize("load", [job_shop.load, flexible.load])
def test_machines_from_where_it_means_nothing(write, load):
    assert "machines count from 0 in JSON" in message(load, write("a.json", LIB), machines_from=1)
    assert "`machines_from`" in message(
        load, "mk01" if load is flexible.load else "ft06", machines_from=0
    )
    with pytest.raises(ValueError, match="machines_from is 0 or 1, got 2"):
        load(write("a.txt", STANDARD), machines_from=2)
    assert "names" in message(job_shop.load, write("o.csv", ORDERS), machines_from=0)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + FJS.encode(), FJS.encode("utf-16"), FJS.replace("\n", "\r\n").encode(),
        (FJS + "\n \n\n").encode(),
        FJS.replace(" ", "\t").encode(), ("# Größe\n" + FJS).encode("cp1252"), FJS.replace("1.5", "1,50").encode(),
        FJS.replace("1.5", "2").encode(), FJS.replace(" 8\n", " 8   \n").encode(),
    ],
)  # fmt: skip
def test_fjs_as_it_comes(write, content):
    assert flexible.to_jobs(flexible.load(write("a.fjs", content))) == CHOICES


@pytest.mark.parametrize("content", [STANDARD, MATRICES, TAILLARD])
def test_job_shops_as_they_come(write, content):
    for variant in (
        content.encode("utf-16"), content.replace("\n", "\r\n").encode(), (content + "\n \n").encode(),
        content.replace(" ", "\t").replace("Nb\tof\tjobs,", "Nb of jobs,").encode(),
        ("# Köln\n" + content).encode("cp1252"),
    ):  # fmt: skip
        assert to_jobs(job_shop.load(write("a.txt", variant))) == JOBS


def test_job_shop_lib_in_both_loaders(write):
    path = write("a.json", FLEXIBLE_LIB)
    assert flexible.to_jobs(flexible.load(path)) == [[[(0, 5), (1, 5)], [(1, 6)]]]
    assert flexible.to_jobs(flexible.load(write("b.json", LIB))) == [[[(0, 5)], [(1, 6)]]]
    dated = json.loads(LIB) | {"release_dates_matrix": [[3, 8]]}
    found = message(flexible.load, write("c.json", json.dumps(dated)))
    assert found.endswith(":1:84: release_dates_matrix: FlexibleJobShop-v0 has no dates")


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        # Row 17: the release of the second operation was blamed, which does not follow from half a
        # duration
        ({"duration_matrix": [[10.5, 2]], "release_dates_matrix": [[0, 10]]},
         ":1:23: job 0, operation 0: duration 10.5 is not an integer"),
        ({"duration_matrix": [[3_000_000_000, 2]], "release_dates_matrix": [[0, 10]]},
         ":1:23: job 0, operation 0: duration does not fit int32"),
        ({"duration_matrix": [[1, 2]], "machines_matrix": [[0, "b"]], "due_dates_matrix": [[3, 4]]},
         ":1:55: job 0, operation 1: machine 'b' is not an integer"),
        ({"duration_matrix": [[1, 2]], "release_dates_matrix": [[3_000_000_000, 0]]},
         ":1:86: job 0, operation 0: release date does not fit int32"),
        ({"duration_matrix": [[1, 2]], "due_dates_matrix": [[None, 3_000_000_000]]},
         ":1:88: job 0, operation 1: due date does not fit int32"),
        ({"duration_matrix": [[1, 2]], "due_dates_matrix": [[None, -2_147_483_647]]},
         ":1:81: job 0: due date -2147483647 is too long before the end of all work, 3"),
    ],
)  # fmt: skip
def test_the_field_at_fault_is_named(write, entries, where):
    document = {"duration_matrix": 0, "machines_matrix": [[0, 1]]} | entries
    path = write("a.json", json.dumps(document))
    assert message(job_shop.load, path) == f"{path}{where}"
