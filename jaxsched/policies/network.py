"""One graph actor-critic for every family: relational attention, a pointer head over actions, a
value head.

It knows `GraphObservation` and nothing else. Attention runs along the observation's edges, from
every node to itself, and between the node and the resource of each action, with a learned bias per
edge kind and head. Two back ends compute the same function: `dense` (an N x N weight matrix,
fastest for small graphs under vmap) and `segment` (per edge, for large sparse graphs). Parallel
edges add up in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import nnx
from jax import Array

from jaxsched.core.environment import Environment, Source
from jaxsched.core.graph import GraphObservation
from jaxsched.host.errors import UnknownNameError
from jaxsched.host.plain import make_plain

Params = Any  # a nested dict of arrays
Apply = Callable[[Params, GraphObservation], tuple[Array, Array]]  # -> logits f32[A], value f32[]
BACKENDS = ("dense", "segment")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Size of the network. `backend` changes speed, not results."""

    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    expansion: int = 2  # hidden width of the feed-forward layers, in units of width
    backend: str = "dense"

    def __post_init__(self):
        make_plain(self)
        if self.backend not in BACKENDS:
            raise UnknownNameError("backend", self.backend, BACKENDS)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} must be a multiple of num_heads {self.num_heads}")


def _normalise(x: Array, scale: Array) -> Array:
    """RMS normalisation over the last axis (Zhang & Sennrich 2019)."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


class Layer(nnx.Module):
    """Pre-norm attention along the edges, then a feed-forward layer; both residual."""

    def __init__(self, config: NetworkConfig, *, rngs: nnx.Rngs):
        width, hidden = config.width, config.width * config.expansion
        self.num_heads = config.num_heads
        self.scale_attend = nnx.Param(jnp.ones((width,), jnp.float32))
        self.scale_feed = nnx.Param(jnp.ones((width,), jnp.float32))
        self.query_key_value = nnx.Linear(width, 3 * width, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(width, hidden, rngs=rngs)
        self.down = nnx.Linear(hidden, width, rngs=rngs)

    def __call__(self, x: Array, attend: Callable[[Array, Array, Array], Array]) -> Array:
        projected = self.query_key_value(_normalise(x, self.scale_attend[...]))
        query, key, value = jnp.split(projected.reshape(*x.shape[:-1], self.num_heads, -1), 3, -1)
        x = x + self.out(attend(query, key, value).reshape(x.shape))
        return x + self.down(jax.nn.relu(self.up(_normalise(x, self.scale_feed[...]))))


class GraphActorCritic(nnx.Module):
    """Logits over the observation's actions and the value of its state. Unbatched: vmap it."""

    def __init__(self, observation: GraphObservation, config: NetworkConfig, *, rngs: nnx.Rngs):
        width = config.width
        num_features, num_pair = observation.nodes.shape[-1], observation.action_features.shape[-1]
        init = nnx.initializers.lecun_normal()
        self.config = config
        self.num_node_kinds = observation.num_node_kinds
        # [num_node_kinds, F, width]: every kind of node has features, hence an embedding, of its
        # own.
        self.embed = nnx.Param(
            jnp.stack(
                [
                    init(rngs.params(), (num_features, width), jnp.float32)
                    for _ in range(self.num_node_kinds)
                ]
            )
        )
        self.embed_kind = nnx.Param(jnp.zeros((self.num_node_kinds, width), jnp.float32))
        self.edge_bias = nnx.Param(
            # Edge kinds of the observation, then the network's own: self, from an action's
            # resource, to it.
            jnp.zeros(
                (observation.num_edge_kinds + 3, config.num_layers * config.num_heads), jnp.float32
            )
        )
        self.layers = nnx.List([Layer(config, rngs=rngs) for _ in range(config.num_layers)])
        self.scale_out = nnx.Param(jnp.ones((width,), jnp.float32))
        self.point_node = nnx.Linear(width, width, rngs=rngs)
        self.point_resource = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.point_pooled = nnx.Linear(
            width * self.num_node_kinds, width, use_bias=False, rngs=rngs
        )
        self.point_pair = nnx.Linear(num_pair, width, use_bias=False, rngs=rngs)
        self.point_kind = nnx.Param(jnp.zeros((observation.num_action_kinds, width), jnp.float32))
        # a nearly uniform first policy
        small = nnx.initializers.variance_scaling(1e-4, "fan_in", "normal")
        self.logit = nnx.Linear(width, 1, kernel_init=small, rngs=rngs)
        self.value_hidden = nnx.Linear(width * self.num_node_kinds, width, rngs=rngs)
        self.value = nnx.Linear(width, 1, kernel_init=small, rngs=rngs)

    def __call__(self, observation: GraphObservation) -> tuple[Array, Array]:
        # [N, kinds]
        node_kind = jax.nn.one_hot(observation.node_kind, self.num_node_kinds, dtype=jnp.float32)
        embedded = (
            jnp.einsum("nf,kfd->nkd", observation.nodes, self.embed[...]) + self.embed_kind[...]
        )
        x = jnp.einsum("nkd,nk->nd", embedded, node_kind)
        attends = self._attention(observation)
        for layer, attend in zip(self.layers, attends, strict=True):
            x = layer(x, attend)
        x = _normalise(x, self.scale_out[...]) * observation.node_mask[:, None]

        weight = node_kind * observation.node_mask[:, None]
        pooled = jnp.einsum("nk,nd->kd", weight, x) / jnp.maximum(weight.sum(0), 1)[:, None]
        pooled = pooled.ravel()
        hidden = (
            self.point_node(x[observation.action_node])
            + self.point_resource(x[observation.action_resource])
            + self.point_pooled(pooled)
            + self.point_pair(observation.action_features)
            + self.point_kind[...][observation.action_kind]
        )
        logits = self.logit(jax.nn.relu(hidden))[:, 0]
        value = self.value(jax.nn.relu(self.value_hidden(pooled)))[0]
        return logits, value

    def _attention(
        self, observation: GraphObservation
    ) -> list[Callable[[Array, Array, Array], Array]]:
        """One function (query, key, value: [N, heads, d]) -> [N, heads, d] per layer."""
        num_nodes = observation.node_mask.shape[0]
        node_mask, (senders, receivers, edge_mask, edge_kind) = (
            observation.node_mask,
            _edges(observation),
        )
        if self.config.backend == "segment":
            edge_mask = edge_mask & node_mask[senders] & node_mask[receivers]
            # [E, layers * heads]
            biases = jnp.where(edge_mask[:, None], self.edge_bias[...][edge_kind], -jnp.inf)
            return [
                lambda q, k, v, b=b: _attend_segment(q, k, v, b, senders, receivers)
                for b in jnp.split(biases, self.config.num_layers, -1)
            ]
        # Parallel edges add their exp(bias), so both back ends agree on multigraphs.
        weight = jnp.where(edge_mask[:, None], jnp.exp(self.edge_bias[...])[edge_kind], 0.0)
        pair = receivers * num_nodes + senders
        dense = (
            jnp.zeros((num_nodes * num_nodes, weight.shape[-1]), jnp.float32).at[pair].add(weight)
        )
        dense = dense.T.reshape(-1, num_nodes, num_nodes) * (node_mask[:, None] & node_mask)
        return [
            lambda q, k, v, w=w: _attend_dense(q, k, v, w)
            for w in jnp.split(dense, self.config.num_layers)
        ]


