"""The engines by name: what is refused, and that networks of either are the same to whoever keeps them."""

import copy
import io
import pickle

import pytest
import torch

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import count_parameters, frozen_batch_stats
from nas_lightning.spaces import NasBench201Space, engines
from nas_lightning.spaces.engines import ENGINES, engine_of, fast, layout_of
from nas_lightning.spaces.mixed import edge_by_edge
from nas_lightning.spaces.node_by_node import node_by_node
from nas_lightning.spaces.waves import waves

SPACES = {"s5": lambda: build_space("s5"), "nasbench201": NasBench201Space}
NAMES = ("auto", "fast", "reference")


def test_names():
    assert engine_of("fast") is fast
    assert engine_of("reference") is edge_by_edge
    assert engine_of("auto") is ENGINES["fast"]


@pytest.mark.parametrize("space", SPACES)
def test_an_unknown_engine_is_refused(space):
    message = "^engine=slow: unknown; allowed: auto, fast, reference$"
    with pytest.raises(ConfigError, match=message):
        SPACES[space]().supernet(engine="slow")
    with pytest.raises(ConfigError, match=message):
        engine_of("slow")


@pytest.mark.parametrize("space", SPACES)
def test_the_fast_one_unless_another_is_asked_for(space):
    made = {name: tiny_supernet(SPACES[space](), engine=name, layers=1) for name in NAMES}
    made["default"] = tiny_supernet(SPACES[space](), layers=1)
    engines = {name: {cell.engine for cell in net.cells} for name, net in made.items()}
    assert engines == {
        "auto": {fast},
        "fast": {fast},
        "default": {fast},
        "reference": {edge_by_edge},
    }


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("transformed", [True, False])
def test_the_way_of_the_fast_one_is_that_of_the_device(monkeypatch, device, transformed):
    """Node by node on the CPU and where torch.func transforms the pass, else in waves."""
    seen = []
    for name, way in {"node_by_node": node_by_node, "waves": waves}.items():
        monkeypatch.setattr(engines, name, lambda *arguments, name=name, way=way: seen.append(name) or way(*arguments))
    space = build_space("s5")
    net = tiny_supernet(space, layers=1).to(device)
    mixing = {name: weights.to(device) for name, weights in random_mixing(space).items()}
    run = torch.func.vmap(net, (0, None)) if transformed else net
    with frozen_batch_stats(net):
        run(images()[None].to(device) if transformed else images().to(device), mixing)
    assert set(seen) == {"node_by_node" if device == "cpu" or transformed else "waves"}


def test_layouts():
    x = images()
    assert layout_of("reference")(x) is x
    fast = layout_of("fast")(x)
    assert torch.equal(fast, x)
    assert fast.is_contiguous(memory_format=torch.channels_last)
    assert layout_of("auto")(x).stride() == fast.stride()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("space", SPACES)
def test_shapes_without_numbers(space, engine):
    """A network on the device `meta` tells its shapes."""
    space = SPACES[space]()
    mixing = {name: weights.to("meta") for name, weights in random_mixing(space).items()}
    with torch.device("meta"):
        net = space.supernet(3, init_channels=4, layers=1, engine=engine)
        assert net(torch.empty(2, 3, 8, 8), mixing).shape == (2, 3)


@pytest.mark.parametrize("space", SPACES)
def test_states_are_those_of_either_engine(space):
    space = SPACES[space]()
    mixing = random_mixing(space)
    trained = tiny_supernet(space, 1, engine="fast", layers=1)
    trained(images(), mixing)
    trained(images(seed=1), mixing).sum().backward()
    state, stream = trained.state_dict(), io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=True)
    expected = trained.eval()(images(), mixing)
    for engine in NAMES:
        other = tiny_supernet(space, 2, engine=engine, layers=1).eval()
        assert list(other.state_dict()) == list(state)
        assert [name for name, _ in other.named_modules()] == [name for name, _ in trained.named_modules()]
        assert count_parameters(other) == count_parameters(trained)
        assert not torch.allclose(other(images(), mixing), expected)
        other.load_state_dict(loaded)
        torch.testing.assert_close(other(images(), mixing), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("space", SPACES)
def test_the_same_seed_gives_the_same_weights(space):
    states = [tiny_supernet(SPACES[space](), 3, engine=name, layers=1).state_dict() for name in NAMES]
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("space", SPACES)
def test_copies_are_networks_of_their_own(space, engine):
    space = SPACES[space]()
    mixing = random_mixing(space)
    net = tiny_supernet(space, engine=engine, layers=1)
    net(images(), mixing).sum().backward()  # what a pass leaves behind must not be in the way
    copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    expected = net.eval()(images(), mixing)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for other in copies:
        assert {cell.engine for cell in other.cells} == {engine_of(engine)}
        assert torch.equal(other.eval()(images(), mixing), expected)
        other.train()(images(seed=2), mixing)
        assert any(not torch.equal(value, before[name]) for name, value in other.state_dict().items())
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(copies[0](images(), mixing), copies[1](images(), mixing))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("space", SPACES)
def test_the_same_bits_every_time(space, engine):
    space, found = SPACES[space](), []
    for _ in range(2):
        net = tiny_supernet(space, engine=engine, layers=1).float()
        mixing = {name: value.float() for name, value in random_mixing(space).items()}
        outputs = net(images().float(), mixing)
        outputs.sin().sum().backward()
        found.append([outputs, *(p.grad for p in net.parameters()), *net.buffers()])
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))
