"""Evaluation against the plain functions, and what it promises about samples, padding, chunks
and faults.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct

import jaxsched
from jaxsched.core import Infeasible, TimeLimit, UnknownNameError, masked_argmax, pad_to
from jaxsched.core.result import Bounds
from jaxsched.envs import job_shop, registry, soc
from jaxsched.envs.job_shop import to_jobs
from jaxsched.evaluation import (
    InvalidSolutionError,
    Report,
    Row,
    batches,
    best_temperature,
    evaluate,
    evaluate_exact,
    generate,
    instance_hash,
    mean_gap,
    policy_entries,
    randomised_rule,
    rule_policy,
)
from jaxsched.evaluation.report import gap_table, instance_table, write_json
from tests.shapes import JOBS, MACHINES, OPS, mixed_instances

ENV = jaxsched.make("JobShop-v0", candidates="non_delay")
INSTANCES = {f"mixed-{i}": instance for i, instance in enumerate(mixed_instances(5))}
MAKE = randomised_rule(ENV, "mwkr")


def sampled(instances=INSTANCES, samples=5, **options):
    return evaluate(ENV, instances, MAKE, params=1.0, samples=samples, **options)


def objectives(report) -> dict[str, int]:
    return {row.instance: row.objective for row in report.rows}


@pytest.mark.parametrize("rule", ["spt", "fdd_mwkr"])
def test_a_rule_scores_what_dispatch_does(rule: str):
    report = evaluate(ENV, INSTANCES, rule)
    assert objectives(report) == {
        name: job_shop.dispatch(inst, rule).makespan for name, inst in INSTANCES.items()
    }
    assert [row.instance for row in report.rows] == list(INSTANCES)
    for row in report.rows:
        assert job_shop.validate(INSTANCES[row.instance], row.solution) == []
        assert row.objective == row.solution.makespan
        assert (row.upper_bound, row.gap, row.policy) == (None, None, rule)
        assert row.lower_bound == int(ENV.lower_bound(INSTANCES[row.instance]))


def test_a_policy_object_scores_like_its_name():
    assert objectives(evaluate(ENV, INSTANCES, rule_policy(ENV, "spt"))) == objectives(
        evaluate(ENV, INSTANCES, "spt")
    )


def test_the_best_of_more_samples_is_no_worse_and_varies_with_the_seed():
    one, five = objectives(sampled(samples=1)), objectives(sampled())
    assert all(five[name] <= one[name] for name in INSTANCES)
    seeds = [objectives(sampled(samples=1, seed=seed)) for seed in range(4)]
    assert any(other != seeds[0] for other in seeds)


def test_rounds_spend_the_work_of_the_samples_on_the_best_one():
    """Ten episodes' work in 4 rounds is 4 ends a round."""
    instances = {
        f"generated-{seed}": job_shop.uniform(6, 4)(jax.random.key(seed)) for seed in range(8)
    }
    many = sampled(instances, samples=10, rounds=4)
    assert [row.samples for row in many.rows] == [10] * len(instances)
    assert objectives(many) == objectives(sampled(instances, samples=10, rounds=4))
    assert many.mean_objective < sampled(instances, samples=4).mean_objective
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        sampled(rounds=0)
    with pytest.raises(ValueError, match="3 rounds need several samples, got 1"):
        sampled(samples=1, rounds=3)


# 5 samples in chunks of 2, 2, 1; 5 instances in chunks of 2, 2, 1
@pytest.mark.parametrize("num_lanes", [2, 10])
def test_chunks_change_nothing(num_lanes: int, monkeypatch: pytest.MonkeyPatch):
    together = objectives(sampled())
    monkeypatch.setattr(batches, "MAX_LANES_CPU", num_lanes)
    assert objectives(sampled()) == together


def test_padding_and_company_change_neither_hash_nor_samples():
    padded = INSTANCES["mixed-2"]
    plain = job_shop.from_jobs([job for job in to_jobs(padded) if job], num_machines=MACHINES)
    assert padded.machine.shape != plain.machine.shape
    expected = sampled()["mixed-2"]
    row = sampled({"plain": plain}).rows[0]
    assert (row.instance_hash, row.size) == (expected.instance_hash, expected.size)
    assert (row.objective, row.solution) == (expected.objective, expected.solution)


