"""What is read of a module before every replay."""

import torch
from torch import nn

from cases import build_space, tiny_supernet
from nas_lightning.capture.structure import Structure, process_flags
from nas_lightning.core.functional import frozen_batch_stats, full_precision, plain_autograd


def net():
    return tiny_supernet(build_space("s2"), layers=2)


def test_tensors_are_those_of_the_module():
    module = net()
    module.tied = module.classifier  # named_parameters lists it once
    structure = Structure(module)
    assert structure.names == [name for name, _ in module.named_parameters()]
    assert all(a is b for a, b in zip(structure.parameters(), module.parameters(), strict=True))
    assert {id(b) for b in structure.buffers()} == {id(b) for b in module.buffers()}
    before = structure.addresses()
    module.classifier.weight.data = module.classifier.weight.data.clone()
    assert sum(a != b for a, b in zip(before, structure.addresses(), strict=True)) == 1


def test_changes_of_the_structure_are_seen():
    changes = {
        "replaced": lambda m: setattr(m, "classifier", nn.Linear(3, 3)),
        "added": lambda m: m.add_module("more", nn.ReLU()),
        "removed": lambda m: delattr(m, "classifier"),
        "a buffer more": lambda m: m.register_buffer("more", torch.ones(1)),
        "a parameter more": lambda m: m.register_parameter("more", nn.Parameter(torch.ones(1))),
    }
    for name, change in changes.items():
        module = net()
        structure = Structure(module)
        assert structure.is_that_of_the_module()
        change(module)
        assert not structure.is_that_of_the_module(), name


def test_modes():
    module = net()
    structure = Structure(module)
    seen = [structure.modes()]
    with frozen_batch_stats(module):
        seen.append(structure.modes())
    assert structure.modes() == seen[0]
    module.eval()
    seen.append(structure.modes())
    assert not structure.trains()
    module.train()
    assert structure.trains()
    next(m for m in module.modules() if isinstance(m, nn.BatchNorm2d)).momentum = 0.0
    seen.append(structure.modes())
    assert len(set(seen)) == 4


def test_hooks():
    module = net()
    structure = Structure(module)
    assert not structure.has_hooks()
    for register in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"):
        handle = getattr(module.classifier, register)(lambda *_: None)
        assert structure.has_hooks()
        handle.remove()
    assert not structure.has_hooks()


def test_flags_of_the_process():
    seen = [process_flags("cpu")]
    with torch.autocast("cpu", torch.bfloat16):
        seen.append(process_flags("cpu"))
    with torch.autocast("cpu", torch.float16):
        seen.append(process_flags("cpu"))
    with full_precision():
        seen.append(process_flags("cpu"))
    with plain_autograd():
        seen.append(process_flags("cpu"))
    assert process_flags("cpu") == seen[0]
    assert len(set(seen)) == 5
