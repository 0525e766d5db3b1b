"""The objective of language models: likelihood, penalties of training, and perplexity over all tokens."""

import math

import pytest
import torch

from nas_lightning.core.batches import Continued
from nas_lightning.data.grammar import Grammar, State, steps
from nas_lightning.objectives import LanguageModel, Perplexity


def outputs_of(logits, hidden=2, seed=0):
    """Outputs of a network for logits [T, B, V], with arbitrary states."""
    rng = torch.Generator().manual_seed(seed)
    length, columns, _ = logits.shape
    states = torch.randn(length, columns, hidden, dtype=logits.dtype, generator=rng)
    return Continued(logits, states[-1], states, 2 * states + 1)


def drawn(length, columns, words, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(length, columns, words, dtype=dtype, generator=rng)
    return outputs_of(logits, seed=seed), torch.randint(words, (length, columns), generator=rng)


def summed(outputs, targets):
    """Negative log-likelihood of each token, in a loop."""
    length, columns, _ = outputs.logits.shape
    return [
        math.log(sum(math.exp(x) for x in outputs.logits[t, b].tolist())) - outputs.logits[t, b, targets[t, b]].item()
        for t in range(length)
        for b in range(columns)
    ]


def test_the_goal_is_a_perplexity_to_minimise():
    objective = LanguageModel()
    assert objective.goal.to_dict() == {"metric": "perplexity", "unit": "", "direction": "min"}
    assert (objective.inputs, objective.has_classes) == ("text", False)
    assert objective.outputs(178) == 178
    assert objective.weight(torch.zeros(7, 3)) == 21


def test_the_loss_is_the_mean_over_all_tokens():
    outputs, targets = drawn(5, 3, 11)
    nll = summed(outputs, targets)
    assert LanguageModel().loss(outputs, targets).item() == pytest.approx(sum(nll) / 15, rel=1e-12)


def test_training_adds_the_two_penalties():
    outputs, targets = drawn(5, 3, 11)
    moved = [
        (outputs.hidden[t, b, h] - outputs.hidden[t - 1, b, h]).item() ** 2
        for t in range(1, 5)
        for b in range(3)
        for h in range(2)
    ]
    large = [value**2 for value in outputs.dropped.flatten().tolist()]
    expected = sum(summed(outputs, targets)) / 15 + 0.3 * sum(moved) / 24 + 0.2 * sum(large) / 30
    objective = LanguageModel(temporal=0.3, activation=0.2)
    assert objective.training_loss(outputs, targets).item() == pytest.approx(expected, rel=1e-12)
    assert objective.training_loss(outputs, targets) > objective.loss(outputs, targets)
    plain = LanguageModel(temporal=0, activation=0)
    assert torch.equal(plain.training_loss(outputs, targets), plain.loss(outputs, targets))


def test_a_chunk_of_one_token_has_no_change_to_penalise():
    outputs, targets = drawn(1, 3, 11)
    objective = LanguageModel(temporal=10)
    assert torch.equal(objective.training_loss(outputs, targets), objective.loss(outputs, targets))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.bfloat16, 1e-6)])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(dtype, error):
    metric = Perplexity()
    for length in (5, 3):
        metric.update(outputs_of(torch.full((length, 4, 178), 0.25, dtype=dtype)), torch.zeros(length, 4).long())
    assert metric.compute().item() == pytest.approx(178, rel=error)


def test_perplexity_is_of_all_tokens_not_a_mean_over_batches():
    metric, nll, means = LanguageModel().new_metric(), [], []
    for seed, length in ((0, 7), (1, 2), (2, 5)):
        outputs, targets = drawn(length, 3, 11, seed)
        metric.update(outputs, targets)
        nll += summed(outputs, targets)
        means.append(math.exp(sum(nll[-3 * length :]) / (3 * length)))
    assert metric.compute().item() == pytest.approx(math.exp(sum(nll) / len(nll)), rel=1e-12)
    assert abs(metric.compute().item() - sum(means) / 3) > 0.1
    metric.reset()
    metric.update(*drawn(7, 3, 11))
    assert metric.compute().item() == pytest.approx(means[0], rel=1e-12)


def test_processes_add_their_sums():
    """As torchmetrics joins the states of processes: each is reduced by the function that was given for it."""
    whole, shares = Perplexity(), [Perplexity(), Perplexity()]
    for seed, length in ((0, 7), (1, 2)):
        outputs, targets = drawn(length, 3, 11, seed)
        whole.update(outputs, targets)
        shares[seed].update(outputs, targets)
    joined = Perplexity()
    for name, reduce in joined._reductions.items():
        setattr(joined, name, reduce(torch.stack([getattr(share, name) for share in shares])))
    joined._update_count = 1
    assert joined.compute().item() == pytest.approx(whole.compute().item(), rel=1e-14)
    assert int(joined.tokens) == 27


def test_very_large_losses_are_infinite_perplexities():
    metric = Perplexity()
    logits = torch.zeros(1, 1, 3)
    logits[..., 0] = 2000.0
    metric.update(outputs_of(logits), torch.ones(1, 1).long())
    assert metric.compute() == math.inf


def test_the_true_probabilities_of_the_language_reach_its_optimum():
    source = Grammar(100, 100, 3000)
    source.prepare()
    words, state = source.parts["test"], State()
    logits = torch.full((len(words), 1, 178), -math.inf, dtype=torch.float64)
    for place, word in enumerate(words):
        options = {step.word: step for step in steps(state)}
        for step in options.values():
            logits[place, 0, step.word] = math.log(step.probability)
        state = options[int(word)].state
    metric = LanguageModel().new_metric()
    for start in range(0, len(words), 700):
        part = slice(start, start + 700)
        metric.update(outputs_of(logits[part]), torch.from_numpy(words[part])[:, None])
    assert metric.compute().item() == pytest.approx(math.exp(source.nll["test"].mean()), rel=1e-12)