def test_small_groups_are_padded_together():
    few = dict(list(INSTANCES.items())[:2])
    tiny = {"tiny": job_shop.from_jobs([[(0, 3), (1, 2)], [(1, 4), (0, 1)]])}
    assert list(batches.groups(few | tiny)) == [["tiny", *few]]
    assert list(batches.groups(INSTANCES | tiny)) == [["tiny", *INSTANCES]]
    many = {f"tiny-{i}": tiny["tiny"] for i in range(batches.FEW)}
    assert list(batches.groups(INSTANCES | many)) == [list(many), list(INSTANCES)]
    report = evaluate(ENV, few | tiny, "spt")
    assert report["tiny"].objective == job_shop.dispatch(tiny["tiny"], "spt").makespan


@pytest.mark.parametrize(
    "field", ["machine", "duration", "op_mask", "release", "weight", "machine_mask"]
)
def test_every_field_enters_the_hash(field: str):
    instance = INSTANCES["mixed-0"]
    changed = np.asarray(getattr(instance, field)).copy()
    first = (0,) * changed.ndim
    changed[first] = not changed[first] if changed.dtype == bool else changed[first] + 1
    assert instance_hash(instance.replace(**{field: changed})) != instance_hash(instance)


def test_an_operation_of_duration_zero_is_not_padding():
    with_it = job_shop.from_jobs([[(0, 3), (0, 0)], [(0, 1)]])
    without = job_shop.from_jobs([[(0, 3)], [(0, 1)]])
    assert instance_hash(with_it) != instance_hash(without)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct([size + 2 for size in leaf.shape], leaf.dtype), without
    )
    assert instance_hash(pad_to(without, shapes)) == instance_hash(without)


def test_other_params_of_the_same_function_compile_nothing():
    sampled()
    misses = batches.compile_best.cache_info().misses
    assert evaluate(ENV, INSTANCES, MAKE, params=0.01, samples=5).rows
    assert batches.compile_best.cache_info().misses == misses


class Doubting(job_shop.JobShop):
    """Its judge objects to every schedule."""

    def validate(self, instance, solution):
        return ["machine 0 is on fire", "so is machine 1"]


def test_an_invalid_solution_is_an_error_that_names_the_instance():
    with pytest.raises(
        InvalidSolutionError, match=r"spt on mixed-0: machine 0 is on fire \(and 1 more\)"
    ):
        evaluate(Doubting(), INSTANCES, "spt")


def test_what_a_horizon_cuts_off_is_reported():
    """Issue 16, row 1: `evaluate` ended in "no feasible end"."""
    env = jaxsched.make("SoC-v0")
    instances = generate(soc.streams(horizon=120, num_jobs=4, scale=10.0), 2)
    report = evaluate(env, instances, "random", samples=3)
    for row in report.rows:
        assert row.truncated
        assert row.to_dict()["truncated"]
        assert row.gap is None
        assert env.validate(instances[row.instance], row.solution) == []
        assert row.objective == env.measure(instances[row.instance], row.solution)
    titles, body = instance_table(report)
    assert titles[-1] == "end"
    assert [cells[-1] for cells in body] == ["truncated", "truncated", ""]


def test_what_a_wrapper_cuts_off_is_reported_without_a_solution():
    """A schedule that was not finished is none, and its bound is no objective (issue 16, row 1:
    a sibling).
    """
    report = evaluate(TimeLimit(ENV, 2), INSTANCES, "spt")
    for row in report.rows:
        over = INSTANCES[row.instance].op_mask.sum() <= 2
        assert (row.truncated, row.solution is None) == (not over, not over)
    assert sum(row.truncated for row in report.rows) > 2
    whole = evaluate(TimeLimit(ENV), INSTANCES, "spt")
    assert objectives(whole) == objectives(evaluate(ENV, INSTANCES, "spt"))
    assert not any(row.truncated for row in whole.rows)
    assert instance_table(whole)[0][-1] == "seconds"


def test_a_sample_that_terminated_is_better_than_one_that_was_cut_off():
    """A policy that often wastes its steps is cut off with a lower bound than its schedule has
    (issue 16, row 1).
    """
    tiny = {"tiny": job_shop.from_jobs([[(0, 1), (1, 5)], [(0, 5), (1, 1)]])}

    def wasteful(key, state, observation):
        """Job 1 first, which ends at 11 instead of 7."""
        action = masked_argmax(jnp.array([0, 1]), observation.action_mask)
        return jnp.where(jax.random.uniform(key) < 0.4, -1, action)

    env = TimeLimit(ENV, 4)
    rows = [evaluate(env, tiny, wasteful, seed=seed).rows[0] for seed in range(20)]
    assert {row.objective for row in rows if not row.truncated} == {11}
    assert min(row.objective for row in rows if row.truncated) < 11
    best = evaluate(env, tiny, wasteful, samples=40).rows[0]
    assert (best.truncated, best.objective) == (False, 11)
    assert job_shop.validate(tiny["tiny"], best.solution) == []


