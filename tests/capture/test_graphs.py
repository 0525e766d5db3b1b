"""Graphs and their stand-in; on a GPU (`make test-gpu`) graphs against eager code."""

import pytest
import torch
from torch.func import functional_call

from capture_safety import on_meta
from cases import build_space, images, random_genotype
from nas_lightning.capture import CaptureError, Graphed, Policy, stand_in
from nas_lightning.capture.graphs import Recorder, Recorders, graphs_on, has_graphs
from nas_lightning.core import draws


def test_the_stand_in_fills_the_same_memory():
    source, graph = torch.ones(3), Recorder()
    found, none = graph.capture(lambda: [source * 2, None])
    assert none is None
    assert found.isnan().all()  # undefined before the first replay, as a graph's
    address = found.data_ptr()
    for value in (1.0, 4.0):
        source.fill_(value)
        graph.replay()
        assert (found.data_ptr(), found.tolist()) == (address, [2 * value] * 3)


def test_the_stand_in_refuses_another_run():
    factors, graph = iter([2.0, 3.0]), Recorder()
    graph.capture(lambda: [torch.ones(3) * next(factors)])
    with pytest.raises(CaptureError, match="was captured"):
        graph.replay()


def test_where_graphs_are():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert (has_graphs(cpu), has_graphs(cuda)) == (False, True)
    with stand_in():
        assert (has_graphs(cpu), has_graphs(cuda)) == (True, True)
        assert isinstance(graphs_on(cuda), Recorders)
    assert not has_graphs(cpu)


def test_a_copy_without_memory_is_elsewhere():
    space = build_space("s3")
    net = space.network(random_genotype(space), 3, init_channels=4, layers=3)
    assert {p.device.type for p in on_meta(net).parameters()} == {"meta"}
    assert {p.device.type for p in net.parameters()} == {"cpu"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ["s3", "s4"])
def test_graphs_of_a_gpu_are_eager_code(name):
    """Steps of a network in float64: masks and weights change, a smaller batch, evaluation; nothing is refused."""
    space = build_space(name)
    outcomes = []
    for setting in ("off", "required"):
        torch.manual_seed(0)
        net = space.network(random_genotype(space, 2), 3, init_channels=4, layers=3, auxiliary=True).to("cuda").double()
        graphed = Graphed(lambda w, i, _, net=net: functional_call(net, w, (i["x"],)), net, Policy(setting, "graph"))
        optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
        found = []
        for step, batch in enumerate((4, 4, 4, 3, 4, 4)):
            net.drop_probability = 0.1 * (step + 1)
            with draws.keyed(0, step, "evaluation"):
                logits, auxiliary = graphed({"x": images(batch, 32, seed=step).double().to("cuda")})
            loss = logits.square().mean() + auxiliary.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.detach())
        net.eval()
        for step in range(3):
            with torch.inference_mode(), draws.keyed(0, step, "test"):
                found.append(graphed({"x": images(4, 32, seed=step).double().to("cuda")}))
        assert graphed.policy.captures == (0 if setting == "off" else 2)
        outcomes.append([t.cpu() for t in (*found, *net.state_dict().values())])
    for exact, replayed in zip(*outcomes, strict=True):
        torch.testing.assert_close(replayed, exact, rtol=1e-10, atol=1e-10)
