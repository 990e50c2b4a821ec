"""The environment: its settings by name, equality, and what it offers."""

from __future__ import annotations

import csv
import json

import jax
import numpy as np
import pytest

import jaxsched
from jaxsched.core import TimeLimit
from jaxsched.envs import soc
from jaxsched.envs.registry import offer
from jaxsched.envs.soc import offer as soc_offer
from jaxsched.envs.soc.settings import CAP_MODES, VIEWS, WITH_BOOKS
from jaxsched.host.errors import InstanceError, UnknownNameError

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        *({"view": view} for view in VIEWS),
        {"view": "order", "order_mapping": "eft"},
        *({"rule": rule, "record": False} for rule in WITH_BOOKS),
        *({"cap_mode": mode, "reward": "makespan"} for mode in CAP_MODES),
        {"communication": "shared_memory", "dispatch_order": "insertion", "reward": "socrates"},
    ],
    ids=str,
)
def test_settings_make_the_environment_again(given):
    env = jaxsched.make("SoC-v0", **given)
    assert {name: env.settings[name] for name in given} == given
    again = jaxsched.make(env.id, **json.loads(json.dumps(dict(env.settings))))
    assert again == env
    assert hash(again) == hash(env)
    assert again.default_source == env.default_source


def test_a_rule_keeps_its_books_where_it_maps_the_tasks_of_an_order():
    """`rule` stays what it was given as, so that the settings make the environment again."""
    for settings, rule in (
        (soc.Settings(view="order"), "heft_rt"),
        (soc.Settings(view="order", rule="peft"), "peft"),
        (soc.Settings(view="order", order_mapping="eft"), None),
        (soc.Settings(), None),
    ):
        assert settings.rule_in_force == rule


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"caps": 5}, r"unknown setting of SoC-v0 'caps'; known: cap_mode, communication"),
        ({"cap_modes": "open"}, r"unknown setting of SoC-v0 'cap_modes'; did you mean cap_mode\?"),
        ({"num_jobs": 30}, r"unknown setting of SoC-v0 'num_jobs'; known: cap_mode"),
        ({"view": "join"}, r"unknown view 'join'; did you mean joint\?"),
        ({"rule": "heft_tr"}, r"unknown rule 'heft_tr'; did you mean heft_rt"),
        ({"reward": "latencies"}, r"unknown reward 'latencies'; did you mean latency\?"),
        ({"record": "yes"}, "record must be of type bool, got 'yes'"),
        ({"rule": 3}, "rule must be of type str or None, got 3"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line(given, message):
    """Issue 16, row 17: `make("SoC-v0", caps=5)` was a bare TypeError of another function."""
    with pytest.raises((UnknownNameError, ValueError), match=message):
        jaxsched.make("SoC-v0", **given)


def test_equal_environments_share_programs_whatever_streams_they_meet():
    """An environment holds no stream: on streams of other rates, equal ones are one program."""
    traces = []

    def play(env, instance):
        traces.append(env)
        return env.reset(KEY, instance)[0].time

    play = jax.jit(play, static_argnums=0)
    for source in (soc.streams(num_jobs=3, scale=5), soc.streams(num_jobs=3, scale=80, warm_up=4)):
        play(jaxsched.make("SoC-v0"), source(KEY))
    assert len(traces) == 1
    play(jaxsched.make("SoC-v0", cap_mode="socrates"), source(KEY))
    assert len(traces) == 2


# -------------------------------------------------------------------------------------- offer


def test_the_offer_is_registered():
    assert offer(jaxsched.make("SoC-v0")) is soc_offer.OFFER
    assert soc_offer.OFFER.presets is soc.PRESETS
    assert set(soc_offer.OFFER.offers()) >= {"presets", "source", "exact", "picture", "write"}


@pytest.mark.parametrize("name", sorted(soc.PRESETS))
def test_presets_make_environments_that_fit_their_streams(name):
    preset = soc.PRESETS[name]
    env = jaxsched.make("SoC-v0", **preset.settings)
    assert preset.source.communication == env.settings.communication
    assert preset.training["algorithm"] in ("imitation", "self_labeling", "ppo")


def test_the_exact_solver_sees_the_settings():
    pytest.importorskip("ortools", reason='needs pip install "jaxsched[solvers]"')
    instance = jax.device_get(soc.streams(num_jobs=2, cap=1)(KEY))
    for cap_mode in ("ds3", "open"):
        inner = jaxsched.make("SoC-v0", cap_mode=cap_mode)
        env = TimeLimit(inner, 9)
        result = soc_offer.soc_exact(env, instance, time_limit=2.0, num_workers=1)
        assert inner.validate(instance, result.solution) == []
        assert inner.measure(instance, result.solution) == result.objective
        again = soc_offer.soc_exact(env, instance, time_limit=0.0, hint=result.solution)
        assert again.objective == result.objective
    with pytest.raises(InstanceError, match="does not know the objective makespan"):
        soc_offer.soc_exact(jaxsched.make("SoC-v0", reward="makespan"), instance, time_limit=1.0)


def test_traces_are_drawn_and_written(tmp_path):
    env, instance = jaxsched.make("SoC-v0"), None
    trace = soc.simulate("socrates_top", ["socrates_top1"] * 2, [0, 20])
    picture = soc_offer.soc_picture(env, instance, trace, title="two")
    assert "<title>two (average latency" in picture.svg
    soc_offer.soc_write(env, instance, trace, tmp_path / "trace.CSV")
    with (tmp_path / "trace.CSV").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(trace.tasks)
    soc_offer.soc_write(env, instance, trace, tmp_path / "trace.JSON")
    assert json.loads((tmp_path / "trace.JSON").read_text())["traceEvents"]
    with pytest.raises(FileExistsError):
        soc_offer.soc_write(env, instance, trace, tmp_path / "trace.JSON")
    soc_offer.soc_write(env, instance, trace, tmp_path / "trace.JSON", overwrite=True)
    pytest.importorskip("matplotlib", reason='needs pip install "jaxsched[viz]"')
    picture.save(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")


def test_streams_by_options():
    """What the command line takes: numbers, lists and names, fitted to the settings."""
    env = jaxsched.make("SoC-v0", cap_mode="open", communication="shared_memory")
    options = {"scale": [10, 50], "profiles": "socrates_top1,socrates_top6", "num_jobs": 4}
    source = soc_offer.soc_source(env, options)
    assert source == soc.streams(
        profiles=("socrates_top1", "socrates_top6"),
        scale=(10, 50),
        num_jobs=4,
        cap=16,
        steady=False,
        communication="shared_memory",
    )
    assert soc_offer.soc_source(env, {}) == env.default_source
    assert soc_offer.soc_source(env, {"cap": 4, "steady": True}).cap == (4,)
    assert np.asarray(source(KEY).slot_mask).sum() == 16
    with pytest.raises(UnknownNameError, match="streams of SoC-v0 'caps'; did you mean cap"):
        soc_offer.soc_source(env, {"caps": 5})
    with pytest.raises(ValueError, match=r"cap: 'many' is not an integer"):
        soc_offer.soc_source(env, {"cap": "many"})
    with pytest.raises(InstanceError, match="no platform named 'socrates'; did you mean"):
        soc_offer.soc_source(env, {"platform": "socrates"})
