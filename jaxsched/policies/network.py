"""One graph actor-critic for every family: relational attention, a pointer head over actions, a
value head.

It knows `GraphObservation` and nothing else. Nodes attend along the relations of the observation,
or along its axes in turn, layer by layer (`attention.py`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax, random

from jaxsched.core.callables import as_key
from jaxsched.core.environment import Environment, Source
from jaxsched.core.graph import Actions, GraphObservation, concatenate
from jaxsched.host.errors import UnknownNameError
from jaxsched.host.plain import make_plain
from jaxsched.policies.attention import Attend, along_axes, along_edges, along_relations

Params = Any  # a nested dict of arrays
Apply = Callable[[Params, GraphObservation], tuple[Array, Array]]  # -> logits f32[A], value f32[]
# Any network: from a key and the shapes of an observation the pure `apply` and its first parameters.
Network = Callable[[Array, GraphObservation], tuple[Apply, Params]]
BACKENDS = ("dense", "segment")
ALONG = ("relations", "axes")
SMALL = ("logit", "value")  # heads that start near 0: a nearly uniform first policy
DEVIATION = np.float32(0.87962566)  # of a normal distribution cut off at two deviations


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Size of the network; called, it is the network. `backend` changes speed, not results.

    `along`: whether nodes attend along the relations of the observation, or along its axes in turn,
    layer by layer.
    """

    width: int = 64
    num_layers: int = 2
    num_heads: int = 2
    expansion: int = 1  # hidden width of the feed-forward layers, in units of width
    backend: str = "dense"
    along: str = "relations"

    def __post_init__(self):
        make_plain(self)
        if self.along not in ALONG:
            raise UnknownNameError("value of along", self.along, ALONG)
        if self.backend not in BACKENDS:
            raise UnknownNameError("backend", self.backend, BACKENDS)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")

    def __call__(self, key: Array, observation: GraphObservation) -> tuple[Apply, Params]:
        """`apply(params, observation) -> (logits, value)` and its first parameters."""
        return init_network(key, observation, self)


# Networks that policy files know by name: dataclasses that are called with a key and an observation.
NETWORKS: dict[str, type] = {"graph": NetworkConfig}


def _normalise(x: Array, scale: Array) -> Array:
    """RMS normalisation over the last axis (Zhang & Sennrich 2019)."""
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


def _linear(num_inputs: int, num_outputs: int, use_bias: bool = True) -> nnx.Linear:
    """A linear map of zeros; `_first_params` fills it."""
    zeros = nnx.initializers.zeros_init()
    return nnx.Linear(
        num_inputs, num_outputs, use_bias=use_bias, kernel_init=zeros, rngs=nnx.Rngs(0)
    )


class Layer(nnx.Module):
    """Pre-norm attention along the relations, then a feed-forward layer; both residual."""

    def __init__(self, config: NetworkConfig):
        width, hidden = config.width, config.width * config.expansion
        self.num_heads = config.num_heads
        self.scale_attend = nnx.Param(jnp.ones((width,), jnp.float32))
        self.scale_feed = nnx.Param(jnp.ones((width,), jnp.float32))
        self.query_key_value = _linear(width, 3 * width, use_bias=False)
        self.out = _linear(width, width, use_bias=False)
        self.up = _linear(width, hidden)
        self.down = _linear(hidden, width)

    def __call__(self, x: Array, attend: Attend) -> Array:
        projected = self.query_key_value(_normalise(x, self.scale_attend[...]))
        query, key, value = jnp.split(projected.reshape(*x.shape[:-1], self.num_heads, -1), 3, -1)
        x = x + self.out(attend(query, key, value).reshape(x.shape))
        return x + self.down(jax.nn.relu(self.up(_normalise(x, self.scale_feed[...]))))


