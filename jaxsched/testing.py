"""The contract of an environment, as checks that know no family: run them on your own environment too.

>>> from jaxsched.testing import check_environment
>>> check_environment(MyEnvironment(), my_source)

Everything is played on one padded shape in a few compiled programs, so the contract takes seconds, not minutes.

Wrappers are environments and keep the contract too. What changes nothing leaves the state inside all wrappers as it
was; a wrapper may count it. An `AutoReset` is a stream without an end, whose steps draw the instances to come: it keeps
what the contract says about single steps, `STREAM_CHECKS`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxsched.core import (
    AutoReset,
    Environment,
    GraphObservation,
    Source,
    TimeStep,
    bucket,
    masked_argmax,
    pad_to,
    unstack,
)
from jaxsched.core.environment import Instance, State
from jaxsched.core.errors import UnknownNameError
from jaxsched.core.wrappers import WrappedState
from jaxsched.policies import NetworkConfig, init_network

LATE = 2  # steps played after the last one that may take a decision
INT32 = np.iinfo(np.int32)
OUTSIDE = (0, 1, INT32.max)  # added to the number of actions, without overflow; and those below zero:
NEGATIVE = (-1, -2, INT32.min)
METRICS = {"decision": "bool", "illegal": "bool", "feasible": "bool", "objective_delta": "int32"}
SEARCH_CHUNK, SEARCH_LIMIT = 512, 200_000  # states expanded at once, and kept at most


def check_environment(
    env: Environment,
    source: Source,
    *,
    num_instances: int = 12,
    key: Array | None = None,
    exact: Sequence[tuple[Instance, int]] = (),
    checks: Sequence[str] | None = None,
) -> None:
    """Raise AssertionError, naming every check that failed and why, unless `env` keeps the contract.

    `source` draws `num_instances` instances with `key`; small ones of different sizes find most. `exact` are pairs of
    an instance, small enough for exhaustive search, and its optimum; all are of one shape. `checks` limits the run to
    some of the names in `CHECKS`. A check that needs a program compiles it when it runs. The instances of an
    `AutoReset` are indices into its own pool, so it is its own source.
    """
    known = {check.__name__: check for check in CHECKS}
    for name in checks or ():
        if name not in known:
            raise UnknownNameError("check", name, known)
    if isinstance(env, AutoReset):
        source, checks = env.default_source, STREAM_CHECKS if checks is None else checks
    subject = _Subject(env, source, num_instances, random.key(0) if key is None else key, exact)
    failures = []
    for name in known if checks is None else checks:
        try:
            known[name](subject)
        except AssertionError as error:
            failures.append(f"{name}: {error}")
        except Exception as error:
            error.add_note(f"raised in the check {name!r} of {env}")
            raise
    if failures:
        raise AssertionError(f"{env} breaks the contract:\n" + "\n".join(failures))


# ------------------------------------------------------------------------------------------------- what is played


class _Play(NamedTuple):
    """Random play of n instances over T = max_steps + LATE steps, on the host."""

    reset: TimeStep  # [n]
    final: State  # [n]
    baseline: Any  # i32[n]  env.baseline(instance)
    scale: Any  # f32[n]  env.reward_scale of the first state
    lower_bound: Any  # i32[n]
    objective: Any  # i32[n]  of the final state
    # Of the state before each step, [n, T, ...]:
    state: State  # without its instance
    observation: GraphObservation  # env.observe
    mask: Any  # bool[n, T, A]
    done: Any
    inner_done: Any  # of the state inside all wrappers
    decides: Any
    feasible: Any
    cut_off: Any
    bound: Any
    clock: Any
    instance_kept: Any  # the instance is still the one given to reset
    # Of the step:
    action: Any  # i32[n, T]
    timestep: TimeStep


class _Probes(NamedTuple):
    """One step with each of P actions (all there are, then some out of range) from a state; bool[n, T, P]."""

    illegal: Any
    changed: Any  # the state inside all wrappers
    touched: Any  # the state
    restarts: Any  # the episode ends and the state after is of the next one
    quiet: Any  # no reward, no time, no change of the objective
    agrees: Any  # the state after is that after action 0


def _equal(first: Any, second: Any) -> Array:
    """bool[]: all leaves are equal."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return jnp.stack([(_bits(a) == _bits(b)).all() for a, b in pairs]).all()


