"""The recurrent cell of DARTS: mixed, as it is searched, and discrete.

With input x and state h, both of width H, and masks m of locked dropout:

    [c | u] = [x⊙m_x, h⊙m_h]·W_0                s_0 = h + σ(c)·(tanh(u) − h)
    [c | u] = (s_j⊙m_h)·W_i                      node i from source j by f: s_j + σ(c)·(f(u) − s_j)

W_i is shared by all sources and activations of node i, W_0 is [2H, 2H], the others are [H, 2H]; no bias. The new state
is the mean of nodes. In the search a node is the sum over its sources and their options of weighted values; what `none`
weighs is lost, and one batch normalisation, the same for s_0 and all nodes, follows each of them. The discrete cell has
none, so it is not the mixed cell with weights of 0 and 1.

Source: Liu et al., DARTS (ICLR 2019), section 3.2, appendix A.2 and released code. Ours, equal to rounding: the share
of x in all steps is one product a sequence, and what leaves a node is computed for all later nodes together, by

    s_j·Σ_k p_k + σ(c)·(Σ_k p_k·f_k(u) − s_j·Σ_k p_k),

so the gates and activations of up to N edges are a call each, and weights are summed once a sequence.
Shapes: T steps, B columns, H units, N nodes, R rows (edges) and O options of the choice, n edges that leave a node.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.choices import Choice
from nas_lightning.core.genotypes import Edge
from nas_lightning.core.space import EdgeInfo
from nas_lightning.recurrent.words import SPREAD, Masks, masked
from nas_lightning.spaces.mixed import Mix

NONE = "none"
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda u: u,
}
"""Activations f by the name of the operation; `none` has none."""


@dataclass(frozen=True)
class Start:
    """What the steps of a sequence share for their first node.

    Args:
        state_weight: Rows of W_0 that the state meets, [H, 2H].
        mask: m_h [B, H]; None drops nothing.
    """

    state_weight: Tensor
    mask: Tensor | None

    def node(self, product: Tensor, state: Tensor) -> Tensor:
        """Return s_0 [B, H] from the share of the input in the product, [B, 2H], and the state [B, H]."""
        gate, candidate = (
            torch.addmm(product, masked(state, self.mask), self.state_weight).to(state.dtype).chunk(2, dim=-1)
        )
        return torch.lerp(state, candidate.tanh(), gate.sigmoid())


class RecurrentCell(nn.Module):
    """The weights of a cell.

    Args:
        hidden: H.
        nodes: The nodes after s_0, in order.

    Attributes:
        first: W_0: rows for the input, then for the state; columns for the gate, then for the candidate.
        weights: W_i of each node.
    """

    def __init__(self, hidden: int, nodes: Sequence[int]) -> None:
        super().__init__()
        self.hidden = hidden
        self.nodes = tuple(nodes)
        self.first = nn.Parameter(torch.empty(2 * hidden, 2 * hidden).uniform_(-SPREAD, SPREAD))
        self.weights = nn.ParameterList(torch.empty(hidden, 2 * hidden).uniform_(-SPREAD, SPREAD) for _ in self.nodes)

    def begin(self, inputs: Tensor, masks: Masks) -> tuple[tuple[Tensor, ...], Start]:
        """Return the share of the inputs [T, B, H] in the product with W_0, T times [B, 2H], and what steps share."""
        of_input, of_state = self.first.split(self.hidden)
        products = masked(inputs, masks.x) @ of_input
        return products.unbind(), Start(of_state, masks.hidden)


class DiscreteRecurrentCell(RecurrentCell):
    """The cell of a genotype: each node has one source and one activation.

    Args:
        hidden: H.
        edges: (node, activation, source), a node each, in order.
        concat: The nodes whose mean is the new state.
    """

    def __init__(self, hidden: int, edges: Sequence[Edge], concat: Sequence[int]) -> None:
        super().__init__(hidden, [node for node, _, _ in edges])
        self.concat = tuple(concat)
        self.leaving: dict[int, list[tuple[int, str]]] = {}
        for node, op, source in edges:
            self.leaving.setdefault(source, []).append((node, op))

    def joined(self) -> dict[int, Tensor]:
        """Return, by source, the weights of the nodes that it feeds, [H, n·2H]: one product computes all of them."""
        number = {node: place for place, node in enumerate(self.nodes)}
        return {
            source: torch.cat([self.weights[number[node]] for node, _ in fed], dim=1)
            for source, fed in self.leaving.items()
        }

    def forward(self, product: Tensor, state: Tensor, start: Start, joined: Mapping[int, Tensor]) -> Tensor:
        """Compute the new state.

        Args:
            product: Share of the input in the product with W_0, [B, 2H].
            state: [B, H].
            start: Of the sequence.
            joined: Of the sequence.

        Returns:
            [B, H].
        """
        values = {0: start.node(product, state)}
        for source in (0, *self.nodes):
            fed = self.leaving.get(source)
            if fed is None:
                continue
            value = values[source]
            both = (masked(value, start.mask) @ joined[source]).to(value.dtype)
            gates, candidates = both.view(-1, len(fed), 2 * self.hidden).split(self.hidden, dim=-1)
            for (node, op), gate, u in zip(fed, gates.sigmoid().unbind(1), candidates.unbind(1), strict=True):
                values[node] = torch.lerp(value, ACTIVATIONS[op](u), gate)
        return torch.stack([values[node] for node in self.concat]).mean(0)


@dataclass(frozen=True)
class Term:
    """An activation of edges that leave a node.

    Args:
        activation: f.
        weights: Mixing weights of the edges with this option, step by step, each [m, 1].
        places: Which of the n edges these are, [m]; None is all of them.
    """

    activation: Callable[[Tensor], Tensor]
    weights: tuple[Tensor, ...]
    places: Tensor | None


@dataclass(frozen=True)
class Leaving:
    """The edges that leave a node and have an active activation.

    Args:
        number: n.
        joined: Weights W_i of the nodes that they enter, side by side, [H, n·2H].
        total: Sum of the mixing weights of each edge, step by step, each [n, 1].
        terms: Their activations.
        places: Which of the later nodes they enter, [n]; None is all of them.
    """

    number: int
    joined: Tensor
    total: tuple[Tensor, ...]
    terms: tuple[Term, ...]
    places: Tensor | None

    def values(self, step: int, node: Tensor, mask: Tensor | None) -> Tensor:
        """Return the mixture of each edge in a step, [B, n, H], for the node [B, H]."""
        both = (masked(node, mask) @ self.joined).to(node.dtype)
        gates, u = both.view(len(node), self.number, -1).chunk(2, dim=-1)
        mixed: Tensor | None = None
        for term in self.terms:
            y = term.activation(u if term.places is None else u.index_select(1, term.places)) * term.weights[step]
            if term.places is not None:
                mixed = (torch.zeros_like(u) if mixed is None else mixed).index_add(1, term.places, y)
            else:
                mixed = y if mixed is None else mixed + y
        assert mixed is not None
        passed = self.total[step] * node[:, None]
        return passed + gates.sigmoid() * (mixed - passed)


@dataclass(frozen=True)
class Prepared:
    """What the steps of a sequence share in the mixed cell.

    Args:
        leaving: By source, from 0 on; None for a node that no edge leaves.
        offsets: Sum of what is added to the edges of each node, [N, 1]; None adds nothing.
    """

    leaving: tuple[Leaving | None, ...]
    offsets: Tensor | None

    def entering(self, step: int, source: int, node: Tensor, mask: Tensor | None, sums: Tensor | None) -> Tensor:
        """Return the sums [B, m, H] of the m nodes after a source, with the edges that leave it; None are zeros."""
        leaving, later = self.leaving[source], len(self.leaving) - source
        if leaving is not None and sums is None and leaving.places is None:
            return leaving.values(step, node, mask)
        if sums is None:
            sums = node.new_zeros(len(node), later, node.shape[1])
        if leaving is None:
            return sums
        values = leaving.values(step, node, mask)
        return sums + values if leaving.places is None else sums.index_add(1, leaving.places, values)


class MixedRecurrentCell(RecurrentCell):
    """The cell of the search: every edge is a mixture of activations.

    Args:
        choice: The edges, node by node, from every node before, and the same options for all of them.
        hidden: H.

    Attributes:
        norm: The one normalisation of s_0 and all nodes: its running statistics mix all nodes and steps.
    """

    def __init__(self, choice: Choice, hidden: int) -> None:
        super().__init__(hidden, list(choice.rows_of_node))
        self.choice = choice
        self.options = choice.options[0]
        self.norm = nn.BatchNorm1d(hidden, affine=False)

    def prepare(self, mix: Mix, steps: int) -> Prepared:
        """Sort mixing weights by source and join the weights of nodes, once a sequence; hooks are not called."""

        def every_step(shares: Tensor) -> tuple[Tensor, ...]:
            # Views, so that the gradients of all steps are summed at once.
            return shares.expand(steps, *shares.shape).unbind()

        columns = mix.weights.unbind(1)
        ops = {op: column for column, op in enumerate(self.options) if op != NONE}
        weights = torch.stack([columns[column] for column in ops.values()], dim=1)
        active = [[flags[column] for column in ops.values()] for flags in mix.active]
        if not all(map(all, active)):  # what is not computed may weigh anything
            weights = weights.masked_fill(~draws.outside(lambda: torch.tensor(active, device=weights.device)), 0.0)
        of_row = weights.unbind()
        leaving: list[Leaving | None] = []
        for source in range(len(self.nodes)):
            rows = [row for row, start in enumerate(self.choice.sources) if start == source]
            kept = [place for place, row in enumerate(rows) if any(active[row])]
            if not kept:
                leaving.append(None)
                continue
            shares = torch.stack([of_row[rows[place]] for place in kept])
            terms = []
            for column, op in enumerate(ops):
                computed = [place for place, edge in enumerate(kept) if active[rows[edge]][column]]
                if computed:
                    places = _index(computed, len(kept), shares.device)
                    share = shares[:, column, None]
                    share = share if places is None else share.index_select(0, places)
                    terms.append(Term(ACTIVATIONS[op], every_step(share), places))
            joined = torch.cat([self.weights[source + place] for place in kept], dim=1)
            places = _index(kept, len(rows), shares.device)
            total = every_step(shares.sum(1, keepdim=True))
            leaving.append(Leaving(len(kept), joined, total, tuple(terms), places))
        return Prepared(tuple(leaving), self._offsets(mix))

    def _offsets(self, mix: Mix) -> Tensor | None:
        """Return the sum of the offsets of the active edges of each node, [N, 1]; None without offsets."""
        if mix.offsets is None:
            return None
        of_row = mix.offsets.unbind()
        sums = []
        for rows in self.choice.rows_of_node.values():
            on = [of_row[row] for row in rows if any(mix.active[row])]
            sums.append(torch.stack(on).sum() if on else mix.offsets.new_zeros(()))
        return torch.stack(sums)[:, None]

    def forward(self, product: Tensor, state: Tensor, start: Start, mixed: "Prepared | Mix", step: int) -> Tensor:
        """Compute the new state.

        Args:
            product: Share of the input in the product with W_0, [B, 2H].
            state: [B, H].
            start: Of the sequence.
            mixed: What `prepare` returned; or weights, options and hooks, to compute edge by edge.
            step: Number of the step, which the hooks see as the number of a cell.

        Returns:
            [B, H].
        """
        nodes = [self.norm(start.node(product, state))]
        if isinstance(mixed, Mix):
            for node, rows in self.choice.rows_of_node.items():
                nodes.append(self.norm(self._edge_by_edge(node, rows, nodes, start.mask, mixed, step)))
        else:
            sums = None if mixed.offsets is None else mixed.offsets.expand(len(state), -1, self.hidden)
            for source in range(len(self.nodes)):
                sums = mixed.entering(step, source, nodes[-1], start.mask, sums)
                total, sums = sums.split([1, sums.shape[1] - 1], dim=1)
                nodes.append(self.norm(total.squeeze(1)))
        return torch.stack(nodes[1:]).mean(0)

    def _edge_by_edge(
        self, node: int, rows: list[int], nodes: list[Tensor], mask: Tensor | None, mix: Mix, step: int
    ) -> Tensor:
        """Return the sum [B, H] of the edges into a node, all in the words of the paper, and call the hooks.

        Hooks see columns as images of one pixel with H channels.
        """
        total = torch.zeros_like(nodes[0])
        for row in rows:
            source = self.choice.sources[row]
            edge = EdgeInfo(self.choice.name, step, row, source, node, 1, self.hidden)
            x = nodes[source]
            gate, u = (masked(x, mask) @ self.weights[node - 1]).to(x.dtype).chunk(2, dim=-1)
            y: Tensor | None = None
            for column, op in enumerate(self.options):
                if not mix.active[row][column]:
                    continue
                value = torch.zeros_like(x) if op == NONE else x + gate.sigmoid() * (ACTIVATIONS[op](u) - x)
                value = value[:, :, None, None]
                for part in mix.regularizers:
                    value = part.on_op(value, op, edge)
                value = mix.weights[row, column] * value
                y = value if y is None else y + value
            if y is None:
                continue
            if mix.offsets is not None:
                y = y + mix.offsets[row]
            for part in mix.regularizers:
                y = part.on_edge(y, x[:, :, None, None], edge)
            total = total + y[:, :, 0, 0]
        return total


def _index(places: list[int], number: int, device: torch.device) -> Tensor | None:
    """Return places as an index; None where they are all of that number."""
    return None if len(places) == number else draws.outside(lambda: torch.tensor(places, device=device))
