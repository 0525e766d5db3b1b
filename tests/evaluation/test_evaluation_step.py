"""The training step against a plain loop: memory formats, the fused optimizer, compilation."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import nas_lightning as nl
from cases import build_space, images, random_genotype
from nas_lightning.core import draws
from nas_lightning.evaluation import step as steps
from nas_lightning.evaluation.recipe import Recipe
from nas_lightning.evaluation.step import TrainingStep, check_compiler, lay_out_like_weights
from nas_lightning.objectives import Classification
from nas_lightning.spaces.quick import QuickDepthwise

CHANNELS_LAST = torch.channels_last


def recipe_of(**values):
    return Recipe(
        **{"name": "test", "epochs": 2, "batch_size": 4, "init_channels": 4, "layers": 3, "lr": 0.1, **values}
    )


def objective():
    found = Classification()
    found.bind("abc", torch.tensor([0, 1, 2]))
    return found


def network_of(name="s1", seed=2, **sizes):
    space = build_space(name)
    torch.manual_seed(0)
    return space.network(
        random_genotype(space, seed), **{"num_classes": 3, "init_channels": 4, "layers": 3, "auxiliary": True, **sizes}
    )


def batches(number=3, size=32, dtype=torch.float64):
    return [(images(4, size, seed=k).to(dtype), torch.arange(4) % 3) for k in range(number)]


def plain_loop(network, recipe):
    """Steps in NCHW with torch's own convolutions and the plain optimizer; the losses."""
    for module in network.modules():
        if isinstance(module, QuickDepthwise):
            module.__class__ = nn.Conv2d
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, 0.0, recipe.weight_decay, recipe.nesterov, fused=False
    )
    losses = []
    for index, (x, y) in enumerate(batches()):
        optimizer.zero_grad()
        with draws.keyed(0, index, "train"):
            logits, auxiliary = network(x)
        loss = cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
        loss = loss + recipe.auxiliary * cross_entropy(auxiliary, y, label_smoothing=recipe.label_smoothing)
        loss.backward()
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def trained(step):
    """The product's steps; the losses."""
    step.prepare("cpu")
    optimizer = step.optimizer()
    losses = []
    for index, (x, y) in enumerate(batches()):
        with draws.keyed(0, index, "train"):
            losses.append(step(optimizer, x, y).item())
    return losses


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("channels_last", [None, True, False])
def test_steps_are_those_of_a_plain_loop(channels_last, nesterov):
    recipe = recipe_of(channels_last=channels_last, nesterov=nesterov, clip=0.5, label_smoothing=0.1)
    network = network_of().double()
    network.drop_probability = 0.3
    plain = copy.deepcopy(network)
    assert trained(TrainingStep(network, objective(), recipe)) == pytest.approx(plain_loop(plain, recipe), rel=1e-9)
    assert network.state_dict().keys() == plain.state_dict().keys()
    for (name, a), b in zip(network.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=name)
    kernels = [p for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=CHANNELS_LAST) == (channels_last is not False) for p in kernels)


@pytest.mark.parametrize(
    ("device", "wanted", "found"),
    [("cpu", None, True), ("cuda:1", None, True), ("mps", None, False), ("mps", True, True), ("cpu", False, False)],
)
def test_where_channels_last_is_automatic(device, wanted, found):
    step = TrainingStep(network_of(layers=1, auxiliary=False), objective(), recipe_of(channels_last=wanted))
    step.prepare(device)
    assert step.channels_last == found


def test_a_strided_convolution_of_one_pixel_stays_in_nchw_on_the_cpu():
    """Its backward pass writes out of bounds in channels_last; a kernel of three or a stride of one do no harm."""
    (dangerous, *harmless) = (nn.Conv2d(4, 8, size, stride) for size, stride in ((1, 2), (3, 2), (1, 1)))
    for network, found in ((dangerous, False), (nn.Sequential(*harmless), True)):
        step = TrainingStep(network, objective(), recipe_of())
        step.prepare("cpu")
        assert step.channels_last == found
    with pytest.raises(nl.ConfigError, match=r"evaluation\.channels_last=true: .* use evaluation\.channels_last=null"):
        TrainingStep(dangerous, objective(), recipe_of(channels_last=True)).prepare("cpu")
    elsewhere = TrainingStep(dangerous, objective(), recipe_of())
    elsewhere.prepare("cuda")
    assert elsewhere.channels_last


