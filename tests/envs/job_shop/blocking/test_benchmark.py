"""What the benchmark claims: schedules shorter than the best known, the search for them,
intervals.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from benchmarks import blocking as benchmark
from jaxsched.envs.job_shop import blocking

FILES = sorted(benchmark.SCHEDULES.glob("*.json"))


def test_the_shortened_schedules_of_generated_instances_are_valid():
    generated = [path for path in FILES if path.stem.startswith("ta")]
    assert generated
    benchmark.verify(generated)


def test_the_shortened_schedules_of_instances_in_the_data_folder_are_valid(data_dir):
    benchmark.verify([path for path in FILES if not path.stem.startswith("ta")])


def test_a_schedule_that_is_not_valid_is_refused(tmp_path):
    found = json.loads(FILES[-1].read_text())
    found["start"][0][1] = found["start"][0][0]
    path = tmp_path / FILES[-1].name
    path.write_text(json.dumps(found))
    with pytest.raises(AssertionError, match=FILES[-1].stem):
        benchmark.verify([path])


def test_the_search_starts_and_goes_on(tmp_path, monkeypatch):
    if shutil.which("g++") is None:
        pytest.skip("the search needs g++")
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark, "SCHEDULES", tmp_path / "schedules")
    makespans = []
    for passes in (1, 2):
        benchmark.improve(["ft06", "ta01"], 0.02, 1, 0.04, tmp_path / "work")
        assert not (tmp_path / "work" / "ft06.json").exists()  # closed
        best = json.loads((tmp_path / "work" / "ta01.json").read_text())
        assert best["passes"] == passes
        makespans.append(best["makespan"])
    upper = blocking.bounds("ta01").upper
    assert upper < makespans[1] <= makespans[0] < 2 * upper


def test_intervals_are_over_shops_and_worlds():
    names = [name for name in "abc" for _ in range(4)]
    ids = benchmark.resampled(names, draws=500)
    assert ids.shape == (500, 12)
    shops = ids.reshape(500, 3, 4) // 4
    assert (shops == shops[:, :, :1]).all()  # all worlds of a shop that was drawn are its own
    assert len(np.unique(ids)) == 12
    # Of shops that differ and worlds that do not, more worlds say nothing.
    values = np.repeat([1.0, 2.0, 6.0], 4)
    assert benchmark.interval(values, names) == benchmark.interval(values[::4], list("abc"))
    assert benchmark.paired(values, 2 * values, names) == [-50, -50, -50]
