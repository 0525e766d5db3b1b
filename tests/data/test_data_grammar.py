"""The generated language: its words, its rules, and the probabilities that it says its words have."""

import math
from collections import defaultdict
from itertools import pairwise, product

import numpy as np
import pytest

from nas_lightning.data import grammar
from nas_lightning.data.grammar import Grammar, State, optimum, steps, vocabulary, write

WORDS = vocabulary()
KINDS = {
    **{word: ("determiner", number) for number in (0, 1) for word in grammar.DETERMINERS[number]},
    **{grammar._forms(noun)[number]: ("noun", number) for noun in grammar.NOUNS for number in (0, 1)},
    **{grammar.inflected(verb, number): ("verb", number) for verb in grammar.VERBS for number in (0, 1)},
    **dict.fromkeys(grammar.ADJECTIVES, ("adjective",)),
    **dict.fromkeys(grammar.ADVERBS, ("adverb",)),
    "that": ("that",),
    "<eos>": ("end",),
}
"""Kind and number of every word, which no two kinds share."""


@pytest.fixture(scope="module")
def large():
    """A long text and another to test on: their words, and the NLL of each."""
    return write(200_000, 0, "train"), write(40_000, 0, "test")


def sentences(words):
    """Split a text into sentences without their ends; the last one may be cut off."""
    text = [WORDS[word] for word in words]
    ends = [-1, *(place for place, word in enumerate(text) if word == "<eos>")]
    return [text[start + 1 : end] for start, end in pairwise(ends)]


def phrase(number):
    """Patterns of a noun phrase with their probabilities."""
    before, after = ("determiner", number), ("noun", number)
    yield (before, after), 0.65
    yield (before, ("adjective",), after), 0.35


def patterns():
    """Every sentence as kinds of words, with its probability: written out by rule, without any state."""
    for depth, chance in ((0, 0.65), (1, 0.35 * 0.75), (2, 0.35 * 0.25)):
        for numbers in product((0, 1), repeat=depth + 1):
            for subjects in product(*(list(phrase(number)) for number in numbers)):
                opening = [part for subject, _ in subjects for part in (("that",), *subject)][1:]
                verbs = [("verb", number) for number in reversed(numbers)]
                likely = chance * math.prod((0.55, 0.45)[number] for number in numbers)
                likely *= math.prod(share for _, share in subjects)
                for (thing, share), (adverb, other) in product(objects(), [((), 0.7), ((("adverb",),), 0.3)]):
                    yield (*opening, *verbs, *thing, *adverb, ("end",)), likely * share * other


def objects():
    yield (), 0.4
    for number in (0, 1):
        for thing, share in phrase(number):
            yield thing, 0.6 * (0.55, 0.45)[number] * share


def lexical(word):
    """Probability of a word among those of its kind and number."""
    kind = KINDS[word]
    if kind[0] in ("that", "end"):
        return 1.0
    if kind[0] == "determiner":
        return 1 / 3
    rank = {
        "noun": [grammar._forms(noun)[kind[-1] % 2] for noun in grammar.NOUNS] if kind[0] == "noun" else [],
        "verb": [grammar.inflected(verb, kind[-1] % 2) for verb in grammar.VERBS] if kind[0] == "verb" else [],
        "adjective": list(grammar.ADJECTIVES),
        "adverb": list(grammar.ADVERBS),
    }[kind[0]]
    return (rank.index(word) + 1) ** -0.9 / sum((place + 1) ** -0.9 for place in range(len(rank)))


@pytest.fixture(scope="module")
def beginnings():
    """Probability that a sentence begins with some kinds of words, by summing over all whole sentences."""
    total = defaultdict(float)
    for pattern, likely in patterns():
        for length in range(len(pattern) + 1):
            total[pattern[:length]] += likely
    return total


def test_the_vocabulary_has_178_words_of_distinct_kinds():
    assert len(WORDS) == len(set(WORDS)) == 178
    assert set(KINDS) == set(WORDS)


def test_sentences_that_are_written_out_have_the_probability_one(beginnings):
    assert beginnings[()] == pytest.approx(1, abs=1e-12)


