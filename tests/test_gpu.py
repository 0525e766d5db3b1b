"""What holds on the CPU holds on a GPU: `make test-gpu` on a machine that has one.

The suite itself runs without a GPU, also where there is one, so that its bits are the same everywhere.
"""

import csv
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import multiprocessing
from torch.func import functional_call
from torch.nn import functional as F

import nas_lightning as nl
import rank_parts
from cases import SPACES, build_space, images, pooling, random_mixing, tiny_supernet
from comparing import differences
from conftest import write_images
from every_method import METHODS, run
from nas_lightning.core import draws
from nas_lightning.curvature import hessian, measure
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.run import run_search
from nas_lightning.spaces import NasBench201Space
from nas_lightning.training.workbench import Workbench
from whole_runs import cut_off_and_resumed_equals_whole
from whole_runs import run as run_whole

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]
ROOT = Path(__file__).parents[1]
ALL_SPACES = (*SPACES, "nasbench201")
NOISELESS = [name for name in ALL_SPACES if name != "s4"]
"""Noise is drawn where the images are, and so differs between devices."""
LEARNT = {
    **{h: ["method=darts", f"hypergradient={h}"] for h in ("first_order", "unrolled", "unrolled_exact")},
    **{m: [f"method={m}"] for m in ("sdarts_rs", "sdarts_adv", "drnas", "gdas", "snas", "sgas", "rs_ws")},
    "pc_darts": ["method=pc_darts", "regularizer.partial_channels.divisor=2"],
}
"""Searches whose draws do not depend on the device."""


@pytest.fixture
def on_gpu(tiny):
    return [*("trainer=gpu" if override == "trainer=cpu" else override for override in tiny)]


def moved(tensors, device, dtype=None):
    return {name: tensor.to(device, dtype) for name, tensor in tensors.items()}


def space_named(name):
    return NasBench201Space() if name == "nasbench201" else build_space(name)


