"""The host loop: chunks of jitted updates; between them logging, evaluation, checkpoints and the
progress line.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.sharding import Mesh

from jaxsched.core.compilation import compiler_options
from jaxsched.core.environment import Environment, Source
from jaxsched.host.plain import plain
from jaxsched.policies.io import (
    FILE_NAME,
    CheckpointMismatchError,
    describe,
    describe_network,
    difference,
    named,
    save_policy,
)
from jaxsched.policies.network import Apply, Network, Params, example_observation
from jaxsched.training.algorithms import ALGORITHMS, algorithm_of, to_dict
from jaxsched.training.common import (
    MakeOptimizer,
    TrainState,
    check_mesh,
    init_state,
    make_optimizer,
)
from jaxsched.training.config import TrainConfig
from jaxsched.training.curve import draw_curve
from jaxsched.training.episodes import kept_bytes
from jaxsched.training.run import Run, plain_metrics, progress_bar, updates_done
from jaxsched.training.schedules import make_schedule
from jaxsched.training.stopping import Stopped, StopRequest, stop_requests
from jaxsched.training.update import Update, make_update

BEST = "best.safetensors"
MUCH = 2**31  # bytes that an update may keep without a word
Evaluate = Callable[[Apply, Params], dict[str, float]]
# A row of the log, and the averaged weights at the end of its chunk -> whether to stop.
OnUpdate = Callable[[dict[str, Any], Callable[[], Params]], bool | None]


def make_training(
    env: Environment,
    source: Source,
    config: TrainConfig,
    mesh: Mesh | None = None,
    network: Network | None = None,
    optimizer: MakeOptimizer = make_optimizer,
) -> tuple[Callable[[jax.Array], tuple[Apply, TrainState]], Callable[[Apply], Update]]:
    """`init(key) -> (apply, state)` and `make(apply) -> update` for the algorithm of `config`, with
    its network and optimiser or others.
    """
    build = config.network if network is None else network
    seen = example_observation(env, source)

    def init(key: jax.Array) -> tuple[Apply, TrainState]:
        init_key, run_key = _two(key)
        apply, params = build(init_key, seen)
        begin = jax.jit(functools.partial(init_state, config=config, optimizer=optimizer))
        return apply, begin(run_key, params)

    def make(apply: Apply) -> Update:
        algorithm = ALGORITHMS[algorithm_of(config)]
        return make_update(algorithm, env, source, apply, config, mesh, optimizer)

    return init, make


def train(
    env: Environment,
    source: Source | Sequence[Source],
    config: TrainConfig,
    *,
    run_dir: str | Path,
    network: Network | None = None,
    seed: int = 0,
    num_seeds: int = 1,
    resume: bool = False,
    from_update: int | None = None,
    initial: Params | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    on_update: OnUpdate | None = None,
    checkpoint_every: int = 20,
    chunk: int = 5,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> tuple[Apply, TrainState]:
    """Train and leave in `run_dir`: config.json, log.jsonl, checkpoints/, manifests/,
    policy.safetensors, curve.png; where there are evaluations, best.safetensors.

    Several sources, whose instances may differ in shape, take turns: update t draws from source
    t mod their number, and the update is compiled for each.
    `network(key, observation) -> (apply, params)` takes the place of the configured one: a function
    or, to be saved with its name, a dataclass in `jaxsched.policies.NETWORKS`. `num_seeds` > 1
    trains seeds `seed`, `seed + 1`, ... in one vmapped program; every leaf of the state and every
    metric then has a leading axis, and each seed's result is that of its own run up to float
    rounding. `evaluate` is called with the averaged weights of the (first) seed every
    `evaluate_every` updates and at the end; it may keep them. It returns figures of which less is
    better, and the weights of their least mean are saved as best.safetensors.

    `on_update(row, weights)` is called for every update with its row of the log, once that is
    written; `weights()` gives the averaged weights of the (first) seed. Where it returns True the
    training ends there, as if it had been all.

    With `resume` the newest checkpoint is continued, or the one of `from_update`; the result is
    bit-exact for the same versions, device kind and device count. A resumed run may get more
    updates than it had, where its learning rate follows the schedule of the longer run from then
    on. Ctrl-C and SIGTERM save a checkpoint and raise `Stopped`, a second signal does not wait.
    `initial` parameters, as `load_policy` returns them, replace the random ones of every seed
    (fine-tuning). The averaged weights are what is saved.
    """
    seed, num_seeds = plain(seed, "seed", int), plain(num_seeds, "num_seeds", int)
    chunk = plain(chunk, "chunk", int)
    evaluate_every = plain(evaluate_every, "evaluate_every", int)
    checkpoint_every = plain(checkpoint_every, "checkpoint_every", int)
    run_dir = Path(run_dir)
    sources = tuple(source) if isinstance(source, Sequence) else (source,)
    if not sources:
        raise ValueError("source: needs at least one")
    check_mesh(config, mesh)
    build = config.network if network is None else network
    configuration = {
        "environment": describe(env),
        "training": to_dict(config) | {"network": describe_network(build)},
        "seed": seed,
        "num_seeds": num_seeds,
    } | ({"num_sources": len(sources)} if len(sources) > 1 else {})
    if progress and config.keep == "observations":
        # Of the samples of an instance, self-labelling keeps the best one's.
        size = max(kept_bytes(env, each, num_seeds * config.num_envs) for each in sources)
        if size > MUCH:
            print(
                f"an update keeps about {size / 2**30:.1f} GiB of observations; keep=actions needs "
                "less memory, and plays episodes again"
            )
    with stop_requests() as stop, Run(run_dir, configuration, resume, from_update) as run:
        trainings = [make_training(env, each, config, mesh, network) for each in sources]
        apply, state = _begin(trainings[0][0], seed, num_seeds, initial)
        updates = [make(apply) for _, make in trainings]
        if num_seeds > 1:
            updates = [jax.vmap(update) for update in updates]
        compiled = functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())
        state = run.restore(state)
        if resume and progress:
            print(_what_goes_on(run, config, updates_done(state)), flush=True)
        state = _loop(
            run,
            [compiled(update) for update in updates],
            state,
            evaluate and _judge(run, evaluate, apply, num_seeds, build, env),
            (config.num_updates, chunk, evaluate_every, checkpoint_every),
            progress,
            stop,
            on_update and (lambda row, state: on_update(row, lambda: _average(state, num_seeds))),
        )
        for i in range(num_seeds):
            name = FILE_NAME if num_seeds == 1 else f"policy_seed{seed + i}.safetensors"
            save_policy(run_dir / name, _average(state, num_seeds, i), build, env)
        draw_curve(run_dir)
    return apply, state


def _what_goes_on(run: Run, config: TrainConfig, done: int) -> str:
    """One or two lines about a resumed run."""
    lines = [f"going on from update {done}"]
    if not done:
        lines = ["there is no checkpoint yet: starting again from the beginning"]
    if run.lengthened is not None:
        steps = done * config.num_epochs * config.num_minibatches
        longer = make_schedule(config.schedule, config.learning_rate, config.num_gradient_steps)
        before = dataclasses.replace(config, num_updates=run.lengthened).num_gradient_steps
        shorter = make_schedule(config.schedule, config.learning_rate, before)
        lines.append(
            f"{config.num_updates} updates instead of {run.lengthened}: the learning rate follows "
            f"the longer schedule, {np.asarray(longer(steps)):.2e} here instead of "
            f"{np.asarray(shorter(steps)):.2e}"
        )
    return "; ".join(lines)


def _judge(
    run: Run, evaluate: Evaluate, apply: Apply, num_seeds: int, build: Network, env: Environment
) -> Callable[[TrainState], dict[str, Any]]:
    """Evaluates the averaged weights, and saves those of the least mean figure."""
    earlier = [_mean(row["evaluation"]) for row in run.rows() if "evaluation" in row]
    best = min((mean for mean in earlier if mean is not None), default=float("inf"))

    def judge(state: TrainState) -> dict[str, Any]:
        nonlocal best
        average = _average(state, num_seeds)
        figures = plain_metrics(evaluate(apply, average))
        mean = _mean(figures)
        if mean is not None and mean < best:
            best = mean
            save_policy(run.folder / BEST, average, build, env)
        return figures

    return judge


def _mean(figures: dict[str, Any]) -> float | None:
    """Of the figures that are numbers, None where there are none."""
    numbers = [value for value in figures.values() if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _begin(
    init: Callable, seed: int, num_seeds: int, initial: Params | None
) -> tuple[Apply, TrainState]:
    """The first state, with a leading axis where there are several seeds."""

    def begin(key: jax.Array) -> tuple[Apply, TrainState]:
        apply, state = init(key)
        if initial is not None:
            params, average = (_fitting(initial, state.params) for _ in range(2))
            state = state.replace(params=params, average=average)
        return apply, state

    apply, state = begin(random.key(seed))
    if num_seeds > 1:
        keys = jax.vmap(random.key)(np.arange(seed, seed + num_seeds))
        state = jax.vmap(lambda key: begin(key)[1])(keys)
    return apply, state


def _loop(
    run: Run,
    updates: Sequence[Callable[[TrainState], tuple[TrainState, Any]]],
    state: TrainState,
    evaluate: Callable[[TrainState], dict[str, float]] | None,
    pace: tuple[int, int, int, int],
    progress: bool,
    stop: StopRequest,
    on_update: Callable[[dict[str, Any], TrainState], bool | None] | None,
) -> TrainState:
    """Updates, which take turns, until the end of the run, until `stop` is asked for or
    `on_update` says so; `pace`: their number, and every how many of them the host looks, evaluates
    and saves.
    """
    total, chunk, evaluate_every, checkpoint_every = pace
    done = updates_done(state)
    with progress_bar(total, progress) as report:
        while done < total:
            stops = [total, done + chunk]
            for every in (evaluate_every, checkpoint_every):
                if every:
                    stops.append((done // every + 1) * every)
            pending = []
            # dispatched without waiting: the host reads once per chunk
            for number in range(done, min(stops)):
                state, metrics = updates[number % len(updates)](state)
                pending.append(metrics)
            pending = jax.device_get(pending)
            rows = run.log(done + 1, pending, len(updates))
            done += len(pending)

            def due(every: int, done: int = done) -> bool:
                return done == total or bool(every and done % every == 0)

            if evaluate and due(evaluate_every) and not stop.received:
                rows[-1]["evaluation"] = evaluate(state)
            run.write(rows)
            report(done, rows[-1])
            if not all(np.isfinite(metrics["gradient_norm"]).all() for metrics in pending):
                raise FloatingPointError(
                    f"update {done}: the gradient is not finite; the log is in {run.folder}"
                )
            enough = False
            for row in rows:
                enough = bool(on_update and on_update(row, state)) or enough
            if due(checkpoint_every) or stop.received or enough:
                run.save(state)
            if enough:
                return state
            if stop.received and done < total:
                raise Stopped(f"stopped after update {done} of {total}, which is saved")
    return state


def _fitting(initial: Params, wanted: Params) -> Params:
    """A copy of `initial`, which the jitted update may donate; refused where its arrays are
    others than `wanted`.
    """
    saved, needed = (
        {name: str(leaf.shape) for name, leaf in named(params).items()}
        for params in (initial, wanted)
    )
    if lines := difference(saved, needed):
        raise CheckpointMismatchError(
            "the initial parameters are of another network: " + "; ".join(lines[:5])
        )
    return jax.tree.map(lambda leaf, like: jnp.array(leaf, like.dtype), initial, wanted)


def _average(state: TrainState, num_seeds: int, which: int = 0) -> Params:
    """A copy of one seed's averaged weights: the next update donates the buffers of the state."""
    return _copy(state.average, None if num_seeds == 1 else which)


@jax.jit
def _two(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    first, second = random.split(key)
    return first, second


@functools.partial(jax.jit, static_argnums=1)
def _copy(tree: Any, which: int | None) -> Any:
    """One program for all arrays: each would compile one of its own."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf if which is None else leaf[which]), tree)
