"""A third party's environment reaches evaluation and the command line by `register(id, make,
offer=...)`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import types
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax import Array

pytest.importorskip("tyro", reason="the command line is part of the extra `train`")

import jaxsched
from jaxsched import InstanceError, cli
from jaxsched.core import (
    GraphObservation,
    Loaded,
    Offer,
    Result,
    RulesEnvironment,
    Settings,
    graph,
    put,
)
from jaxsched.envs import registry
from jaxsched.evaluation import evaluate, evaluate_exact


@struct.dataclass
class Tasks:
    duration: Array  # i32[N]  ticks; 0 in padding
    mask: Array  # bool[N]


@struct.dataclass
class State:
    instance: Tasks
    left: Array  # bool[N]
    time: Array  # i32[]
    total: Array  # i32[]  summed completion times so far
    baseline: Array  # i32[]

    @property
    def done(self) -> Array:
        return ~self.left.any(-1)


def init(instance: Tasks, settings: Settings) -> State:
    zero = jnp.zeros((), jnp.int32)
    state = State(instance, instance.mask, zero, zero, zero)
    return state.replace(baseline=bound(state, settings))


def legal(state: State, settings: Settings) -> Array:
    return state.left


def apply(state: State, settings: Settings, action: Array, legal: Array) -> State:
    time = state.time + jnp.where(legal, state.instance.duration[action], 0)
    left = put(state.left, False, jnp.where(legal, action, state.left.shape[0]))
    return state.replace(left=left, time=time, total=state.total + jnp.where(legal, time, 0))


def bound(state: State, settings: Settings) -> Array:
    waiting = jnp.where(state.left, state.time + state.instance.duration, 0)
    return state.total + waiting.sum(dtype=jnp.int32)


def lower_bound(instance: Tasks, settings: Settings) -> Array:
    return instance.duration.sum(dtype=jnp.int32)


RULES = types.SimpleNamespace(
    init=init, legal=legal, apply=apply, bound=bound, lower_bound=lower_bound
)


@dataclasses.dataclass(frozen=True)
class OneMachine(RulesEnvironment):
    """Order tasks on one machine, minimise the sum of completion times."""

    id: ClassVar[str] = "OneMachine-v1"
    family: ClassVar[str] = "one_machine"
    rules: ClassVar = RULES
    complete: ClassVar[bool] = True
    heuristics: ClassVar = types.MappingProxyType(
        {"shortest": lambda state: -state.instance.duration}
    )
    default_source: ClassVar = staticmethod(lambda key: load(None, "three", {}).instance)

    def max_steps(self, instance):
        return instance.mask.shape[-1]

    def observe(self, state):
        mask = state.instance.mask
        share = state.instance.duration / jnp.maximum(state.instance.duration.sum(), 1)
        tasks = graph.nodes("task", mask, {"share of the work": share, "left": state.left})
        none = graph.relations((tasks,), {})
        return GraphObservation((tasks,), none, (graph.actions("task"),), state.left)

    def clock(self, state):
        return state.time

    def solution(self, state):
        return {"total": int(state.total)}

    def validate(self, instance, solution):
        return []

    def measure(self, instance, solution):
        return solution["total"]


def load(env, name, options):
    if name != "three":
        raise InstanceError(f"no instance named {name!r}; there is only 'three'")
    return Loaded(Tasks(jnp.array([3, 1, 2], jnp.int32), jnp.ones(3, bool)))


def exact(env, instance, /, *, time_limit, hint=None, num_workers=None, seed=0):
    orders = itertools.permutations(
        np.asarray(instance.duration)[np.asarray(instance.mask)].tolist()
    )
    best = min(sum(itertools.accumulate(order)) for order in orders)
    return Result({"total": best}, best, best, True, "every order", 0.0)


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "ENTRY_POINTS", dict(registry.ENTRY_POINTS))
    monkeypatch.setattr(registry, "OFFERS", dict(registry.OFFERS))
    jaxsched.register("OneMachine-v1", OneMachine, offer=Offer(load=load, exact=exact))


def test_it_is_evaluated_and_solved():
    env = jaxsched.make("OneMachine-v1")
    problem = {"three": load(env, "three", {}).instance}
    assert evaluate(env, problem, "shortest")["three"].objective == 10
    assert evaluate_exact(env, problem, time_limit=1.0)["three"].objective == 10
    assert jaxsched.make(env.id, **env.settings) == env
    assert jax.jit(env.lower_bound)(problem["three"]) == 6


def test_the_command_line_knows_it(capsys):
    assert cli.main(["solve", "three", "--env", "OneMachine-v1", "--out", "best.json"]) == 0
    assert json.loads(Path("best.json").read_text())["objective"] == 10
    assert cli.main(["solve", "three", "--env", "OneMachine-v1", "--explain"]) == 2
    assert "OneMachine-v1 offers no explanations" in capsys.readouterr().err
    assert cli.main(["list"]) == 0
    assert "OneMachine-v1: Order tasks on one machine" in capsys.readouterr().out
