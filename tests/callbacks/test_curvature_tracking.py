"""The tracking callback: what it measures, when, and that it leaves no trace in the search."""

import pytest
import torch
from torch.func import functional_call

import nas_lightning as nl
from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core import draws
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.runs.folder import RunFolder


class Recheck(CurvatureTracking):
    """Measures once more, with torch's own Hessian, in float64 arithmetic on the result."""

    seen: list[tuple[float, float]] = []  # noqa: RUF012 - shared on purpose
    batches: list[torch.Tensor] = []  # noqa: RUF012

    def measured(self, trainer, module, on_grid=True):
        found = super().measured(trainer, module, on_grid)
        images, targets = self._batch(trainer, module)
        Recheck.batches.append(images)
        shapes = {name: a.shape for name, a in module.arch.items()}
        flat = torch.cat([a.detach().flatten() for a in module.arch.values()])

        def loss(vector):
            parts = vector.split([shape.numel() for shape in shapes.values()])
            arch = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
            weights = {name: w.detach() for name, w in module.supernet.named_parameters()}
            with draws.keyed(module.seed, module.num_steps, "curvature"), frozen_batch_stats(module.supernet):
                outputs = functional_call(module.supernet, weights, (images, module.relaxation(arch)))
            return torch.nn.functional.cross_entropy(outputs, targets)

        module.supernet.train(self.mode == "train")
        hessian = torch.autograd.functional.hessian(loss, flat).double()
        module.supernet.train()
        decay = 1e-3 if self.weight_decay else 0.0
        dense = float(torch.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]) + decay
        Recheck.seen.append((found.dominant_eigenvalue, dense))
        return found


@pytest.fixture
def recheck():
    Recheck.seen, Recheck.batches = [], []
    return ["trusted=[test_curvature_tracking]", "callbacks.curvature._target_=test_curvature_tracking.Recheck"]


@pytest.mark.parametrize(
    ("options", "regularizer"),
    [
        ([], ["+regularizer=skip_noise", "+regularizer=drop_path"]),
        (["mode=eval", "batch=fixed", "weight_decay=false"], []),
        pytest.param(["exact=true"], [], marks=pytest.mark.slow),
    ],
)
def test_equals_the_dense_hessian_on_the_same_batch(tracked, tmp_path, recheck, options, regularizer):
    chosen = [f"callbacks.curvature.{option}" for option in options]
    overrides = [*tracked, *chosen, *recheck, *regularizer, "space=s5", "search.epochs=4"]
    result = nl.search(nl.compose(overrides), run_dir=tmp_path / "run")
    rows = RunFolder(tmp_path / "run").read_curvature()
    assert [int(row["search_epoch"]) for row in rows] == [0, 2, 3]
    assert len(Recheck.seen) == 3
    for row, (found, dense) in zip(rows, Recheck.seen, strict=True):
        assert float(row["dominant_eigenvalue"]) == found == pytest.approx(dense, rel=2e-4, abs=1e-6)
    assert result.summary["search"]["dominant_eigenvalue"] == pytest.approx(Recheck.seen[-1][0], abs=1e-6)
    assert result.summary["search"]["curvature_seconds"] > 0
    same = all(torch.equal(batch, Recheck.batches[0]) for batch in Recheck.batches)
    assert same == ("batch=fixed" in options)
    metrics = RunFolder(tmp_path / "run").read_metrics()
    assert [bool(row["dominant_eigenvalue"]) for row in metrics] == [True, False, True, True]


def test_leaves_no_trace(tiny, tracked, tmp_path):
    noise = ["+regularizer=drop_path", "space=s4", "space.num_nodes=2", "search.epochs=3"]
    nl.search(nl.compose([*tiny, *noise]), run_dir=tmp_path / "without")
    nl.search(nl.compose([*tracked, *noise]), run_dir=tmp_path / "with")
    a, b = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("without", "with")
    )
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for name, tensor in a["state_dict"].items():
        assert torch.equal(tensor, b["state_dict"][name]), name
    for name, tensor in a["search"]["arch"].items():
        assert torch.equal(tensor, b["search"]["arch"][name])
    assert torch.equal(a["callbacks"]["RandomState"]["torch"], b["callbacks"]["RandomState"]["torch"])


def test_is_on_unless_switched_off():
    assert "curvature" in nl.compose(["data=digits"]).callbacks
    assert "curvature" not in nl.compose(["data=digits", "~callbacks.curvature"]).callbacks


def test_a_number_of_images_takes_the_first_of_the_batch():
    class Module:
        arch_batch = (torch.arange(6.0)[:, None], torch.arange(6))
        device = torch.device("cpu")

    images, targets = CurvatureTracking(images=4)._batch(None, Module())
    assert (images.flatten().tolist(), targets.tolist()) == ([0, 1, 2, 3], [0, 1, 2, 3])
    for whole in (CurvatureTracking(), CurvatureTracking(images=9)):
        assert whole._batch(None, Module())[0] is not None
        assert len(whole._batch(None, Module())[0]) == 6
