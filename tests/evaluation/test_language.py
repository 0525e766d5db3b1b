"""The training of language models: rates, states, averages and best weights against a plain loop; resumes; NaN."""

import copy
import math
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from nas_lightning.core.batches import Chunk, Continued
from nas_lightning.core.errors import NonFiniteError
from nas_lightning.data.grammar import Grammar
from nas_lightning.data.text import TextData
from nas_lightning.data.text_modules import TextEvaluationData
from nas_lightning.evaluation import LanguageTraining
from nas_lightning.evaluation.averaging import AveragedSgd
from nas_lightning.evaluation.language_module import LanguageModule
from nas_lightning.objectives import LanguageModel

WORDS, HIDDEN = 7, 5


class Rhyme(TextData):
    """Words that mostly follow each other in turn."""

    name = "rhyme"

    def __init__(self):
        super().__init__(bptt=6, chunks="random", val_columns=2, test_columns=1)

    def _load(self):
        rng = np.random.default_rng(0)
        steps = np.where(rng.random(700) < 0.7, 1, rng.integers(0, WORDS, 700))
        tokens = np.cumsum(steps) % WORDS
        self._fill("abcdefg", {"train": tokens[:500], "valid": tokens[500:600], "test": tokens[600:]})


class Tiny(nn.Module):
    """A recurrent network in float64; `broken` lists the calls in training that give NaN."""

    def __init__(self, broken=()):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, HIDDEN)
        self.cell = nn.Linear(2 * HIDDEN, HIDDEN)
        self.calls, self.broken = 0, broken
        self.double()

    def forward(self, inputs: Chunk):
        columns = inputs.tokens.shape[1]
        state = torch.zeros(columns, HIDDEN).double() if inputs.state is None else inputs.state
        hidden = []
        for words in self.words(inputs.tokens):
            state = torch.tanh(self.cell(torch.cat([words, state], dim=1)))
            hidden.append(state)
        hidden = torch.stack(hidden)
        if self.training:
            self.calls += 1
            if self.calls in self.broken:
                hidden = hidden * math.nan
        return Continued(hidden @ self.words.weight.T, hidden[-1], hidden, hidden)


def recipe_of(**changes):
    values = {
        "name": "test", "epochs": 9, "batch_size": 4, "hidden": HIDDEN, "dropout": {}, "optimizer": "sgd_asgd",
        "lr": 2.0, "schedule": "constant", "weight_decay": 1e-3, "clip": 0.7, "nonmono": 1,
    }  # fmt: skip
    return LanguageTraining(**values | changes)


