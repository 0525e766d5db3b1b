"""Shuffling against test accuracies that are measured by hand."""

import csv
import json
import statistics

import numpy as np
import pytest
import torch

import nas_lightning as nl
from analysed import analysis_config, supernet_by_hand
from nas_lightning.analyses import Shuffling, shuffling
from nas_lightning.analyses.networks import Staged
from nas_lightning.tasks.resume import resume

SMALL = [
    "analysis.epochs=1",
    "analysis.batch_size=16",
    "analysis.repetitions=3",
    *(f"analysis.networks.{name}.{key}" for name in ("resnet", "vgg") for key in ("channels=4", "depth=3")),
]


def analyse(searched, folder, *words):
    return nl.analyse(analysis_config("shuffling", f"run={searched}", *SMALL, *words), run_dir=folder)


def table(folder):
    with (folder / "analysis.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def no_figure(monkeypatch):
    """Drawing takes longer than all else."""
    monkeypatch.setattr(shuffling, "save_shuffling", lambda *_: None)


@pytest.fixture(scope="module")
def shuffled(searched, tmp_path_factory):
    """The run folder of an analysis, and its section of the summary."""
    folder = tmp_path_factory.mktemp("shuffled") / "run"
    return folder, analyse(searched, folder)


def test_table_figure_and_summary(shuffled):
    folder, found = shuffled
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"config.yaml", "summary.json", "analysis.csv", "plots/shuffling.svg"}
    groups = {}
    for row in table(folder):
        groups.setdefault((row["network"], row["swapped"]), []).append(float(row["test_accuracy"]))
    assert {key: len(values) for key, values in groups.items()} == {
        ("supernet", "nothing"): 1,
        ("supernet", "edges and weights"): 3,
        ("supernet", "edges alone"): 3,
        ("resnet", "nothing"): 1,
        ("resnet", "blocks"): 3,
        ("vgg", "nothing"): 1,
        ("vgg", "layers"): 3,
    }
    assert json.loads((folder / "summary.json").read_text())["analysis"] == found
    for told in found["networks"]:
        values = groups[told["network"], told["swapped"]]
        assert told["test_accuracy_mean"] == pytest.approx(statistics.mean(values), abs=1e-3)
        if len(values) == 1:
            assert (told["test_accuracy_std"], told["repetitions"]) == (None, 0)
        else:
            assert told["test_accuracy_std"] == pytest.approx(statistics.stdev(values), abs=1e-3)


def on_test_images(searched, path):
    """The supernet, its mixing weights, the test images and their labels; float64."""
    data, supernet, arch = supernet_by_hand(searched, path)
    mixing = {name: torch.softmax(a, dim=1) for name, a in arch.items()}
    test = data.dataset("test", augment=False)
    images = torch.stack([test[index][0] for index in range(len(test))]).double()
    return supernet, mixing, images, data.test_labels


@pytest.mark.usefixtures("no_figure")
def test_supernet_by_hand(shuffled, searched, images_file, monkeypatch):
    """As it is, and with the same pair of edges exchanged in every cell by their names, one by one."""
    supernet, mixing, images, labels = on_test_images(searched, images_file)

    def accuracy(weights):
        with torch.no_grad():
            return 100 * np.mean(supernet(images, weights).argmax(dim=1).numpy() == labels)

    (row,) = (row for row in table(shuffled[0]) if (row["network"], row["swapped"]) == ("supernet", "nothing"))
    assert float(row["test_accuracy"]) == pytest.approx(accuracy(mixing), abs=1e-3)

    pair = (0, 1)  # from both inputs to the first node: of equal stride in both kinds of cells
    monkeypatch.setattr(shuffling, "draw_pair", lambda pairs, generator: pair if pair in pairs else None)
    folder = shuffled[0].parent / "fixed"
    analyse(searched, folder, "~analysis.networks.resnet", "~analysis.networks.vgg", "analysis.repetitions=2")
    measured = {row["swapped"]: float(row["test_accuracy"]) for row in table(folder)}
    state = supernet.state_dict()
    renamed = {}
    for name, value in state.items():
        for a, b in (pair, pair[::-1]):
            if f".edges.{a}." in name:
                name = name.replace(f".edges.{a}.", f".edges.{b}.")
                break
        renamed[name] = value.clone()
    supernet.load_state_dict(renamed)
    assert measured["edges alone"] == pytest.approx(accuracy(mixing), abs=1e-3)
    moved = {name: weights[[1, 0, 2, 3, 4]] for name, weights in mixing.items()}
    assert measured["edges and weights"] == pytest.approx(accuracy(moved), abs=1e-3)


