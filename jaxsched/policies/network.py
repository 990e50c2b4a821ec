"""One graph actor-critic for every family: relational attention, a pointer head over actions, a
value head.

It knows `GraphObservation` and nothing else. Attention runs along the observation's relations, from
every node to itself, and between the node and the resource of each action, with a learned weight
per relation and head. Two back ends compute the same function: `dense` (an N x N weight matrix,
fastest for small graphs under vmap) and `segment` (per edge, for large sparse graphs). Relations of
one pair of nodes add up in both.

Where an observation has axes, attention may run along these instead, one axis a layer, as in the
networks over all operations of Pirnay & Grimm (Gumbeldore, TMLR 2024): for hundreds of nodes a
fraction of the pairs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import nnx
from jax import Array, lax, random

from jaxsched.core.callables import as_key
from jaxsched.core.environment import Environment, Source
from jaxsched.core.graph import Actions, Axis, Edges, GraphObservation, concatenate
from jaxsched.host.errors import UnknownNameError
from jaxsched.host.plain import make_plain

Params = Any  # a nested dict of arrays
Apply = Callable[[Params, GraphObservation], tuple[Array, Array]]  # -> logits f32[A], value f32[]
# Any network: from a key and the shapes of an observation the pure `apply` and its first parameters.
Network = Callable[[Array, GraphObservation], tuple[Apply, Params]]
Attend = Callable[[Array, Array, Array], Array]  # query, key, value: [N, heads, d] -> the same
BACKENDS = ("dense", "segment")
ALONG = ("relations", "axes")
# Logits of attention are clipped to +-MOST, so that no maximum has to be found first: exp(60) and
# exp(-60) are far from the ends of float32.
MOST = np.float32(60)
FEW_NODES = 64  # for more, attention is products of matrices everywhere
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
        layers = range(self.config.num_layers)
        if self.config.along == "axes":
            axes, strength = observation.axes, jnp.exp(self.relation_bias[...])
            starts, num_nodes = observation.starts, observation.node_mask.shape[0]
            turns = [axes[layer % len(axes)] for layer in layers]
            return [
                functools.partial(
                    _attend_along, axis, starts[axis.about], num_nodes, strength[:, layer]
                )
                for layer, axis in enumerate(turns)
            ]
        if self.config.backend == "segment":
            edges, real = _all_edges(observation)
            # [E, layers, heads]
            biases = self.relation_bias[...][edges.relation - 1]
            biases = jnp.where(real[:, None, None], biases, -jnp.inf)
            return [
                functools.partial(_attend_segment, biases[:, layer], edges.senders, edges.receivers)
                for layer in layers
            ]
        # Relations of one pair add their exp(bias), so both back ends agree on multigraphs.
        strength = jnp.exp(self.relation_bias[...])
        strength = strength.reshape(len(strength), -1)
        weights = jnp.split(_weights(observation, strength), len(layers))
        return [functools.partial(_attend_dense, weights[layer]) for layer in layers]


def _weights(observation: GraphObservation, strength: Array) -> Array:
    """f32[S, N receivers, N senders]: the summed `strength` f32[R, S] of what relates each pair."""
    mask, relation = observation.node_mask, observation.relation
    num_nodes, num_relations = mask.shape[0], len(observation.relation_names)
    if isinstance(relation, Edges):
        each = jnp.where(relation.mask[:, None], strength[relation.relation - 1], 0.0)
        pair = relation.receivers * num_nodes + relation.senders
        flat = jnp.zeros((num_nodes * num_nodes, each.shape[1]), jnp.float32).at[pair].add(each)
        total = flat.T.reshape(-1, num_nodes, num_nodes)
    else:
        total = jnp.zeros((), jnp.float32)
        for number in range(num_relations):
            held = (relation == number + 1)[None]
            total = total + jnp.where(held, strength[number][:, None, None], 0.0)
    itself, *joined = strength[num_relations:, :, None, None]
    total = total + jnp.where(np.eye(num_nodes, dtype=bool)[None], itself, 0.0)
    if joined:
        joins = _joins(observation)
        for count, each in zip((joins, joins.T), joined, strict=True):
            total = total + jnp.where(count[None] > 0, count[None] * each, 0.0)
    return jnp.where((mask[:, None] & mask[None])[None], total, 0.0)


def _joins(observation: GraphObservation) -> Array:
    """f32[N, N]: how many actions are about each node (row) and use each resource (column)."""
    starts, num_nodes = observation.starts, observation.node_mask.shape[0]
    total = jnp.zeros((num_nodes, num_nodes), jnp.float32)
    for group in observation.actions:
        if group.uses is None:
            continue
        shape = tuple(observation[kind].mask.shape[0] for kind in (group.about, group.uses))
        rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in shape)
        if group.resource is None:
            block = jnp.ones(shape, jnp.float32)
        elif group.node is None:
            block = (group.resource[:, None] == columns[None]).astype(jnp.float32)
        else:
            pair = (group.node[:, None] == rows[None])[:, :, None]
            pair = pair & (group.resource[:, None] == columns[None])[:, None]
            block = pair.sum(0, dtype=jnp.int32).astype(jnp.float32)
        place = [
            (starts[kind], num_nodes - starts[kind] - size)
            for kind, size in zip((group.about, group.uses), shape, strict=True)
        ]
        total = total + jnp.pad(block, place)
    return total


def _all_edges(observation: GraphObservation) -> tuple[Edges, Array]:
    """The observation's relations, loops, node and resource of each action both ways, as a list;
    and bool[E], which of these edges are real.
    """
    mask, edges = observation.node_mask, observation.edges
    num_relations = len(observation.relation_names)
    loops = jnp.arange(mask.shape[0], dtype=jnp.int32)
    senders, receivers = [edges.senders, loops], [edges.receivers, loops]
    numbers = [edges.relation, jnp.full_like(loops, num_relations + 1)]
    for group in observation.actions:
        if group.uses is not None:
            node, resource = observation.ends(group)
            senders += [resource, node]
            receivers += [node, resource]
            numbers += [jnp.full_like(node, num_relations + k) for k in (2, 3)]
    joined = jnp.ones((sum(map(len, senders[1:])),), jnp.bool_)
    both = Edges(
        jnp.concatenate(senders),
        jnp.concatenate(receivers),
        jnp.concatenate(numbers),
        jnp.concatenate([edges.mask, joined]),
    )
    return both, both.mask & mask[both.senders] & mask[both.receivers]


@jax.custom_jvp
def _attend_dense(weight: Array, query: Array, key: Array, value: Array) -> Array:
    """`weight` [heads, N receivers, N senders] >= 0, 0 where nothing relates a pair."""
    if query.shape[0] > FEW_NODES:
        return _by_products(weight, query, key, value)
    return lax.platform_dependent(weight, query, key, value, cpu=_by_products, default=_by_sums)


@_attend_dense.defjvp
def _attend_dense_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """Of the products: between two sums all pairs of nodes would be kept for the gradient."""
    return jax.jvp(_by_products, primals, tangents)


def _by_sums(weight: Array, query: Array, key: Array, value: Array) -> Array:
    """Attention of few nodes by sums, which take two or three kernels on a GPU: all around them is
    fused with them.
    """
    size = query.shape[-1]
    # XLA fuses a sum with what reads it where it has less than 32 terms and no power of two of them.
    pieces = -(-size // 30)
    length = -(-size // pieces) | 1
    fill = ((0, 0), (0, 0), (0, pieces * length - size))
    query, key = (jnp.pad(x, fill).reshape(*x.shape[:-1], pieces, length) for x in (query, key))
    sums = (query[:, None] * key[None]).sum(-1) / np.sqrt(size)
    logits = functools.reduce(jnp.add, [sums[..., piece] for piece in range(pieces)])
    attention = jnp.exp(lax.clamp(-MOST, logits, MOST)) * jnp.moveaxis(weight, 0, -1)
    total = attention.sum(1)[..., None]
    return (attention[..., None] * value[None]).sum(1) / jnp.where(total > 0, total, 1)


def _by_products(weight: Array, query: Array, key: Array, value: Array) -> Array:
    """Attention by two products of matrices."""
    # Heads first: CPUs run along the senders, and XLA finds tiles for these products on a GPU.
    query, key, value = (jnp.swapaxes(x, 0, 1) for x in (query, key, value))
    logits = jnp.einsum("hnd,hmd->hnm", query, key) / np.sqrt(query.shape[-1])
    attention = jnp.exp(lax.clamp(-MOST, logits, MOST)) * weight
    # The sum of the weights comes out of the same product as one more value.
    value = jnp.concatenate([value, jnp.ones((*value.shape[:-1], 1), jnp.float32)], -1)
    out = jnp.einsum("hnm,hmd->hnd", attention, value)
    total = out[..., -1:]  # 0 for a masked node, which then receives 0
    # Scaled first, for the gradient of a division holds the square of what it divides by.
    out = out / lax.stop_gradient(jnp.where(total > 0, total, 1))
    return jnp.swapaxes(out[..., :-1] / jnp.where(total > 0, out[..., -1:], 1), 0, 1)


def _attend_along(
    axis: Axis, start: int, num_nodes: int, strength: Array, query: Array, key: Array, value: Array
) -> Array:
    """Attention within the groups of an axis, whose nodes begin with number `start`; `strength`
    f32[3, heads] of a member itself, one before it, one after it. Nodes in no group receive 0.
    """
    num_groups, size = axis.mask.shape
    order = np.sign(np.arange(size)[None] - np.arange(size)[:, None]) if axis.ordered else 0
    which = np.where(np.eye(size, dtype=bool), 0, np.where(order > 0, 2, 1))
    real = axis.mask[:, None] & axis.mask[:, :, None]
    weight = jnp.where(real[:, None], jnp.moveaxis(strength[which], -1, 0)[None], 0.0)

    def grouped(x: Array) -> Array:
        if axis.members is None:
            x = x[start : start + num_groups * size]
        else:
            x = x[axis.members.ravel() + start]
        return x.reshape(num_groups, size, *x.shape[1:])

    out = jax.vmap(_attend_dense)(weight, grouped(query), grouped(key), grouped(value))
    out = out.reshape(num_groups * size, *out.shape[2:])
    if axis.place is not None:
        out = jnp.take(out, axis.place, 0, mode="fill", fill_value=0)
    rest = num_nodes - start - out.shape[0]
    return jnp.pad(out, [(start, rest), (0, 0), (0, 0)])


def _attend_segment(
    bias: Array, senders: Array, receivers: Array, query: Array, key: Array, value: Array
) -> Array:
    """`bias` [E, heads], -inf where the edge is padding."""
    num_nodes = query.shape[0]
    logits = jnp.einsum("ehd,ehd->eh", query[receivers], key[senders]) / np.sqrt(query.shape[-1])
    logits = lax.clamp(-MOST, logits, MOST) + bias
    top = lax.stop_gradient(jraph.segment_max(logits, receivers, num_nodes))
    top = jnp.where(jnp.isfinite(top), top, 0)[receivers]
    # guarded inside exp too, where an infinity would turn gradients into nan
    edge = jnp.isfinite(bias)
    attention = jnp.where(edge, jnp.exp(jnp.where(edge, logits - top, 0)), 0)
    total = jraph.segment_sum(attention, receivers, num_nodes)
    out = jraph.segment_sum(attention[..., None] * value[senders], receivers, num_nodes)
    return out / jnp.where(total > 0, total, 1)[..., None]


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
