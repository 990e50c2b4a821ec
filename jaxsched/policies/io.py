"""Trained policies as safetensors files: arrays and JSON, no code is executed on loading."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsched.core.environment import Environment
from jaxsched.host.files import replacing
from jaxsched.host.plain import plain_number
from jaxsched.policies.network import NETWORKS, Apply, Network, Params, example_observation

FILE_NAME = "policy.safetensors"
FORMAT = "jaxsched-policy-2"


class CheckpointMismatchError(ValueError):
    """A checkpoint or policy of another configuration; the message lists the differences."""


def difference(saved: Any, wanted: Any, prefix: str = "") -> list[str]:
    """Lines "name: saved X, wanted Y" for the entries in which two nested dicts differ."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        keys = sorted(saved.keys() | wanted.keys())
        return [
            line
            for key in keys
            for line in difference(
                saved.get(key, "nothing"), wanted.get(key, "nothing"), f"{prefix}{key}."
            )
        ]
    return [] if saved == wanted else [f"{prefix[:-1]}: saved {saved}, wanted {wanted}"]


def describe(env: Environment) -> dict[str, Any]:
    """The environment's id and settings as plain data, for JSON."""
    settings = {name: plain_number(value) for name, value in env.settings.items()}
    return {"id": env.id, "settings": settings}


def named(params: Params) -> dict[str, Any]:
    """The arrays of nested parameters by their dotted names."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in _paths(params)
    }


def _paths(params: Params):
    return jax.tree_util.tree_flatten_with_path(params)[0]


def describe_network(network: Network) -> dict[str, Any]:
    """A network as plain data: its registered name and its fields, or the name of a function."""
    for name, known in NETWORKS.items():
        if type(network) is known and dataclasses.is_dataclass(network):
            return {"name": name, **dataclasses.asdict(network)}
    return {"name": getattr(network, "__qualname__", type(network).__qualname__)}


def save_policy(path: str | Path, params: Params, network: Network, env: Environment) -> None:
    """Write weights, network (see `NETWORKS`) and environment to one file."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(leaf) for name, leaf in named(params).items()}
    metadata = {
        "format": FORMAT,
        "network": json.dumps(describe_network(network)),
        "environment": json.dumps(describe(env)),
    }
    with replacing(path) as new:
        new.write_bytes(save(arrays, metadata))  # as a file of its own it would be the user's alone


def shipped_policies(env: Environment) -> dict[str, Path]:
    """Trained policies that come with the package of the environment, by name."""
    folder = Path(inspect.getfile(type(env.unwrapped))).parent / "data" / "policies"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load_policy(
    path: str | Path, env: Environment, network: Network | None = None
) -> tuple[Apply, Params]:
    """`apply` and `params` of a file written by `save_policy`, of a run folder that holds one, or
    of a shipped policy.

    A name such as `"standard"` stands for one of `shipped_policies(env)` where no file or folder
    has that name.

    Works for any size of instance. A network that is not in `NETWORKS` has to be given. Raises
    `CheckpointMismatchError` where the file is of another kind of observation or of another format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        shipped = shipped_policies(env)
        if str(path) not in shipped:
            known = f", or one that comes with {env.id}: {', '.join(shipped)}" if shipped else ""
            raise FileNotFoundError(
                f"{path}: no such policy; give a run folder or a {FILE_NAME} file{known}"
            )
        path = shipped[str(path)]
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise CheckpointMismatchError(f"{path}: not a safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        written = metadata.get("format")
        old = str(written).startswith(FORMAT.rsplit("-", 1)[0])
        why = "an old format; train it again" if old else "not a policy of this package"
        raise CheckpointMismatchError(f"{path}: {why} (format {written!r}, this is {FORMAT!r})")
    saved_env = json.loads(metadata["environment"])
    if saved_env["id"] != env.id:
        raise CheckpointMismatchError(f"{path}: a policy of {saved_env['id']}, not of {env.id}")
    build = _saved_network(path, json.loads(metadata["network"])) if network is None else network
    apply, params = build(jax.random.key(0), example_observation(env, env.default_source))
    wanted = {name: str(leaf.shape) for name, leaf in named(params).items()}
    lines = difference({name: str(array.shape) for name, array in arrays.items()}, wanted)
    if lines:
        raise CheckpointMismatchError(f"{path}: does not fit {env}: " + "; ".join(lines[:5]))
    leaves = [jax.numpy.asarray(arrays[name]) for name in wanted]
    return apply, jax.tree.unflatten(jax.tree.structure(params), leaves)


def _saved_network(path: Path, saved: dict[str, Any]) -> Network:
    """The network that a file names."""
    name = saved.pop("name")
    if name not in NETWORKS:
        raise CheckpointMismatchError(
            f"{path}: a policy of the network {name!r}, which is not registered; "
            "give it: load_policy(path, env, network=...)"
        )
    return NETWORKS[name](**saved)
