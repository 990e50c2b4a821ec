"""What a policy sees: a padded, typed graph and the actions that point into it."""

from __future__ import annotations

from typing import cast

import jraph
from flax import struct
from jax import Array


class GraphObservation(struct.PyTreeNode):
    """One decision as a graph, the same type for every family. N nodes, E edges, A actions, all padded.

    `graph` is a `jraph.GraphsTuple` of one graph: nodes f32[N, F], edges f32[E, Fe] or None, senders and receivers
    i32[E], globals f32[1, G] or None, n_node and n_edge i32[1]. Kinds are small integers whose meaning the family's
    README lists; features of a kind that has fewer than F are zero-padded. A no-op has its own action kind.
    """

    graph: jraph.GraphsTuple
    node_mask: Array  # bool[N]  real nodes
    node_kind: Array  # i32[N]
    edge_mask: Array  # bool[E]  real edges
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