def computed(space, engine, device, dtype, mixing):
    """Output, gradients and running statistics of one pass, on the CPU."""
    net = tiny_supernet(space, engine=engine, layers=1 if isinstance(space, NasBench201Space) else 4).to(device, dtype)
    leaves = {name: m.clone().requires_grad_() for name, m in moved(mixing, device, dtype).items()}
    with draws.keyed(0, 0, "weights"):
        outputs = net(images().to(device, dtype), leaves)
    weights = list(net.parameters())
    found = torch.autograd.grad(outputs.square().sum(), [*weights, *leaves.values()], allow_unused=True)
    gradients = [torch.zeros_like(w) if g is None else g for g, w in zip(found, [*weights, *leaves.values()])]  # noqa: B905
    return [t.detach().double().cpu() for t in (outputs, *gradients, *net.buffers())]


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("space", ALL_SPACES)
def test_supernets_are_those_of_the_cpu(space, engine):
    """S4 is compared with the reference on the GPU."""
    device = "cpu" if space in NOISELESS else "cuda"
    space = space_named(space)
    mixing = random_mixing(space)
    expected = computed(space, "reference", device, torch.float64, mixing)
    for found, wanted in zip(computed(space, engine, "cuda", torch.float64, mixing), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", NOISELESS)
def test_supernets_in_float32(space, monkeypatch):
    """The fast engine is as near to float64 as the reference, up to a factor."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    space = space_named(space)
    mixing = random_mixing(space)
    exact = computed(space, "reference", "cpu", torch.float64, mixing)
    errors = {}
    for engine in ("fast", "reference"):
        found = computed(space, engine, "cuda", torch.float32, mixing)
        distances = [(a - b).square().sum() for a, b in zip(found, exact, strict=True)]
        errors[engine] = float(sum(distances) / sum(b.square().sum() for b in exact)) ** 0.5
    assert errors["fast"] < max(10 * errors["reference"], 1e-5), errors


def trajectory(words, file, home, device, space="Double", batch=16):
    """What a search in float64 leaves (see `rank_parts.Record`), and its genotype."""
    home.mkdir(parents=True, exist_ok=True)
    torch.set_default_dtype(torch.float64)
    try:
        config = rank_parts.case(words, file, home, batch, space, trainer=device)
        genotype = run_search(Workbench(config, RunFolder(home))).genotype
    finally:
        torch.set_default_dtype(torch.float32)
    return torch.load(home / "search.rank0.pt", weights_only=True, map_location="cpu"), genotype


def stay_close(first, second, tolerance):
    assert len(first) == len(second) > 3
    for one, two in zip(first, second, strict=True):
        for choice in one:
            torch.testing.assert_close(two[choice], one[choice], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", LEARNT)
def test_searches_take_the_steps_of_the_cpu(name, images_file, tmp_path):
    """In float64 architecture parameters follow the same trajectory, with the same decisions and genotype."""
    words = [*LEARNT[name], "~callbacks.curvature", "search.epochs=3"]
    (cpu, genotype), (gpu, same_genotype) = (
        trajectory(words, images_file, tmp_path / device, device) for device in ("cpu", "gpu")
    )
    stay_close(cpu["trajectory"], gpu["trajectory"], 1e-6)
    assert genotype == same_genotype
    assert not differences(cpu["decisions"], gpu["decisions"])


@pytest.mark.parametrize("name", LEARNT)
def test_searches_by_graphs_take_the_steps_of_eager_code(name, images_file, tmp_path):
    """In float64, on the GPU both."""
    words = [*LEARNT[name], "search.epochs=3"]
    (eager, genotype), (graphed, same_genotype) = (
        trajectory([*words, f"graph={graph}"], images_file, tmp_path / graph, "gpu") for graph in ("off", "required")
    )
    stay_close(eager["trajectory"], graphed["trajectory"], 1e-10)
    assert genotype == same_genotype


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("space", NOISELESS)
def test_networks_are_those_of_the_cpu(space, layout):
    """Gradients of the weights of a discrete network, in either layout, with the pools in it where there are any."""
    space = space_named(space)
    genotype = space.genotype(pooling(space))
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        net = space.network(genotype, 3, init_channels=4, layers=1).double().to(device)
        x = images().to(device)
        outputs = net(x if device == "cpu" else x.contiguous(memory_format=layout))
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        found.append([g.cpu() for g in torch.autograd.grad(outputs.square().sum(), list(net.parameters()))])
    for cpu, gpu in zip(*found, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-8, atol=1e-8)


def test_curvature_is_that_of_the_cpu():
    space = build_space("s5")
    found = {}
    for device in ("cpu", "cuda"):
        net = tiny_supernet(space, engine="fast").to(device)
        weights = {name: w.detach() for name, w in net.named_parameters()}
        x, targets = images().to(device), torch.arange(4).remainder(3).to(device)
        arch = moved(random_mixing(space), device)

        def loss(a, net=net, weights=weights, x=x, targets=targets):
            mixing = {name: value.softmax(dim=1) for name, value in a.items()}
            return F.cross_entropy(functional_call(net, weights, (x, mixing)), targets)

        dense = hessian(loss, arch, net).cpu()
        largest = float(torch.linalg.eigvalsh((dense + dense.T) / 2)[-1])
        assert measure(loss, arch, net).value == pytest.approx(largest, rel=1e-3)
        found[device] = dense
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs(method, on_gpu, tmp_path):
    run(method, "s5" if method != "noisy_darts" else "s4", on_gpu, tmp_path / "run")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_whole_run(precision, on_gpu, tmp_path):
    """Search with curvature, retraining, and a network that is used elsewhere."""
    overrides = [override for override in on_gpu if override != "~callbacks.curvature"]
    run_whole([*overrides, "callbacks.curvature.interval=1", f"trainer.precision={precision}"], tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for phase in ("search", "evaluation"):
        assert summary[phase]["peak_memory_mib"] > 0
    assert 0 <= summary["evaluation"]["test_accuracy"] <= 100
    assert torch.cuda.get_device_name() in json.dumps(summary)
    rows = list(csv.DictReader((tmp_path / "run" / "curvature.csv").open()))
    assert all(float(row["dominant_eigenvalue"]) == float(row["dominant_eigenvalue"]) for row in rows)


def numbers_of(path, column):
    return [float(row[column]) for row in csv.DictReader(path.open())]


def test_tasks_on_a_finished_run(on_gpu, tmp_path, monkeypatch):
    """Labels, losses around the end of the search and eigenvalues are those that the CPU finds."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    finished, photos = tmp_path / "run", tmp_path / "photos"
    run_whole([*on_gpu, "data.augment_val=false"], finished)
    photos.mkdir()
    for number in range(6):
        picture = torch.randint(0, 256, (8, 8, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        Image.fromarray(picture.numpy()).save(photos / f"{number}.png")
    likely, losses, eigenvalues = {}, {}, {}
    for place, device in enumerate(("cpu", "gpu")):
        words, home = [f"run={finished}", f"trainer={device}"], tmp_path / str(place)
        nl.export(nl.compose(["task=export", *words, "export.onnx=false"]), run_dir=home / "export")
        labels = nl.predict(nl.compose(["task=predict", *words, f"images={photos}"]), run_dir=home / "labels")
        likely[device] = [prediction.probabilities[0] for prediction in labels]
        nl.landscape(nl.compose(["task=landscape", *words, "landscape.steps=3"]), run_dir=home / "plane")
        losses[device] = numbers_of(home / "plane" / "landscape.csv", "loss")
        nl.analyse(nl.compose(["task=analyse", "analysis=spectrum", *words]), run_dir=home / "spectrum")
        eigenvalues[device] = numbers_of(home / "spectrum" / "analysis.csv", "eigenvalue")
    for found in (likely, losses, eigenvalues):
        assert found["gpu"] == pytest.approx(found["cpu"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("phase", "epoch"), [("search", 1), ("evaluation", 0)])
def test_a_resumed_run_is_a_whole_one(phase, epoch, on_gpu, tmp_path):
    """Bit for bit, with the deterministic kernels that Lightning asks for."""
    words = [*on_gpu, "method=sdarts_rs", "+regularizer=drop_path", "search.epochs=3", "trainer.deterministic=true"]
    cut_off_and_resumed_equals_whole(words, phase, epoch, tmp_path)


def test_images_augmented_on_the_gpu_are_those_of_the_loader(on_gpu, tmp_path):
    """The same search, up to rounding of the images."""
    found = {}
    file = next(override for override in on_gpu if override.startswith("data.path=")).partition("=")[2]
    words = ["method=darts", "~callbacks.curvature", "+regularizer=cutout"]
    for where in ("device", "loader"):
        found[where] = trajectory([*words, f"data.augment_on={where}"], file, tmp_path / where, "gpu")[0]["trajectory"]
    stay_close(found["device"], found["loader"], 1e-5)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


SYNCED = {
    f"{space} {hypergradient}": (space, [f"hypergradient={hypergradient}", *more])
    for space, more in (("GroupNormed", []), ("Double", ["trainer.sync_batchnorm=true"]))
    for hypergradient in ("first_order", "unrolled_exact")
    if (space, hypergradient) != ("Double", "unrolled_exact")  # it normalises by the images of a process
}


def test_two_processes_on_a_gpu_take_the_steps_of_one(tmp_path):
    """Half the batch in each is the whole batch in one, where normalisation sees one image or, synchronised, all."""
    file = tmp_path / "tiny.npz"
    write_images(file, train=44)
    words = {
        name: ["method=darts", "~callbacks.curvature", "search.epochs=5", *more] for name, (_, more) in SYNCED.items()
    }
    cases = {
        f"double {name}": rank_parts.case(words[name], file, tmp_path / f"double {name}", 8, space, trainer="gpu")
        for name, (space, _) in SYNCED.items()
    }
    trainer = {"accelerator": "gpu", "devices": 1, "num_nodes": 2, "strategy": "ddp"}
    given = (free_port(), {"trainer": trainer, "cases": cases}, tmp_path)
    multiprocessing.spawn(rank_parts.search_on_one_gpu, given, nprocs=2)
    for name, (space, _) in SYNCED.items():
        plain = [word for word in words[name] if "sync" not in word]
        alone, _ = trajectory(plain, file, tmp_path / "alone" / name, "gpu", space)
        first, second = (
            torch.load(tmp_path / f"double {name}" / f"search.rank{rank}.pt", weights_only=True, map_location="cpu")
            for rank in (0, 1)
        )
        assert not differences(first, second, name)
        stay_close(alone["trajectory"], first["trajectory"], 1e-5)


def test_nccl(on_gpu, tmp_path):
    """A whole run by torchrun with the process group of GPUs, one process."""
    words = [*on_gpu, "trainer=ddp", "trainer.accelerator=gpu", "trainer.sync_batchnorm=true"]
    words = [word for word in words if word != "trainer=gpu"]
    command = [*("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"), str(ROOT / "run.py")]
    ended = subprocess.run(
        [sys.executable, *command, *words, f"hydra.run.dir={tmp_path}/run"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["evaluation"]["test_accuracy"] >= 0


@pytest.mark.parametrize("words", [[], ["trainer.precision=bf16-mixed"]], ids=["float32", "bf16"])
def test_retraining_by_graphs_is_that_of_eager_code(on_gpu, tmp_path, words):
    """Drop-path from the second epoch on, a smaller last batch, validation, the test: nothing is refused."""
    losses = {}
    for graph in ("off", "required"):
        sizes = ["evaluation.drop_path=0.3", "evaluation.epochs=3", f"evaluation.graph={graph}"]
        nl.evaluate(nl.compose([*on_gpu, *sizes, *words]), "random", run_dir=tmp_path / graph)
        with (tmp_path / graph / "metrics.csv").open(newline="") as file:
            losses[graph] = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert json.loads((tmp_path / "required/summary.json").read_text())["evaluation"]["graph"].startswith("on")
    assert losses["required"] == pytest.approx(losses["off"], rel=0.02 if words else 1e-3)