def _edges(observation: GraphObservation) -> tuple[Array, Array, Array, Array]:
    """Senders, receivers, mask, kind: the observation's edges, loops, node and resource of each
    action both ways.
    """
    kinds = observation.num_edge_kinds
    loops = jnp.arange(observation.node_mask.shape[0], dtype=jnp.int32)
    node, resource = observation.action_node, observation.action_resource
    kind = np.repeat(
        np.arange(kinds, kinds + 3, dtype=np.int32), [len(loops), len(node), len(node)]
    )
    return (
        jnp.concatenate([observation.senders, loops, resource, node]),
        jnp.concatenate([observation.receivers, loops, node, resource]),
        jnp.concatenate([observation.edge_mask, np.ones(kind.shape, bool)]),
        jnp.concatenate([observation.edge_kind, kind]),
    )


def _attend_dense(query: Array, key: Array, value: Array, weight: Array) -> Array:
    """`weight` [heads, N receivers, N senders] >= 0, 0 where there is no edge."""
    # heads first: CPUs run along the senders
    query, key, value = (jnp.swapaxes(x, 0, 1) for x in (query, key, value))
    logits = jnp.einsum("hnd,hmd->hnm", query, key) / np.sqrt(query.shape[-1])
    edge = weight > 0
    # The result does not depend on `top`, so it needs no gradient.
    top = jax.lax.stop_gradient(jnp.where(edge, logits, -jnp.inf).max(-1, keepdims=True))
    attention = jnp.exp(jnp.where(edge, logits - top, 0)) * weight
    # [heads, N, 1]; 0 for a node without edges, which then receives 0
    total = attention.sum(-1, keepdims=True)
    return jnp.swapaxes(
        jnp.einsum("hnm,hmd->hnd", attention, value) / jnp.where(total > 0, total, 1), 0, 1
    )


def _attend_segment(
    query: Array, key: Array, value: Array, bias: Array, senders: Array, receivers: Array
) -> Array:
    """`bias` [E, heads], -inf where the edge is padding."""
    num_nodes = query.shape[0]
    logits = (
        jnp.einsum("ehd,ehd->eh", query[receivers], key[senders]) / np.sqrt(query.shape[-1]) + bias
    )
    top = jax.lax.stop_gradient(jraph.segment_max(logits, receivers, num_nodes))
    top = jnp.where(jnp.isfinite(top), top, 0)[receivers]
    # guarded inside exp too, where an infinity would turn gradients into nan
    edge = jnp.isfinite(bias)
    attention = jnp.where(edge, jnp.exp(jnp.where(edge, logits - top, 0)), 0)
    total = jraph.segment_sum(attention, receivers, num_nodes)
    out = jraph.segment_sum(attention[..., None] * value[senders], receivers, num_nodes)
    return out / jnp.where(total > 0, total, 1)[..., None]


def example_observation(env: Environment, source: Source) -> GraphObservation:
    """Shapes of an observation, without computing one."""
    return jax.eval_shape(lambda key: env.reset(key, source(key))[1].observation, jax.random.key(0))


def init_network(
    key: Array, observation: GraphObservation, config: NetworkConfig
) -> tuple[Apply, Params]:
    """The pure function `apply(params, observation) -> (logits, value)` and its first parameters
    (a nested dict).
    """
    graphdef, state = nnx.split(GraphActorCritic(observation, config, rngs=nnx.Rngs(params=key)))

    def apply(params: Params, observation: GraphObservation) -> tuple[Array, Array]:
        # as loaded from a file: a traced index does not take from NumPy
        params = jax.tree.map(jnp.asarray, params)
        return nnx.merge(graphdef, nnx.State(params))(observation)

    return apply, nnx.to_pure_dict(state)
