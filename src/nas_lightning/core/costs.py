"""What networks cost, as a sum over the operations that they take: multiply-accumulates, parameters, milliseconds.

A table holds the cost of each option in each row of a choice, over all cells that share the choice, and the cost of
what every network has. It is measured on the operations of discrete networks, with the inputs that they get there.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_lightning.core.choices import Choice, Mixing, edge_key
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import count_parameters, evaluating
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace

Counted = Literal["macs", "params"]
"""Costs that are counted exactly."""
Place = tuple[str, int, int]
"""Name of a choice, row, option."""
WORDS = {"macs": "multiply-accumulates", "params": "parameters", "latency": "milliseconds"}
"""Names of costs, and what they count."""
SCALES = {"macs": 1e6, "params": 1e6, "latency": 1.0}
"""Units in which the configuration gives costs: millions, milliseconds."""


@dataclass(frozen=True)
class CostTable:
    """Costs of one kind.

    Args:
        name: `macs`, `params` or `latency`.
        fixed: Cost of what every network has: stem, head, and what joins operations.
        options: Cost of each option by choice, [R, O], float64; 0 where a row has no such option.
    """

    name: str
    fixed: float
    options: Mapping[str, Tensor]

    def of_path(self, path: Mixing) -> float:
        """Return the cost of the network of a path: any weight but zero takes the option."""
        return self.fixed + sum(
            float(table[path[name].detach().cpu() != 0].sum()) for name, table in self.options.items()
        )

    def expected(self, choices: Mapping[str, Choice], mixing: Mixing, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the expected cost where the weights of a row are the probabilities of its options, a scalar.

        An option that no genotype may hold takes no part: the others share its probability in proportion to theirs. A
        node that keeps fewer edges than can enter it takes each with the probability of `edge_shares`.

        Args:
            choices: The choices of the space.
            mixing: Mixing weights by choice, each [R, O], and of the edges into each node where these are weighted.
            kept: Options that still take part, boolean [R, O] by choice; choices that are not named keep all.
        """
        terms = []
        for name, table in self.options.items():
            weights = _of_selectable(choices[name], mixing[name])
            shares = edge_shares(choices[name], kept.get(name), mixing.get(edge_key(name)))
            table = table.to(weights)
            terms.append((weights * table).sum(dim=1) @ shares.to(weights))
        return torch.stack(terms).sum() + self.fixed

    def in_unit(self, value: float) -> float:
        """Return a cost in the unit of the configuration, millions or milliseconds."""
        return value / SCALES[self.name]


def edge_shares(choice: Choice, kept: Tensor | None, weights: Tensor | None) -> Tensor:
    """Return the probability that each row of a choice is in a network, [R].

    A node with n edges of which a genotype has k takes each with k/n; where edges are weighted, in proportion to the
    weights, but never with more than 1: what an edge exceeds 1 by, the others share likewise. The shares sum to k.

    Args:
        choice: The choice of operations.
        kept: Options that still take part, boolean [R, O]; a row without any is out. None keeps all.
        weights: Weights of the edges into each node, one row a node, [N, S]; None without.
    """
    present = (choice.mask if kept is None else kept.cpu()).any(dim=1).tolist()
    shares = torch.tensor(present, dtype=torch.float64 if weights is None else weights.dtype)
    for place, (node, rows) in enumerate(choice.rows_of_node.items()):
        number = sum(present[row] for row in rows)
        keep = choice.kept_at(node) or number
        if keep >= number:
            continue
        if weights is None:
            shares[rows] = shares[rows] * (keep / number)
        else:
            shares = shares.to(weights.device)
            inside = torch.tensor(rows, device=weights.device)
            shares = shares.index_put((inside,), _filled(weights[place, : len(rows)], shares[inside] > 0, keep))
    return shares


def _of_selectable(choice: Choice, weights: Tensor) -> Tensor:
    """Return weights [R, O] scaled to sum to 1 over the options that a genotype may hold; the others weigh 0."""
    if not (choice.mask & ~choice.selectable).any():
        return weights
    weights = weights * choice.selectable.to(weights)
    total = weights.sum(dim=1, keepdim=True)
    return weights / torch.where(total > torch.finfo(total.dtype).tiny, total, 1)  # a row may be out


def _filled(weights: Tensor, present: Tensor, keep: int) -> Tensor:
    """Return min(1, c·weight) for each edge into a node, [S], with the c for which these sum to `keep`.

    Args:
        weights: Weights of the edges, [S].
        present: True where an edge can be taken, more often than `keep` times, [S].
        keep: Number of edges that are taken.
    """
    full = torch.zeros_like(present)
    shares = weights
    for _ in range(keep + 1):  # each round but the last fills one edge at least, or changes nothing
        free = weights.masked_fill(full | ~present, 0)
        total = free.sum()
        some = total > torch.finfo(total.dtype).tiny
        among = present & ~full
        # Where all others weigh 0, none of them is preferred.
        part = torch.where(some, free / torch.where(some, total, 1), among / among.sum().clamp(min=1))
        shares = torch.where(full, 1, (keep - full.sum()) * part)
        full = full | (shares > 1)
    return shares


