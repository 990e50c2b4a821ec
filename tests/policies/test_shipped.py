"""Policies that come with the package."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.envs import job_shop, memory, soc
from jaxsched.evaluation import evaluate, generate
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy, shipped_policies

pytest.importorskip("safetensors", reason='needs pip install "jaxsched[train]"')

SHIPPED = [
    (id, name) for id in jaxsched.list_envs() for name in shipped_policies(jaxsched.make(id))
]


def test_there_are_some():
    assert {("JobShop-v0", "standard"), ("SoC-v0", "standard")} <= set(SHIPPED)


@pytest.mark.parametrize(("id", "name"), SHIPPED)
def test_a_policy_is_found_by_its_name(id, name):
    _, params = load_policy(name, jaxsched.make(id))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"JobShop-v0: .*standard"):
        load_policy("standrad", jaxsched.make("JobShop-v0"))


def test_the_job_shop_policy_beats_a_rule():
    env = jaxsched.make("JobShop-v0")
    apply, params = load_policy("standard", env)
    shops = {name: job_shop.load(name) for name in ("ft06", "ft10", "ft20")}
    played = evaluate(env, shops, functools.partial(greedy_policy, apply), params=params)
    rule = evaluate(jaxsched.make("JobShop-v0", candidates="non_delay"), shops, "mwkr")
    assert played.mean_gap < rule.mean_gap


@pytest.mark.nightly
def test_the_soc_policy_beats_etf():
    env = jaxsched.make("SoC-v0", cap_mode="socrates")
    apply, params = load_policy("standard", env)
    worlds = generate(soc.streams(num_jobs=100), 32, seed=1)
    played = evaluate(env, worlds, functools.partial(greedy_policy, apply), params=params)
    assert played.mean_objective < evaluate(env, worlds, "etf").mean_objective


@pytest.mark.nightly
def test_the_allocation_policy_beats_every_rule_of_the_environment():
    env = jaxsched.make("StaticAllocation-v0")
    apply, params = load_policy("standard", env)
    full = generate(memory.cut_lives(48), 64, seed=1)
    played = evaluate(env, full, functools.partial(greedy_policy, apply), params=params)
    for rule in env.heuristics:
        if rule != "random":
            assert played.mean_objective < evaluate(env, full, rule).mean_objective, rule
