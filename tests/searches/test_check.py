"""What cannot be searched is refused in one line before anything is written: rows off the simplex, parts of no kind."""

import pytest
import torch

import nas_lightning as nl
from nas_lightning.core.choices import Choice
from nas_lightning.perturbations import Random
from nas_lightning.relaxations import Decoupled, Relaxation, Softmax
from nas_lightning.relaxations.masks import Logits
from nas_lightning.selectors import Selector


class Sigmoid(Logits):
    """Independent weights (FairDARTS): the rows do not sum to 1."""

    simplex = False

    def __init__(self) -> None:
        super().__init__(1e-3)

    def __call__(self, arch, epoch=0, generator=None):
        weights = {}
        for name, logits in arch.items():
            kept = self.mask(name, logits.device)
            weights[name] = logits.sigmoid() if kept is None else logits.sigmoid().masked_fill(~kept, 0)
        return weights

    def mean(self, arch):
        return self(arch)


class Claiming(Sigmoid):
    """Says what is not true."""

    simplex = True


class Unmasked(Sigmoid):
    """Forgets the masks."""

    def __call__(self, arch, epoch=0, generator=None):
        return {name: logits.sigmoid() for name, logits in arch.items()}


class Bare:
    """No relaxation by its class, though it has all methods."""

    def __init__(self) -> None:
        self.inner = Softmax()

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Falling(Random):
    """Perturbs in the first epochs only."""

    def epsilon(self, epoch, epochs):
        return 0.3 if epoch == 0 else 0.0


class Silent(Selector):
    """Derives nothing."""


def searched(tiny, name, *words):
    trusted = ["trusted=[test_check]", f"relaxation._target_=test_check.{name}"]
    strange = ["~relaxation.init_std"]
    return nl.search(nl.compose([*tiny, *trusted, *strange, *words]), run_dir="run")


def test_independent_weights_are_searched(tiny):
    found = searched(tiny, "Sigmoid", "search.epochs=1")
    assert found.genotype.cells["normal"]


