"""Results as files and tables."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import metadata

import jax
import pytest

import jaxsched
from jaxsched.core import InstanceError
from jaxsched.envs import job_shop
from jaxsched.evaluation import (
    compare,
    comparison,
    evaluate,
    instance_hash,
    load_groups,
    load_one,
    rule_entries,
    write_json,
)
from jaxsched.evaluation.report import gap_table, instance_table, number, plain_table
from tests.shapes import mixed_instances

ENV = jaxsched.make("JobShop-v0", candidates="non_delay")
INSTANCES = {f"mixed-{i}": instance for i, instance in enumerate(mixed_instances(5))}


@pytest.fixture(scope="module")
def report():
    return evaluate(ENV, INSTANCES, "spt", seed=3)


def test_the_mean_ratio_to_the_lower_bound(report):
    ratios = [row.objective / row.lower_bound for row in report.rows]
    assert report.mean_ratio == pytest.approx(sum(ratios) / len(ratios))
    assert report.mean_ratio >= 1
    rows = [dataclasses.replace(report.rows[0], lower_bound=0), *report.rows[1:]]
    assert dataclasses.replace(report, rows=rows).mean_ratio is None


def test_json_holds_what_a_figure_depends_on(tmp_path, report):
    path = tmp_path / "new" / "results.json"
    write_json(path, [report])
    data = json.loads(path.read_text())
    assert data["header"]["versions"]["jax"] == metadata.version("jax")
    assert data["header"]["versions"]["jaxsched"] == jaxsched.__version__
    assert data["header"]["device"] == jax.devices()[0].device_kind
    assert {"date", "num_cpus"} <= data["header"].keys()
    described = data["methods"][0]["environment"]
    assert jaxsched.make(described["id"], **described["settings"]) == ENV
    assert len(data["rows"]) == len(INSTANCES)
    for row, (name, instance) in zip(data["rows"], INSTANCES.items(), strict=True):
        assert row["instance"] == name
        assert row["instance_hash"] == instance_hash(instance)
        assert row["objective"] == report[name].objective
        assert (row["policy"], row["samples"], row["seed"], row["upper_bound"], row["gap"]) == (
            "spt",
            1,
            3,
            None,
            None,
        )


def test_an_existing_file_is_kept_unless_asked(tmp_path, report):
    path = tmp_path / "results.json"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"results\.json exists"):
        write_json(path, [report])
    assert path.read_text() == "precious"
    write_json(path, [report], overwrite=True)
    assert json.loads(path.read_text())["rows"]


def test_groups_are_names_of_instances():
    instances, groups = load_groups(ENV, ["ta01", "ta01-ta03", "ft06"])
    assert groups == {"ta01": ["ta01"], "ta01-ta03": ["ta01", "ta02", "ta03"], "ft06": ["ft06"]}
    assert list(instances) == ["ta01", "ta02", "ta03", "ft06"]
    assert instance_hash(instances["ta02"]) == instance_hash(job_shop.load("ta02"))
    with pytest.raises(InstanceError, match="ft06"):
        load_groups(ENV, ["ft0"])


def test_generated_groups_depend_on_the_seed_alone():
    instances, groups = load_groups(ENV, ["generated:3"], seed=5)
    assert groups == {"generated:3": ["generated-0", "generated-1", "generated-2"]}
    few, _ = load_groups(ENV, ["generated:2"], seed=5)
    hashes = {name: instance_hash(instance) for name, instance in instances.items()}
    assert all(instance_hash(instance) == hashes[name] for name, instance in few.items())
    assert instance_hash(load_one(ENV, "generated-2", seed=5).instance) == hashes["generated-2"]
    assert instance_hash(load_one(ENV, "generated-2", seed=6).instance) != hashes["generated-2"]


def test_without_named_instances_the_message_says_what_there_is():
    env = jaxsched.make("SoC-v0")
    with pytest.raises(InstanceError, match=r"SoC-v0 has no instance 'ft06': .* try generated:100"):
        load_groups(env, ["ft06"])
    with pytest.raises(InstanceError, match="try generated-0"):
        load_one(env, "ft06")


def test_the_comparison_prints_a_row_per_method_and_a_column_per_group(capsys):
    instances = {"ft06": job_shop.load("ft06")}
    reports = comparison(instances, rule_entries(ENV, ["spt", "mwkr"]), {"ft06": ["ft06"]})
    assert [report.label for report in reports] == ["spt", "mwkr"]
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.startswith("method"))
    assert header.split() == ["method", "ft06", "seconds", "compiling"]
    upper = job_shop.bounds("ft06").upper
    for report in reports:
        makespan = job_shop.dispatch(instances["ft06"], report.label).makespan
        row = next(
            line.split() for line in lines[lines.index(header) :] if line.startswith(report.label)
        )
        assert row[1] == f"{100 * (makespan / upper - 1):.1f}"


def test_compare_hands_every_entry_the_same_instances():
    seen = []
    entry = functools.partial(evaluate, ENV, policy="spt")
    compare(INSTANCES, [lambda instances: (seen.append(instances), entry(instances))[1]])
    assert seen == [INSTANCES]


def test_tables(report):
    titles, body = gap_table([report], {"all": list(INSTANCES)})
    # no published bound, no gap
    assert titles == ["method", "all (mean objective)", "seconds", "compiling"]
    assert body[0][:2] == ["spt", number(report.mean_objective)]
    titles, body = instance_table(report)
    assert len(body) == len(INSTANCES) + len(report.by_size()) + (len(report.by_size()) > 1)
    assert all(len(row) == len(titles) for row in body)
    lines = plain_table("title", ["a", "long"], [["x", "1"], ["yyyy", "22"]]).splitlines()
    assert lines == ["title", "a     long", "----------", "x        1", "yyyy    22"]
    assert [number(value) for value in (None, 3, 12.34, 0.0123, 0.0)] == [
        "-",
        "3",
        "12.3",
        "0.012",
        "0.0",
    ]
