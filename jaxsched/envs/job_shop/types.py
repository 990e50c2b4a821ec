"""Data of the job shop: the instance, the state of a partial schedule, the finished schedule.

Shapes: `J` jobs (padded), `K` operations per job (padded), `M` machines (padded). Padding is zeros
with a False mask, so instances of different sizes are padded leaf by leaf
(`jaxsched.core.pad_stack`).
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import struct
from jax import Array


class Shop(struct.PyTreeNode):
    """Routes and release dates, with or without buffers: what the instances of both kinds begin
    with.

    Jobs may be ragged, revisit a machine, and hold operations of duration 0. Time unit: one tick.
    """

    machine: Array  # i32[J, K]  machine of operation k of job j; 0 in padding
    duration: Array  # i32[J, K]  ticks, >= 0; 0 in padding
    op_mask: Array  # bool[J, K] real operations, a prefix of each row; a padded job has none
    machine_mask: Array  # bool[M]  real machines
    release: Array  # i32[J]  earliest start of the job's first operation, ticks

    @property
    def num_jobs(self) -> int:
        """Padded number of jobs, a static Python int."""
        return self.machine.shape[-2]

    @property
    def num_ops(self) -> int:
        """Padded number of operations per job, a static Python int."""
        return self.machine.shape[-1]

    @property
    def num_machines(self) -> int:
        """Padded number of machines, a static Python int."""
        return self.machine_mask.shape[-1]


class Instance(Shop):
    """A job shop: routes and release dates, and for the tardiness due dates and weights."""

    due: Array  # i32[J]  due date, ticks, negative before time 0; 0 where due_mask is False
    due_mask: Array  # bool[J]  the job has a due date
    weight: Array  # i32[J]  tardiness weight, 1 unless given; 0 in padding


def undated(shop: Shop) -> Instance:
    """The job shop of these routes and release dates, without due dates: what a makespan depends
    on.
    """
    real = shop.op_mask.any(-1)
    return Instance(
        machine=shop.machine,
        duration=shop.duration,
        op_mask=shop.op_mask,
        machine_mask=shop.machine_mask,
        release=shop.release,
        due=jnp.zeros_like(shop.release),
        due_mask=jnp.zeros_like(real),
        weight=real.astype(jnp.int32),
    )


class Slots(struct.PyTreeNode):
    """What stands on each machine in order of time, S slots a machine; empty slots come last and
    hold `LATEST`.
    """

    start: Array  # i32[M, S]  ticks
    end: Array  # i32[M, S]  ticks
    # i32[M, S]  j * K + k of operation k of job j, where an observation asks for it
    op: Array | None = None


class State(struct.PyTreeNode):
    """A partial schedule: what is placed, and when each job and machine is free again."""

    instance: Instance
    next_op: Array  # i32[J]  operations of the job already scheduled = index of its next one
    ops_left: Array  # i32[J]  operations still to schedule; 0 in padding
    # i32[J]  end of the job's last scheduled operation, its release date before the first
    job_ready: Array
    # i32[M]  end of the machine's last scheduled operation, 0 before the first
    machine_ready: Array
    work_left: Array  # i32[J]  summed duration of the job's unscheduled operations
    load_left: Array  # i32[M]  summed duration of the unscheduled operations of the machine
    baseline: Array  # i32[]  bound on the objective before the first decision
    scale: Array  # i32[]  what rewards are divided by, > 0
    start: Array  # i32[J, K]  start of each scheduled operation; 0 where not (yet) scheduled
    slots: Slots | None = None  # `insert` only
    floor: Array | None = None  # i32[]  `event` only: nothing may start before it any more, ticks

    @property
    def done(self) -> Array:
        """bool[]: every operation is scheduled."""
        return (self.ops_left == 0).all(-1)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A finished schedule on the host: `start[j][k]` in ticks for the real operations only, and
    the makespan.
    """

    start: list[list[int]]
    makespan: int
