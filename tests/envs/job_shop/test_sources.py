"""Generators: shapes, ranges, routes, reproducibility; Taillard's instances bit for bit."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.envs.job_shop import (
    Schedule,
    from_jobs,
    jumanji,
    known_optimum,
    load,
    solve_exact,
    taillard,
    taillard_style,
    to_jobs,
    two_set,
    uniform,
    validate,
    with_due_dates,
)

BATCH = 256
RAGGED = uniform(4, 6, low=0, high=3, ops_per_job=5, min_ops=2)
DATED = with_due_dates(RAGGED, tightness=1.35, release_spread=0.7, weights=(2, 5))
DENSE = known_optimum(6, 4, makespan=173)


@functools.partial(jax.jit, static_argnums=0)  # sources are hashable
def batch(source, keys):
    return jax.vmap(source)(keys)


def draw(source, seed=0):
    """`BATCH` instances in one compiled call, as NumPy."""
    return jax.tree.map(np.asarray, batch(source, jax.random.split(jax.random.key(seed), BATCH)))


def assert_well_formed(instance):
    """The invariants of `Instance`: types, prefix masks, zero padding."""
    assert {leaf.dtype for leaf in jax.tree.leaves(instance)} == {
        np.dtype(np.int32),
        np.dtype(bool),
    }
    assert (instance.op_mask[..., 1:] <= instance.op_mask[..., :-1]).all()
    assert instance.op_mask[..., 0].all()
    assert (instance.machine[~instance.op_mask] == 0).all()
    assert (instance.duration[~instance.op_mask] == 0).all()
    assert ((instance.machine >= 0) & (instance.machine < instance.num_machines)).all()
    assert instance.machine_mask.all()
    assert (instance.weight == 1).all()
    assert not instance.release.any()
    assert not instance.due_mask.any()


def assert_uniform(values, low, high):
    """Every value of the range occurs about equally often: within six standard deviations, for a
    fixed key.
    """
    count = np.bincount(values.ravel(), minlength=high + 1)
    assert len(count) == high + 1
    assert not count[:low].any()
    expected = values.size / (high - low + 1)
    assert np.abs(count[low:] - expected).max() < 6 * np.sqrt(expected)


def test_taillard_style_is_uniform_with_permutation_routes():
    instance = draw(taillard_style(6, 5))
    assert_well_formed(instance)
    assert instance.machine.shape == (BATCH, 6, 5)
    assert instance.op_mask.all()
    assert (np.sort(instance.machine, -1) == np.arange(5)).all()
    assert_uniform(instance.machine[..., 0], 0, 4)
    assert_uniform(instance.machine[..., 4], 0, 4)
    assert_uniform(instance.duration, 1, 99)
    assert taillard_style(6, 5) == uniform(6, 5, low=1, high=99)


def test_routes_of_the_jobs_are_independent():
    machine = draw(taillard_style(6, 5)).machine
    same = (machine[:, 0] == machine[:, 1]).all(-1).mean()
    assert same < 6 / 120  # 1 of 5! expected


def test_ragged_jobs_visit_distinct_machines():
    instance = draw(RAGGED)
    assert_well_formed(instance)
    assert instance.machine.shape == (BATCH, 4, 5)
    assert_uniform(instance.op_mask.sum(-1), 2, 5)
    assert_uniform(instance.duration[instance.op_mask], 0, 3)
    for route, mask in zip(
        instance.machine.reshape(-1, 5), instance.op_mask.reshape(-1, 5), strict=True
    ):
        assert len(set(route[mask])) == mask.sum()


def test_jumanji_setting():
    instance = draw(jumanji())
    assert_well_formed(instance)
    assert instance.machine.shape == (BATCH, 20, 8)
    assert instance.num_machines == 10
    assert_uniform(instance.op_mask.sum(-1), 1, 8)
    assert_uniform(instance.duration[instance.op_mask], 1, 6)
    assert_uniform(instance.machine[instance.op_mask], 0, 9)
    longest = instance.machine[instance.op_mask.all(-1)]
    assert any(len(set(route)) < 8 for route in longest)  # machines are revisited


def test_two_set_shops_visit_the_first_half_first():
    for num_machines in (4, 5):
        instance, half = draw(two_set(6, num_machines)), num_machines // 2
        assert_well_formed(instance)
        assert instance.machine.shape == (BATCH, 6, num_machines)
        assert (np.sort(instance.machine[..., :half], -1) == np.arange(half)).all()
        assert (np.sort(instance.machine[..., half:], -1) == np.arange(half, num_machines)).all()
        assert_uniform(instance.machine[..., 0], 0, half - 1)
        assert_uniform(instance.machine[..., -1], half, num_machines - 1)
        assert_uniform(instance.duration, 1, 200)


def test_dmu_shops_have_that_form(data_dir):
    for name in ("dmu41", "dmu80"):  # of 15 and 20 machines
        instance = load(name)
        half = instance.num_machines // 2
        assert int(instance.machine[:, :half].max()) == half - 1
        assert int(instance.machine[:, half:].min()) == half
    assert int(load("dmu01").machine[:, :7].max()) == 14


@pytest.mark.parametrize(
    "source",
    [DENSE, known_optimum(7, 7), known_optimum(5, 1, 5), known_optimum(1, 1, 3)],
)
def test_known_optimum(source):
    """The hidden schedule is valid, and no schedule is shorter than the load of a machine."""
    keys = jax.random.split(jax.random.key(1), BATCH)
    instances, starts = jax.tree.map(np.asarray, jax.jit(jax.vmap(source.solved))(keys))
    assert_well_formed(instances)
    bound = jaxsched.make("JobShop-v0").lower_bound
    assert (jax.jit(jax.vmap(bound))(instances) == source.makespan).all()
    assert (np.sort(instances.machine, -1) == np.arange(source.num_machines)).all()
    assert instances.duration.min() >= 1
    for i in range(BATCH):
        instance = jax.tree.map(lambda leaf, i=i: leaf[i], instances)
        load = np.bincount(instance.machine.ravel(), instance.duration.ravel())
        assert (load == source.makespan).all()
        assert validate(instance, Schedule(starts[i].tolist(), source.makespan)) == []


def test_known_optima_are_those_of_the_exact_solver():
    instances = draw(DENSE)
    for i in range(5):
        instance = jax.tree.map(lambda leaf, i=i: leaf[i], instances)
        result = solve_exact(instance, time_limit=20)
        assert result.proved
        assert result.objective == DENSE.makespan


def test_known_optimum_shops_are_varied():
    instance = draw(known_optimum(6, 4))
    assert known_optimum(6, 4).makespan == 300
    assert_uniform(instance.machine[:, 0, 0], 0, 3)
    assert len({job.tobytes() for job in instance.machine.reshape(-1, 4)}) == 24  # every route
    # Without the shifts of borders each instance would have six durations, one per slice.
    assert np.mean([len(np.unique(duration)) for duration in instance.duration]) > 12


def test_due_dates_follow_the_work():
    plain, instance = draw(RAGGED), draw(DATED)
    assert instance.due_mask.all()
    work = instance.duration.sum(-1)
    np.testing.assert_array_equal(instance.due, instance.release + (135 * work + 50) // 100)
    assert_uniform(instance.weight, 2, 5)
    latest = work.sum(-1, keepdims=True) // 4 * 70 // 100
    assert (instance.release >= 0).all()
    assert (instance.release <= latest + 1).all()
    assert (instance.release.max(-1) > latest[:, 0] // 2).mean() > 0.7
    assert plain.duration.shape == instance.duration.shape
    tight = with_due_dates(uniform(2, 2), tightness=1, weights=(1, 1))(jax.random.key(0))
    assert (tight.due == tight.duration.sum(-1)).all()
    assert not tight.release.any()


def test_due_dates_keep_releases_and_padding():
    shop = from_jobs([[(0, 2**30)], [(1, 5)]], release=[3, 4])
    padded = jax.tree.map(lambda leaf: jnp.pad(leaf, [(0, 1)] + [(0, 0)] * (leaf.ndim - 1)), shop)
    instance = with_due_dates(lambda key: padded, tightness=100, weights=(7, 7))(jax.random.key(0))
    assert instance.release.tolist() == [3, 4, 0]
    assert instance.due.tolist() == [3 + 2**30 // 10_000 * 10_000, 504, 0]
    assert instance.due_mask.tolist() == [True, True, False]
    assert instance.weight.tolist() == [7, 7, 0]
    assert to_jobs(instance)[:2] == to_jobs(shop)


@pytest.mark.parametrize(
    "source", [RAGGED, DATED, DENSE, two_set(4, 5)], ids=["uniform", "dated", "dense", "two_set"]
)
def test_a_key_gives_one_instance_alone_batched_or_with_x64(source):
    many = draw(source)
    key = jax.random.split(jax.random.key(0), BATCH)[7]
    alone = source(key)
    with jax.enable_x64(True):
        wide = jax.jit(source)(key)
    for instance in (alone, wide):
        for one, leaf in zip(jax.tree.leaves(instance), jax.tree.leaves(many), strict=True):
            assert one.dtype == leaf.dtype
            np.testing.assert_array_equal(one, leaf[7])
    assert (draw(source, seed=1).duration != many.duration).any()


def test_sources_are_values():
    assert uniform(3, 2) == uniform(3, 2, ops_per_job=2, min_ops=2)
    assert len({uniform(3, 2), uniform(3, 2), uniform(3, 2, high=9)}) == 2
    assert len({two_set(3, 2), two_set(3, 2, high=9), two_set(3, 2, 1, 200)}) == 2
    assert len({known_optimum(3, 2), known_optimum(3, 2, 150), known_optimum(3, 2, 9)}) == 2
    assert (
        len({with_due_dates(two_set(3, 2)), with_due_dates(two_set(3, 2), 1.5, 0.0, (1, 4)), DATED})
        == 2
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_jobs": 0}, "at least one job"),
        ({"num_machines": 0}, "at least one job"),
        ({"low": 5, "high": 4}, "low <= high"),
        ({"low": -1}, "low <= high"),
        ({"ops_per_job": 3}, "recirculation=True"),
        ({"min_ops": 3}, "min_ops <= ops_per_job"),
        ({"min_ops": 0}, "min_ops <= ops_per_job"),
        ({"high": 2**31 - 1}, "int32"),
    ],
)
def test_contradictory_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        uniform(**({"num_jobs": 2, "num_machines": 2} | settings))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: two_set(0, 2), "at least one job"),
        (lambda: two_set(2, 2, 5, 4), "low <= high"),
        (lambda: two_set(2, 2, 1, 2**30), "int32"),
        (lambda: known_optimum(2, 3), "3 machines and 2 jobs"),
        (lambda: known_optimum(2, 0), "0 machines"),
        (lambda: known_optimum(3, 2, 2), "makespan of 2"),
        (lambda: known_optimum(3, 2, 2**30), "int32"),
        (lambda: with_due_dates(uniform(2, 2), -1), r"in \[0, 100\], got -1.0 and 0.0"),
        (lambda: with_due_dates(uniform(2, 2), release_spread=101), r"got 1.5 and 101.0"),
        (lambda: with_due_dates(uniform(2, 2), weights=(2, 1)), "low <= high"),
    ],
)
def test_contradictory_settings_of_the_others(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_taillard_by_its_published_seeds():
    instance = taillard(15, 15, 840612802, 398197754)  # ta01
    assert instance.duration[0].tolist() == [
        94,
        66,
        10,
        53,
        26,
        15,
        65,
        82,
        10,
        27,
        93,
        92,
        96,
        70,
        83,
    ]
    assert instance.machine[0].tolist() == [6, 12, 4, 7, 3, 2, 10, 11, 8, 14, 9, 13, 5, 0, 1]
    for one, other in zip(jax.tree.leaves(instance), jax.tree.leaves(load("ta01")), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_taillard_sizes():
    sizes = [load(f"ta{first:02}").machine.shape for first in range(1, 81, 10)]
    assert sizes == [
        (15, 15),
        (20, 15),
        (20, 20),
        (30, 15),
        (30, 20),
        (50, 15),
        (50, 20),
        (100, 20),
    ]


@pytest.mark.parametrize("seed", [0, -1, 2**31 - 1])
def test_taillard_refuses_seeds_outside_its_generator(seed):
    with pytest.raises(ValueError, match="Taillard seed"):
        taillard(2, 2, seed, 1)


def test_all_80_taillard_instances_equal_the_data_folder(data_dir):
    entries = json.loads((data_dir / "jobshop" / "jssp" / "ta.json").read_text())
    assert [entry["name"] for entry in entries] == [f"ta{i:02}" for i in range(1, 81)]
    for entry in entries:
        instance, operations = load(entry["name"]), np.array(entry["operations"])
        np.testing.assert_array_equal(
            jnp.stack([instance.machine, instance.duration], -1), operations
        )
