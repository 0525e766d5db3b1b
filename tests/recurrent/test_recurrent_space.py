"""The spaces of recurrent cells: choices, genotypes, counts, configurations, and what they refuse."""

from math import factorial
from types import SimpleNamespace

import pytest
import torch

from cases import random_mixing, seeded, space_config
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.recurrent import RecurrentSpace
from nas_lightning.recurrent.words import Dropouts
from nas_lightning.relaxations import Uniform
from nas_lightning.spaces import PUBLISHED, Genotype, genotype
from nas_lightning.spaces.enumeration import architecture, number_of
from recurrent_reference import OPERATIONS, H, V, recurrent_space

SPACE = recurrent_space()


def configured(name):
    return RecurrentSpace(**space_config(name))


@pytest.mark.parametrize(
    ("name", "operations", "parameters"),
    [("recurrent", OPERATIONS, 180), ("recurrent_reduced", ("relu", "identity"), 72)],
)
def test_choices_of_the_papers(name, operations, parameters):
    space = configured(name)
    choice = space.choices["cell"]
    assert list(space.choices) == ["cell"]
    assert (space.name, choice.kind, choice.keep, choice.num_rows) == (name, "op", 1, 36)
    assert set(choice.options) == {operations}
    assert int(choice.mask.sum()) == parameters
    assert choice.selectable.sum(1).tolist() == [len(set(operations) - {"none"})] * 36
    pairs = list(zip(choice.nodes, choice.sources, strict=True))
    assert pairs == [(node, source) for node in range(1, 9) for source in range(node)]
    assert (space.inputs, space.sizes) == ("text", ("hidden", "dropout"))


@pytest.mark.parametrize(("name", "activations"), [("recurrent", 4), ("recurrent_reduced", 2)])
def test_the_number_of_cells(name, activations):
    assert configured(name).count() == activations**8 * factorial(8)


RELEASED = {
    "darts_v1_rnn": "relu0 relu1 tanh2 relu3 relu4 identity1 relu5 relu1",
    "darts_v2_rnn": "sigmoid0 relu1 relu1 identity1 tanh2 sigmoid5 tanh3 relu5",
    "sdarts_rs_rnn": "sigmoid0 sigmoid1 identity2 sigmoid1 tanh2 tanh2 sigmoid0 sigmoid3",
    "sdarts_adv_rnn": "relu0 relu1 tanh2 relu3 identity2 relu1 tanh2 relu7",
}


@pytest.mark.parametrize("name", RELEASED)
def test_published_cells(name):
    found = genotype(name.upper().replace("_", "-"))
    assert found is PUBLISHED[name]
    assert " ".join(f"{op}{source}" for _, op, source in found.cells["cell"]) == RELEASED[name]
    assert [node for node, _, _ in found.cells["cell"]] == list(found.concat["cell"]) == list(range(1, 9))
    assert found.space == "recurrent"
    SPACE.validate(found)
    path = SPACE.path_of(found)
    assert path["cell"].sum() == 8
    assert SPACE.genotype_of(path) == found
    assert architecture(SPACE, number_of(SPACE, found)) == found
    assert Genotype.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("seed", range(5))
def test_a_genotype_has_the_strongest_edge_of_each_node(seed):
    scores = random_mixing(SPACE, seed)
    scores["cell"][:, 0] = 9.0  # `none`, however strong, is never taken
    found = SPACE.genotype(scores, keep=2)
    choice = SPACE.choices["cell"]
    for node, op, source in found.cells["cell"]:
        rows = [row for row in range(36) if choice.nodes[row] == node]
        best = max(float(scores["cell"][row, column]) for row in rows for column in range(1, 5))
        row = next(row for row in rows if choice.sources[row] == source)
        assert scores["cell"][row, OPERATIONS.index(op)] == best
    assert len(found.cells["cell"]) == 8


def test_of_equals_the_first_source_and_the_first_activation_are_taken():
    found = SPACE.genotype({"cell": torch.ones(36, 5)})
    assert found.cells["cell"] == tuple((node, "tanh", 0) for node in range(1, 9))
    scores = torch.zeros(36, 5)
    scores[[4, 5], 2:] = 1.0  # node 3, sources 1 and 2
    assert SPACE.genotype({"cell": scores}).cells["cell"][2] == (3, "relu", 1)


def test_strengths_that_are_no_numbers_are_refused():
    with pytest.raises(GenotypeError, match="the strengths of 'cell' are not numbers"):
        SPACE.genotype({"cell": torch.full((36, 5), torch.nan)})


def test_paths_are_drawn_uniformly_and_without_none():
    rng = seeded(0)
    paths = [SPACE.sample(rng)["cell"] for _ in range(4000)]
    mean = torch.stack(paths).mean(0)
    choice = SPACE.choices["cell"]
    assert (mean[:, 0] == 0).all()
    for row, node in enumerate(choice.nodes):
        p = 1 / (4 * node)
        assert (mean[row, 1:] - p).abs().max() < 4.5 * (p * (1 - p) / 4000) ** 0.5
    for path in paths[:50]:
        SPACE.validate(SPACE.genotype_of({"cell": path}))


