"""Dropout masks of language models: their values, what they share and when there are none; the tied decoder."""

import pytest
import torch

from cases import random_mixing
from nas_lightning.core import draws
from nas_lightning.core.batches import Chunk
from nas_lightning.core.errors import ConfigError
from nas_lightning.recurrent.words import Dropouts, Masks, Words, masked
from nas_lightning.spaces import PUBLISHED
from recurrent_reference import DROPOUTS, B, H, V, chunk, grown, recurrent_space, tiny_recurrent_supernet

NAMES = ("words", "inputs", "x", "hidden", "outputs")


def words(dropout=DROPOUTS):
    return grown(Words(V, H, dropout))


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_zero_or_one_over_the_probability_of_being_kept(name):
    dropped = getattr(DROPOUTS, name)
    with draws.keyed(0, 0, "weights"):
        mask = getattr(Words(1000, 500, DROPOUTS).double().masks(40), name)
    assert mask.shape == ((1000,) if name == "words" else (40, 500))
    kept = mask[mask != 0]
    assert torch.equal(kept, torch.full_like(kept, 1 / (1 - dropped)))
    n, share = mask.numel(), len(kept) / mask.numel()
    assert abs(share - (1 - dropped)) < 4 * (dropped * (1 - dropped) / n) ** 0.5


def test_there_are_no_masks_in_evaluation_mode_or_without_dropout():
    assert words().eval().masks(B) == Masks()
    assert words(Dropouts()).masks(B) == Masks()
    assert [mask is None for mask in words(Dropouts(hidden=0.5)).masks(B)] == [True, True, True, False, True]


def test_masks_of_one_pass_are_equal_and_those_of_others_differ():
    drawn = {}
    for key in [(0, 3, "arch"), (0, 3, "weights"), (0, 4, "arch"), (1, 3, "arch")]:
        with draws.keyed(*key):
            drawn[key], again = words().masks(40), words().masks(40)
        for one, other in zip(drawn[key], again, strict=True):
            assert torch.equal(one, other)
    first, *others = drawn.values()
    for other in others:
        assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    units = first[1:]
    assert not any(torch.equal(one, two) for i, one in enumerate(units) for two in units[:i])


def test_processes_drop_the_same_words_and_other_units():
    masks = []
    for rank in range(2):
        with draws.keyed(0, 0, "weights", rank):
            masks.append(words().masks(40))
    assert torch.equal(masks[0].words, masks[1].words)
    assert not any(torch.equal(one, other) for one, other in zip(masks[0][1:], masks[1][1:], strict=True))


def test_masks_keep_the_mean_of_what_they_meet():
    """Where a mask enters linearly, the mean over many is what is found without any."""
    supernet, tokens = tiny_recurrent_supernet(dropout=DROPOUTS), chunk().tokens
    ends, cell, state = supernet.words, supernet.cell, chunk().state

    def linear(masks):
        products, start = cell.begin(ends.embed(tokens, Masks()), masks)
        inside = masked(state, start.mask) @ start.state_weight
        return [ends.embed(tokens, masks), torch.stack(products), inside, ends.continued([state], masks).logits]

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        found = [linear(ends.masks(B)) for _ in range(1000)]
        whole = linear(Masks())
    for expected, *values in zip(whole, *found, strict=True):
        drawn = torch.stack(values)
        errors = (drawn.mean(0) - expected).abs() / (drawn.std(0) / len(values) ** 0.5)
        assert 0 < errors.max() < 4.5


def models():
    supernet = tiny_recurrent_supernet(dropout=DROPOUTS)
    network = grown(recurrent_space().network(PUBLISHED["darts_v1_rnn"], V, H, DROPOUTS))
    weights = random_mixing(recurrent_space())
    return {"supernet": (supernet, lambda inputs: supernet(inputs, weights)), "network": (network, network)}


@pytest.mark.parametrize("name", ["supernet", "network"])
def test_a_pass_draws_by_key_and_evaluation_drops_nothing(name):
    model, call = models()[name]
    with draws.keyed(0, 0, "arch"):
        first, again = call(chunk()), call(chunk())
    with draws.keyed(0, 0, "weights"):
        other = call(chunk())
    assert torch.equal(first.logits, again.logits)
    assert not torch.equal(first.hidden, other.hidden)
    dropped = (first.dropped == 0).double()
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))  # the same units at all steps
    assert 0 < dropped.mean() < 1
    model.eval()
    with draws.keyed(0, 0, "arch"):
        whole = call(chunk())
    assert torch.equal(whole.hidden, whole.dropped)
    assert torch.equal(whole.logits, call(chunk()).logits)


@pytest.mark.parametrize("name", ["supernet", "network"])
def test_the_tied_weights_are_one_tensor_whose_gradient_is_the_sum_of_both_uses(name):
    model, call = models()[name]
    model.eval()
    tied = model.words.weight
    assert sum(p.shape == tied.shape for p in model.parameters()) == 1

    def gradient(call):
        return torch.autograd.grad(call(chunk()).logits.sin().sum(), tied)[0]

    whole = gradient(call)
    shares = []
    for kept in ("embed", "continued"):
        with pytest.MonkeyPatch.context() as patch:
            for method in {"embed", "continued"} - {kept}:
                used = getattr(Words, method)

                def apart(self, *args, used=used):
                    copy = Words(V, H, self.dropout).double().train(self.training)
                    copy.load_state_dict(self.state_dict())
                    return used(copy, *args)

                patch.setattr(Words, method, apart)
            shares.append(gradient(call))
    assert all(share.abs().max() > 1e-3 for share in shares)
    assert (whole - sum(shares)).abs().max() < 1e-12


def test_no_state_is_a_state_of_zeros():
    for _, call in models().values():
        inputs = chunk()
        with draws.keyed(0, 0, "arch"):
            none, zeros = call(Chunk(inputs.tokens)), call(Chunk(inputs.tokens, torch.zeros_like(inputs.state)))
        assert torch.equal(none.logits, zeros.logits)


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5])
def test_a_probability_is_at_least_0_and_less_than_1(value):
    with pytest.raises(ConfigError, match=rf"dropout\.hidden={value}: must be at least 0 and less than 1"):
        Dropouts(hidden=value)


def test_initial_weights_are_uniform_and_the_bias_zero():
    ends = Words(500, 200, Dropouts())
    assert (ends.bias == 0).all()
    assert 0.0399 < ends.weight.abs().max() <= 0.04
    assert abs(float(ends.weight.detach().std()) - 0.08 / 12**0.5) < 1e-3