class Saved(L.Callback):
    """Saves the state after a batch and ends the training."""

    def __init__(self, path, epoch, batch):
        self.path, self.place = path, (epoch, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.place:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


def trained(recipe, network=None, checkpoint=None, callbacks=(), source=None):
    """Train and test; return the module and what the test measured."""
    objective = LanguageModel(temporal=0.05)
    module = LanguageModule(network or Tiny(), objective, recipe, 3, None, recipe.nonmono, recipe.recoveries)
    data = TextEvaluationData(source or Rhyme(), recipe.batch_size, 3)
    trainer = L.Trainer(
        max_epochs=recipe.epochs, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False, reload_dataloaders_every_n_epochs=1, accelerator="cpu", num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    (result,) = trainer.test(module, datamodule=data, verbose=False)
    return module, result["test_metric"]


def mean_nll(network, columns):
    """Mean negative log-likelihood of a text in columns [R, B], read at once."""
    network.eval()
    with torch.no_grad():
        logits = network(Chunk(columns[:-1])).logits
    network.train()
    return nn.functional.cross_entropy(logits.flatten(0, 1), columns[1:].flatten()).item()


def cut(tokens, count):
    rows = len(tokens) // count
    return torch.from_numpy(np.stack([tokens[k * rows : (k + 1) * rows] for k in range(count)], axis=1))


def plain_loop(recipe):
    """The recipe written out; returns perplexities of validation, of the test, and the epoch of the switch."""
    source, network = Rhyme(), Tiny()
    source.prepare()
    weights = list(network.parameters())
    train, valid, test = cut(source.parts["train"], 4), cut(source.parts["valid"], 2), cut(source.parts["test"], 1)
    losses, best, switched, sums = [], (math.inf, None), None, None
    for epoch in range(recipe.epochs):
        data = TextEvaluationData(source, 4, 3)
        data.first_pass = epoch
        data.setup("fit")
        state, row = None, 0
        for chunk, _ in data.train_dataloader():  # only its length is taken from there
            length = len(chunk.tokens)
            outputs = network(Chunk(train[row : row + length], state))
            targets = train[row + 1 : row + length + 1]
            loss = nn.functional.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten())
            loss = loss + 0.05 * (outputs.hidden[1:] - outputs.hidden[:-1]).square().mean()
            gradients = torch.autograd.grad(loss, weights)
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
            scale = min(1.0, recipe.clip / (norm + 1e-6))
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight -= recipe.lr * length / 6 * (scale * gradient + recipe.weight_decay * weight)
            if switched is not None:
                sums.append([weight.detach().clone() for weight in weights])
            state, row = outputs.state.detach(), row + length
        measured = copy.deepcopy(network)
        if switched is not None:
            with torch.no_grad():
                for weight, values in zip(measured.parameters(), zip(*sums[1:], strict=True), strict=True):
                    weight.copy_(torch.stack(values).mean(0))
        loss = mean_nll(measured, valid)
        if loss < best[0]:
            best = loss, measured
        before = losses[: -recipe.nonmono]
        if switched is None and before and loss > min(before):
            switched, sums = epoch, []
        losses.append(loss)
    return [math.exp(loss) for loss in losses], math.exp(mean_nll(best[1], test)), switched


def test_training_is_that_of_a_plain_loop():
    recipe = recipe_of()
    validated, tested, switched = plain_loop(recipe)
    assert switched == 2
    assert validated.index(min(validated)) == 8  # with averages
    module, result = trained(recipe)
    assert result == pytest.approx(tested, rel=1e-6)  # logged in float32
    assert module.validated == pytest.approx(validated[: switched + 1], rel=1e-6)
    assert module.best == pytest.approx(min(validated), rel=1e-6)
    assert module.optimizers(use_pl_optimizer=False).averaging


def test_the_weights_of_the_best_epoch_are_tested_not_the_last():
    """The rate is far too high, so that an early epoch is the best."""
    recipe = recipe_of(epochs=4, lr=60.0, clip=None, nonmono=9)
    validated, tested, _ = plain_loop_without_clip(recipe)
    assert validated.index(min(validated)) < 3
    _, result = trained(recipe)
    assert result == pytest.approx(tested, rel=1e-6)


def plain_loop_without_clip(recipe):
    return plain_loop(recipe_of(epochs=recipe.epochs, lr=recipe.lr, clip=1e9, nonmono=recipe.nonmono))


@pytest.mark.parametrize("place", [(6, 9), *(pytest.param(at, marks=pytest.mark.slow) for at in ((1, 4), (5, 0)))])
def test_a_training_resumed_between_two_batches_ends_like_a_whole_one(tmp_path, place):
    """Before and after weights are averaged: states of the stream, averages, best weights and losses go on."""
    recipe = recipe_of(epochs=8)
    whole, result = trained(recipe)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(recipe, callbacks=[Saved(tmp_path / "cut.ckpt", *place)])
    resumed, again = trained(recipe, checkpoint=tmp_path / "cut.ckpt")
    assert again == result
    assert (resumed.best, resumed.validated) == (whole.best, whole.validated)
    for one, other in zip(whole.best_weights.values(), resumed.best_weights.values(), strict=True):
        assert torch.equal(one, other)


def test_adam_follows_the_length_of_chunks():
    recipe = recipe_of(optimizer="adam", lr=0.01, epochs=2, weight_decay=0.0)
    rates = []

    class Noted(torch.optim.Adam):
        def step(self, closure=None):
            result = super().step(closure)
            rates.append(self.param_groups[0]["lr"])
            return result

    optimizer = recipe.build_optimizer(list(Tiny().parameters()))
    assert isinstance(optimizer, torch.optim.Adam)
    assert isinstance(recipe_of().build_optimizer(list(Tiny().parameters())), AveragedSgd)
    module = LanguageModule(Tiny(), LanguageModel(), recipe, 3)
    module.configure_optimizers = lambda: Noted(module.network.parameters(), lr=recipe.lr)
    data = TextEvaluationData(Rhyme(), 4, 3)
    trainer = L.Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    expected = []
    for epoch in range(2):
        data = TextEvaluationData(Rhyme(), 4, 3)
        data.first_pass = epoch
        data.setup("fit")
        expected += [0.01 * len(targets) / 6 for _, targets in data.train_dataloader()]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert len(set(rates)) > 2


def test_training_goes_on_from_the_best_weights_a_limited_number_of_times(caplog):
    steps = len(list(_loader(0))) + len(list(_loader(1)))
    network = Tiny(broken=(steps + 1,))
    module, result = trained(recipe_of(recoveries=1, epochs=3), network)
    assert module.recovered == 1
    assert math.isfinite(result)
    assert "going on from the best weights, 1 of evaluation.recoveries=1 times" in caplog.text
    # With as many broken calls as the third epoch has, its weights stay the best ones to the end.
    third = len(list(_loader(2)))
    network = Tiny(broken=tuple(range(steps + 1, steps + third + 1)))
    module, _ = trained(recipe_of(recoveries=third, epochs=3, nonmono=9), network)
    for name, weight in module.network.state_dict().items():
        assert torch.equal(weight, module.best_weights[name])


def _loader(number):
    data = TextEvaluationData(Rhyme(), 4, 3)
    data.first_pass = number
    data.setup("fit")
    return data.train_dataloader()


@pytest.mark.parametrize(("broken", "recoveries"), [((2,), 5), ((40, 41), 1), ((40,), 0)])
def test_it_stops_before_any_best_weights_or_after_too_many_recoveries(broken, recoveries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NonFiniteError, match="training loss is nan"):
        trained(recipe_of(recoveries=recoveries), Tiny(broken))


class Gated(nn.Module):
    """A GRU on the generated language."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.cell, self.scores = nn.Embedding(178, 32), nn.GRU(32, 32), nn.Linear(32, 178)

    def forward(self, inputs: Chunk):
        state = None if inputs.state is None else inputs.state[None]
        hidden, last = self.cell(self.words(inputs.tokens), state)
        return Continued(self.scores(hidden), last[0], hidden, hidden)


def test_what_is_learnt_of_the_generated_language_is_above_its_optimum():
    """Below it, less three standard errors, something would leak; above that of frequencies nothing would be learnt."""
    source = Grammar(30_000, 2000, 5000)
    recipe = recipe_of(optimizer="adam", lr=0.02, epochs=2, batch_size=16, weight_decay=0.0, clip=1.0)
    _, tested = trained(recipe, Gated(), source=source)
    nll = source.nll["test"]
    error = nll.std() / math.sqrt(len(nll))
    assert math.exp(nll.mean() - 3 * error) < tested < 30  # 65 by frequency


class Listening:
    """A space that notes what its networks are built of."""

    def build_network(self, *arguments):
        self.given = arguments


def test_the_space_gets_the_sizes_of_the_recipe():
    bench = SimpleNamespace(space=Listening(), data=Rhyme(), objective=LanguageModel(), config=SimpleNamespace(seed=0))
    bench.data.prepare()
    recipe = recipe_of(dropout={"words": 0.1, "hidden": 0.25})
    recipe.network("genotype", bench)
    genotype, data, outputs, sizes = bench.space.given
    assert (genotype, data, outputs, sizes.hidden) == ("genotype", bench.data, WORDS, HIDDEN)
    assert (sizes.dropout.words, sizes.dropout.hidden, sizes.dropout.outputs) == (0.1, 0.25, 0.0)
    assert recipe.sizes() == {"hidden": HIDDEN}
