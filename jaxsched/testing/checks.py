"""The checks of the contract, one function each."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jaxsched.core import GraphObservation
from jaxsched.policies import NetworkConfig, init_network
from jaxsched.testing.expect import everywhere, expect, match
from jaxsched.testing.observations import well_formed
from jaxsched.testing.play import Subject, bits, is_key, leaves_at, on_host
from jaxsched.testing.search import exhaustive_search

METRICS = {"decision": "bool", "illegal": "bool", "feasible": "bool", "objective_delta": "int32"}


def structure(subject: Subject) -> None:
    """reset and step agree in structure, shapes and dtypes, which are the documented ones."""
    env, instance = subject.env, subject.instance
    expect(hash(env) == hash(env), "an environment is hashable")
    expect(
        type(subject.max_steps) is int and subject.max_steps > 0,
        "max_steps is a positive Python int",
    )
    state, first = jax.eval_shape(env.reset, subject.reset_keys[0], instance)
    after, later = jax.eval_shape(
        env.step, subject.reset_keys[0], state, jax.ShapeDtypeStruct((), jnp.int32)
    )
    for what, a, b in (
        ("state", after, state),
        ("timestep", later, first),
        ("instance", state.instance, instance),
    ):
        expect(jax.tree.structure(a) == jax.tree.structure(b), f"the {what} changes its structure")
        for (path, x), y in zip(
            jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True
        ):
            x, y = (
                (leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False)) for leaf in (x, y)
            )
            name = f"{what}{jax.tree_util.keystr(path)}"
            expect(x == y, f"{name} is (shape, dtype, weakly typed) {x} after a step, but was {y}")
    scalars = {
        name: getattr(later, name) for name in ("reward", "terminated", "truncated", "elapsed")
    }
    scalars |= {name: later.metrics.get(name) for name in METRICS}
    scalars |= jax.eval_shape(lambda state: {"done": state.done, "baseline": state.baseline}, state)
    kinds = METRICS | {"reward": "float32", "elapsed": "int32", "baseline": "int32"}
    for name, value in scalars.items():
        wanted = kinds.get(name, "bool")
        found = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
        expect(found == f"{wanted}[]", f"{name} is {found}, not {wanted}[]")
    mask = jax.eval_shape(env.action_mask, state)
    expect(mask.ndim == 1 and mask.dtype == jnp.bool_, f"action_mask is {mask}, not bool[A]")
    for name, scores in env.heuristics.items():
        value = jax.eval_shape(scores, state)
        good = value.shape == mask.shape and value.dtype in (jnp.float32, jnp.int32)
        expect(good, f"the scores of {name} are {value}, not f32 or i32{list(mask.shape)}")


def one_trace(subject: Subject) -> None:
    """One trace per padded shape, whatever the instance and the step."""
    loop = subject.loop
    for name, counted in (("reset", loop.reset), ("step", loop.step)):
        expect(
            counted.num_traces == 1, f"{name} was traced {counted.num_traces} times for one shape"
        )


def jit_equals_eager(subject: Subject) -> None:
    """reset and step give the same result without jit."""
    (first, second, *_), action = subject.loop.episodes[0], subject.play.action[0, 0]
    eager = subject.env.reset(subject.reset_keys[0], subject.instance)
    match(eager, first, "reset without jit")
    match(subject.env.step(subject.step_keys[0, 0], eager[0], action), second, "step without jit")


def vmap_equals_loop(subject: Subject) -> None:
    """A batch of instances plays as each does alone."""
    play = subject.play
    for i, episode in enumerate(subject.loop.episodes):
        match(on_host(episode[0][1]), leaves_at(play.reset, i), f"reset of instance {i} alone")
        for t, (state, timestep) in enumerate(episode[1:]):
            where = f"step {t} of instance {i} alone"
            match(on_host(timestep), leaves_at(play.timestep, i, t), where)
            after = (
                leaves_at(play.state, i, t + 1)
                if t + 1 < play.action.shape[1]
                else leaves_at(play.final, i)
            )
            match(on_host(state.replace(instance=None)), after.replace(instance=None), where)


def episodes_end(subject: Subject) -> None:
    """Random legal play ends within `max_steps` and stays ended; the flags say so."""
    play, metrics = subject.play, subject.play.timestep.metrics
    late = play.done[:, subject.max_steps :]
    everywhere(
        late,
        f"random legal play is not over after max_steps = {subject.max_steps} steps, or did not stay so",
    )
    everywhere(play.done[:, 1:] | ~play.done[:, :-1], "a finished episode goes on")
    over = play.timestep.terminated | play.timestep.truncated
    everywhere(
        over[:, :-1] == play.done[:, 1:], "terminated or truncated differs from done of the state"
    )
    cut_off = (play.done & play.cut_off)[:, 1:]
    everywhere(
        play.timestep.truncated[:, :-1] == cut_off,
        "truncated differs from cut_off of a state that is over",
    )
    everywhere(
        ~(play.timestep.terminated & play.timestep.truncated), "both terminated and truncated"
    )
    everywhere(
        metrics["decision"] == play.decides & ~play.done, "metrics['decision'] differs from decides"
    )
    everywhere(
        metrics["feasible"][:, :-1] == play.feasible[:, 1:],
        "metrics['feasible'] differs from feasible",
    )
    open_ = play.decides & ~play.done
    everywhere(play.mask.any(-1) | ~open_, "a decision is asked for, but no action is legal")
    everywhere(~play.mask.any(-1) | ~play.done, "an action is legal although the episode is over")


def legal_actions(subject: Subject) -> None:
    """What the mask allows is accepted and changes the state."""
    play = subject.play
    num_actions = play.mask.shape[-1]
    good = ~(play.mask & (play.decides & ~play.done)[..., None])
    everywhere(
        good | ~subject.probes.illegal[..., :num_actions],
        "an action the mask allows is called illegal",
    )
    # the next episode may begin like the last one
    changed = subject.probes.changed | subject.probes.restarts
    everywhere(good | changed[..., :num_actions], "an action the mask allows changes nothing")
    event = ~play.decides & ~play.done
    everywhere(
        subject.probes.agrees.all(-1) | ~event,
        "a step that takes no decision depends on the action",
    )


def illegal_actions(subject: Subject) -> None:
    """Masked, out-of-range and late actions change nothing, and are called illegal wherever the
    environment inside all wrappers asks for one.
    """
    play = subject.play
    num_outside = subject.probes.illegal.shape[-1] - play.mask.shape[-1]
    allowed = np.pad(play.mask, ((0, 0), (0, 0), (0, num_outside)))
    wrong = ~allowed & (play.decides | play.done)[..., None]
    late = np.broadcast_to(play.done[..., None], wrong.shape)
    # by a wrapper
    stopped = np.broadcast_to((play.done & ~play.inner_done)[..., None], wrong.shape)
    asked = np.broadcast_to((play.decides | play.inner_done)[..., None], wrong.shape)
    for kind, where in (("masked or out-of-range", wrong & ~late), ("late", wrong & late)):
        kept = ~subject.probes.changed | subject.probes.restarts
        everywhere(~where | kept, f"a {kind} action changes the state")
        everywhere(~where | subject.probes.quiet, f"a {kind} action gives a reward or takes time")
        everywhere(
            ~where | subject.probes.illegal | stopped, f"a {kind} action is not called illegal"
        )
    everywhere(~late | ~subject.probes.touched, "a late action changes what a wrapper keeps")
    everywhere(
        ~subject.probes.illegal | asked, "an action is called illegal where none is asked for"
    )


def rewards(subject: Subject) -> None:
    """Integer changes of the objective sum to baseline - objective; the reward is their float
    copy.
    """
    play = subject.play
    delta = play.timestep.metrics["objective_delta"].astype(np.int64)
    everywhere(
        delta[:, :-1] == play.bound[:, :-1] - play.bound[:, 1:],
        "objective_delta is not the bound's decrease",
    )
    everywhere(play.bound[:, 0] == play.baseline, "baseline(instance) is not the bound after reset")
    solved = play.feasible[:, -1]
    everywhere(
        (play.objective == play.bound[:, -1]) | ~solved, "the final bound is not the objective"
    )
    good = delta.sum(1) == play.baseline.astype(np.int64) - play.objective
    everywhere(good | ~solved, "objective_delta does not sum to baseline - objective")
    everywhere(play.scale > 0, "the reward scale is not positive")
    reward = delta / play.scale[:, None]
    everywhere(
        np.isclose(play.timestep.reward, reward, 1e-5, 1e-7),
        "the reward is not objective_delta / scale",
    )


def clock(subject: Subject) -> None:
    """Time does not run backwards, and `elapsed` sums to it."""
    play = subject.play
    everywhere(play.timestep.elapsed >= 0, "elapsed is negative")
    passed = play.clock[:, 1:] - play.clock[:, :-1]
    everywhere(play.timestep.elapsed[:, :-1] == passed, "elapsed is not the clock's difference")


def bounds(subject: Subject) -> None:
    """The running bound only grows, or falls while feasible where the environment `improves`;
    neither random play nor a heuristic beats `lower_bound`.
    """
    play = subject.play
    if subject.env.improves:
        falls = (play.bound[:, 1:] <= play.bound[:, :-1]) | ~play.feasible[:, 1:]
        everywhere(falls, "the objective of a solution that decisions improve grows")
    else:
        everywhere(play.bound[:, 1:] >= play.bound[:, :-1], "the running bound decreases")
    everywhere(
        (play.objective >= play.lower_bound) | ~play.feasible[:, -1],
        "random play beats lower_bound",
    )
    _, objectives, feasible, _, _ = subject.rules
    for name, good in zip(
        subject.env.heuristics, (objectives >= play.lower_bound) | ~feasible, strict=True
    ):
        everywhere(good, f"the heuristic {name} beats lower_bound")


def heuristics(subject: Subject) -> None:
    """Every heuristic scores legal actions with finite numbers and, played greedily, takes legal
    ones to the end.
    """
    final, _, _, illegal, silent = subject.rules
    for r, name in enumerate(subject.env.heuristics):
        everywhere(
            ~silent[r], f"the heuristic {name} gives a legal action a score that is not finite"
        )
        everywhere(~illegal[r], f"the heuristic {name} takes an illegal action")
        everywhere(np.asarray(final.done)[r], f"the heuristic {name} is not over after max_steps")


def solutions(subject: Subject) -> None:
    """What random play and heuristics end with passes `validate`, and `measure` agrees on its
    objective.
    """
    env = subject.env
    ends = [
        ("random play", i, leaves_at(subject.play.final, i))
        for i in range(len(subject.play.objective))
    ]
    if env.heuristics:
        ends += [
            (name, i, leaves_at(subject.rules[0], r, i))
            for r, name in enumerate(env.heuristics)
            for _, i, _ in ends
        ]
    num_solved = 0
    for name, i, state in ends:
        if not state.done or not env.feasible(state):
            continue
        num_solved += 1
        faults = env.validate(leaves_at(subject.instances, i), env.solution(state))
        expect(
            not faults,
            f"{name} on instance {i} ends with an invalid solution: {'; '.join(faults[:3])}",
        )
        measured, objective = (
            env.measure(leaves_at(subject.instances, i), env.solution(state)),
            int(env.objective(state)),
        )
        expect(
            measured == objective,
            f"{name} on instance {i}: objective {objective}, but measured {measured}",
        )
    expect(num_solved, "no episode ended with a solution")


def observation(subject: Subject) -> None:
    """The observation is `observe(state)`, well-formed and finite; what is masked is zero, and what
    is legal is what the environment allows.
    """
    play, seen = subject.play, subject.play.observation
    well_formed(seen)
    match(
        leaves_at(play.reset.observation, slice(None)),
        leaves_at(seen, slice(None), 0),
        "the observation of reset",
    )
    after = leaves_at(play.timestep.observation, slice(None), slice(None, -1))
    match(after, leaves_at(seen, slice(None), slice(1, None)), "the observation of a step")
    everywhere(
        seen.action_mask == play.mask,
        "action_mask of the observation differs from that of the environment",
    )


def padding(subject: Subject) -> None:
    """More padding changes nothing, neither the outcome nor what a network makes of the
    observation.
    """
    play, padded = subject.play, subject.play_padded
    everywhere(play.mask.sum(-1) == padded.mask.sum(-1), "the number of legal actions changes")
    for name in (
        "baseline",
        "lower_bound",
        "objective",
        "done",
        "decides",
        "feasible",
        "bound",
        "clock",
    ):
        everywhere(getattr(play, name) == getattr(padded, name), f"{name} changes")
    for name in ("reward", "terminated", "elapsed", "metrics"):
        match(
            getattr(padded.timestep, name),
            getattr(play.timestep, name),
            f"{name} with more padding",
        )
    where = np.argwhere(play.mask.any(-1))
    where = tuple(where[:: -(-len(where) // 48)].T)  # some 48 decisions
    apply, params = _random_network(leaves_at(play.observation, 0, 0))
    batched = jax.jit(jax.vmap(apply, in_axes=(None, 0)))
    (logits, value), (padded_logits, padded_value) = (
        jax.device_get(batched(params, leaves_at(each.observation, *where)))
        for each in (play, padded)
    )
    # in the order of the actions
    legal = logits[play.mask[where]], padded_logits[padded.mask[where]]
    for name, a, b in (("logits of legal actions", *legal), ("the value", value, padded_value)):
        error = np.abs(a - b).max() / max(1.0, np.abs(a).max())
        expect(error < 1e-5, f"{name} of a random network change by {error:.1e} of their size")


def _random_network(observation: GraphObservation) -> tuple[Callable, Any]:
    """A network with every parameter drawn at random, so that everything it sees matters."""
    made = []

    def build(key):
        made.append(
            init_network(key, observation, NetworkConfig(width=16, num_layers=1, num_heads=2))
        )
        return made[0][1]

    rng, shapes = np.random.default_rng(0), jax.eval_shape(build, random.key(0))
    return made[0][0], jax.tree.map(
        lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes
    )


def checkpoint(subject: Subject) -> None:
    """A state saved as plain arrays and restored into the structure of reset goes on as before."""
    episode = subject.loop.episodes[0]
    middle = len(episode) // 3
    state, action = episode[middle][0], subject.play.action[0, middle]
    shapes = jax.eval_shape(subject.env.reset, subject.reset_keys[0], subject.instance)[0]
    restored = []
    for leaf, shape in zip(jax.tree.leaves(state), jax.tree.leaves(shapes), strict=True):
        file = io.BytesIO()
        np.save(file, np.asarray(bits(leaf)), allow_pickle=False)
        file.seek(0)
        array = np.load(file, allow_pickle=False)
        restored.append(random.wrap_key_data(array) if is_key(shape) else array)
    restored = jax.tree.unflatten(jax.tree.structure(shapes), restored)
    match(restored, state, "the restored state")
    after = subject.loop.step(subject.step_keys[0, middle], restored, action)
    match(after, episode[middle + 1], "the step after restoring")


def x64(subject: Subject) -> None:
    """No shape and no dtype depends on `jax_enable_x64`; nothing is compiled."""
    env, key, action = subject.env, subject.reset_keys[0], jax.ShapeDtypeStruct((), jnp.int32)

    def traced() -> Any:
        state, first = jax.eval_shape(env.reset, key, subject.instance)
        scores = {name: jax.eval_shape(rule, state) for name, rule in env.heuristics.items()}
        return state, first, jax.eval_shape(env.step, key, state, action), scores

    types = traced()
    with jax.enable_x64(True):
        wide = traced()
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(wide), jax.tree.leaves(types), strict=True
    ):
        name = f"with x64: leaf {jax.tree_util.keystr(path)}"
        expect(leaf.dtype == other.dtype, f"{name} has dtype {leaf.dtype}, not {other.dtype}")
        expect(leaf.shape == other.shape, f"{name} has shape {leaf.shape}, not {other.shape}")


def x64_values(subject: Subject) -> None:
    """No value depends on `jax_enable_x64`."""
    with jax.enable_x64(True):
        episodes = subject.looped().episodes
    match(episodes, subject.loop.episodes, "with x64")


def same_world(subject: Subject) -> None:
    """The world is the instance and the key of reset: keys of steps do not matter, and the
    instance stays.
    """
    everywhere(subject.play.instance_kept, "the instance in the state changes")
    match(
        subject.played(subject.instances, subject.other_keys),
        subject.play,
        "with other keys of steps",
    )


def optimum(subject: Subject) -> None:
    """Exhaustive search reaches the optimum of each instance of `exact` in complete modes, and
    never beats it.
    """
    if not subject.exact:
        return
    reached = exhaustive_search(subject.env, subject.exact)
    for i, ((_, best), found) in enumerate(zip(subject.exact, reached, strict=True)):
        expect(
            found >= best,
            f"instance {i} of exact: {found} is reached, better than the optimum {best}",
        )
        if subject.env.complete:
            expect(
                found == best,
                f"instance {i} of exact: no sequence of legal actions reaches the optimum {best}",
            )


CHECKS: tuple[Callable[[Subject], None], ...] = (
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
    x64_values,
    same_world,
    optimum,
)
# What holds for every step of an `AutoReset`: not what is said about the end of an episode, or
# about all of it.
STREAM_CHECKS = (
    "structure",
    "one_trace",
    "jit_equals_eager",
    "vmap_equals_loop",
    "legal_actions",
    "illegal_actions",
)
STREAM_CHECKS += ("observation", "checkpoint", "x64", "x64_values")
