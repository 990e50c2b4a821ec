"""`on_update`: what it is given, where it stops, and the loggers made of it."""

from __future__ import annotations

import sys
import time
import types

import jax
import numpy as np
import pytest

from jaxsched.core import UnknownNameError
from jaxsched.policies.io import load_policy
from jaxsched.training import loop
from jaxsched.training.loggers import loggers, scalars, wandb
from tests.training.tiny import CONFIG, ENV, SOURCE

OPTIONS = {"chunk": 2, "checkpoint_every": 0, "progress": False}
ROW = {
    "update": 3,
    "seconds": 1.5,
    "objective": [2.0, 3.0],
    "evaluation": {"gap": 4.0, "bound": None},
}


def test_every_update_is_told_and_true_ends_the_training(tmp_path):
    rows, kept = [], []

    def on_update(row, weights):
        rows.append(row)
        if row["update"] == 3:
            kept.append(weights())
        return row["update"] == 3

    given = OPTIONS | {"on_update": on_update}
    _, state = loop.train(ENV, SOURCE, CONFIG, run_dir=tmp_path / "run", **given)
    assert [row["update"] for row in rows] == [1, 2, 3, 4]  # the chunk is played to its end
    assert int(state.update) == 4
    _, params = load_policy(tmp_path / "run", ENV)
    for a, b, c in zip(*map(jax.tree.leaves, (params, kept[0], state.average)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    # What was stopped goes on where it was.
    loop.train(ENV, SOURCE, CONFIG, run_dir=tmp_path / "run", resume=True, **given)
    assert [row["update"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_the_numbers_of_a_row():
    wanted = {"seconds": 1.5, "objective/0": 2.0, "objective/1": 3.0, "evaluation/gap": 4.0}
    assert dict(scalars(ROW)) == wanted


def test_tensorboard_files_are_written(tmp_path):
    pytest.importorskip("tensorboardX", reason="an extra of its own")
    log = loggers(["tensorboard"], tmp_path)
    assert log is not None
    log(ROW, dict)
    (events,) = (tmp_path / "tensorboard").iterdir()
    until = time.monotonic() + 60  # a thread of its own writes
    while b"evaluation/gap" not in events.read_bytes() and time.monotonic() < until:
        time.sleep(0.05)
    assert all(name.encode() in events.read_bytes() for name, _ in scalars(ROW))


def test_weights_and_biases_get_an_offline_run(tmp_path, monkeypatch):
    made, logged = [], []
    run = types.SimpleNamespace(log=lambda values, step: logged.append((step, values)))
    fake = types.SimpleNamespace(init=lambda **given: (made.append(given), run)[1])
    monkeypatch.setitem(sys.modules, "wandb", fake)
    wandb(tmp_path / "wandb")(ROW, dict)
    assert made == [{"project": "jaxsched", "dir": str(tmp_path / "wandb"), "mode": "offline"}]
    assert logged == [(3, dict(scalars(ROW)))]


def test_unknown_and_missing_loggers(tmp_path, monkeypatch):
    assert loggers([], tmp_path) is None
    with pytest.raises(UnknownNameError, match="did you mean wandb"):
        loggers(["wandbb"], tmp_path)
    for name, module in (("wandb", "wandb"), ("tensorboard", "tensorboardX")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=rf"jaxsched\[{name}\]"):
            loggers([name], tmp_path)
    assert not list(tmp_path.iterdir())