def test_fused_where_the_weights_are():
    network = network_of(layers=1, auxiliary=False)
    assert TrainingStep(network, objective(), recipe_of()).optimizer().param_groups[0]["fused"] is True
    elsewhere = TrainingStep(network.to("meta"), objective(), recipe_of()).optimizer()
    assert not elsewhere.param_groups[0]["fused"]


def test_fused_steps_have_the_same_bits_on_any_number_of_threads():
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            weights = [torch.randn(size, generator=torch.Generator().manual_seed(0)) for size in (7, 1000, 33333)]
            optimizer = torch.optim.SGD(weights, 0.03, 0.9, weight_decay=3e-4, fused=True)
            rng = torch.Generator().manual_seed(1)
            for _ in range(3):
                for w in weights:
                    w.grad = torch.randn(w.shape, generator=rng)
                optimizer.step()
            results.append(weights)
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *results))


def test_restored_momentum_is_laid_out_like_its_weight():
    """From a run in NCHW: the fused step would mix its elements up."""
    torch.manual_seed(0)
    start, grad, momentum = torch.randn(3, 4, 6, 3, 2, dtype=torch.float64)
    weight = nn.Parameter(start.contiguous(memory_format=CHANNELS_LAST))
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9, fused=True)
    state = {"state": {0: {"momentum_buffer": momentum}}, "param_groups": optimizer.state_dict()["param_groups"]}
    optimizer.load_state_dict(state)
    lay_out_like_weights(optimizer)
    weight.grad = grad.contiguous(memory_format=CHANNELS_LAST)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), start - 0.5 * (0.9 * momentum + grad), rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------------- compilation
def test_compiled_steps_are_those_of_a_plain_loop(compiled_graphs):
    recipe = recipe_of(compile=True)
    network = network_of("s5", layers=2).double()
    plain, step = copy.deepcopy(network), TrainingStep(network, objective(), recipe)
    losses = trained(step)
    assert losses == pytest.approx(plain_loop(plain, recipe), rel=1e-9)
    assert network.state_dict().keys() == plain.state_dict().keys()  # no _orig_mod.
    for a, b in zip(network.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    assert len(compiled_graphs) == 1  # the network in one piece


def test_what_is_compiled(compiled_graphs):
    """Once without and once with drop-path, whatever its probability; neither odd batches nor evaluation."""
    network = network_of("s5", layers=2).double()
    step = TrainingStep(network, objective(), recipe_of(compile=True))
    step.prepare("cpu")
    (x, y), number = batches(1)[0], []
    for probability in (0.0, 0.1, 0.2, 0.3):
        network.drop_probability = probability
        step.loss(x, y)
        number.append(len(compiled_graphs))
    assert number == [1, 2, 2, 2]
    step.loss(x[:3], y[:3])
    network.eval()
    logits = step.outputs(x)
    assert len(compiled_graphs) == 2
    torch.testing.assert_close(logits, network.forward(x), rtol=0, atol=0)


@pytest.mark.slow
def test_compiled_by_the_default_compiler():
    """Losses of a tiny network as without; takes a minute or more."""
    losses = []
    for compiled in (False, True):
        network = network_of("s5", layers=1, auxiliary=False).double()
        losses.append(trained(TrainingStep(network, objective(), recipe_of(compile=compiled))))
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


def test_missing_compiler_is_one_line(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler found\nread the manual")

    monkeypatch.setattr(steps.torch, "compile", broken)
    with pytest.raises(nl.ConfigError) as error:
        check_compiler("cpu")
    assert str(error.value) == (
        "evaluation.compile=true: torch.compile does not work on this machine (no C++ compiler found); use"
        " evaluation.compile=false"
    )


@pytest.mark.parametrize("recipe", ["cifar_drnas", "cifar_16x20", "images", "imagenet_mobile_darts", "nasbench201"])
def test_recipes_say_how_to_compute(recipe):
    evaluation = nl.compose(["data=cifar10", f"evaluation={recipe}"]).evaluation
    assert (evaluation.channels_last, evaluation.compile) == (None, False)