@pytest.mark.parametrize("perturbation", ["random", "adversarial"])
def test_they_meet_no_perturbation_that_renormalises(tiny, tmp_path, perturbation):
    with pytest.raises(nl.ConfigError, match=r"perturbation: .* do not sum to 1; use perturbation=none") as caught:
        searched(tiny, "Sigmoid", f"perturbation={perturbation}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_nor_one_that_perturbs_in_some_epochs_only(tiny):
    with pytest.raises(nl.ConfigError, match="do not sum to 1"):
        searched(tiny, "Sigmoid", "perturbation=random", "perturbation._target_=test_check.Falling")


@pytest.mark.parametrize("perturbation", ["random", "adversarial"])
@pytest.mark.parametrize("kinds", ["[input]", "[output,input]"])
def test_a_perturbation_of_kinds_that_the_space_has_not_is_refused(tiny, tmp_path, perturbation, kinds):
    message = f"perturbation.kinds={kinds}: the space has no such choices, .*; allowed: op; use perturbation.kinds=[op]"
    message = message.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(nl.ConfigError, match=f"^{message}$"):
        nl.search(nl.compose([*tiny, f"perturbation={perturbation}", f"perturbation.kinds={kinds}"]), run_dir="run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("perturbation", ["random", "adversarial"])
def test_a_perturbation_of_no_kind_is_refused(perturbation):
    with pytest.raises(nl.ConfigError, match=r"perturbation\.kinds=\[\]: must have 1 at least"):
        nl.compose([f"perturbation={perturbation}", "perturbation.kinds=[]"])


def test_one_kind_that_the_space_has_is_enough(tiny):
    """Blocks that take all that there is choose no inputs: what is published for the family fits them, too."""
    words = ["perturbation=random", "perturbation.kinds=[op,input,output]", "search.epochs=1"]
    assert nl.search(nl.compose([*tiny, *words]), run_dir="run").genotype.cells


def test_a_selector_that_derives_nothing_is_refused_before_anything_is_trained(tiny, tmp_path):
    words = ["trusted=[test_check]", "selector._target_=test_check.Silent"]
    with pytest.raises(nl.ConfigError, match=r"^selector: Silent derives no genotype; give it a method select"):
        nl.search(nl.compose([*tiny, *words]), run_dir="run")
    assert not (tmp_path / "run").exists()


BLOCKS = ["space=nasbench1shot1_2", "selector=perturbation", "selector.tune_epochs=0", "search.layers=1"]
"""A selector that decides operations, and takes inputs and output by their weights."""


def test_choices_taken_by_weights_must_be_learned(tiny, tmp_path):
    words = [*tiny, *BLOCKS, "hypergradient=none"]
    with pytest.raises(
        nl.ConfigError, match=r"^hypergradient: Nothing .* takes output and inputs of .*first_order"
    ) as e:
        nl.search(nl.compose(words), run_dir="run")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()


def test_such_a_reading_is_refused_too(tiny, tmp_path):
    words = ["method=rs_ws", "space=nasbench1shot1_2", "search.layers=1", "+selector@readings.pt=perturbation"]
    with pytest.raises(nl.ConfigError, match="takes output and inputs of space=nasbench1shot1_2 by learned weights"):
        nl.search(nl.compose([*tiny, *words]), run_dir="run")
    assert not (tmp_path / "run").exists()


def test_tuning_weights_alone_after_a_search_that_learned_is_not_refused(tiny):
    words = ["selector.train_arch=false", "selector.tune_epochs=1", "selector.epochs=1", "selector.batches=1"]
    found = nl.search(nl.compose([*tiny, *BLOCKS, *words, "search.epochs=1"]), run_dir="run")
    assert len(found.genotype.choices["output"]) == 3


def test_rows_without_a_choice_need_no_weights(tiny):
    """Every block and the output take all that there is."""
    words = ["hypergradient=none", "space.parents=[1,2]", "space.output=3", "search.epochs=1", "selector.batches=1"]
    assert nl.search(nl.compose([*tiny, *BLOCKS, *words]), run_dir="run").genotype.choices["output"] == [0, 1, 2]


def test_a_wrong_claim_is_refused(tiny, tmp_path):
    with pytest.raises(nl.ConfigError, match=r"relaxation: Claiming .* 'normal' sums to 1\.[0-9]+; .*simplex = False"):
        searched(tiny, "Claiming")
    assert not (tmp_path / "run").exists()


def test_weight_for_options_that_a_row_has_not_is_refused(tiny, tmp_path):
    """Rows of edges are ragged: a node has as many as it has inputs."""
    with pytest.raises(nl.ConfigError, match=r"relaxation: Unmasked gives weight to options .* self\.mask"):
        searched(tiny, "Unmasked", "+regularizer=edge_normalisation")
    assert not (tmp_path / "run").exists()


def test_a_part_derives_from_its_base_class(tiny, tmp_path):
    words = r"relaxation\._target_=test_check\.Bare: .*derive its class from nas_lightning\.relaxations\.Relaxation"
    with pytest.raises(nl.ConfigError, match=words):
        searched(tiny, "Bare")
    assert not (tmp_path / "run").exists()


def test_two_relaxations_are_on_the_simplex_together():
    assert Decoupled(Softmax(), Softmax()).simplex
    assert not Decoupled(Softmax(), Sigmoid()).simplex
    assert not Decoupled(Sigmoid(), Softmax()).simplex


def test_neutral_members_of_a_relaxation():
    """What a relaxation gets without writing it: masks of ragged rows, strengths, the weight step."""
    choice = Choice("cell", "op", (("a", "b", "c"), ("a", "b")), (0, 1), (2, 2))
    part = Sigmoid()
    arch = part.init({"cell": choice}, torch.Generator().manual_seed(0))
    assert part.mask("cell", torch.device("cpu")).tolist() == [[True, True, True], [True, True, False]]
    assert part(arch)["cell"][1, 2] == 0
    assert torch.equal(part.in_weight_step(arch)["cell"], part(arch)["cell"])
    assert torch.equal(part.strengths(arch)["cell"], part.mean(arch)["cell"])
    part.restrict({"cell": torch.tensor([[True, False, True], [False, True, True]])})
    assert part(arch)["cell"].ne(0).tolist() == [[True, False, True], [False, True, False]]
    assert (part.active(part(arch)), part.penalty(arch), part.metrics(0)) == (None, None, {})
    with pytest.raises(NotImplementedError):
        Relaxation()(arch)