def _innermost(state: State) -> State:
    """The state inside all wrappers."""
    while isinstance(state, WrappedState):
        state = state.inner
    return state


def _bits(leaf: Any) -> Any:
    return random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@functools.partial(jax.jit, static_argnums=0)
def _probe(env: Environment, instances: Instance, states: State, step_keys: Array) -> _Probes:
    """Tries every action in every state [n, T]."""

    def episode(instance, states, keys):
        return jax.vmap(lambda state, key: _probe_one(env, key, state.replace(instance=instance)))(states, keys)

    return jax.vmap(episode)(instances, states, step_keys)


def _probe_one(env: Environment, key: Array, state: State) -> _Probes:
    num_actions = env.action_mask(state).shape[0]
    outside = [min(num_actions + surplus, INT32.max) for surplus in OUTSIDE]
    probes = jnp.asarray([*range(num_actions), *outside, *NEGATIVE], jnp.int32)
    after, timestep = jax.vmap(lambda action: env.step(key, state, action))(probes)
    delta, first = timestep.metrics["objective_delta"], jax.tree.map(lambda leaf: leaf[0], after)
    return _Probes(
        illegal=timestep.metrics["illegal"],
        changed=~jax.vmap(lambda other: _equal(_innermost(other), _innermost(state)))(after),
        touched=~jax.vmap(lambda other: _equal(other, state))(after),
        restarts=(timestep.terminated | timestep.truncated) & ~after.done,
        quiet=(timestep.reward == 0) & (timestep.elapsed == 0) & (delta == 0),
        agrees=jax.vmap(lambda other: _equal(other, first))(after),
    )


@functools.partial(jax.jit, static_argnums=0)
def _play(env: Environment, instances: Instance, reset_keys: Array, step_keys: Array, draws: Array) -> _Play:
    """Action t of instance i is the legal one of rank `draws[i, t]` f32 in [0, 1): the same one for more padding."""

    def episode(instance, reset_key, step_keys, draws):
        first, reset = env.reset(reset_key, instance)

        def body(state, given):
            step_key, draw = given
            mask = env.action_mask(state)
            num_legal = mask.sum(dtype=jnp.int32)
            rank = jnp.minimum((draw * num_legal).astype(jnp.int32), num_legal - 1)
            action = jnp.argmax(jnp.cumsum(mask, dtype=jnp.int32) > rank).astype(jnp.int32)
            after, timestep = env.step(step_key, state, action)
            record = {
                "state": state.replace(instance=None),
                "observation": env.observe(state),
                "mask": mask,
                "done": state.done,
                "inner_done": _innermost(state).done,
                "decides": env.decides(state),
                "feasible": env.feasible(state),
                "cut_off": env.cut_off(state),
                "bound": env.bound(state),
                "clock": env.clock(state),
                "instance_kept": _equal(state.instance, first.instance),
                "action": action,
                "timestep": timestep,
            }
            return after, record

        final, record = jax.lax.scan(body, first, (step_keys, draws))
        bounds = env.baseline(instance), env.reward_scale(first), env.lower_bound(instance)
        return _Play(reset, final, *bounds, env.objective(final), **record)

    return jax.vmap(episode)(instances, reset_keys, step_keys, draws)


@functools.partial(jax.jit, static_argnums=0)
def _play_rules(env: Environment, instances: Instance, keys: Array) -> tuple[State, Array, Array, Array, Array]:
    """For all heuristics in one program, [rule, n]: final state, objective, whether it is feasible, whether an action
    was illegal, and whether the score of a legal action was not finite.
    """
    rules = list(env.heuristics.values())

    def episode(rule, instance, key):
        def body(state, step_key):
            mask = env.action_mask(state)
            scored = [scores(state) for scores in rules]
            action = jnp.stack([masked_argmax(scores, mask) for scores in scored])[rule]
            silent = jnp.stack([(mask & ~jnp.isfinite(scores)).any() for scores in scored])[rule]
            late = state.done
            state, timestep = env.step(step_key, state, action)
            return state, (timestep.metrics["illegal"] & ~late, silent)

        first, _ = env.reset(key, instance)
        final, (illegal, silent) = jax.lax.scan(body, first, random.split(key, env.max_steps(instance)))
        return final, env.objective(final), env.feasible(final), illegal.any(), silent.any()

    over_instances = jax.vmap(episode, in_axes=(None, 0, 0))
    return jax.vmap(over_instances, in_axes=(0, None, None))(jnp.arange(len(rules), dtype=jnp.int32), instances, keys)