class Weighted(struct.PyTreeNode):
    """A policy that holds its weights, of flax; so do those of Equinox."""

    weights: Any

    def __call__(self, key, state, observation):
        return masked_argmax(
            self.weights[: observation.action_mask.shape[0]], observation.action_mask
        )


class Module(nnx.Module):
    """A policy whose weights change in place; its hash does not."""

    def __init__(self, weights):
        self.weights = nnx.Param(weights)

    def __call__(self, key, state, observation):
        return Weighted(self.weights[...])(key, state, observation)


@dataclasses.dataclass
class Mutable:
    """A policy without a hash, which is no tree of arrays."""

    weights: list

    def __call__(self, key, state, observation):
        return Weighted(jnp.asarray(self.weights))(key, state, observation)


FIRST, LAST = jnp.arange(JOBS, 0, -1), jnp.arange(JOBS)


@pytest.mark.parametrize(
    "policy", [Weighted, Module, Mutable, lambda weights: Weighted(np.asarray(weights))]
)
def test_policies_that_hold_arrays(policy):
    """Issue 16, row 9: unhashable type; and what changed between two calls is seen (a sibling)."""
    expected = [
        objectives(evaluate(ENV, INSTANCES, lambda *args, w=w: Weighted(w)(*args)))
        for w in (FIRST, LAST)
    ]
    assert expected[0] != expected[1]
    first = policy(FIRST)
    assert objectives(evaluate(ENV, INSTANCES, first)) == expected[0]
    assert objectives(evaluate(ENV, INSTANCES, policy(LAST))) == expected[1]
    if isinstance(first, Module | Mutable):
        first.weights = nnx.Param(LAST) if isinstance(first, Module) else LAST.tolist()
        assert objectives(evaluate(ENV, INSTANCES, first)) == expected[1]


def test_makers_of_policies_that_hold_arrays():
    """`params -> policy` and networks may hold arrays too (issue 16, row 9: siblings)."""

    class Maker(struct.PyTreeNode):
        bias: Any

        def __call__(self, params):
            return Weighted(params + self.bias)

    class Network(struct.PyTreeNode):
        weights: Any

        def __call__(self, params, observation):
            return self.weights[: observation.action_mask.shape[0]] + params, jnp.float32(0)

    expected = objectives(evaluate(ENV, INSTANCES, Weighted(LAST)))
    zeros = jnp.zeros_like(LAST)
    assert objectives(evaluate(ENV, INSTANCES, Maker(zeros), params=LAST)) == expected
    network = Network(LAST.astype(jnp.float32))
    greedy, sampled, followed = policy_entries(ENV, network, jnp.float32(0), samples=4, rounds=2)
    assert objectives(greedy(INSTANCES)) == expected
    assert len(sampled(INSTANCES).rows) == len(INSTANCES)
    assert followed(INSTANCES).label == "policy, 4 in 2 rounds"


@pytest.mark.parametrize("number", [np.int64, jnp.int32, np.array], ids=["numpy", "jax", "array"])
def test_numbers_of_numpy_and_jax_are_written(number, tmp_path):
    """A seed of NumPy was kept in the rows, which JSON refused (issue 16, row 8: a sibling)."""
    report = evaluate(ENV, INSTANCES, "random", seed=number(3), samples=number(2))
    assert objectives(report) == objectives(evaluate(ENV, INSTANCES, "random", seed=3, samples=2))
    write_json(tmp_path / "report.json", [report])
    assert {row.seed for row in report.rows} == {3}
    for given in ({"seed": 0.5}, {"samples": 2.0}, {"samples": True}):
        with pytest.raises(ValueError, match="must be of type int, got"):
            evaluate(ENV, INSTANCES, "random", **given)


def test_an_episode_that_does_not_end_is_an_error():
    with pytest.raises(Infeasible, match="no feasible end in 1 episodes"):
        evaluate(ENV, INSTANCES, lambda key, state, observation: jnp.int32(-1))