class GraphActorCritic(nnx.Module):
    """Logits over the observation's actions and the value of its state. Unbatched: vmap it."""

    def __init__(self, observation: GraphObservation, config: NetworkConfig):
        width, num_kinds = config.width, len(observation.nodes)
        groups, action_kinds = observation.actions, observation.action_kinds
        self.config = config
        self.action_kinds = action_kinds
        # Every kind of node has features, hence an embedding, of its own.
        self.embed = nnx.List(
            [_linear(nodes.features.shape[-1], width) for nodes in observation.nodes]
        )
        uses = any(group.uses for group in groups)
        if config.along == "axes":
            if not observation.axes:
                raise ValueError(
                    "this observation has no axes to attend along; leave `along` at 'relations', or "
                    "make the environment with another observation (JobShop-v0: 'operations')"
                )
            num_relations = 3  # to itself, and to what comes before and after where that counts
        else:
            # Relations of the observation, then the network's own: self, and where actions use
            # resources from the resource to the node and back.
            num_relations = len(observation.relation_names) + 1 + 2 * uses
        self.relation_bias = nnx.Param(
            jnp.zeros((num_relations, config.num_layers, config.num_heads), jnp.float32)
        )
        self.layers = nnx.List([Layer(config) for _ in range(config.num_layers)])
        self.scale_out = nnx.Param(jnp.ones((width,), jnp.float32))
        self.point_node = _linear(width, width)
        self.point_resource = _linear(width, width, use_bias=False) if uses else None
        self.point_pair = nnx.List(
            [
                _linear(group.features.shape[-1], width, use_bias=False)
                for group in groups
                if group.features is not None
            ]
        )
        kinds = jnp.zeros((len(action_kinds), width), jnp.float32)
        self.point_kind = nnx.Param(kinds) if len(action_kinds) > 1 else None
        # One product for what both heads read of the means over the kinds of nodes.
        self.pooled = _linear(width * num_kinds, 2 * width)
        self.logit = _linear(width, 1)
        self.value = _linear(width, 1)

    def __call__(self, observation: GraphObservation) -> tuple[Array, Array]:
        node_mask = observation.node_mask
        x = concatenate(
            [
                embed(nodes.features)
                for embed, nodes in zip(self.embed, observation.nodes, strict=True)
            ],
            0,
        )
        for layer, attend in zip(self.layers, self._attention(observation), strict=True):
            x = layer(x, attend)
        x = jnp.where(node_mask[:, None], _normalise(x, self.scale_out[...]), 0)

        starts = observation.starts
        parts = {
            nodes.kind: x[starts[nodes.kind] :][: nodes.mask.shape[0]]
            for nodes in observation.nodes
        }
        means = [
            parts[nodes.kind].sum(0)
            / jnp.maximum(nodes.mask.sum(dtype=jnp.int32), 1).astype(jnp.float32)
            for nodes in observation.nodes
        ]
        for_actions, for_value = jnp.split(self.pooled(concatenate(means, 0)), 2)
        hidden = self._point(observation.actions, parts)
        # Both heads are one sum over the width, which is one kernel on a GPU.
        weighted = jnp.concatenate(
            [
                jax.nn.relu(hidden + for_actions[None]) * self.logit.kernel[...][:, 0],
                (jax.nn.relu(for_value) * self.value.kernel[...][:, 0])[None],
            ]
        )
        sums = weighted.sum(-1)
        assert self.logit.bias is not None
        assert self.value.bias is not None
        return sums[:-1] + self.logit.bias[...], sums[-1] + self.value.bias[...][0]

    def _point(self, groups: tuple[Actions, ...], parts: dict[str, Array]) -> Array:
        """f32[A, width]: what each action is about, what it uses, what only the pair knows and
        what is done.
        """
        rows, pairs = [], iter(self.point_pair)
        for group in groups:
            hidden = self.point_node(parts[group.about])
            if group.node is not None:
                hidden = hidden[group.node]
            if group.uses is not None:
                assert self.point_resource is not None
                resource = self.point_resource(parts[group.uses])
                if group.resource is not None:
                    hidden = hidden + resource[group.resource]
                else:  # all pairs
                    hidden = (hidden[:, None] + resource[None]).reshape(-1, hidden.shape[-1])
            if group.features is not None:
                hidden = hidden + next(pairs)(group.features)
            if self.point_kind is not None:
                numbers = np.array([self.action_kinds.index(kind) for kind in group.kinds])
                hidden = hidden + self.point_kind[...][numbers]
            rows.append(hidden)
        return concatenate(rows, 0)

    def _attention(self, observation: GraphObservation) -> list[Attend]:
        """One function (query, key, value: [N, heads, d]) -> [N, heads, d] per layer."""
        bias = self.relation_bias[...]
        if self.config.along == "axes":
            return along_axes(observation, bias)
        if self.config.backend == "segment":
            return along_edges(observation, bias)
        return along_relations(observation, bias)


def example_observation(env: Environment, source: Source) -> GraphObservation:
    """Shapes of an observation, without computing one."""
    return _example_observation(env, as_key(source))


@functools.lru_cache(maxsize=64)
def _example_observation(env: Environment, source: Source) -> GraphObservation:
    return jax.eval_shape(lambda key: env.reset(key, source(key))[1].observation, jax.random.key(0))


def init_network(
    key: Array, observation: GraphObservation, config: NetworkConfig
) -> tuple[Apply, Params]:
    """The pure function `apply(params, observation) -> (logits, value)` and its first parameters
    (a nested dict).
    """
    module = nnx.eval_shape(lambda: GraphActorCritic(observation, config))
    graphdef, shapes = nnx.split(module)

    def apply(params: Params, observation: GraphObservation) -> tuple[Array, Array]:
        # as loaded from a file: a traced index does not take from NumPy
        params = jax.tree.map(jnp.asarray, params)
        return nnx.merge(graphdef, nnx.State(params))(observation)

    draw = functools.partial(_first_params, shapes=nnx.to_pure_dict(shapes))
    return apply, jax.jit(draw)(key)


def _first_params(key: Array, shapes: Params) -> Params:
    """Truncated normal kernels of variance 1 / fan-in (LeCun et al. 1998), those of `SMALL` heads
    far smaller, scales of 1, and zeros; all from one draw, which compiles once.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    names = [[str(getattr(part, "key", part)) for part in path] for path, _ in leaves]
    sizes = [
        leaf.size if name[-1] == "kernel" else 0
        for name, (_, leaf) in zip(names, leaves, strict=True)
    ]
    drawn = random.truncated_normal(key, -2, 2, (sum(sizes),), jnp.float32)
    parts = jnp.split(drawn / DEVIATION, np.cumsum(sizes)[:-1])
    params = []
    for name, (_, leaf), part in zip(names, leaves, parts, strict=True):
        if part.size:
            scale = (1e-2 if name[0] in SMALL else 1.0) / np.sqrt(leaf.shape[0])
            params.append(part.reshape(leaf.shape) * np.float32(scale))
        else:
            fill = jnp.ones if name[-1].startswith("scale") else jnp.zeros
            params.append(fill(leaf.shape, jnp.float32))
    return jax.tree.unflatten(structure, params)