def test_the_nll_is_that_of_an_enumeration_of_all_sentences(beginnings):
    words, nll = write(4000, 3, "train")
    so_far, expected = (), []
    for word in (WORDS[place] for place in words):
        longer = (*so_far, KINDS[word])
        expected.append(-math.log(beginnings[longer] / beginnings[so_far] * lexical(word)))
        so_far = () if word == "<eos>" else longer
    np.testing.assert_allclose(nll, expected, rtol=1e-9)


def test_what_may_follow_in_a_state_sums_to_one():
    seen, waiting = set(), [State()]
    while waiting:
        state = waiting.pop()
        if state not in seen:
            seen.add(state)
            assert sum(step.probability for step in steps(state)) == pytest.approx(1, abs=1e-12)
            assert len({step.word for step in steps(state)}) == len(steps(state))  # the word decides what follows
            waiting.extend(step.state for step in steps(state))
    assert len(seen) > 20


def test_the_optimum_is_that_of_the_enumeration_and_about_the_one_that_is_written(beginnings, large):
    entropy = length = 0.0
    kinds = {kind: [word for word in WORDS if KINDS[word] == kind] for kind in set(KINDS.values())}
    inner = {kind: -sum(lexical(w) * math.log(lexical(w)) for w in words) for kind, words in kinds.items()}
    for pattern, likely in patterns():
        entropy += likely * (sum(map(inner.get, pattern)) - math.log(likely))
        length += likely * len(pattern)
    assert optimum() == pytest.approx(math.exp(entropy / length), rel=1e-9)
    assert optimum() == pytest.approx(12.7, abs=0.05)
    assert length == pytest.approx(8.0, abs=0.05)
    (words, nll), _ = large
    error = nll.std() / math.sqrt(len(nll))
    assert abs(nll.mean() - entropy / length) < 3 * error
    assert len(words) / (words == WORDS.index("<eos>")).sum() == pytest.approx(length, rel=0.01)


def test_counting_words_and_pairs_reaches_65_and_19(large):
    (train, _), (test, _) = large
    counts = np.bincount(train, minlength=178) + 1
    unigram = counts / counts.sum()
    pairs = np.zeros((178, 178))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    bigram = (pairs + 2 * unigram) / (pairs.sum(1, keepdims=True) + 2)
    assert math.exp(-np.log(unigram[test]).mean()) == pytest.approx(65, abs=1)
    assert math.exp(-np.log(bigram[test[:-1], test[1:]]).mean()) == pytest.approx(19.5, abs=0.3)


def test_verbs_agree_with_nouns_across_clauses(large):
    """Nouns wait for their verbs as brackets do; determiners agree with the next noun, at times after an adjective."""
    nested = 0
    for sentence in sentences(large[1][0]):
        waiting, subject = [], True
        for place, word in enumerate(sentence):
            kind = KINDS[word]
            if kind[0] == "determiner":
                named = sentence[place + 1] if KINDS[sentence[place + 1]][0] == "noun" else sentence[place + 2]
                assert KINDS[named] == ("noun", kind[1])
            elif kind[0] == "noun" and subject:
                waiting.append(kind[1])
                nested = max(nested, len(waiting))
            elif kind[0] == "verb":
                assert waiting.pop() == kind[1]
                subject = False
        assert not waiting
    assert nested == 3


def test_a_text_is_a_function_of_its_seed_and_name():
    first, again = write(500, 0, "train"), write(500, 0, "train")
    np.testing.assert_array_equal(first[0], again[0])
    for other in (write(500, 1, "train"), write(500, 0, "valid")):
        assert (other[0] != first[0]).any()
    np.testing.assert_array_equal(write(200, 0, "train")[0], first[0][:200])
    assert (
        " ".join(WORDS[word] for word in first[0][:12])
        == "some new kings like often <eos> a bird avoids this small queen"
    )


def test_the_source_has_three_parts_and_says_the_best_perplexity():
    source = Grammar(600, 300, 200)
    line = source.found()
    assert {part: len(tokens) for part, tokens in source.parts.items()} == {"train": 600, "valid": 300, "test": 200}
    assert (source.num_classes, source.class_names, source.train_labels.shape) == (178, WORDS, (600,))
    best = math.exp(source.nll["test"].mean())
    assert line == (
        "a vocabulary of 178 · 1100 tokens (600 to train, 300 to validate and 200 to test on) · best possible"
        f" perplexity of the test text {best:.2f}"
    )
