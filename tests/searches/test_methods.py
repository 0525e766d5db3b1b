"""Every method on every space: it runs, and what cannot make sense is refused."""

import lightning as L
import numpy as np
import pytest
import torch

import nas_lightning as nl
from cases import BLOCK_SPACES, SPACES
from every_method import METHODS, QUICK, run
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.tasks.resume import resume

TABULAR = ("gdas", "snas", "drnas", "setn", "rsps", "darts_pt", "sdarts_rs_pt", "sgas", "pc_darts", "sdarts_rs")
"""Methods that are tried on NAS-Bench-201 here; all of them are in `make test-all`."""
SMALL = ("space=s3", "space.num_nodes=2")


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, tiny, tmp_path):
    if method in TABULAR:
        run(method, "nasbench201", [*tiny, "search.layers=1"], tmp_path / "run")
    else:
        run(method, "s5" if method != "noisy_darts" else "s4", tiny, tmp_path / "run")


@pytest.mark.parametrize("method", ["gdas", "setn", "darts_pt", "darts_pt_fixed_alpha", "sgas", "pc_darts"])
def test_methods_of_every_kind_on_blocks(method, tiny, tmp_path):
    """Rows that take several options; all methods are in `make test-all`."""
    run(method, "nasbench1shot1_2", [*tiny, "search.layers=1", "evaluation.layers=1"], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("space", [*SPACES, "nasbench201", *BLOCK_SPACES])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_space(method, space, tiny, tmp_path):
    run(method, space, tiny, tmp_path / "run")


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("method", ["sdarts_rs", "sdarts_adv"])
def test_without_radius_sdarts_is_darts_bit_for_bit(method, tiny, tmp_path):
    nl.search(nl.compose([*tiny, "method=darts", *SMALL]), run_dir=tmp_path / "darts")
    zero = ["search.arch.batch_norm=frozen", "perturbation.start=0.0", "perturbation.maximum=0.0"]
    nl.search(nl.compose([*tiny, f"method={method}", *SMALL, *zero]), run_dir=tmp_path / "other")
    a, b = last(tmp_path / "darts"), last(tmp_path / "other")
    for name, tensor in a["state_dict"].items():
        assert torch.equal(tensor, b["state_dict"][name]), name
    for name, tensor in a["search"]["arch"].items():
        assert torch.equal(tensor, b["search"]["arch"][name])


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("method", ["sdarts_rs", "sdarts_adv"])
def test_perturbation_touches_the_weight_step_only(method, mode, tiny, tmp_path):
    """One step: the architecture moves as in DARTS, the weights do not; each norm counts one batch a weight step."""
    one = [*tiny, *SMALL, "search.epochs=1", "+trainer.limit_train_batches=1"]
    nl.search(nl.compose([*one, "method=darts"]), run_dir=tmp_path / "darts")
    big = ["search.arch.batch_norm=frozen", "perturbation.start=0.3"]
    if method == "sdarts_adv":
        big.append(f"perturbation.pgd_bn_mode={mode}")
    nl.search(nl.compose([*one, f"method={method}", *big]), run_dir=tmp_path / "other")
    a, b = last(tmp_path / "darts"), last(tmp_path / "other")
    for name, tensor in a["search"]["arch"].items():
        assert torch.equal(tensor, b["search"]["arch"][name])
    moved = [name for name, tensor in a["state_dict"].items() if not torch.equal(tensor, b["state_dict"][name])]
    assert any("edges" in name and "weight" in name for name in moved)
    counts = [tensor for name, tensor in b["state_dict"].items() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(count == 1 for count in counts)


def test_rs_ws_trains_sampled_paths_alone_and_notes_no_genotype(tiny, tmp_path):
    cfg = nl.compose([*tiny, "method=rs_ws", *SMALL, *QUICK["rs_ws"]])
    result = nl.search(cfg, run_dir=tmp_path / "run")
    assert result.summary["selection"]["validation_passes"] > 0
    arch = last(tmp_path / "run")["search"]["arch"]
    assert all((a == 0).all() for a in arch.values())
    rows = RunFolder(tmp_path / "run").read_metrics()
    assert "arch_loss" not in rows[-1]
    assert not RunFolder(tmp_path / "run").curvature.exists()
    again = nl.search(cfg, run_dir=tmp_path / "again")
    assert again.genotype == result.genotype


class SeenImages(L.Callback):
    """The images that the supernet is given, by stream."""

    seen: dict[str, list[torch.Tensor]] = {}  # noqa: RUF012 - shared on purpose

    def on_fit_start(self, trainer, pl_module):
        SeenImages.seen = {}
        seen = pl_module.seen

        def noted(batch, stream):
            images, targets = seen(batch, stream)
            SeenImages.seen.setdefault(stream.split()[0], []).append(images)
            return images, targets

        pl_module.seen = noted


@pytest.mark.parametrize("augment_val", [True, False])
def test_cutout_reaches_train_and_arch_and_val_where_it_is_augmented(augment_val, tiny, tmp_path):
    """As released: the accuracies of RobustDARTS' searches are on cut-out images."""
    overrides = ["+regularizer=cutout", "regularizer.cutout.length=8", f"data.augment_val={augment_val}".lower(),
                 "trusted=[test_methods]", "+callbacks.seen._target_=test_methods.SeenImages"]  # fmt: skip
    nl.search(nl.compose([*tiny, "space=s5", *overrides]), run_dir=tmp_path / "run")
    assert set(SeenImages.seen) == ({"train", "arch", "val"} if augment_val else {"train", "arch"})
    for batches in SeenImages.seen.values():
        for image in torch.cat(batches):  # half of the picture, at the least, is the mean colour
            blank = (image == 0).all(dim=0)
            rows, columns = blank.any(dim=1), blank.any(dim=0)
            assert (blank == rows[:, None] & columns).all()
            assert blank.sum() >= 16


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["method=darts", "relaxation=uniform"], "use hypergradient=none"),
        (["method=darts", "hypergradient=none"], "learns no architecture"),
        (["method=rs_ws", "perturbation=random"], "use perturbation=none"),
        (["method=rs_ws", "+control=curvature_stopping"], "no architecture is learned, so it has nothing to control"),
        (["method=random_search", "+control=curvature_stopping"], "no supernet is trained"),
        (["method=darts_es", "control.curvature_stopping.rule=paper"], "callbacks.curvature.interval=1"),
    ],
)
def test_what_cannot_make_sense_is_refused(overrides, told, tiny, tmp_path):
    tracked = [override for override in tiny if override != "~callbacks.curvature"]
    with pytest.raises(nl.ConfigError, match=told):
        nl.search(nl.compose([*tracked, *overrides, "space=s3"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class SelectionImages(OneShotModel):
    """Keeps what the selection looks at."""

    seen: list[torch.Tensor] = []  # noqa: RUF012 - shared on purpose

    def _loaded(self):
        for images, targets in super()._loaded():
            SelectionImages.seen.append(images)
            SelectionImages.labels = [*getattr(SelectionImages, "labels", []), targets]
            yield images, targets


def test_selection_sees_all_classes_and_the_same_images_after_a_resume(tiny, tmp_path, monkeypatch):
    """Its first batch is shuffled even where images are sorted by class, and cut out as in the last epoch."""
    monkeypatch.setattr("nas_lightning.searches.selection.OneShotModel", SelectionImages)
    images = np.load(next(word for word in tiny if word.startswith("data.path=")).partition("=")[2])
    arrays = {name: images[name] for name in images}
    order = np.argsort(arrays["y_train"], kind="stable")
    arrays |= {"x_train": arrays["x_train"][order], "y_train": arrays["y_train"][order]}
    np.savez(tmp_path / "sorted.npz", **arrays)
    linear = ["+regularizer=cutout", "regularizer.cutout.schedule=linear", "search.batch_size=8"]
    cfg = nl.compose([*tiny, f"data.path={tmp_path / 'sorted.npz'}", "method=rs_ws", *SMALL, *QUICK["rs_ws"], *linear])
    SelectionImages.seen, SelectionImages.labels = [], []
    nl.search(cfg, run_dir=tmp_path / "run")
    whole, labels = SelectionImages.seen, SelectionImages.labels
    assert len(set(labels[0].tolist())) > 2
    (tmp_path / "run" / "summary.json").write_text("{}")
    SelectionImages.seen = []
    resume(tmp_path / "run")
    assert len(whole) == len(SelectionImages.seen) > 0
    assert all(torch.equal(a, b) for a, b in zip(whole, SelectionImages.seen, strict=True))
