"""The recipes of graphs: `GraphTraining`."""

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import count_parameters
from nas_lightning.evaluation import GraphTraining
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces.published import PUBLISHED
from nas_lightning.training.workbench import Workbench


def bench(*words):
    return Workbench(as_dict(nl.compose(["data=graphs_digits", "space=graphs", *words])), RunFolder("unused"))


@pytest.mark.parametrize(("recipe", "channels"), [("ppi", 512), ("ppi_small", 64)])
def test_recipes_of_ppi_are_those_of_the_released_code(recipe, channels):
    made = bench(f"evaluation={recipe}").evaluator
    assert isinstance(made, GraphTraining)
    assert made.sizes() == {"init_channels": channels, "layers": 5}
    assert (made.epochs, made.batch_size, made.lr, made.lr_min, made.schedule) == (2000, 1, 0.002, 0.0, "cosine")
    assert (made.weight_decay, made.drop_path, made.clip) == (0.0, 0.2, 5.0)
    (group,) = made.build_optimizer([torch.nn.Parameter(torch.zeros(2))]).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.002, (0.9, 0.999), 0.0)


def test_the_search_of_sgas_on_ppi_is_that_of_the_released_code():
    config = nl.compose(["data=ppi", "method=sgas"])
    search, control = config.search, config.control["greedy_decisions"]
    assert (search.epochs, search.batch_size, search.init_channels, search.layers) == (50, 6, 32, 1)
    assert (search.weights.lr, search.weights.lr_min, search.arch.lr) == (0.005, 1e-4, 3e-4)
    assert (control["first_epoch"], control["interval"], control["batch_growth"]) == (9, 7, 1)
    assert config.data["split"] == "published"


def test_the_network_of_a_recipe_has_the_parameters_of_its_parts():
    """C = 8, one cell: stem, two inputs, four of [x, …] (`edge_conv`, `mr_conv`), `gin`, `semi_gcn`, head."""
    made = bench("evaluation.init_channels=8", "evaluation.layers=1")
    network = made.evaluator.bare_network(PUBLISHED["sgas_ppi_cri1"], made)
    layer, pair = 8 * 8 + 16, 16 * 8 + 16
    stem, inputs, head = 64 * 24 + 48, 2 * (24 * 8 + 16), (32 + 1 + 1) * 10
    assert count_parameters(network) == stem + inputs + 4 * pair + 2 * layer + head


def test_paths_are_dropped_of_single_nodes():
    """At one half, a node of the graph has either, both or none of its two paths, at twice their size."""
    made = bench("evaluation.init_channels=4", "evaluation.layers=1", "data.train_graphs=4")
    cell = made.evaluator.bare_network(PUBLISHED["sgas_ppi_cri1"], made).cells[0].eval()
    inputs, _ = made.data.example(2)
    x, links = torch.randn(len(inputs.x), 12, 1, 1), inputs.edge_index
    torch.manual_seed(0)
    dropped = cell(x, x, links, 0.5)[:, 4:8]  # the first of the cell's nodes
    with cell.inputs.graph.of(links):
        first, second = cell.operations[0](cell.inputs.before(x)), cell.operations[1](cell.inputs.last(x))
    seen = set()
    for row, one, other in zip(dropped, first, second, strict=True):
        sums = {(a, b): 2 * (a * one + b * other) for a in (0, 1) for b in (0, 1)}
        seen.add(next(kept for kept, y in sums.items() if torch.allclose(row, y, atol=1e-5)))
    assert seen == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective=classification"], "^objective: Classification is for images or point clouds, but space=graphs"),
        (
            ["evaluation=digits"],
            "Retraining is for images, but space=graphs reads graphs; use evaluation=graphs_digits",
        ),
    ],
)
def test_parts_of_other_kinds_are_refused(words, message):
    made = bench(*words)
    with pytest.raises(ConfigError, match=message):
        _ = made.objective, made.evaluator