def paths_over_all(space: SearchSpace) -> list[Mixing]:
    """Return paths that take all edges and together each option that a genotype may hold, zeros and ones [R, O]."""
    operations = {name: choice for name, choice in space.choices.items() if choice.kind == "op"}
    offered = {
        name: [[o for o, yes in enumerate(row) if yes] for row in (choice.mask & choice.selectable).tolist()]
        for name, choice in operations.items()
    }
    paths = []
    for number in range(max(len(row) for rows in offered.values() for row in rows)):
        path = dict(space.sample(torch.Generator().manual_seed(0)))  # any, but for operations
        for name, rows in offered.items():
            path[name] = torch.zeros(operations[name].num_rows, operations[name].num_options)
            for row, options in enumerate(rows):
                if options:
                    path[name][row, options[min(number, len(options) - 1)]] = 1.0
        paths.append(path)
    return paths


class Costs:
    """Costs of the networks that a run judges; each kind is measured once, when it is asked for.

    Args:
        space: The search space.
        build: Builds the network of a genotype.
        unit: Returns what costs are counted for: an image.
        hardware: Returns the name of the device of the run, and its CPU threads, None on a GPU; None if unknown.
    """

    # No dataclass: as an annotation of parts it is read without importing torch; see `config.declarations`.
    def __init__(
        self,
        space: SearchSpace,
        build: Callable[[Genotype], nn.Module],
        unit: Callable[[], Any],
        hardware: Callable[[], tuple[str, int | None]] | None = None,
    ) -> None:
        self.space = space
        self.build = build
        self.unit = unit
        self.hardware = hardware
        self._tables: dict[str, CostTable] = {}

    def table(self, name: Counted) -> CostTable:
        """Return the table of multiply-accumulates or of parameters.

        Raises:
            ConfigError: Costs of this space do not add up, or the network cannot be built.
        """
        if not self._tables:
            # The weights of the search are drawn from torch's generator, too: measuring must not change them.
            with torch.random.fork_rng(devices=[]):
                self._tables = self._count()
        return self._tables[name]

    def operations(self) -> Iterator[tuple[nn.Module, dict[Place, list[nn.Module]]]]:
        """Yield networks that together have every option, and the operations of each by choice, row and option.

        Torch's generator draws their weights.
        """
        for path in paths_over_all(self.space):
            genotype = self.space.genotype_of(path)
            network = self.build(genotype)
            placed = self.space.placed_operations(network, genotype)
            yield (
                network,
                {(name, row, int(path[name][row].argmax())): parts for (name, row), parts in placed.items()},
            )

    def _count(self) -> dict[str, CostTable]:
        found = {name: self._empty() for name in ("macs", "params")}
        fixed: dict[str, set[int]] = {"macs": set(), "params": set()}
        for network, operations in self.operations():
            macs, all_macs = _macs_of_parts(network, operations, self.unit())
            counts = {"macs": macs, "params": _parameters(operations)}
            total = {"macs": all_macs, "params": count_parameters(network)}
            for kind, table in found.items():
                for (name, row, option), count in counts[kind].items():
                    table[name][row, option] = count
                fixed[kind].add(total[kind] - sum(counts[kind].values()))
        if any(len(values) > 1 for values in fixed.values()):
            raise ConfigError(
                f"space={self.space.name}: costs of its operations do not add up to those of its networks, so they can"
                " be neither an objective nor a limit; leave them out, or use another space"
            )
        return {kind: CostTable(kind, fixed[kind].pop(), table) for kind, table in found.items()}

    def _empty(self) -> dict[str, Tensor]:
        return {
            name: torch.zeros(choice.num_rows, choice.num_options, dtype=torch.float64)
            for name, choice in self.space.choices.items()
            if choice.kind == "op"
        }


def _parameters(operations: Mapping[Place, list[nn.Module]]) -> dict[Place, int]:
    return {place: sum(map(count_parameters, parts)) for place, parts in operations.items()}


def _macs_of_parts(
    network: nn.Module, operations: Mapping[Place, list[nn.Module]], inputs: Any
) -> tuple[dict[Place, int], int]:
    """Count multiply-accumulates during one pass of the network: within each operation, and in all."""
    counts = dict.fromkeys(operations, 0)
    handles = []
    with FlopCounterMode(display=False) as counter:

        def count(place: Place, sign: int) -> Callable[..., None]:
            def hook(*_: object) -> None:
                counts[place] += sign * counter.get_total_flops()

            return hook

        for place, parts in operations.items():
            for part in parts:
                handles.append(part.register_forward_pre_hook(count(place, -1)))
                handles.append(part.register_forward_hook(count(place, 1)))
        with torch.no_grad(), evaluating(network):
            network(inputs)
    for handle in handles:
        handle.remove()
    return {place: flops // 2 for place, flops in counts.items()}, counter.get_total_flops() // 2
