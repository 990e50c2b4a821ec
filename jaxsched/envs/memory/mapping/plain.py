"""Plain functions: one program in, one plan out, on the host."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jaxsched.core.arrays import put
from jaxsched.core.callables import as_key
from jaxsched.core.environment import Policy
from jaxsched.core.errors import UnknownNameError
from jaxsched.core.padding import pad_to
from jaxsched.core.rollout import rollout
from jaxsched.envs.memory.mapping import exact, rules
from jaxsched.envs.memory.mapping.backup import drop_backup, play
from jaxsched.envs.memory.mapping.backup import step as backup_step
from jaxsched.envs.memory.mapping.env import MemoryMap
from jaxsched.envs.memory.mapping.heuristics import HEURISTICS, SCORES
from jaxsched.envs.memory.mapping.relaxation import Relaxed, relax
from jaxsched.envs.memory.mapping.search import search
from jaxsched.envs.memory.mapping.types import MapInstance, MapPlan, MapState, Program, Scale, Step, map_instance
from jaxsched.envs.memory.mapping.validate import Replay, problem_of

NUM_SAMPLES = 64  # episodes of a policy from which the search starts
MAP_METHODS = (*HEURISTICS, "search", "exact", "policy", "policy+drop_backup")


class Stalls(NamedTuple):
    """What a plan costs when copies really take the time of the instructions they overlap."""

    latency: int  # ticks, waiting included
    waits: list[int]  # ticks that each instruction waits for copies before it starts
    late: list[tuple[int, int]]  # (access, ticks) of the copies that were waited for


def map_program(
    program: Program | Mapping[str, Any],
    method: str = "search",
    *,
    time_limit: float = 60.0,
    seed: int = 0,
    policy: Policy | None = None,
) -> MapPlan:
    """An action per access, COPY, NOCOPY or DROP, so that the program runs as fast as the method finds.

    Methods:

    * `all_drop`, `greedy`, `greedy_copy`, `greedy_keep`, `belady`, `msa` (`mapping/heuristics.py`): alone they may end
      at a dead end, and the plan is not `feasible` then; with `+drop_backup` they never do.
    * `search`: evolution of whole mappings until `time_limit` seconds are over, a first generation apart, or the bound
      is met; never worse than the best of four heuristics, which are played first (`mapping/search.py`). Where OR-Tools
      is installed it starts from the plan of the relaxation too, and with a `policy` that draws its actions from 64
      episodes of that.
    * `exact`: exhaustive search; `plan.proved` where it got through within half of `time_limit` seconds and its memory.
    * `policy`, `policy+drop_backup`: one episode of `policy(key, state, observation) -> action`.

    The bound of `search`, and of `exact` where it is not proved, is that of CP-SAT where OR-Tools is installed
    (`mapping/relaxation.py`), which gets a fifth of the time and half of it.

    `seed` is for the policy, the search and the solver. Raises `InstanceError` for malformed programs and those beyond
    int32 after scaling, `UnknownNameError` for another method.
    """
    if method not in MAP_METHODS:
        raise UnknownNameError("method", method, MAP_METHODS)
    plays = method.startswith("policy")
    if (plays and policy is None) or (policy is not None and not plays and method != "search"):
        raise ValueError(
            "method 'policy' needs policy=, a function (key, state, observation) -> action; 'search' may have one, no "
            "other does"
        )
    if not time_limit >= 0:
        raise ValueError(f"time_limit is in seconds and not negative, got {time_limit}")
    began = time.perf_counter()
    program = program if isinstance(program, Program) else Program.from_dict(program)
    instance, scale = padded_instance(program)
    lower = None
    if method in HEURISTICS:
        name, _, backup = method.partition("+")
        state = _play(functools.partial(_scores, SCORES[name]), bool(backup), instance)
    elif policy is not None and method != "search":
        state = _episode(as_key(policy), method != "policy", instance, seed)
    else:
        starts = search_starts(instance)
        lower = int(_lower_bound(instance))

        def relaxed(share: float) -> Relaxed:
            """By CP-SAT within a share of the whole time."""
            if not find_spec("ortools"):
                return Relaxed(0, None)
            left = min(share * time_limit, began + time_limit - time.perf_counter())
            bound, actions = relax(problem_of(program), time_limit=left, seed=seed)
            return Relaxed(bound // scale.time, actions)

        if method == "exact":
            state, lower = exact.search(instance, starts, deadline=began + time_limit / 2)
            if lower < int(state.latency):
                lower = max(lower, relaxed(0.5).bound)
        else:
            bound, actions = relaxed(0.2)
            lower = max(lower, bound)
            starts += [] if actions is None else [follow(instance, actions)]
            drawn = None if policy is None else np.asarray(policy_samples(as_key(policy), instance, seed))
            state = search(instance, starts, drawn, seed=seed, deadline=began + time_limit, target=lower)
    return _finish(program, state, scale, lower, method, began)


def replay_program(program: Program | Mapping[str, Any], actions: Iterable[int]) -> list[Step]:
    """One `Step` per action, in the program's own units: what was legal, the ticks saved, where the value is.

    Fewer actions than accesses are fine. Raises `ValueError` at the first action that is not legal, with the reason.
    """
    program = program if isinstance(program, Program) else Program.from_dict(program)
    replay, steps = Replay(problem_of(program)), []
    for action in actions:
        access, legal = replay.position, replay.legal()
        reward, effect = replay.take(action)
        steps.append(Step(access, legal, int(action), reward, effect.offset))
    return steps


def stalls(program: Program | Mapping[str, Any], actions: Iterable[int]) -> Stalls:
    """Run the plan with one copy engine and the instructions as short as the plan makes them.

    The rules give copies the time that instructions take with everything slow; with values in fast memory they take
    less, and a copy may be late. A copy may start with the first instruction that it takes supply from; its use, or
    for a write-back the instruction from which its address is given up, waits until it is done. The engine does the
    copy with the earliest deadline of those that may start, and changes over at once. Raises `ValueError` as
    `replay_program` does; actions left out are DROP as far as the latency goes.
    """
    program = program if isinstance(program, Program) else Program.from_dict(program)
    replay = Replay(problem_of(program))
    for action in actions:
        replay.take(action)
    waiting = sorted(replay.copies, key=lambda copy: copy[1])  # by the first instruction that they may start with
    open_: list[list[int]] = []  # [deadline, access, ticks left]
    clock, waits, late = 0, [], []

    def work(ticks: int) -> None:
        while ticks > 0 and open_:
            done = min(ticks, open_[0][2])
            open_[0][2] -= done
            ticks -= done
            if open_[0][2] == 0:
                open_.pop(0)

    for at, elapsed in enumerate(map(max, replay.problem.compute, replay.memory)):
        wait = 0
        while open_ and open_[0][0] <= at:
            _, access, left = open_[0]
            late.append((access, left))
            wait += left
            work(left)
        while waiting and waiting[0][1] == at:
            access, _, deadline, demand = waiting.pop(0)
            open_.append([deadline, access, demand])
        open_.sort()
        work(elapsed)
        waits.append(wait)
        clock += wait + elapsed
    return Stalls(clock, waits, late)


def padded_instance(program: Program) -> tuple[MapInstance, Scale]:
    """The instance, padded so that programs of about one size share their compiled programs."""
    instance, scale = map_instance(program)
    size = max(16, instance.num_accesses, instance.num_values, instance.num_instructions)
    size = 1 << (size - 1).bit_length() if size <= 256 else -(-size // 128) * 128
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size,) * np.ndim(leaf), leaf.dtype), instance)
    return pad_to(instance, shapes), scale


def _finish(program: Program, state: Any, scale: Scale, lower: int | None, method: str, began: float) -> MapPlan:
    state = jax.device_get(state)
    if lower is None:
        lower = int(_lower_bound(state.instance))
    latency = int(state.baseline if state.dead else state.latency)
    actions = tuple(state.action[: int(state.position)].tolist())
    return MapPlan(
        actions,
        latency * scale.time,
        int(state.baseline) * scale.time,
        min(lower, latency) * scale.time,
        not state.dead,
        method,
        time.perf_counter() - began,
    )


def search_starts(instance: MapInstance) -> list[MapState]:
    """Finished mappings of four heuristics with drop-backup, from which searches start."""
    names = ("all_drop", "belady", "msa", "greedy")
    return [_play(functools.partial(_scores, SCORES[name]), True, instance) for name in names]


def follow(instance: MapInstance, actions: Sequence[int]) -> MapState:
    """Takes `actions`, one per access, where they are legal, else `greedy`, with drop-backup."""

    def scores(state: MapState) -> np.ndarray:
        found = np.array(_scores(SCORES["greedy"], state))
        found[actions[int(state.position)]] = found.max() + 1
        return found

    return _play(scores, True, instance)


def _play(scores: Callable[[MapState], Any], backup: bool, instance: MapInstance) -> MapState:
    """`backup.play` step by step: little is compiled, and it is shared between heuristics."""
    state, forced = _init(instance), np.zeros(instance.num_accesses, np.bool_)
    while not state.done:
        state = _apply(state, scores(state), forced)
        if backup and state.dead:
            state, forced = _drop_backup(state, forced)
    return state


_init, _lower_bound, _drop_backup = jax.jit(rules.init), jax.jit(rules.lower_bound), jax.jit(drop_backup)
_scores = jax.jit(lambda scores, state: scores(state), static_argnums=0)


@jax.jit
def _apply(state: MapState, scores: Any, forced: Any) -> MapState:
    return backup_step(state, scores, forced)


@functools.partial(jax.jit, static_argnums=0)
def policy_samples(policy: Policy, instance: MapInstance, seed: int) -> jax.Array:
    """i32[64, A]: the actions of as many episodes, dead ends included, from which a search starts."""
    keys = random.split(random.key(seed), NUM_SAMPLES)
    return jax.vmap(lambda key: rollout(MemoryMap(), key, instance, policy).state.action)(keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _episode(policy: Policy, backup: bool, instance: MapInstance, seed: int) -> MapState:
    env = MemoryMap()

    def scores(state: MapState) -> jax.Array:
        action = policy(random.fold_in(random.key(seed), state.position), state, env.observe(state))
        return put(jnp.zeros((3,), jnp.int32), 1, action)

    return play(instance, scores, backup)[0]