@pytest.mark.usefixtures("no_figure")
def test_pairs_are_drawn_cell_by_cell_and_again_each_time(searched, monkeypatch, tmp_path):
    drawn = []
    real = Shuffling._draw
    monkeypatch.setattr(Shuffling, "_draw", lambda *args: drawn.append(real(*args)) or drawn[-1])
    monkeypatch.setattr(Shuffling, "_accuracy", lambda *_: 50.0)
    words = ["~analysis.networks.resnet", "~analysis.networks.vgg", "analysis.repetitions=8"]
    analyse(searched, tmp_path / "a", *words)
    first, drawn[:] = list(drawn), []
    assert len({tuple(pairs) for pairs in first}) > 3
    assert any(len(set(pairs)) > 1 for pairs in first)
    # The three cells are normal (node 2's two and node 3's three edges) and twice reduce, where strides differ.
    assert all(pairs[1] in {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)} for pairs in first)
    analyse(searched, tmp_path / "b", *words)
    assert drawn == first
    analyse(searched, tmp_path / "c", *words, "analysis.seed=5")
    assert drawn[8:] != first


@pytest.mark.usefixtures("no_figure")
def test_networks_learn_from_the_training_images_and_finished_ones_are_kept(searched, tmp_path, monkeypatch):
    """The ResNet is trained with the recipe; when the VGG is cut off, a resume trains it alone."""
    seen, images = [], {}
    real = shuffling.fit

    def fit(bench, trainer, module, data):
        if isinstance(module.network, shuffling.VGG) and not seen.count("vgg cut"):
            seen.append("vgg cut")
            raise KeyboardInterrupt
        seen.append(type(module.network).__name__)
        before = [p.clone() for p in module.network.parameters()]
        real(bench, trainer, module, data)
        assert any(not torch.equal(a, b) for a, b in zip(before, module.network.parameters(), strict=True))
        images[seen[-1]] = list(data.train_indices)
        group = trainer.optimizers[0].param_groups[0]
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.01)

    monkeypatch.setattr(shuffling, "fit", fit)
    words = ["analysis.weight_decay=0.01", "analysis.images=search_halves", "analysis.repetitions=2"]
    with pytest.raises(BaseException, match="stopped in the analysis; continue with resume="):
        analyse(searched, tmp_path / "a", *words)
    cut = table(tmp_path / "a")
    assert {row["network"] for row in cut} == {"supernet", "resnet"}
    resume(tmp_path / "a")
    assert seen == ["ResNet", "vgg cut", "VGG"]
    assert table(tmp_path / "a")[: len(cut)] == cut
    assert len(images["VGG"]) == 20  # half of forty


@pytest.mark.usefixtures("no_figure")
def test_swapping_changes_what_a_network_says(shuffled, searched, tmp_path, monkeypatch):
    """In every stage two units have changed places while it is measured, and none afterwards."""
    orders = []

    def accuracy(self, bench, trainer, network, forward):
        if isinstance(network, Staged):
            orders.append([[id(unit) for unit in stage] for stage in network.stages])
        return 50.0

    monkeypatch.setattr(Shuffling, "_accuracy", accuracy)
    monkeypatch.setattr(shuffling, "fit", lambda *_: None)
    analyse(searched, tmp_path / "a", "~analysis.networks.vgg")
    before, *after = orders
    assert len(after) == 3
    for order in after:
        for stage, (old, new) in enumerate(zip(before, order, strict=True)):
            assert sorted(old) == sorted(new)
            moved = [index for index in range(3) if old[index] != new[index]]
            assert len(moved) == 2
            assert stage == 0 or 0 not in moved  # the first block of a later stage halves the resolution


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["epoch=9"], r"epoch=9: .* keeps no supernet"),
        (["~analysis.networks.vgg.depth"], r"analysis\.networks\.vgg\.depth is missing; give it .*depth=16"),
    ],
)
def test_mistakes(words, told, searched, tmp_path):
    with pytest.raises(nl.ConfigError, match=told) as caught:
        analyse(searched, tmp_path / "a", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_nothing_to_swap_and_nothing_to_measure_on(searched, tmp_path, monkeypatch):
    monkeypatch.setattr(shuffling, "edge_pairs", lambda *_: [])
    with pytest.raises(nl.ConfigError, match=r"run=.*: no cell of its supernet has two edges"):
        analyse(searched, tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setattr(Shuffling, "_test_images", lambda *_: [])
    with pytest.raises(nl.ConfigError, match=r"run=.*: there are no test images to measure on; give another run"):
        analyse(searched, tmp_path / "a")
    assert not (tmp_path / "a").exists()
