"""The throughput measurement plays whole episodes and counts them right."""

from __future__ import annotations

import pytest

import jaxsched
from jaxsched.envs import job_shop
from jaxsched.evaluation import step_cost, throughput


def test_decisions_per_schedule_are_the_operations():
    env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(4, 3)
    reset, rules, observing = throughput(env, source, batch=3, seconds=0.0)
    assert reset.decisions_per_second == 0
    for result in (rules, observing):
        assert result.decisions_per_second == pytest.approx(12 * result.schedules_per_second)
    assert all(result.schedules_per_second > 0 for result in (reset, rules, observing))


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch must be at least 1"):
        throughput(jaxsched.make("JobShop-v0"), job_shop.uniform(4, 3), batch=0)


def test_the_observation_costs_more_than_the_rules():
    rules, observing = step_cost(
        jaxsched.make("JobShop-v0"), job_shop.uniform(4, 3), batch=3
    ).values()
    assert 0 < rules["bytes"] < observing["bytes"]
    assert 0 < rules["operations"] < observing["operations"]
