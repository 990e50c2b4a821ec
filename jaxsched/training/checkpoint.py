"""Checkpoints of a train state through orbax: asynchronous, resumable, refused where the
configuration differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from jaxsched.training.common import TrainState


class Checkpoints:
    """The checkpoints of one run folder. Use as a context manager: leaving it waits for the last
    write.
    """

    def __init__(self, run_dir: Path, keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager((run_dir / "checkpoints").absolute(), options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def save(self, state: TrainState, step: int) -> None:
        """Write `state`; returns once it is copied to the host, so the caller may donate it."""
        if self._manager.latest_step() != step:
            self._manager.save(step, args=self._ocp.args.StandardSave(state))

    def restore(self, like: TrainState) -> TrainState | None:
        """The newest complete checkpoint in the structure and placement of `like`, None when
        there is none.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(step, args=self._ocp.args.StandardRestore(abstract))
        assert isinstance(restored, TrainState)
        return restored
