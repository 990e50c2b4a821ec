"""The host loop: files, resume, refusals."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxsched
from jaxsched.core import UnknownNameError
from jaxsched.envs import job_shop
from jaxsched.policies import NETWORKS, NetworkConfig
from jaxsched.policies.io import CheckpointMismatchError, load_policy
from jaxsched.training import loop, new_run_dir
from jaxsched.training.algorithms import from_dict, to_dict
from jaxsched.training.config import replace
from jaxsched.training.curve import _rounds
from tests.training.tiny import CONFIG, ENV, SOURCE

OPTIONS = {"chunk": 2, "checkpoint_every": 2, "progress": False}


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class Stop(Exception):
    """Stands for a run killed between two chunks."""


def test_resume_is_bit_exact_and_files_are_left(tmp_path):
    calls = []

    def evaluate(apply, params):
        calls.append(1)
        return {"gap": float(len(calls))}

    whole = tmp_path / "whole"
    _, expected = loop.train(
        ENV, SOURCE, CONFIG, run_dir=whole, evaluate=evaluate, evaluate_every=4, **OPTIONS
    )
    names = {path.name for path in whole.iterdir()}
    assert {"config.json", "log.jsonl", "checkpoints", "policy.safetensors", "curve.png"} <= names
    assert [row["update"] for row in rows(whole)] == [1, 2, 3, 4, 5, 6]
    assert [row["update"] for row in rows(whole) if "evaluation" in row] == [4, 6]

    def killed(apply, params):
        raise Stop

    broken = tmp_path / "broken"
    with pytest.raises(Stop):
        loop.train(
            ENV, SOURCE, CONFIG, run_dir=broken, evaluate=killed, evaluate_every=5, **OPTIONS
        )
    assert not (broken / "policy.safetensors").exists()
    _, resumed = loop.train(ENV, SOURCE, CONFIG, run_dir=broken, resume=True, **OPTIONS)
    for part in ("params", "average", "opt_state", "numbers"):
        one, other = (jax.tree.leaves(getattr(state, part)) for state in (resumed, expected))
        for a, b in zip(one, other, strict=True):
            assert (np.asarray(a) == np.asarray(b)).all()
    for a, b in zip(jax.tree.leaves(resumed.params), jax.tree.leaves(expected.params), strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()
    assert [row["update"] for row in rows(broken)] == [1, 2, 3, 4, 5, 6]
    assert [row["objective"] for row in rows(broken)] == [row["objective"] for row in rows(whole)]

    # what is saved are the averaged weights
    _, params = load_policy(whole, ENV)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected.average), strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()

    with pytest.raises(FileExistsError, match="holds a run already"):
        loop.train(ENV, SOURCE, CONFIG, run_dir=whole, **OPTIONS)
    other = replace(CONFIG, learning_rate=0.5)
    with pytest.raises(
        CheckpointMismatchError, match=r"training\.learning_rate: saved 0\.001, wanted 0\.5"
    ):
        loop.train(ENV, SOURCE, other, run_dir=whole, resume=True, **OPTIONS)


def test_sources_of_different_shapes_take_turns(tmp_path):
    """Also after a resume in the middle of a round."""
    shapes = [job_shop.uniform(3, 3), job_shop.uniform(2, 4)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _, expected = loop.train(ENV, shapes, CONFIG, run_dir=whole, **OPTIONS)
    inits = [loop.make_training(ENV, shape, CONFIG) for shape in shapes]
    apply, state = inits[0][0](jax.random.key(0))
    updates = [jax.jit(make(apply)) for _, make in inits]
    for number in range(CONFIG.num_updates):
        state, metrics = updates[number % 2](state)
        row = rows(whole)[number]
        assert row["objective"] == pytest.approx(float(metrics["objective"]))
        assert row["source"] == number % 2

    def killed(apply, params):
        raise Stop

    options = OPTIONS | {"chunk": 1, "checkpoint_every": 1}
    with pytest.raises(Stop):
        loop.train(
            ENV, shapes, CONFIG, run_dir=broken, evaluate=killed, evaluate_every=4, **options
        )
    with pytest.raises(CheckpointMismatchError, match="num_sources"):
        loop.train(ENV, shapes[0], CONFIG, run_dir=broken, resume=True, **options)
    _, resumed = loop.train(ENV, shapes, CONFIG, run_dir=broken, resume=True, **options)
    for part in ("params", "average"):
        one, other = (jax.tree.leaves(getattr(state, part)) for state in (resumed, expected))
        for a, b in zip(one, other, strict=True):
            assert (np.asarray(a) == np.asarray(b)).all()


def test_a_curve_is_drawn_round_by_round():
    rows = [{"update": 1 + i, "source": i % 3} for i in range(8)]
    assert [[row["update"] for row in each] for each in _rounds(rows)] == [[1, 2, 3], [4, 5, 6]]
    assert _rounds(rows[:1]) == [rows[:1]]
    alone = [{"update": 1}, {"update": 2}]
    assert _rounds(alone) == [alone[:1], alone[1:]]
    assert _rounds([]) == []


def test_no_source_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        loop.train(ENV, [], CONFIG, run_dir=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_given_parameters(tmp_path):
    start = tmp_path / "start"
    _, first = loop.train(ENV, SOURCE, replace(CONFIG, num_updates=2), run_dir=start, **OPTIONS)
    _, params = load_policy(start, ENV)
    frozen = replace(CONFIG, num_updates=2, learning_rate=0.0)
    _, state = loop.train(
        ENV, SOURCE, frozen, run_dir=tmp_path / "tuned", initial=params, seed=7, **OPTIONS
    )
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(first.average), strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()
    wide = replace(CONFIG, network=NetworkConfig(width=32, num_layers=1, num_heads=2))
    with pytest.raises(
        CheckpointMismatchError,
        match=r"initial parameters are of another network: embed\.0\.bias: saved",
    ):
        loop.train(ENV, SOURCE, wide, run_dir=tmp_path / "wide", initial=params, **OPTIONS)


@pytest.mark.parametrize("num_seeds", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_parameters_that_were_kept_stay_usable(num_seeds, tmp_path):
    """Issue 16, row 6: "Array has been deleted", the next update donates them; also of the first of
    several seeds, and what `initial` names (siblings).
    """
    kept = []

    def total(params):
        return float(sum(abs(leaf).sum() for leaf in jax.tree.leaves(params)))

    def evaluate(apply, params):
        kept.append((params, total(params)))  # NumPy would hold on to the buffers
        return {}

    given = {"evaluate": evaluate, "evaluate_every": 1, "num_seeds": num_seeds, **OPTIONS}
    _, state = loop.train(
        ENV, SOURCE, replace(CONFIG, num_updates=3), run_dir=tmp_path / "a", **given
    )
    assert len(kept) == 3
    for params, before in kept:
        assert total(params) == before
    best, _ = kept[0]
    for run in "bc":
        loop.train(
            ENV,
            SOURCE,
            replace(CONFIG, num_updates=2),
            run_dir=tmp_path / run,
            initial=best,
            **OPTIONS,
        )
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((best, state)))


def test_scalars_of_numpy_and_jax_are_the_numbers_they_are(tmp_path):
    """Issue 16, row 8: a bare JSON error and an empty run folder; and what `evaluate` returns (a
    sibling).
    """
    network = NetworkConfig(width=np.int64(16), num_layers=jnp.int32(1), num_heads=np.array(2))
    assert network == CONFIG.network
    given = {
        "learning_rate": np.float64(1e-3),
        "num_updates": jnp.int32(2),
        "num_samples": np.int16(8),
    }
    config = replace(CONFIG, network=network, temperature=jnp.float32(1), **given)
    assert config == replace(CONFIG, num_updates=2)
    assert json.loads(json.dumps(to_dict(config))) == to_dict(config)

    def evaluate(apply, params):
        return {
            "gap": jnp.float32(2.5),
            "cost": np.int64(7),
            "solved": np.bool_(True),
            "bound": None,
        }

    env = jaxsched.make("JobShop-v0", max_visits=np.int64(2))
    options = OPTIONS | {"chunk": np.int64(2), "checkpoint_every": jnp.int32(2), "progress": True}
    for seed in (np.int64(3), jnp.int32(3), np.array(3)):
        run_dir = tmp_path / type(seed).__name__
        loop.train(
            env,
            SOURCE,
            config,
            run_dir=run_dir,
            seed=seed,
            num_seeds=np.int8(1),
            evaluate=evaluate,
            **options,
        )
        assert json.loads((run_dir / "config.json").read_text())["seed"] == 3
        evaluation = {"gap": 2.5, "cost": 7, "solved": True, "bound": None}
        assert rows(run_dir)[-1]["evaluation"] == evaluation
        load_policy(run_dir, env)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 1.5}, "seed must be of type int, got 1.5"),
        ({"seed": True}, "seed must be of type int, got True"),
        ({"seed": np.arange(2)}, "seed must be of type int, got array"),
        ({"num_seeds": "2"}, "num_seeds must be of type int, got '2'"),
        ({"chunk": None}, "chunk must be of type int, got None"),
    ],
    ids=str,
)
def test_what_is_no_number_is_refused_before_there_is_a_folder(given, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        loop.train(ENV, SOURCE, CONFIG, run_dir=tmp_path / "run", **OPTIONS | given)
    assert not list(tmp_path.iterdir())


def test_settings_that_json_does_not_hold_are_refused_before_there_is_a_folder(tmp_path):
    """A third party's environment may have any setting (issue 16, row 8: a sibling)."""

    @dataclasses.dataclass(frozen=True)
    class Odd(job_shop.Settings):
        table: frozenset = frozenset({1})

    with pytest.raises(
        ValueError, match=r"config\.json cannot hold the environment: Object of type frozenset"
    ):
        loop.train(job_shop.JobShop(Odd()), SOURCE, CONFIG, run_dir=tmp_path / "run", **OPTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"learning_rate": abs},
            "learning_rate must be of type float, got <built-in function abs>",
        ),
        ({"learning_rate": np.ones(2)}, "learning_rate must be of type float, got array"),
        ({"num_updates": 2.0}, "num_updates must be of type int, got 2.0"),
        ({"schedule": 3}, "schedule must be of type str, got 3"),
    ],
    ids=str,
)
def test_fields_are_of_their_type(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_resume_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        loop.train(ENV, SOURCE, CONFIG, run_dir=tmp_path / "none", resume=True, **OPTIONS)


def test_run_folders_are_numbered_and_never_reused(tmp_path):
    root = tmp_path / "runs"
    assert new_run_dir(root).name == "001"
    (root / "007").mkdir()
    assert new_run_dir(root).name == "008"


def test_config_round_trip_and_unknown_option():
    assert from_dict(json.loads(json.dumps(to_dict(CONFIG)))) == CONFIG
    with pytest.raises(UnknownNameError, match="did you mean num_samples"):
        replace(CONFIG, num_sampels=3)
    with pytest.raises(ValueError, match="multiple of num_minibatches"):
        replace(CONFIG, num_minibatches=3)


def test_a_file_that_is_no_policy_is_refused(tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(b"\x80\x04not a policy")
    with pytest.raises(CheckpointMismatchError, match="not a safetensors file"):
        load_policy(path, ENV)


def test_a_policy_of_an_old_format_is_refused(tmp_path):
    path = tmp_path / "policy.safetensors"
    save_file({"embed": np.zeros(3, np.float32)}, path, {"format": "jaxsched-policy-1"})
    with pytest.raises(CheckpointMismatchError, match="an old format; train it again"):
        load_policy(path, ENV)
    save_file({"embed": np.zeros(3, np.float32)}, path, {"format": "other"})
    with pytest.raises(CheckpointMismatchError, match="not a policy of this package"):
        load_policy(path, ENV)


def mean_network(key, observation):
    """A network of one's own: a plain function."""
    size = observation["job"].features.shape[-1]
    params = {"weights": jax.random.normal(key, (size,)), "value": jnp.zeros(())}

    def apply(params, observation):
        return observation["job"].features @ params["weights"], params["value"]

    return apply, params


def test_any_function_is_a_network(tmp_path):
    config = replace(CONFIG, num_updates=2)
    run_dir = tmp_path / "own"
    _, state = loop.train(ENV, SOURCE, config, run_dir=run_dir, network=mean_network, **OPTIONS)
    saved = json.loads((run_dir / "config.json").read_text())["training"]["network"]
    assert saved == {"name": "mean_network"}
    with pytest.raises(CheckpointMismatchError, match="network 'mean_network', which is not"):
        load_policy(run_dir, ENV)
    _, params = load_policy(run_dir, ENV, network=mean_network)
    np.testing.assert_array_equal(params["weights"], state.average["weights"])
    with pytest.raises(
        CheckpointMismatchError, match=r"training\.network\.name: saved mean_network"
    ):
        loop.train(ENV, SOURCE, config, run_dir=run_dir, resume=True, **OPTIONS)


@dataclasses.dataclass(frozen=True)
class Linear:
    """A network of one's own that files know by name."""

    scale: float = 1.0

    def __call__(self, key, observation):
        apply, params = mean_network(key, observation)
        return apply, jax.tree.map(lambda leaf: leaf * self.scale, params)


def test_a_registered_network_is_saved_with_its_configuration(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "linear", Linear)
    config, run_dir = replace(CONFIG, num_updates=2), tmp_path / "own"
    loop.train(ENV, SOURCE, config, run_dir=run_dir, network=Linear(0.5), **OPTIONS)
    saved = json.loads((run_dir / "config.json").read_text())["training"]["network"]
    assert saved == {"name": "linear", "scale": 0.5}
    apply, params = load_policy(run_dir, ENV)
    _, timestep = ENV.reset(jax.random.key(0), SOURCE(jax.random.key(0)))
    assert apply(params, timestep.observation)[0].shape == (3,)


def test_the_value_of_keep_is_known():
    with pytest.raises(UnknownNameError, match="did you mean actions"):
        replace(CONFIG, keep="action")
