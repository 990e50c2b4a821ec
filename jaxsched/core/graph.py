"""What a policy sees: a padded, typed graph and the actions that point into it."""

from __future__ import annotations

from typing import cast

import jax.numpy as jnp
import jraph
import numpy as np
from flax import struct
from jax import Array


def make_graph(
    nodes: Array,
    senders: Array | np.ndarray,
    receivers: Array | np.ndarray,
    edges: Array | None = None,
) -> jraph.GraphsTuple:
    """One graph with node features f32[N, F], edges i32[E] from senders to receivers, and edge
    features or None.
    """
    return jraph.GraphsTuple(
        nodes=nodes,
        edges=edges,
        senders=jnp.asarray(senders, jnp.int32),
        receivers=jnp.asarray(receivers, jnp.int32),
        globals=None,
        n_node=jnp.full((1,), nodes.shape[0], jnp.int32),
        n_edge=jnp.full((1,), len(senders), jnp.int32),
    )


class GraphObservation(struct.PyTreeNode):
    """One decision as a graph, the same type for every family. N nodes, E edges, A actions, all
    padded.

    `graph` is a `jraph.GraphsTuple` of one graph: nodes f32[N, F], edges f32[E, Fe] or None,
    senders and receivers i32[E], globals f32[1, G] or None, n_node and n_edge i32[1]. Kinds are
    small integers whose meaning the family's README lists; features of a kind that has fewer than F
    are zero-padded. A no-op has its own action kind. Edges need not hold what the actions say
    already: a policy joins every action's node with its resource itself. Actions that are mere
    padding point at a masked node.
    """

    graph: jraph.GraphsTuple
    node_mask: Array  # bool[N]  real nodes
    node_kind: Array  # i32[N]
    # bool[E]  real edges, where both ends are: an edge at a masked node does not count
    edge_mask: Array
    edge_kind: Array  # i32[E]
    action_node: Array  # i32[A]  the node an action is about
    action_resource: Array  # i32[A]  the resource node it uses
    action_kind: Array  # i32[A]  place, copy, keep, wait, ...
    action_features: Array  # f32[A, K]  what only the pair (node, resource) knows
    action_mask: Array  # bool[A]  legal actions
    num_node_kinds: int = struct.field(pytree_node=False, default=1)
    num_edge_kinds: int = struct.field(pytree_node=False, default=1)
    num_action_kinds: int = struct.field(pytree_node=False, default=1)

    # jraph types its fields as optional; here they are always present.

    @property
    def nodes(self) -> Array:
        """f32[N, F]."""
        return cast(Array, self.graph.nodes)

    @property
    def senders(self) -> Array:
        """i32[E]."""
        return cast(Array, self.graph.senders)

    @property
    def receivers(self) -> Array:
        """i32[E]."""
        return cast(Array, self.graph.receivers)
