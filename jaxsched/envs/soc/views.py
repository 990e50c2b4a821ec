"""Views of one decision: what an action is.

`joint`: a task and a PE. `fifo`: a PE for the task that is ready longest (SoCRATES).
`order`: a task, on the PE that `order_mapping` chooses (DeepSoCS).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jaxsched.core.arrays import take_row
from jaxsched.envs.soc.decisions import able, estimate, first, ready, timeline
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.types import LATEST, State


def action_mask(state: State, settings: Settings) -> Array:
    """bool[A]: the legal actions; A is F * Q in `joint`, Q in `fifo`, F in `order`."""
    pairs = able(state)
    if settings.view == "joint":
        return pairs.ravel()
    if settings.view == "order":
        return pairs.any(1)
    return (pairs & _longest_ready(state)[:, None]).any(0)


def entry_and_pe(state: State, settings: Settings, action: Array) -> tuple[Array, Array]:
    """i32[] both: the entry of the task, and the PE, that a legal `action` i32[] means."""
    if settings.view == "joint":
        num_pes = state.instance.system.num_pes
        return action // num_pes, action % num_pes
    if settings.view == "order":
        return action, map_to_pe(state, settings, action)
    return jnp.argmax(_longest_ready(state)).astype(jnp.int32), action


def action_scores(state: State, settings: Settings, scores: Array) -> Array:
    """[A] of `scores` [F, Q] of pairs: of its only task in `fifo`, of its best PE in `order`."""
    if settings.view == "joint":
        return scores.ravel()
    if settings.view == "order":
        return scores.max(1)
    return jnp.where(_longest_ready(state)[:, None], scores, 0).sum(0, dtype=jnp.int32)


def map_to_pe(state: State, settings: Settings, entry: Array) -> Array:
    """i32[]: the PE on which the ready task in `entry` finishes first, by HEFT_RT's timelines or
    EFT's estimate.
    """
    time, able = (
        take_row(state.frontier.exec_time, entry),
        take_row(state.frontier.exec_mask, entry),
    )
    if settings.order_mapping == "heft_rt":
        free, end = timeline(state)
        finish = time + jnp.where(time == 0, free, end)
    else:
        finish = take_row(estimate(state, settings), entry)
    return jnp.argmin(jnp.where(able, finish, LATEST)).astype(jnp.int32)


def _longest_ready(state: State) -> Array:
    return first(ready(state), state.frontier.ready_seq)