def test_random_search_draws_no_none_either():
    """Its relaxation asks for `none` as in spaces of images, and gets none."""
    uniform = Uniform(none=True)
    arch = uniform.init(SPACE.choices)
    paths = [uniform(arch, generator=seeded(seed))["cell"] for seed in range(200)]
    assert not any(path[:, 0].any() for path in paths)
    assert {int(path.sum()) for path in paths} == {8}


def changed(edges=None, concat=None, space="recurrent"):
    cells = list(PUBLISHED["darts_v1_rnn"].cells["cell"])
    for place, edge in (edges or {}).items():
        cells[place] = edge
    return Genotype(space, {"cell": tuple(cells)}, {"cell": tuple(range(1, 9)) if concat is None else concat})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (changed({2: (3, "none", 0)}), "node 3 has the operation none; allowed: tanh, relu, sigmoid, identity"),
        (changed({2: (3, "swish", 0)}), "cell cell has swish from 0 to 3"),
        (changed({2: (3, "tanh", 3)}), "cell cell has tanh from 3 to 3"),
        (changed({2: (2, "tanh", 0)}), "every node of"),
        (changed(concat=()), "concatenates"),
        (changed(concat=(0, 1)), "concatenates"),
        (Genotype("recurrent", {"cell": changed().cells["cell"][:7]}, {"cell": (1,)}), "node 8 has no source"),
        (PUBLISHED["darts_v1"], "choose its own space: space=darts"),
    ],
)
def test_other_genotypes_are_refused(wrong, message):
    with pytest.raises(GenotypeError, match=message) as raised:
        SPACE.network(wrong, V, H)
    assert "\n" not in str(raised.value)


def test_two_sources_of_a_node_are_refused():
    edges = PUBLISHED["darts_v1_rnn"].cells["cell"]
    twice = Genotype("recurrent", {"cell": (*edges, (8, "tanh", 3))}, {"cell": tuple(range(1, 9))})
    with pytest.raises(GenotypeError, match="node 8 has 2 sources; allowed: 1"):
        SPACE.validate(twice)
    path = SPACE.path_of(PUBLISHED["darts_v1_rnn"])
    path["cell"][1, 1] = 1.0
    with pytest.raises(GenotypeError, match="path of space 'recurrent': node 2 has 2 sources"):
        SPACE.genotype_of(path)


def test_a_path_with_none_is_no_genotype():
    path = SPACE.path_of(PUBLISHED["darts_v1_rnn"])
    path["cell"][0] = torch.tensor([1.0, 0, 0, 0, 0])
    with pytest.raises(GenotypeError, match="node 1 has the operation none; allowed: tanh"):
        SPACE.genotype_of(path)


def test_cells_of_the_full_space_may_not_fit_the_reduced_one():
    reduced = configured("recurrent_reduced")
    only = Genotype("recurrent_reduced", changed().cells, changed().concat)
    with pytest.raises(GenotypeError, match="cell cell has tanh from 2 to 3, the space has relu, identity there"):
        reduced.validate(only)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ((), "no activation"),
        (("none",), "no activation"),
        (("relu", "swish"), "swish is unknown or given twice"),
        (("relu", "relu"), "relu is unknown or given twice"),
    ],
)
def test_operations_are_checked(operations, message):
    with pytest.raises(ConfigError, match=message):
        RecurrentSpace("recurrent", operations)


def test_the_space_can_be_changed_in_nothing():
    assert SPACE.variant(partial_channels=1, edge_weights=False).choices == SPACE.choices
    for change in ({"partial_channels": 4}, {"edge_weights": True}):
        with pytest.raises(ConfigError, match=r"space=recurrent: .*~regularizer"):
            SPACE.variant(**change)


def settings(**changes):
    dropout = SimpleNamespace(words=0.1, inputs=0.2, x=0.3, hidden=0.4, outputs=0.5)
    none = dict.fromkeys(("init_channels", "layers", "stem"))
    return SimpleNamespace(**{**none, "hidden": H, "dropout": dropout, **changes})


def test_a_search_and_a_retraining_build_their_models_from_their_sections():
    supernet = SPACE.build_supernet(None, V, settings(), "reference")
    network = SPACE.build_network(PUBLISHED["darts_v1_rnn"], None, V, settings())
    for model in (supernet, network):
        assert model.words.weight.shape == (V, H)
        assert model.words.dropout == Dropouts(0.1, 0.2, 0.3, 0.4, 0.5)
    assert supernet.plain


@pytest.mark.parametrize(("key", "value"), [("hidden", None), ("dropout", None), ("layers", 8)])
def test_sizes_of_a_search_are_those_of_the_space(key, value):
    with pytest.raises(ConfigError, match=f"search.{key}="):
        SPACE.build_supernet(None, V, settings(**{key: value}))


def test_images_are_refused():
    with pytest.raises(ConfigError, match="space=recurrent: its networks read text, not images"):
        SPACE.check_image_size(32, 8, "cifar")
