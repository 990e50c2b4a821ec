"""Names of environments."""

from __future__ import annotations

import pytest

import jaxsched
from jaxsched.core import Offer, TimeLimit, UnknownNameError
from jaxsched.envs import job_shop, registry


@pytest.fixture(autouse=True)
def entry_points(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "ENTRY_POINTS", dict(registry.ENTRY_POINTS))


@pytest.mark.parametrize("id", jaxsched.list_envs())
def test_every_environment_is_made_and_knows_its_names(id):
    env = jaxsched.make(id)
    assert env.id == id
    assert jaxsched.make(id, **env.settings) == env
    assert isinstance(registry.offer(env), Offer)
    assert registry.offer(env).presets


def test_settings_are_passed():
    assert jaxsched.make("JobShop-v0", candidates="non_delay") == job_shop.JobShop(
        job_shop.Settings("non_delay")
    )
    assert jaxsched.make("JobShop-v0") != jaxsched.make("JobShop-v0", candidates="non_delay")


def test_settings_are_those_that_make_takes():
    env = jaxsched.make("JobShop-v0", objective="flow_time", candidates="insert", max_visits=2)
    assert env.settings["objective"] == "flow_time"
    assert jaxsched.make(env.id, **env.settings) == env


@pytest.mark.parametrize(
    ("id", "settings", "message"),
    [
        ("JobShop-v1", {}, "unknown environment 'JobShop-v1'; did you mean JobShop-v0"),
        ("zzz", {}, "unknown environment 'zzz'; known: .*JobShop-v0"),
        (
            "JobShop-v0",
            {"candidate": "any"},
            "unknown setting of JobShop-v0 'candidate'; did you mean candidates",
        ),
        (
            "JobShop-v0",
            {"candidates": "nondelay"},
            "unknown candidates 'nondelay'; did you mean non_delay",
        ),
    ],
)
def test_unknown_names_are_one_line_with_the_close_matches(id, settings, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        jaxsched.make(id, **settings)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("entry_point", [job_shop.JobShop, "jaxsched.envs.job_shop.env:JobShop"])
def test_register(entry_point):
    for _ in range(2):  # the same again is no conflict
        jaxsched.register("Mine-v0", entry_point)
    assert "Mine-v0" in jaxsched.list_envs()
    assert jaxsched.make("Mine-v0", candidates="non_delay") == job_shop.JobShop(
        job_shop.Settings("non_delay")
    )


def test_a_plain_function_may_make_environments():
    jaxsched.register("Mine-v0", lambda mode: job_shop.JobShop(job_shop.Settings(mode)))
    assert jaxsched.make("Mine-v0", mode="non_delay").settings.candidates == "non_delay"


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'JobShop-v0' is registered already"):
        jaxsched.register("JobShop-v0", job_shop.JobShop)


def test_a_wrapped_environment_is_made():
    """Issue 16, row 3: `make` died of an empty AssertionError."""
    jaxsched.register("Mine-v0", lambda limit=10: TimeLimit(jaxsched.make("JobShop-v0"), limit))
    env = jaxsched.make("Mine-v0", limit=5)
    assert env == TimeLimit(job_shop.JobShop(), 5)
    assert registry.offer(env) is registry.offer(job_shop.JobShop())


def test_what_makes_no_environment_is_refused_in_a_line():
    jaxsched.register("Mine-v0", lambda: "JobShop-v0")
    with pytest.raises(
        TypeError, match="registered as 'Mine-v0' returns a str, neither an Environment nor"
    ):
        jaxsched.make("Mine-v0")
