"""What is logged of a training, to TensorBoard or to Weights & Biases: hooks for `train(...,
on_update=...)`. Both write to files of this machine; nothing is sent.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxsched.host.errors import UnknownNameError
from jaxsched.training.loop import OnUpdate

LOGGERS = ("tensorboard", "wandb")


def scalars(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a row of the log by name; of several seeds, and of evaluations, by
    name/part.
    """
    for name, value in row.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            parts = {str(i): part for i, part in enumerate(value)}
            yield from scalars(parts, f"{prefix}{name}/")
        elif isinstance(value, numbers.Real) and name != "update":
            yield prefix + name, float(value)


def tensorboard(folder: str | Path) -> OnUpdate:
    """Event files in `folder`, for `tensorboard --logdir`. Needs the extra `tensorboard`."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ImportError('needs tensorboardX: pip install "jaxsched[tensorboard]"') from None
    writer = SummaryWriter(str(folder), flush_secs=5)

    def on_update(row: dict[str, Any], weights: Any) -> None:
        for name, value in scalars(row):
            writer.add_scalar(name, value, row["update"])

    return on_update


def wandb(folder: str | Path, project: str = "jaxsched") -> OnUpdate:
    """An offline run in `folder`, for `wandb sync`. Needs the extra `wandb`."""
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError('needs wandb: pip install "jaxsched[wandb]"') from None
    Path(folder).mkdir(parents=True, exist_ok=True)
    run = wandb.init(project=project, dir=str(folder), mode="offline")

    def on_update(row: dict[str, Any], weights: Any) -> None:
        run.log(dict(scalars(row)), step=row["update"])

    return on_update


def loggers(names: Iterable[str], folder: Path) -> OnUpdate | None:
    """The hooks of these `LOGGERS` as one, in folders of their names; None for none."""
    made: list[OnUpdate] = []
    for name in names:
        if name not in LOGGERS:
            raise UnknownNameError("logger", name, LOGGERS)
        made.append({"tensorboard": tensorboard, "wandb": wandb}[name](folder / name))

    def on_update(row: dict[str, Any], weights: Any) -> None:
        for each in made:
            each(row, weights)

    return on_update if made else None
