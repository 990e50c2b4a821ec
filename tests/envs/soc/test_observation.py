"""The frontier observation: what the pairs know, and that neither date nor unit of time shows."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxsched
from jaxsched.core import masked_argmax
from jaxsched.envs.soc import decisions
from jaxsched.envs.soc.types import EMPTY, QUEUED, READY, RUNNING
from tests.envs.soc import cases

ENV = jaxsched.make("SoC-v0")


@functools.partial(jax.jit, static_argnums=0)
def play(env, batch):
    """ETF's observations [case, step] with their decision flags, estimates, tasks and jobs."""

    def episode(instance):
        def step(state, _):
            mask = env.action_mask(state)
            finish = decisions.estimate(state, env.settings)
            seen = env.observe(state), decisions.decides(state), finish, state.frontier, state.jobs
            action = masked_argmax(env.heuristics["etf"](state), mask)
            after, _ = env.step(jax.random.key(0), state, action)
            return after, seen

        return jax.lax.scan(step, env.init(jax.random.key(0), instance), length=30)[1]

    return jax.vmap(episode)(batch)


def times(case: cases.Case, factor: int, shift: int) -> cases.Case:
    """The case in another unit of time, a while later; its bandwidths are 1, so that transfers
    scale too.
    """
    platform, ones = case.platform, np.ones_like(case.platform.bandwidth)
    exec_time = {
        k: tuple(None if t is None else t * factor for t in row)
        for k, row in platform.exec_time.items()
    }
    jobs = [
        dataclasses.replace(job, edges=tuple((a, b, v * factor) for a, b, v in job.edges))
        for job in case.profiles
    ]
    gap = [gap * factor for gap in case.gap]
    return case._replace(
        platform=dataclasses.replace(platform, exec_time=exec_time, bandwidth=ones),
        profiles=jobs,
        gap=[gap[0] + shift, *gap[1:]],
    )


def test_pairs_know_times_and_estimates():
    given = cases.random_cases(5, 12)
    batch = cases.stack([cases.to_instance(case) for case in given])
    seen, decides, finish, front, _ = jax.device_get(play(ENV, batch))
    legal, (pairs,) = seen.action_mask, seen.actions
    unit = batch.system.unit[:, None, None]
    for name, values in (("time / unit", front.exec_time), ("(finish - now) / unit", finish)):
        expected = np.clip(values.reshape(legal.shape) / unit, -10, 10)
        np.testing.assert_allclose(pairs[name][legal], expected[legal], rtol=1e-5)
    assert (legal.any(-1) == decides).all()
    assert decides.sum() > 100
    nothing = (front.status != READY).all(-1)
    assert nothing.any()
    assert (pairs.features[nothing] == 0).all()


def test_relations_say_where_tasks_are():
    given = cases.random_cases(5, 12)
    batch = cases.stack([cases.to_instance(case) for case in given])
    seen, _, _, front, jobs = jax.device_get(play(ENV, batch))
    names, pe_start, job_start = (None, *seen.relation_names), seen.starts["pe"], seen.starts["job"]
    found = set()
    for i, step in np.ndindex(front.status.shape[:2]):
        relation, status = seen.relation[i, step], front.status[i, step]
        nodes = np.flatnonzero(seen.node_mask[i, step])
        tasks = {}  # of live entries: the place of the job, and what comes after the task
        for entry in np.flatnonzero(status != EMPTY):
            slot, task = front.slot[i, step, entry], front.task[i, step, entry]
            edges = given[i].profiles[jobs.profile[i, step, slot]].edges
            tasks[entry] = slot, {b for a, b, _ in edges if a == task}
        for entry, (slot, after) in tasks.items():
            expected = {
                other: "shares a successor"
                for other, (its_slot, its_after) in tasks.items()
                if other != entry and its_slot == slot and after & its_after
            }
            expected[job_start + slot] = "part of"
            if status[entry] >= QUEUED:
                place = {QUEUED: "queued at", RUNNING: "runs on"}[status[entry]]
                expected[pe_start + front.pe[i, step, entry]] = place
            for row in (relation[entry], relation[:, entry]):
                assert {j: names[row[j]] for j in nodes if row[j]} == expected
            found |= set(expected.values())
    assert found == {"shares a successor", "queued at", "runs on", "part of"}


def test_neither_date_nor_unit_of_time_shows():
    given = [
        case
        for case in cases.random_cases(6, 60)
        if all(t != 0 for r in case.platform.exec_time.values() for t in r)
    ]
    assert len(given) >= 5
    batches = [
        cases.stack([cases.to_instance(times(case, *change)) for case in given])
        for change in ((1, 0), (3, 0), (1, 40))
    ]
    (here, decides, *_), (scaled, *_), (shifted, also, *_) = (
        jax.device_get(play(ENV, batch)) for batch in batches
    )
    for a, b in zip((*here.nodes, *here.actions), (*scaled.nodes, *scaled.actions), strict=True):
        np.testing.assert_allclose(a.features, b.features, rtol=1e-4, atol=1e-4)
    for i in range(len(given)):  # the shifted stream idles first: compare decision by decision
        first, second = np.flatnonzero(decides[i]), np.flatnonzero(also[i])
        count = min(len(first), len(second))
        a, b = (
            each.actions[0].features[i][steps[:count]]
            for each, steps in ((here, first), (shifted, second))
        )
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        assert count
    assert all(jnp.isfinite(nodes.features).all() for nodes in here.nodes)