def test_an_objective_below_a_proved_bound_is_an_error(monkeypatch):
    false = Bounds(lower=1000, upper=1000, source="", date="")
    offered = dataclasses.replace(registry.offer(ENV), bounds=lambda env, instance: false)
    monkeypatch.setitem(registry.OFFERS, ENV.id, offered)
    with pytest.raises(
        InvalidSolutionError, match=r"on ft06: the objective .* is below the lower bound 1000"
    ):
        evaluate(ENV, {"ft06": job_shop.load("ft06")}, "spt")


def test_wrong_arguments():
    with pytest.raises(UnknownNameError, match="did you mean mwkr"):
        evaluate(ENV, INSTANCES, "mkwr")
    with pytest.raises(UnknownNameError, match="did you mean mwkr"):
        randomised_rule(ENV, "mkwr")
    with pytest.raises(ValueError, match="samples must be at least 1"):
        evaluate(ENV, INSTANCES, "spt", samples=0)
    with pytest.raises(ValueError, match="no instances"):
        evaluate(ENV, {}, "spt")


def test_the_exact_solver_closes_the_gap_of_ft06():
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    row = evaluate_exact(ENV, {"ft06": job_shop.load("ft06")}, time_limit=20.0).rows[0]
    known = job_shop.bounds("ft06")
    assert (row.objective, row.lower_bound, row.upper_bound, row.gap) == (
        known.upper,
        known.lower,
        known.upper,
        0.0,
    )


def test_a_row_names_who_found_its_solution():
    """Issue 16, row 14: without time an exact solver returns its start, or the hint, and no
    table says otherwise.
    """
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    shops = {"ft06": job_shop.load("ft06"), "tiny": job_shop.from_jobs([[(0, 1)]])}
    report = evaluate_exact(ENV, shops, time_limit=0)
    assert [row.method for row in report.rows] == ["non_delay mwkr"] * 2
    assert report.title == "exact (2 non_delay mwkr)"
    assert gap_table([report], {"all": ["ft06"]})[1][0][0] == report.title
    titles, body = instance_table(report)
    assert (titles[-1], body[0][-1], body[1][-1], body[-1][-1]) == (
        "found by",
        "non_delay mwkr",
        "non_delay mwkr",
        "",
    )
    assert report["ft06"].to_dict()["method"] == "non_delay mwkr"
    solved = evaluate_exact(ENV, shops, time_limit=60, num_workers=1)
    assert [row.method for row in solved.rows] == ["cp_sat", "non_delay mwkr"]
    hints = {"ft06": solved["ft06"].solution}
    report = evaluate_exact(ENV, shops, time_limit=0, hints=hints)
    assert [row.method for row in report.rows] == ["hint", "non_delay mwkr"]
    rule = evaluate(ENV, INSTANCES, "spt")
    assert rule.title == "spt"
    assert {row.method for row in rule.rows} == {"spt"}


def test_gap_and_means():
    row = Row("a", "", "2 x 2", "spt", 110, 90, 100, 1, 0, 0.5, None)
    rows = (
        row,
        dataclasses.replace(row, instance="b", objective=130),
        dataclasses.replace(row, size="3 x 3"),
    )
    report = Report("spt", ENV, rows)
    assert row.gap == pytest.approx(10.0)
    assert report.by_size() == {"2 x 2": pytest.approx(20.0), "3 x 3": pytest.approx(10.0)}
    assert report.mean_objective == pytest.approx(350 / 3)
    assert report.seconds == pytest.approx(1.5)
    unknown = dataclasses.replace(row, upper_bound=None)
    assert unknown.gap is None
    assert mean_gap([row, unknown]) is None


def test_the_best_temperature_has_the_lowest_mean():
    source = job_shop.uniform(JOBS, MACHINES, ops_per_job=OPS, recirculation=True)
    temperatures = (0.05, 5.0)
    instances = generate(source, 5, seed=1)
    assert list(instances) == [f"generated-{i}" for i in range(5)]
    means = [
        evaluate(ENV, instances, MAKE, params=value, samples=5, seed=1).mean_objective
        for value in temperatures
    ]
    assert means[0] != means[1]
    best = best_temperature(
        ENV, "mwkr", source, samples=5, num_instances=5, seed=1, temperatures=temperatures
    )
    assert best == temperatures[int(np.argmin(means))]
