"""Every feature of every format of instances, and schedules that are written and read back."""

from __future__ import annotations

import datetime
import json

import jax
import pytest

from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import (
    from_jobs,
    load,
    read_orders,
    read_schedule,
    to_jobs,
    write_schedule,
)
from jaxsched.envs.job_shop.formats import parse
from jaxsched.envs.job_shop.orders import parse_orders
from jaxsched.host.errors import InstanceError

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


# -------------------------------------------------------------------------------- valid, by feature


def test_the_standard_format(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(
        "\ufeff# café\r\n\r\n  # more\r\n2 3\r\n0 5\t1 6 2 7\r\n 2 1 1 0 0 3  \r\n\r\n# end".encode()
    )
    assert to_jobs(load(path)) == [[(0, 5), (1, 6), (2, 7)], [(2, 1), (1, 0), (0, 3)]]
    assert leaves(load(str(path))) == leaves(load(path))


def test_a_third_number_admits_ragged_jobs():
    lists = parse(b"2 3 5\n0 1\n1 1 2 1 1 1 0 4\n", "")
    assert lists.jobs == [[(0, 1)], [(1, 1), (2, 1), (1, 1), (0, 4)]]
    assert lists.num_machines == 3


TAILLARDS = {
    "as published": TAILLARD,
    "no head": TAILLARD.partition(b"\n")[2],
    "two numbers": TAILLARD.replace(b" 2 2 1 1", b"2 2"),
    "lower case": TAILLARD.lower(),
    "upper case, colons": TAILLARD.upper()
    .replace(b"TIMES", b"TIMES:")
    .replace(b"MACHINES\n 1", b"  Machines :\n 1"),
    "old Macintosh": TAILLARD.replace(b"\n", b"\r"),
    "Windows, comments, blanks": b"# x\n\n"
    + TAILLARD.replace(b"Times\n", b"Times\n\n# y\n").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("content", TAILLARDS.values(), ids=TAILLARDS)
def test_taillards_format(content, tmp_path):
    path = tmp_path / "tai.txt"
    path.write_bytes(content)
    assert to_jobs(load(path)) == [[(0, 1), (1, 2)], [(1, 3), (0, 4)]]
    assert load(path).num_machines == 2


def test_ta01_in_taillards_format(tmp_path):
    """The head of the published file of the 15 x 15 instances, and what the published seeds
    give.
    """
    jobs = to_jobs(load("ta01"))
    rows = {
        "Times": [[duration for _, duration in job] for job in jobs],
        "Machines": [[machine + 1 for machine, _ in job] for job in jobs],
    }
    text = "Nb of jobs, Nb of Machines, Time seed, Machine seed, Upper bound, Lower bound\n"
    text += "        15        15  840612802  398197754      1231      1005\n"
    for word, matrix in rows.items():
        text += f"{word}\n" + "".join(
            " ".join(f"{number:2}" for number in row) + "\n" for row in matrix
        )
    (tmp_path / "tai15_15.txt").write_text(text)
    assert leaves(load(tmp_path / "tai15_15.txt")) == leaves(load("ta01"))


@pytest.mark.parametrize("name", ["a.json", "a.txt"])  # by its content too
def test_job_shop_lib_json(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(
        b"\n " + job_shop_lib(metadata={"optimum": None, "deep": [{}], "seed": 10**40})
    )
    assert leaves(load(path)) == leaves(from_jobs([[(0, 1), (1, 2)], [(1, 3)]]))


def test_job_shop_lib_dates():
    lists = parse(
        job_shop_lib(
            release_dates_matrix=[[4, 5], [0]],  # 5 follows from 4 and a duration of 1
            due_dates_matrix=[[9, 9], [None]],
            deadlines_matrix=[[None, None], [None]],
            machines_matrix=[[[0], [1]], [[1]]],  # a flexible one without choice
        ),
        "",
    )
    assert (lists.jobs, lists.release, lists.due) == (
        [[(0, 1), (1, 2)], [(1, 3)]],
        [4, 0],
        [9, None],
    )
    assert parse(job_shop_lib(due_dates_matrix=[[None, 9], [7]]), "").due == [9, 7]


def test_an_entry_of_our_data_files():
    entry = {
        "name": "x",
        "jobs": 1,
        "machines": 3,
        "operations": [[[1, 5], [0, 6]]],
        "lower_bound": 1,
        "optimal": True,
    }
    lists = parse(json.dumps(entry).encode(), "")
    assert (lists.jobs, lists.num_machines) == ([[(1, 5), (0, 6)]], 3)
    assert parse(b'{"operations": [[[1, 5]]]}', "").num_machines == 2


def write_orders(path, content):
    path.write_bytes(content)
    return read_orders(path)


def test_orders(tmp_path):
    orders = write_orders(
        tmp_path / "orders.CSV",
        "\ufeffminutes, Machine ,step,job\r\n5,mill,20,B\r\n\r\n  7 ,lathe,10,A\r\n0,mill,007,B\r\n"
        '"3","saw, ""new""",30,Ä\r\n'.encode(),
    )
    assert (orders.jobs, orders.machines) == (("B", "A", "Ä"), ("mill", "lathe", 'saw, "new"'))
    assert orders.steps == ((7, 20), (10,), (30,))
    assert orders.origin is None
    assert leaves(orders.instance) == leaves(from_jobs([[(0, 0), (0, 5)], [(1, 7)], [(2, 3)]]))
    assert leaves(load(tmp_path / "orders.CSV")) == leaves(orders.instance)


def test_orders_with_minutes(tmp_path):
    content = b"A,1,m,5,,20,\nA,2,m,5,4,,3\nA,3,m,5,4,20,3\nB,1,m,5,,,0\n"
    orders = write_orders(tmp_path / "a.csv", DATED + content)
    expected = from_jobs([[(0, 5)] * 3, [(0, 5)]], release=[4, 0], due=[20, None], weight=[3, 0])
    assert leaves(orders.instance) == leaves(expected)
    assert orders.origin is None


@pytest.mark.parametrize("release", ["2026-11-23T08:00", "2026-11-23 08:00", "2026-11-23T08:00:00"])
def test_orders_with_dates(release, tmp_path):
    content = (
        f"A,1,m,5,{release},2026-11-24,\nB,1,m,5,2026-11-23T09:30,,\nC,1,m,5,,2026-11-23T08:00,\n"
    )
    orders = write_orders(tmp_path / "a.csv", DATED + content.encode())
    assert orders.origin == datetime.datetime(2026, 11, 23, 8)
    assert orders.instance.release.tolist() == [0, 90, 0]
    assert orders.instance.due.tolist() == [16 * 60, 0, 0]
    assert orders.instance.due_mask.tolist() == [True, False, True]


def test_an_unreadable_mix_of_line_ends_keeps_its_lines():
    with pytest.raises(InstanceError) as error:
        parse_orders(HEADER.replace(b"\n", b"\r\n") + b"A,1,m,5\rB,1,m,x\r\n", "a")
    assert (error.value.line, error.value.column) == (3, 7)


# ---------------------------------------------------------------------------------------- schedules

ORDERS = (
    HEADER.replace(b"\n", b",release\n")
    + b'"A, 1",10,lathe,35,%s\n"A, 1",20,mill,50,\nB,1,mill,20,\nB,3,saw,0,\n'
)


@pytest.mark.parametrize("ending", ["csv", "json"])
@pytest.mark.parametrize("release", [None, b"7", b"2026-11-23T08:00"])
def test_schedules_read_back(ending, release, tmp_path):
    path = tmp_path / f"schedule.{ending}"
    orders = None if release is None else write_orders(tmp_path / "orders.csv", ORDERS % release)
    instance = load("ft06") if orders is None else orders.instance
    schedule = job_shop.dispatch(instance, "mwkr")
    write_schedule(instance, schedule, path, orders=orders)
    back = read_schedule(path, instance, orders=orders)
    assert back == schedule
    assert job_shop.validate(instance, back) == []
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_schedule(instance, schedule, path, orders=orders)
    write_schedule(instance, schedule, path, orders=orders, overwrite=True)


def test_the_columns_of_a_schedule(tmp_path):
    orders = write_orders(tmp_path / "orders.csv", ORDERS % b"2026-11-23T08:00")
    schedule = job_shop.Schedule([[0, 35], [0, 20]], 85)
    write_schedule(orders.instance, schedule, tmp_path / "a.csv", orders=orders)
    assert (tmp_path / "a.csv").read_text() == (
        "job,step,machine,start,end\n"
        '"A, 1",10,lathe,2026-11-23T08:00,2026-11-23T08:35\n'
        '"A, 1",20,mill,2026-11-23T08:35,2026-11-23T09:25\n'
        "B,1,mill,2026-11-23T08:00,2026-11-23T08:20\n"
        "B,3,saw,2026-11-23T08:20,2026-11-23T08:20\n"
    )
    write_schedule(orders.instance, schedule, tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["makespan"] == 85
    assert data["operations"][1] == {"job": 0, "step": 1, "machine": 1, "start": 35, "end": 85}


def test_write_schedule_refuses(tmp_path):
    shop = from_jobs([[(0, 3)]])
    good = job_shop.Schedule([[0]], 3)
    with pytest.raises(ValueError, match="not a schedule of this instance: the makespan"):
        write_schedule(shop, job_shop.Schedule([[0]], 4), tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"\*\.csv or \*\.json"):
        write_schedule(shop, good, tmp_path / "a.txt")
    with pytest.raises(ValueError, match="these orders are of another instance"):
        write_schedule(
            shop, good, tmp_path / "a.csv", orders=write_orders(tmp_path / "o.csv", ORDERS % b"7")
        )
    late = write_orders(
        tmp_path / "o.csv", HEADER.replace(b"\n", b",release\n") + b"A,1,m,3,9999-12-31T23:59\n"
    )
    with pytest.raises(ValueError, match="after the year 9999"):
        write_schedule(late.instance, good, tmp_path / "a.csv", orders=late)
    assert not (tmp_path / "a.csv").exists()


SCHEDULE = "job,step,machine,start,end\n0,0,1,2,5\n0,1,0,5,9\n"
SCHEDULE_JSON = (
    '{"makespan": 9, "operations": [{"job": 0, "step": 0, "machine": 1, "start": 2, "end": 5}, %s]}'
)
SECOND = '{"job": 0, "step": 1, "machine": 0, "start": 5, "end": 9}'
MALFORMED_SCHEDULES = [
    ("a.csv", "", "a.csv: no header `job,step,machine,start,end`: the file is empty"),
    ("a.csv", SCHEDULE.replace("0,1,0,5", "0,1,0"), "a.csv:3:8: 4 cells, but the header has 5"),
    (
        "a.csv",
        SCHEDULE.replace("0,1,0,5", "1,1,0,5"),
        "a.csv:3:1: the instance has no step 1 of a job 1",
    ),
    ("a.csv", SCHEDULE.replace("0,1,0,5", "0,0,1,5"), "a.csv:3:3: step 0 of job 0 is given twice"),
    (
        "a.csv",
        SCHEDULE.replace("0,1,0,5", "0,1,1,5"),
        "a.csv:3:5: machine 1, but the instance has 0",
    ),
    ("a.csv", SCHEDULE.replace("5,9", "-5,9"), "a.csv:3:7: start '-5' is negative"),
    ("a.csv", SCHEDULE.replace("5,9", "5,8"), "a.csv:3:9: end 8 is not 4 ticks after the start"),
    ("a.csv", SCHEDULE.replace("0,1,0,5,9\n", ""), "a.csv: no start for step 1 of job 0"),
    (
        "a.json",
        "[]",
        "a.json:1:1: expected a schedule as one JSON object, got an array",
    ),
    ("a.json", "{}", "a.json:1:1: needs `makespan` and `operations`"),
    (
        "a.json",
        SCHEDULE_JSON.replace("9", "8", 1) % SECOND,
        "a.json:1:14: the makespan is given as 8, but the latest end is 9",
    ),
    (
        "a.json",
        SCHEDULE_JSON % "7",
        "a.json:1:91: operation 1: expected an object of job, step, machine, start, end",
    ),
    (
        "a.json",
        SCHEDULE_JSON % SECOND.replace("0", "[]", 1),
        "a.json:1:99: job [] is neither a number nor a text",
    ),
    (
        "a.json",
        SCHEDULE_JSON % SECOND.replace("5", "true"),
        "a.json:1:136: start True is neither a number nor a text",
    ),
    (
        "a.json",
        SCHEDULE_JSON % SECOND.replace("5", '"5"'),
        "a.json:1:136: start '5' is not a time of this instance",
    ),
    (
        "a.json",
        '{"makespan": 9, "operations": 3}',
        "a.json:1:31: operations: expected a list, got 3",
    ),
]


@pytest.mark.parametrize(("file", "content", "message"), MALFORMED_SCHEDULES)
def test_malformed_schedules(file, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InstanceError) as error:
        read_schedule(file, from_jobs([[(1, 3), (0, 4)]]))
    assert str(error.value) == message


@pytest.mark.parametrize("start", ["2026-11-23", "2026-11-23T07:59", "0", "x"])
def test_dates_of_schedules(start, tmp_path):
    orders = write_orders(tmp_path / "orders.csv", ORDERS % b"2026-11-23T08:00")
    (tmp_path / "a.csv").write_text(
        f"job,step,machine,start,end\nB,1,mill,{start},2026-11-23T08:20\n"
    )
    with pytest.raises(InstanceError, match=r"2:10: start '.*' is not a time of this instance"):
        read_schedule(tmp_path / "a.csv", orders.instance, orders=orders)