class _Counted:
    """A jitted function that counts how often it is traced."""

    def __init__(self, function: Callable):
        self.num_traces = 0

        def traced(*args):
            self.num_traces += 1
            return function(*args)

        self.jitted = jax.jit(traced)

    def __call__(self, *args: Any) -> Any:
        return self.jitted(*args)


class _Subject:
    """An environment under test, and what was played with it; every play happens when it is first asked for."""

    def __init__(self, env: Environment, source: Source, num_instances: int, key: Array, exact: Sequence):
        self.env, self.exact = env, exact
        source_key, reset_key, step_key, other_key, draw_key = random.split(key, 5)
        self.instances = jax.jit(jax.vmap(source))(random.split(source_key, num_instances))
        self.instance = jax.tree.map(lambda leaf: leaf[0], self.instances)
        self.max_steps = env.max_steps(self.instance)
        shape = num_instances, self.max_steps + LATE
        self.reset_keys = random.split(reset_key, num_instances)
        self.step_keys, self.other_keys = random.split(step_key, shape), random.split(other_key, shape)
        self.draws = random.uniform(draw_key, shape, jnp.float32)

    def _played(self, instances: Instance, step_keys: Array) -> _Play:
        return _host(_play(self.env, instances, self.reset_keys, step_keys, self.draws))

    @functools.cached_property
    def play(self) -> _Play:
        return self._played(self.instances, self.step_keys)

    @functools.cached_property
    def probes(self) -> _Probes:
        return _host(_probe(self.env, self.instances, self.play.state, self.step_keys))

    @functools.cached_property
    def play_padded(self) -> _Play:
        """The same play on instances padded to the next bucket along every axis."""

        def larger(leaf):
            return jax.ShapeDtypeStruct((leaf.shape[0], *(bucket(size + 1) for size in leaf.shape[1:])), leaf.dtype)

        return self._played(pad_to(self.instances, jax.tree.map(larger, self.instances)), self.step_keys)

    @functools.cached_property
    def rules(self) -> tuple[State, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return _host(_play_rules(self.env, self.instances, self.reset_keys))

    @functools.cached_property
    def loop(self) -> _Loop:
        return self._looped()

    def _looped(self) -> _Loop:
        """The same play unbatched: the first three instances to the end, the others for one step."""
        reset, step = _Counted(self.env.reset), _Counted(self.env.step)
        episodes = []
        for i, instance in enumerate(unstack(self.instances)):
            episode = [reset(self.reset_keys[i], instance)]
            for t in range(self.play.action.shape[1] if i < 3 else 1):
                episode.append(step(self.step_keys[i, t], episode[-1][0], self.play.action[i, t]))
            episodes.append(episode)
        return _Loop(episodes, reset, step)


class _Loop(NamedTuple):
    """Episodes of (state, timestep), reset first, and the jitted functions that played them."""

    episodes: list[list[tuple[State, TimeStep]]]
    reset: _Counted
    step: _Counted


def _host(tree: Any) -> Any:
    """The tree with NumPy leaves; random keys, which NumPy cannot hold, stay."""
    return jax.tree.map(lambda leaf: leaf if _is_key(leaf) else np.asarray(leaf), tree)


def _at(tree: Any, *index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


# ------------------------------------------------------------------------------------------------- how it is judged


def _expect(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _everywhere(good: Any, message: str) -> None:
    """`good` bool[n, T, ...] must hold everywhere; names the first place where it does not."""
    if not good.all():
        where = np.argwhere(~good)[0]
        names = [f"{name} {i}" for name, i in zip(("instance", "step", "entry"), where, strict=False)]
        raise AssertionError(f"{message} ({', '.join(names)}; {(~good).sum()} of {good.size} in all)")


def _match(actual: Any, expected: Any, what: str) -> None:
    """Equal structure, shapes, dtypes and values; floats to 1e-5."""
    structures = jax.tree.structure(actual), jax.tree.structure(expected)
    _expect(structures[0] == structures[1], f"{what}: the structure is {structures[0]}, not {structures[1]}")
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        a, b, name = np.asarray(_bits(a)), np.asarray(_bits(b)), f"{what}: leaf {jax.tree_util.keystr(path)}"
        _expect(a.dtype == b.dtype, f"{name} has dtype {a.dtype}, not {b.dtype}")
        _expect(a.shape == b.shape, f"{name} has shape {a.shape}, not {b.shape}")
        close = np.isclose(a, b, rtol=1e-5, atol=1e-5) if np.issubdtype(a.dtype, np.floating) else a == b
        if not close.all():
            where = tuple(int(i) for i in np.argwhere(~close)[0])
            raise AssertionError(f"{name} is {a[where]} at {where}, not {b[where]}")


# ------------------------------------------------------------------------------------------------------ the checks


def structure(subject: _Subject) -> None:
    """reset and step agree in structure, shapes and dtypes, which are the documented ones."""
    env, instance = subject.env, subject.instance
    _expect(hash(env) == hash(env), "an environment is hashable")
    _expect(type(subject.max_steps) is int and subject.max_steps > 0, "max_steps is a positive Python int")
    state, first = jax.eval_shape(env.reset, subject.reset_keys[0], instance)
    after, later = jax.eval_shape(env.step, subject.reset_keys[0], state, jax.ShapeDtypeStruct((), jnp.int32))
    for what, a, b in (("state", after, state), ("timestep", later, first), ("instance", state.instance, instance)):
        _expect(jax.tree.structure(a) == jax.tree.structure(b), f"the {what} changes its structure")
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
            x, y = ((leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)) for leaf in (x, y))
            name = f"{what}{jax.tree_util.keystr(path)}"
            _expect(x == y, f"{name} is (shape, dtype, weakly typed) {x} after a step, but was {y}")
    scalars = {name: getattr(later, name) for name in ("reward", "terminated", "truncated", "elapsed")}
    scalars |= {name: later.metrics.get(name) for name in METRICS}
    scalars |= jax.eval_shape(lambda state: {"done": state.done, "baseline": state.baseline}, state)
    kinds = METRICS | {"reward": "float32", "elapsed": "int32", "baseline": "int32"}
    for name, value in scalars.items():
        wanted = kinds.get(name, "bool")
        found = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
        _expect(found == f"{wanted}[]", f"{name} is {found}, not {wanted}[]")
    mask = jax.eval_shape(env.action_mask, state)
    _expect(mask.ndim == 1 and mask.dtype == jnp.bool_, f"action_mask is {mask}, not bool[A]")
    for name, scores in env.heuristics.items():
        value = jax.eval_shape(scores, state)
        good = value.shape == mask.shape and value.dtype in (jnp.float32, jnp.int32)
        _expect(good, f"the scores of {name} are {value}, not f32 or i32{list(mask.shape)}")


def one_trace(subject: _Subject) -> None:
    """One trace per padded shape, whatever the instance and the step."""
    loop = subject.loop
    for name, counted in (("reset", loop.reset), ("step", loop.step)):
        _expect(counted.num_traces == 1, f"{name} was traced {counted.num_traces} times for one shape")


def jit_equals_eager(subject: _Subject) -> None:
    """reset and step give the same result without jit."""
    (first, second, *_), action = subject.loop.episodes[0], subject.play.action[0, 0]
    eager = subject.env.reset(subject.reset_keys[0], subject.instance)
    _match(eager, first, "reset without jit")
    _match(subject.env.step(subject.step_keys[0, 0], eager[0], action), second, "step without jit")


def vmap_equals_loop(subject: _Subject) -> None:
    """A batch of instances plays as each does alone."""
    play = subject.play
    for i, episode in enumerate(subject.loop.episodes):
        _match(_host(episode[0][1]), _at(play.reset, i), f"reset of instance {i} alone")
        for t, (state, timestep) in enumerate(episode[1:]):
            where = f"step {t} of instance {i} alone"
            _match(_host(timestep), _at(play.timestep, i, t), where)
            after = _at(play.state, i, t + 1) if t + 1 < play.action.shape[1] else _at(play.final, i)
            _match(_host(state.replace(instance=None)), after.replace(instance=None), where)


def episodes_end(subject: _Subject) -> None:
    """Random legal play ends within `max_steps` and stays ended; the flags say so."""
    play, metrics = subject.play, subject.play.timestep.metrics
    late = play.done[:, subject.max_steps :]
    _everywhere(late, f"random legal play is not over after max_steps = {subject.max_steps} steps, or did not stay so")
    _everywhere(play.done[:, 1:] | ~play.done[:, :-1], "a finished episode goes on")
    over = play.timestep.terminated | play.timestep.truncated
    _everywhere(over[:, :-1] == play.done[:, 1:], "terminated or truncated differs from done of the state")
    cut_off = (play.done & play.cut_off)[:, 1:]
    _everywhere(play.timestep.truncated[:, :-1] == cut_off, "truncated differs from cut_off of a state that is over")
    _everywhere(~(play.timestep.terminated & play.timestep.truncated), "both terminated and truncated")
    _everywhere(metrics["decision"] == play.decides & ~play.done, "metrics['decision'] differs from decides")
    _everywhere(metrics["feasible"][:, :-1] == play.feasible[:, 1:], "metrics['feasible'] differs from feasible")
    open_ = play.decides & ~play.done
    _everywhere(play.mask.any(-1) | ~open_, "a decision is asked for, but no action is legal")
    _everywhere(~play.mask.any(-1) | ~play.done, "an action is legal although the episode is over")


def legal_actions(subject: _Subject) -> None:
    """What the mask allows is accepted and changes the state."""
    play = subject.play
    num_actions = play.mask.shape[-1]
    good = ~(play.mask & (play.decides & ~play.done)[..., None])
    _everywhere(good | ~subject.probes.illegal[..., :num_actions], "an action the mask allows is called illegal")
    changed = subject.probes.changed | subject.probes.restarts  # the next episode may begin like the last one
    _everywhere(good | changed[..., :num_actions], "an action the mask allows changes nothing")
    event = ~play.decides & ~play.done
    _everywhere(subject.probes.agrees.all(-1) | ~event, "a step that takes no decision depends on the action")


def illegal_actions(subject: _Subject) -> None:
    """Masked, out-of-range and late actions change nothing, and are called illegal wherever the environment inside
    all wrappers asks for one.
    """
    play = subject.play
    num_outside = subject.probes.illegal.shape[-1] - play.mask.shape[-1]
    allowed = np.pad(play.mask, ((0, 0), (0, 0), (0, num_outside)))
    wrong = ~allowed & (play.decides | play.done)[..., None]
    late = np.broadcast_to(play.done[..., None], wrong.shape)
    stopped = np.broadcast_to((play.done & ~play.inner_done)[..., None], wrong.shape)  # by a wrapper
    asked = np.broadcast_to((play.decides | play.inner_done)[..., None], wrong.shape)
    for kind, where in (("masked or out-of-range", wrong & ~late), ("late", wrong & late)):
        kept = ~subject.probes.changed | subject.probes.restarts
        _everywhere(~where | kept, f"a {kind} action changes the state")
        _everywhere(~where | subject.probes.quiet, f"a {kind} action gives a reward or takes time")
        _everywhere(~where | subject.probes.illegal | stopped, f"a {kind} action is not called illegal")
    _everywhere(~late | ~subject.probes.touched, "a late action changes what a wrapper keeps")
    _everywhere(~subject.probes.illegal | asked, "an action is called illegal where none is asked for")


def rewards(subject: _Subject) -> None:
    """Integer changes of the objective sum to baseline - objective; the reward is their float copy."""
    play = subject.play
    delta = play.timestep.metrics["objective_delta"].astype(np.int64)
    _everywhere(delta[:, :-1] == play.bound[:, :-1] - play.bound[:, 1:], "objective_delta is not the bound's decrease")
    _everywhere(play.bound[:, 0] == play.baseline, "baseline(instance) is not the bound after reset")
    solved = play.feasible[:, -1]
    _everywhere((play.objective == play.bound[:, -1]) | ~solved, "the final bound is not the objective")
    good = delta.sum(1) == play.baseline.astype(np.int64) - play.objective
    _everywhere(good | ~solved, "objective_delta does not sum to baseline - objective")
    _everywhere(play.scale > 0, "the reward scale is not positive")
    reward = delta / play.scale[:, None]
    _everywhere(np.isclose(play.timestep.reward, reward, 1e-5, 1e-7), "the reward is not objective_delta / scale")


def clock(subject: _Subject) -> None:
    """Time does not run backwards, and `elapsed` sums to it."""
    play = subject.play
    _everywhere(play.timestep.elapsed >= 0, "elapsed is negative")
    passed = play.clock[:, 1:] - play.clock[:, :-1]
    _everywhere(play.timestep.elapsed[:, :-1] == passed, "elapsed is not the clock's difference")


def bounds(subject: _Subject) -> None:
    """The running bound only grows, or falls while feasible where the environment `improves`; neither random play nor a
    heuristic beats `lower_bound`.
    """
    play = subject.play
    if subject.env.improves:
        falls = (play.bound[:, 1:] <= play.bound[:, :-1]) | ~play.feasible[:, 1:]
        _everywhere(falls, "the objective of a solution that decisions improve grows")
    else:
        _everywhere(play.bound[:, 1:] >= play.bound[:, :-1], "the running bound decreases")
    _everywhere((play.objective >= play.lower_bound) | ~play.feasible[:, -1], "random play beats lower_bound")
    _, objectives, feasible, _, _ = subject.rules
    for name, good in zip(subject.env.heuristics, (objectives >= play.lower_bound) | ~feasible, strict=True):
        _everywhere(good, f"the heuristic {name} beats lower_bound")


def heuristics(subject: _Subject) -> None:
    """Every heuristic scores legal actions with finite numbers and, played greedily, takes legal ones to the end."""
    final, _, _, illegal, silent = subject.rules
    for r, name in enumerate(subject.env.heuristics):
        _everywhere(~silent[r], f"the heuristic {name} gives a legal action a score that is not finite")
        _everywhere(~illegal[r], f"the heuristic {name} takes an illegal action")
        _everywhere(np.asarray(final.done)[r], f"the heuristic {name} is not over after max_steps")


def solutions(subject: _Subject) -> None:
    """What random play and heuristics end with passes `validate`, and `measure` agrees on its objective."""
    env = subject.env
    ends = [("random play", i, _at(subject.play.final, i)) for i in range(len(subject.play.objective))]
    if env.heuristics:
        ends += [(name, i, _at(subject.rules[0], r, i)) for r, name in enumerate(env.heuristics) for _, i, _ in ends]
    num_solved = 0
    for name, i, state in ends:
        if not state.done or not env.feasible(state):
            continue
        num_solved += 1
        faults = env.validate(_at(subject.instances, i), env.solution(state))
        _expect(not faults, f"{name} on instance {i} ends with an invalid solution: {'; '.join(faults[:3])}")
        measured, objective = env.measure(_at(subject.instances, i), env.solution(state)), int(env.objective(state))
        _expect(measured == objective, f"{name} on instance {i}: objective {objective}, but measured {measured}")
    _expect(num_solved, "no episode ended with a solution")


def observation(subject: _Subject) -> None:
    """The observation is `observe(state)`, well-formed and finite; what is masked is zero."""
    play, seen = subject.play, subject.play.observation
    _match(_at(play.reset.observation, slice(None)), _at(seen, slice(None), 0), "the observation of reset")
    after = _at(play.timestep.observation, slice(None), slice(None, -1))
    _match(after, _at(seen, slice(None), slice(1, None)), "the observation of a step")
    for path, leaf in jax.tree_util.tree_leaves_with_path(seen):
        if np.issubdtype(leaf.dtype, np.floating):
            _everywhere(np.isfinite(leaf), f"{jax.tree_util.keystr(path)} is not finite")
            _expect(leaf.dtype == np.float32, f"{jax.tree_util.keystr(path)} is {leaf.dtype}, not float32")
    graph, num_nodes, num_edges = seen.graph, seen.node_mask.shape[-1], seen.edge_mask.shape[-1]
    ranges = [
        ("senders", seen.senders, num_nodes),
        ("receivers", seen.receivers, num_nodes),
        ("action_node", seen.action_node, num_nodes),
        ("action_resource", seen.action_resource, num_nodes),
        ("node_kind", seen.node_kind, seen.num_node_kinds),
        ("edge_kind", seen.edge_kind, seen.num_edge_kinds),
        ("action_kind", seen.action_kind, seen.num_action_kinds),
    ]
    for name, index, size in ranges:
        _expect(index.dtype == np.int32, f"{name} is {index.dtype}, not int32")
        _everywhere((index >= 0) & (index < size), f"{name} is outside [0, {size})")
    _expect((graph.n_node == num_nodes).all() and (graph.n_edge == num_edges).all(), "n_node, n_edge are not N, E")
    _everywhere(seen.action_mask == play.mask, "action_mask of the observation differs from that of the environment")
    _everywhere((seen.nodes == 0).all(-1) | seen.node_mask, "a masked node has features other than zero")
    if graph.edges is not None:
        _everywhere(
            (np.asarray(graph.edges) == 0).all(-1) | seen.edge_mask, "a masked edge has features other than zero"
        )

    def real(index):
        return np.take_along_axis(np.asarray(seen.node_mask), np.asarray(index), -1)

    targets = real(seen.action_node) & real(seen.action_resource)
    _everywhere(targets | ~seen.action_mask, "a legal action points to a masked node")


def padding(subject: _Subject) -> None:
    """More padding changes nothing, neither the outcome nor what a network makes of the observation."""
    play, padded = subject.play, subject.play_padded
    _everywhere(play.mask.sum(-1) == padded.mask.sum(-1), "the number of legal actions changes")
    for name in ("baseline", "lower_bound", "objective", "done", "decides", "feasible", "bound", "clock"):
        _everywhere(getattr(play, name) == getattr(padded, name), f"{name} changes")
    for name in ("reward", "terminated", "elapsed", "metrics"):
        _match(getattr(padded.timestep, name), getattr(play.timestep, name), f"{name} with more padding")
    where = np.argwhere(play.mask.any(-1))
    where = tuple(where[:: -(-len(where) // 48)].T)  # some 48 decisions
    apply, params = _random_network(_at(play.observation, 0, 0))
    batched = jax.jit(jax.vmap(apply, in_axes=(None, 0)))
    (logits, value), (padded_logits, padded_value) = (
        jax.device_get(batched(params, _at(each.observation, *where))) for each in (play, padded)
    )
    legal = logits[play.mask[where]], padded_logits[padded.mask[where]]  # in the order of the actions
    for name, a, b in (("logits of legal actions", *legal), ("the value", value, padded_value)):
        error = np.abs(a - b).max() / max(1.0, np.abs(a).max())
        _expect(error < 1e-5, f"{name} of a random network change by {error:.1e} of their size")


def _random_network(observation: GraphObservation) -> tuple[Callable, Any]:
    """A network with every parameter drawn at random, so that everything it sees matters."""
    made = []

    def build(key):
        made.append(init_network(key, observation, NetworkConfig(width=16, num_layers=1, num_heads=2)))
        return made[0][1]

    rng, shapes = np.random.default_rng(0), jax.eval_shape(build, random.key(0))
    return made[0][0], jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)


def checkpoint(subject: _Subject) -> None:
    """A state saved as plain arrays and restored into the structure of reset goes on as before."""
    episode = subject.loop.episodes[0]
    middle = len(episode) // 3
    state, action = episode[middle][0], subject.play.action[0, middle]
    shapes = jax.eval_shape(subject.env.reset, subject.reset_keys[0], subject.instance)[0]
    restored = []
    for leaf, shape in zip(jax.tree.leaves(state), jax.tree.leaves(shapes), strict=True):
        file = io.BytesIO()
        np.save(file, np.asarray(_bits(leaf)), allow_pickle=False)
        file.seek(0)
        array = np.load(file, allow_pickle=False)
        restored.append(random.wrap_key_data(array) if _is_key(shape) else array)
    restored = jax.tree.unflatten(jax.tree.structure(shapes), restored)
    _match(restored, state, "the restored state")
    after = subject.loop.step(subject.step_keys[0, middle], restored, action)
    _match(after, episode[middle + 1], "the step after restoring")


def x64(subject: _Subject) -> None:
    """Nothing depends on `jax_enable_x64`, dtypes included."""
    with jax.enable_x64(True):
        episodes = subject._looped().episodes
    _match(episodes, subject.loop.episodes, "with x64")


def same_world(subject: _Subject) -> None:
    """The world is the instance and the key of reset: keys of steps do not matter, and the instance stays."""
    _everywhere(subject.play.instance_kept, "the instance in the state changes")
    _match(subject._played(subject.instances, subject.other_keys), subject.play, "with other keys of steps")


def optimum(subject: _Subject) -> None:
    """Exhaustive search reaches the optimum of each instance of `exact` in complete modes, and never beats it."""
    if not subject.exact:
        return
    reached = _search(subject.env, subject.exact)
    for i, ((_, best), found) in enumerate(zip(subject.exact, reached, strict=True)):
        _expect(found >= best, f"instance {i} of exact: {found} is reached, better than the optimum {best}")
        if subject.env.complete:
            _expect(found == best, f"instance {i} of exact: no sequence of legal actions reaches the optimum {best}")


def _search(env: Environment, exact: Sequence[tuple[Instance, int]]) -> list[float]:
    """Best objective within reach per instance, infinite where the running bound excludes the optimum everywhere."""
    instances = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(instance for instance, _ in exact))
    optima = np.array([best for _, best in exact])
    key, num_steps = random.key(0), env.max_steps(exact[0][0])

    def judge(state):
        solved = env.terminated(state) & env.feasible(state)
        return env.bound(state), env.objective(state), state.done, solved, env.feasible(state)

    @jax.jit
    @jax.vmap
    def start(instance):
        state, _ = env.reset(key, instance)
        return state, jnp.zeros((), jnp.bool_), *judge(state)

    @jax.jit
    @jax.vmap
    def expand(state):
        def child(action):
            after, step = env.step(key, state, action)
            return after, step.metrics["illegal"], *judge(after)

        return jax.vmap(child)(jnp.arange(env.action_mask(state).shape[0], dtype=jnp.int32))

    reached, ids = np.full(len(exact), np.inf), np.arange(len(exact))

    def prune(found, ids):
        """Record the finished states, keep the promising ones."""
        states, illegal, bound, objective, done, solved, feasible = found
        keep = ~illegal & feasible & (env.improves | (bound <= optima[ids]))
        np.minimum.at(reached, ids[keep & solved], objective[keep & solved])
        chosen = np.flatnonzero(keep & ~done)
        return jax.tree.map(lambda leaf: leaf[chosen], states), ids[chosen]

    frontier, ids = prune(_host(start(instances)), ids)
    for _ in range(num_steps if len(ids) else 0):
        layers = []
        for first in range(0, len(ids), SEARCH_CHUNK):
            rows = np.minimum(np.arange(first, first + SEARCH_CHUNK), len(ids) - 1)  # the last one fills the chunk
            found = _host(expand(jax.tree.map(lambda leaf, rows=rows: leaf[rows], frontier)))
            num_actions = found[1].shape[1]
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)
            layers.append(prune(flat, np.repeat(ids[rows], num_actions)))
        frontier = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(states for states, _ in layers))
        ids = np.concatenate([part for _, part in layers])
        if not len(ids):
            break
        columns = [np.asarray(_bits(leaf)).reshape(len(ids), -1) for leaf in (ids, *jax.tree.leaves(frontier))]
        _, unique = np.unique(
            np.concatenate([column.astype(np.int64) for column in columns], 1), return_index=True, axis=0
        )
        frontier, ids = jax.tree.map(lambda leaf, unique=unique: leaf[unique], frontier), ids[unique]
        _expect(len(ids) <= SEARCH_LIMIT, f"exhaustive search met {len(ids)} states at once: pass smaller instances")
    return reached.tolist()


CHECKS: tuple[Callable[[_Subject], None], ...] = (
    structure,
    one_trace,
    jit_equals_eager,
    vmap_equals_loop,
    episodes_end,
    legal_actions,
    illegal_actions,
    rewards,
    clock,
    bounds,
    heuristics,
    solutions,
    observation,
    padding,
    checkpoint,
    x64,
    same_world,
    optimum,
)
# What holds for every step of an `AutoReset`: not what is said about the end of an episode, or about all of it.
STREAM_CHECKS = ("structure", "one_trace", "jit_equals_eager", "vmap_equals_loop", "legal_actions", "illegal_actions")
STREAM_CHECKS += ("observation", "checkpoint", "x64")
