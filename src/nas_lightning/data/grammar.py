"""A generated language whose best possible perplexity is known: sentences with agreement across nested clauses.

A sentence is a subject, a verb that agrees with it in number, an object at times, an adverb at times, and `<eos>`. A
subject is a determiner, an adjective at times, and a noun; a clause may follow it, `that` with a subject and a verb of
its own, and within that clause another one: `these old dogs that a cat that some boys see follows sleep <eos>`. The
verbs that close the clauses agree with nouns several words back, so that counting neighbours is not enough.

Every word decides the state that the next word is drawn from. So the generator knows the true probability of each
word that it writes, and with it the lowest perplexity that any model can reach.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from nas_lightning.core.draws import hashed_seed
from nas_lightning.data.text import EOS, Chunks, Columns, Length, TextData, TextPart


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


DETERMINERS = (("a", "this", "each"), ("some", "these", "many"))
NOUNS = _listed(
    "dog cat bird horse child farmer teacher driver doctor sailor king queen singer painter writer worker"
    " guest friend neighbour soldier tree river house garden road bridge tower ship train wheel stone"
    " cloud star lamp book letter song story picture machine"
)
VERBS = _listed(
    "see know like find follow help call hear need want meet visit admire remember avoid ask answer trust"
    " draw praise greet welcome describe paint guard protect lead join observe surprise"
)
ADJECTIVES = _listed("old new small big young little quiet green red strange kind clever tired happy famous heavy")
ADVERBS = _listed("today often again quickly slowly now sometimes gladly there together early late outside carefully")
THAT = "that"

PLURAL, ADJECTIVE, OBJECT, ADVERB = 0.45, 0.35, 0.6, 0.3
CLAUSE = (0.35, 0.25, 0.0)
"""Probability of a clause after the subject of the sentence, of the clause in it, and of the clause in that."""
FALL = 0.9
"""The word of rank r of a kind has a probability in proportion to 1 / r ** FALL."""


def inflected(verb: str, number: int) -> str:
    """Return the form of a verb that agrees with a subject, singular (0) or plural (1)."""
    return verb if number else verb + ("es" if verb.endswith(("sh", "ch", "ss")) else "s")


def vocabulary() -> tuple[str, ...]:
    """Return all words, 178 with the end of a sentence."""
    nouns = [form for noun in NOUNS for form in _forms(noun)]
    verbs = [inflected(verb, number) for verb in VERBS for number in (0, 1)]
    return (*DETERMINERS[0], *DETERMINERS[1], *ADJECTIVES, *nouns, THAT, *verbs, *ADVERBS, EOS)


class State(NamedTuple):
    """What the words so far say about the next.

    Attributes:
        after: Kind of the last word: `end`, `that`, `determiner`, `adjective`, `noun`, `verb`, `object` or `adverb`.
        waiting: Number, singular (0) or plural (1), of each subject whose verb is still to come, outermost first.
        number: Of the noun phrase that is being written.
        in_object: Whether that is the object.
    """

    after: str = "end"
    waiting: tuple[int, ...] = ()
    number: int = 0
    in_object: bool = False


class Step(NamedTuple):
    """A word that may come next: its place in the vocabulary, its probability, and the state that it leads to."""

    word: int
    probability: float
    state: State


@cache
def steps(state: State) -> tuple[Step, ...]:
    """Return every word that may follow in a state; their probabilities sum to 1."""
    after, waiting, number, in_object = state
    noun = (_nouns(number), state._replace(after="noun"))
    adverb = (_zipf(ADVERBS), State("adverb"))
    end = ([(EOS, 1.0)], State())
    if after in ("end", "that"):
        return _steps(*_determiners(1.0, state))
    if after == "determiner":
        return _steps((ADJECTIVE, _zipf(ADJECTIVES), state._replace(after="adjective")), (1 - ADJECTIVE, *noun))
    if after == "adjective":
        return _steps((1.0, *noun))
    if after == "noun" and not in_object:
        clause = CLAUSE[len(waiting)]
        opened = State("that", (*waiting, number))
        return _steps((clause, [(THAT, 1.0)], opened), _verb(1 - clause, waiting, number))
    if after == "verb" and waiting:  # the clause has ended
        return _steps(_verb(1.0, waiting[:-1], waiting[-1]))
    rest = 1 - OBJECT if after == "verb" else 1.0
    if after == "adverb":
        return _steps((1.0, *end))
    further = _determiners(OBJECT, state._replace(in_object=True)) if after == "verb" else []
    return _steps(*further, (rest * ADVERB, *adverb), (rest * (1 - ADVERB), *end))


def optimum() -> float:
    """Return the perplexity of the language itself, which no model can beat but by chance on a short text.

    >>> round(optimum(), 2)
    12.69
    """

    @cache
    def rest(state: State) -> tuple[float, float]:
        """Return the expected NLL and the expected number of words to the end of the sentence."""
        nll = words = 0.0
        for _, probability, following in steps(state):
            more = (0.0, 0.0) if following == State() else rest(following)
            nll += probability * (more[0] - math.log(probability))
            words += probability * (more[1] + 1)
        return nll, words

    nll, words = rest(State())
    return math.exp(nll / words)


def write(tokens: int, seed: int, stream: str) -> tuple[np.ndarray, np.ndarray]:
    """Write a text: a pure function of the arguments.

    Args:
        tokens: Words to write; the last sentence is cut off there.
        seed: Of the text.
        stream: Name of the text: texts of other names are independent.

    Returns:
        Words as places in the vocabulary, int64 [tokens], and the true negative log-likelihood of each in nats, given
        all words before it, float64 [tokens].
    """
    words, nll = np.empty(tokens, dtype=np.int64), np.empty(tokens)
    uniform = np.random.default_rng(hashed_seed(seed, "language", stream)).random(tokens)
    state = State()
    for place, number in enumerate(uniform.tolist()):
        options = steps(state)
        # The sums may end just below 1, so that the search is kept within the options.
        chosen = options[min(bisect_right(_sums(state), number), len(options) - 1)]
        words[place], nll[place], state = chosen.word, -math.log(chosen.probability), chosen.state
    return words, nll


class Grammar(TextData):
    """A generated language of 178 words, about eight a sentence, whose best possible perplexity is 12.7.

    Every word is drawn given all words before it in its sentence, by known probabilities: so `nll` tells how well each
    word could be foretold at best. Guessing by frequency reaches a perplexity of 65, by the word before 19.

    Args:
        train_tokens: words to train on.
        valid_tokens: words to validate on, and to learn architectures on where `data.split` is `published`.
        test_tokens: words to test on.
        text_seed: another number gives other texts in the same language; they do not depend on the seed of the run.

        bptt: tokens of a chunk, as for `Text`.
        chunks: likewise.
        val_columns: likewise.
        test_columns: likewise.

    Attributes:
        nll: By part, the true negative log-likelihood of each word in nats, float64 [N].
    """

    name = "grammar"
    nll: dict[TextPart, np.ndarray]

    def __init__(
        self,
        train_tokens: Annotated[int, Field(ge=1)] = 60_000,
        valid_tokens: Annotated[int, Field(ge=1)] = 12_000,
        test_tokens: Annotated[int, Field(ge=1)] = 12_000,
        text_seed: Annotated[int, Field(ge=0)] = 0,
        bptt: Length = 15,
        chunks: Chunks = "random",
        val_columns: Columns = 100,
        test_columns: Columns = 100,
    ) -> None:
        super().__init__(bptt, chunks, val_columns, test_columns)
        self.lengths: dict[TextPart, int] = {"train": train_tokens, "valid": valid_tokens, "test": test_tokens}
        self.text_seed = text_seed

    def _load(self) -> None:
        written = {part: write(size, self.text_seed, part) for part, size in self.lengths.items()}
        self._fill(vocabulary(), {part: words for part, (words, _) in written.items()})
        self.nll = {part: nll for part, (_, nll) in written.items()}
        best = math.exp(float(self.nll["test"].mean()))
        self.notes = (f"best possible perplexity of the test text {best:.2f}",)


Chances = Sequence[tuple[str, float]]


def _forms(noun: str) -> tuple[str, str]:
    return noun, {"child": "children"}.get(noun, noun[:-1] + "ies" if noun.endswith("ry") else noun + "s")


def _zipf(words: Sequence[str]) -> Chances:
    weights = [1 / rank**FALL for rank in range(1, len(words) + 1)]
    return [(word, weight / sum(weights)) for word, weight in zip(words, weights, strict=True)]


def _alike(words: Sequence[str]) -> Chances:
    return [(word, 1 / len(words)) for word in words]


def _nouns(number: int) -> Chances:
    return _zipf([_forms(noun)[number] for noun in NOUNS])


def _determiners(share: float, state: State) -> list[tuple[float, Chances, State]]:
    chances = ((0, 1 - PLURAL), (1, PLURAL))
    return [
        (share * chance, _alike(DETERMINERS[number]), state._replace(after="determiner", number=number))
        for number, chance in chances
    ]


def _verb(share: float, waiting: tuple[int, ...], number: int) -> tuple[float, Chances, State]:
    return share, _zipf([inflected(verb, number) for verb in VERBS]), State("verb", waiting)


@cache
def _places() -> dict[str, int]:
    return {word: place for place, word in enumerate(vocabulary())}


def _steps(*groups: tuple[float, Chances, State]) -> tuple[Step, ...]:
    places = _places()
    return tuple(
        Step(places[word], share * chance, state)
        for share, chances, state in groups
        if share
        for word, chance in chances
    )


@cache
def _sums(state: State) -> list[float]:
    return list(accumulate(step.probability for step in steps(state)))
