"""Data of the flexible job shop: the instance, the state of a partial schedule, the finished
schedule.

Shapes: `J` jobs (padded), `K` operations per job (padded), `M` machines (padded). Padding is zeros
with a False mask, so instances of different sizes are padded leaf by leaf
(`jaxsched.core.pad_stack`).
"""

from __future__ import annotations

import dataclasses

from flax import struct
from jax import Array


class Instance(struct.PyTreeNode):
    """A flexible job shop: each operation runs on one of its eligible machines, with a duration of
    its own on each.

    Jobs may be ragged and revisit a machine, and operations may take 0 ticks. Time unit: one tick.
    """

    # i32[J, K, M]  ticks of operation k of job j on machine m, >= 0; 0 where not eligible
    duration: Array
    # bool[J, K, M]  the machine can do the operation; at least one for every real operation
    eligible_mask: Array
    op_mask: Array  # bool[J, K]  real operations, a prefix of each row; a padded job has none
    machine_mask: Array  # bool[M]  real machines

    @property
    def num_jobs(self) -> int:
        """Padded number of jobs, a static Python int."""
        return self.duration.shape[-3]

    @property
    def num_ops(self) -> int:
        """Padded number of operations per job, a static Python int."""
        return self.duration.shape[-2]

    @property
    def num_machines(self) -> int:
        """Padded number of machines, a static Python int."""
        return self.duration.shape[-1]


class State(struct.PyTreeNode):
    """A partial schedule: what is placed where, and when each job and machine is free again."""

    instance: Instance
    next_op: Array  # i32[J]  operations of the job already scheduled = index of its next one
    ops_left: Array  # i32[J]  operations still to schedule; 0 in padding
    job_ready: Array  # i32[J]  end of the job's last scheduled operation, 0 before the first
    # i32[M]  end of the machine's last scheduled operation, 0 before the first
    machine_ready: Array
    work_left: Array  # i32[J]  summed shortest duration of the job's unscheduled operations
    # i32[M]  summed duration of the unscheduled operations that only this machine can do
    load_left: Array
    baseline: Array  # i32[]  bound on the makespan before the first decision
    start: Array  # i32[J, K]  start of each scheduled operation; 0 where not (yet) scheduled
    machine: Array  # i32[J, K]  machine of each scheduled operation; 0 where not (yet) scheduled

    @property
    def done(self) -> Array:
        """bool[]: every operation is scheduled."""
        return (self.ops_left == 0).all(-1)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A finished schedule on the host: `start[j][k]` in ticks and `machine[j][k]` of the real
    operations only.
    """

    start: list[list[int]]
    machine: list[list[int]]
    makespan: int
