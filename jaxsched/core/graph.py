"""What a policy sees: nodes of several kinds with named features, relations between them, and the
actions that are about them.

A family builds its `GraphObservation` from `nodes`, `relations` and `actions` below. Stacking,
clipping and masking happen here, once, and every feature has a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import jraph
import numpy as np
from flax import struct
from jax import Array, lax

from jaxsched.host.errors import UnknownNameError

LIMIT = np.float32(10)  # features are clipped to +-LIMIT
Blocks = Mapping[tuple[str, str], "Array | np.ndarray"]


class Nodes(struct.PyTreeNode):
    """The nodes of one kind: n of them, padding included, with F features."""

    features: Array  # f32[n, F]  0 where not real
    mask: Array  # bool[n]  real nodes
    kind: str = struct.field(pytree_node=False, default="node")
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())  # of the F features

    def __getitem__(self, name: str) -> Array:
        """f32[n]: the feature of that name."""
        return self.features[..., _number(name, self.names, f"feature of {self.kind}")]


class Edges(struct.PyTreeNode):
    """The relations of a large sparse graph as a list of E directed edges."""

    senders: Array  # i32[E]  numbers of nodes, all kinds counted in their order
    receivers: Array  # i32[E]
    relation: Array  # i32[E]  1 + the number of the relation
    mask: Array  # bool[E]  real edges; an edge at a masked node does not count either way


class Axis(struct.PyTreeNode):
    """One way to sort the n nodes of a kind into groups that see one another: G groups of at most S
    members, every node in one of them or in none.
    """

    mask: Array  # bool[G, S]  real members
    # i32[G, S] and its inverse i32[n], G * S for a node in no group; None: the nodes in their order
    members: Array | None = None
    place: Array | None = None
    name: str = struct.field(pytree_node=False, default="axis")
    about: str = struct.field(pytree_node=False, default="node")
    # what comes before a member means something else than what comes after it
    ordered: bool = struct.field(pytree_node=False, default=False)


class Actions(struct.PyTreeNode):
    """A actions of one form: `about` a kind of node, and maybe with the `uses` of a resource node.

    Without indices, action i is about node i of its kind; with `uses` as well, the actions are all
    pairs of a node and a resource, the resource running fastest.
    """

    features: Array | None  # f32[A, K]  what only the pair (node, resource) knows
    node: Array | None  # i32[A]  which of the nodes of kind `about`
    resource: Array | None  # i32[A]  which of the nodes of kind `uses`
    about: str = struct.field(pytree_node=False, default="node")
    uses: str | None = struct.field(pytree_node=False, default=None)
    # What is done (place, copy, keep, wait, ...): one for all, or one for each action.
    kinds: tuple[str, ...] = struct.field(pytree_node=False, default=("act",))
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())  # of the K features

    @property
    def form(self) -> str:
        """What is done, about what, with what: "dispatch job on machine"."""
        on = f" on {self.uses}" if self.uses else ""
        return f"{' / '.join(self.kinds)} {self.about}{on}"

    def __getitem__(self, name: str) -> Array:
        """f32[A]: the feature of that name."""
        number = _number(name, self.names, f"feature of {self.form}")
        assert self.features is not None
        return self.features[..., number]


class GraphObservation(struct.PyTreeNode):
    """One decision as a graph, the same type for every family. N nodes, A actions, all padded.

    The nodes are numbered through, kind after kind. Relations are dense, `relation[i, j]` what node
    j is to node i, or a list of `Edges` where the graph is large and sparse; they need not hold
    what the actions say already: a policy joins every action's node with its resource itself. The
    actions are numbered through, group after group. Padding is masked: more of it changes nothing.
    Where nodes lie on a grid, `axes` says along what a policy may look instead of the relations.
    """

    nodes: tuple[Nodes, ...]
    # i8[N, N]: 0 for none, else 1 + the number of the relation
    relation: Array | Edges
    actions: tuple[Actions, ...]
    action_mask: Array  # bool[A]  legal actions
    relation_names: tuple[str, ...] = struct.field(pytree_node=False, default=())
    axes: tuple[Axis, ...] = ()

    def __getitem__(self, kind: str) -> Nodes:
        """The nodes of one kind."""
        kinds = [nodes.kind for nodes in self.nodes]
        return self.nodes[_number(kind, kinds, "kind of nodes")]

    @property
    def starts(self) -> dict[str, int]:
        """The number of the first node of every kind."""
        sizes = [nodes.mask.shape[-1] for nodes in self.nodes]
        first = np.cumsum([0, *sizes[:-1]]).tolist()
        return {nodes.kind: start for nodes, start in zip(self.nodes, first, strict=True)}

    @property
    def action_kinds(self) -> tuple[str, ...]:
        """The kinds of all groups of actions, each once."""
        return tuple(dict.fromkeys(kind for group in self.actions for kind in group.kinds))

    @property
    def node_mask(self) -> Array:
        """bool[N]: real nodes."""
        return concatenate([nodes.mask for nodes in self.nodes], -1)

    @property
    def node_kind(self) -> np.ndarray:
        """i32[N]: the number of the kind of each node."""
        sizes = [nodes.mask.shape[-1] for nodes in self.nodes]
        return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    @property
    def action_node(self) -> Array:
        """i32[A]: the number of the node that each action is about."""
        return concatenate([self.ends(group)[0] for group in self.actions], -1)

    @property
    def action_resource(self) -> Array:
        """i32[A]: the number of the resource that each action uses, or of its own node."""
        return concatenate([self.ends(group)[1] for group in self.actions], -1)

    def ends(self, group: Actions) -> tuple[Array, Array]:
        """The numbers of node and resource of the actions of one group."""
        batch = self.action_mask.shape[:-1]
        node, resource = group.node, group.resource
        about = np.arange(self[group.about].mask.shape[-1], dtype=np.int32)
        if group.uses is None:
            node = jnp.broadcast_to(about, (*batch, len(about))) if node is None else node
            node = node + self.starts[group.about]
            return node, node
        if node is None and resource is None:
            pairs = np.indices((len(about), self[group.uses].mask.shape[-1]), dtype=np.int32)
            node, resource = (jnp.broadcast_to(ids.ravel(), (*batch, ids.size)) for ids in pairs)
        elif node is None:
            node = jnp.broadcast_to(about, (*batch, len(about)))
        assert resource is not None
        return node + self.starts[group.about], resource + self.starts[group.uses]

    @property
    def edges(self) -> Edges:
        """The relations as a list, all N * N pairs of nodes where they are dense."""
        if isinstance(self.relation, Edges):
            return self.relation
        num, batch = self.relation.shape[-1], self.relation.shape[:-2]
        flat = self.relation.reshape(*batch, num * num).astype(jnp.int32)
        receivers, senders = np.divmod(np.arange(num * num, dtype=np.int32), np.int32(num))
        return Edges(
            jnp.broadcast_to(senders, flat.shape),
            jnp.broadcast_to(receivers, flat.shape),
            flat,
            flat > 0,
        )

    @property
    def graph(self) -> jraph.GraphsTuple:
        """As `jraph` knows graphs: node features f32[N, F] padded with zeros to the longest,
        relations as edge features i32[E, 1]; masks stay outside.
        """
        batch, edges = self.action_mask.shape[:-1], self.edges
        width = max(nodes.features.shape[-1] for nodes in self.nodes)
        features = concatenate(
            [
                jnp.pad(
                    nodes.features,
                    [(0, 0)] * (len(batch) + 1) + [(0, width - nodes.features.shape[-1])],
                )
                for nodes in self.nodes
            ],
            -2,
        )
        return jraph.GraphsTuple(
            nodes=features,
            edges=edges.relation[..., None],
            senders=edges.senders,
            receivers=edges.receivers,
            globals=None,
            n_node=jnp.full((*batch, 1), features.shape[-2], jnp.int32),
            n_edge=jnp.full((*batch, 1), edges.senders.shape[-1], jnp.int32),
        )


def feature_names(observation: GraphObservation) -> dict[str, tuple[str, ...]]:
    """The names of all features, by the kind of node, then by the form of actions that have any."""
    names = {nodes.kind: nodes.names for nodes in observation.nodes}
    for group in observation.actions:
        if group.names:
            names[group.form] = group.names
    return names


def _number(name: str, names: Sequence[str], what: str) -> int:
    if name not in names:
        raise UnknownNameError(what, name, names)
    return names.index(name)


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """`jnp.concatenate`; a single array as it is."""
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis)


def stack_features(features: Sequence[Array], mask: Array) -> Array:
    """f32[..., F]: features of the shape of `mask`, clipped to +-LIMIT, 0 where not real."""
    rows = [
        jnp.broadcast_to(jnp.asarray(feature).astype(jnp.float32), mask.shape)
        for feature in features
    ]
    return lax.platform_dependent(rows, mask, cpu=_feature_by_feature, default=_node_by_node)


def _feature_by_feature(rows: Sequence[Array], mask: Array) -> Array:
    """Each feature is one contiguous row in memory, far quicker to write than a column."""
    stacked = jnp.where(mask, lax.clamp(-LIMIT, jnp.stack(rows), LIMIT), 0.0)
    return jnp.moveaxis(stacked, 0, -1)


def _node_by_node(rows: Sequence[Array], mask: Array) -> Array:
    """As a product of matrices reads them: XLA finds no tiles for some that are transposed."""
    return jnp.where(mask[..., None], lax.clamp(-LIMIT, jnp.stack(rows, -1), LIMIT), 0.0)


def nodes(kind: str, mask: Array, features: Mapping[str, Array]) -> Nodes:
    """The nodes of one kind from features by name, each [n] or one number for all."""
    return Nodes(stack_features(list(features.values()), mask), mask, kind, tuple(features))


def actions(
    about: str,
    *,
    uses: str | None = None,
    node: Array | None = None,
    resource: Array | None = None,
    kinds: Sequence[str] = ("act",),
    mask: Array | None = None,
    features: Mapping[str, Array] | None = None,
) -> Actions:
    """Actions of one form from features by name, each of the shape of `mask`: [A], or
    [n, resources] for all pairs.

    `mask` says where features mean something, which may be more than where actions are legal; it
    is needed where there are features.
    """
    features = features or {}
    if not features:
        return Actions(None, node, resource, about, uses, tuple(kinds), ())
    if mask is None:
        raise ValueError(f"features of actions about {about!r} need a mask, where they are real")
    stacked = stack_features(list(features.values()), mask)
    stacked = stacked.reshape(-1, len(features))
    return Actions(stacked, node, resource, about, uses, tuple(kinds), tuple(features))


def relations(parts: Sequence[Nodes], blocks: Blocks) -> Array:
    """i8[N, N]: dense relations from blocks [n, m] by the kinds of (receiver, sender); none
    elsewhere.
    """
    rows = [
        concatenate(
            [
                _block(blocks.get((to.kind, of.kind)), to.mask.shape[0], of.mask.shape[0])
                for of in parts
            ],
            1,
        )
        for to in parts
    ]
    return concatenate(rows, 0)


def _block(block: Array | np.ndarray | None, num_receivers: int, num_senders: int) -> Array:
    if block is None:
        return jnp.zeros((num_receivers, num_senders), jnp.int8)
    return jnp.asarray(block).astype(jnp.int8)
