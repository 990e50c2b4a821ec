"""Attention between the nodes of an observation: along its relations, or along its axes.

Relations: from every node to itself too, and between the node and the resource of each action, with
a learned bias per relation and head. Two back ends compute the same function: dense (an N x N
weight matrix, fastest for small graphs under vmap) and along a list of edges (for large sparse
graphs). Relations of one pair of nodes add up in both.

Axes: one of them a layer, as in the networks over all operations of Pirnay & Grimm (Gumbeldore, TMLR
2024): for hundreds of nodes a fraction of the pairs.

Each of the three public functions takes the biases f32[R, layers, heads] and returns what attends
in each layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax import Array, lax

from jaxsched.core.graph import Axis, Edges, GraphObservation

Attend = Callable[[Array, Array, Array], Array]  # query, key, value: [N, heads, d] -> the same
# Logits of attention are clipped to +-MOST, so that no maximum has to be found first: exp(60) and
# exp(-60) are far from the ends of float32.
MOST = np.float32(60)
FEW_NODES = 64  # for more, attention is products of matrices everywhere


def along_relations(observation: GraphObservation, bias: Array) -> list[Attend]:
    """Dense. R: the relations, itself, and where actions use resources these, both ways."""
    # Relations of one pair add their exp(bias), so both back ends agree on multigraphs.
    strength = jnp.exp(bias)
    weights = _weights(observation, strength.reshape(len(strength), -1))
    return [
        functools.partial(_attend_dense, weight) for weight in jnp.split(weights, bias.shape[1])
    ]


def along_edges(observation: GraphObservation, bias: Array) -> list[Attend]:
    """The same along a list of edges."""
    edges, real = _all_edges(observation)
    # [E, layers, heads]
    biases = jnp.where(real[:, None, None], bias[edges.relation - 1], -jnp.inf)
    return [
        functools.partial(_attend_segment, biases[:, layer], edges.senders, edges.receivers)
        for layer in range(bias.shape[1])
    ]


def along_axes(observation: GraphObservation, bias: Array) -> list[Attend]:
    """R = 3: to itself, and to what comes before and after it where that counts."""
    axes, strength = observation.axes, jnp.exp(bias)
    starts, num_nodes = observation.starts, observation.node_mask.shape[0]
    turns = [axes[layer % len(axes)] for layer in range(bias.shape[1])]
    return [
        functools.partial(_attend_along, axis, starts[axis.about], num_nodes, strength[:, layer])
        for layer, axis in enumerate(turns)
    ]


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
