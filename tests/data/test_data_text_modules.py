"""Columns and chunks of a search and of a training on text: which rows, which targets, which lengths."""

import math

import numpy as np
import pytest
import torch

from nas_lightning.core.batches import Chunk
from nas_lightning.core.errors import DataError
from nas_lightning.data.text import TextData
from nas_lightning.data.text_modules import (
    ChunkLoader,
    Piece,
    TextEvaluationData,
    TextSearchData,
    at_random,
    in_order,
)


class Counting(TextData):
    """Texts in which every token is new, so that a token tells where it stood."""

    name = "counting"

    def __init__(self, train=1003, valid=157, test=61, bptt=7, chunks="random", val_columns=4, test_columns=1):
        super().__init__(bptt, chunks, val_columns, test_columns)
        self.lengths = (train, valid, test)

    def _load(self):
        ends = np.cumsum(self.lengths)
        parts = [np.arange(end - length, end) for end, length in zip(ends, self.lengths, strict=True)]
        self._fill([str(token) for token in range(ends[-1])], dict(zip(("train", "valid", "test"), parts, strict=True)))


def search(seed=0, passes=0, batch_size=5, split="published", processes=1, **options):
    module = TextSearchData(Counting(**options), batch_size, seed, split)
    module.first_pass, module.expected_processes = passes, processes
    module.setup("fit")
    return module


def evaluation(seed=0, passes=0, batch_size=5, images="full", split="published", **options):
    module = TextEvaluationData(Counting(**options), batch_size, seed, images, split)
    module.first_pass = passes
    module.setup("fit")
    return module


def joined(loader):
    """All inputs and all targets of a loader, one after another."""
    batches = list(loader)
    return torch.cat([chunk.tokens for chunk, _ in batches]), torch.cat([targets for _, targets in batches])


@pytest.mark.parametrize("chunks", ["random", "fixed"])
@pytest.mark.parametrize("made", [search, evaluation])
def test_every_token_of_a_column_but_the_first_is_a_target_once(made, chunks):
    """But for a single one left at the end, which no chunk of two holds."""
    loader = made(chunks=chunks).train_dataloader()
    tokens, targets = joined(loader["train"] if isinstance(loader, dict) else loader)
    rows = 1003 // 5
    assert rows - 2 <= len(targets) <= rows - 1
    columns = torch.arange(0, 5 * rows, rows)
    assert torch.equal(tokens, torch.arange(len(tokens))[:, None] + columns)
    assert torch.equal(targets, tokens + 1)  # no target lies in another column


@pytest.mark.parametrize(("loader", "columns"), [("val_dataloader", 4), ("test_dataloader", 1)])
def test_validation_and_test_read_every_token(loader, columns):
    module = evaluation()
    tokens, targets = joined(getattr(module, loader)())
    first = {4: 1003, 1: 1160}[columns]
    rows = {4: 157 // 4, 1: 61}[columns]
    assert targets.T.reshape(-1).tolist() == [
        first + column * rows + row for column in range(columns) for row in range(1, rows)
    ]
    assert torch.equal(tokens + 1, targets)


def test_chunks_of_a_search_have_the_nominal_length_or_half_of_it():
    pieces = at_random(40_000, 35, 0, 0, spread=False)
    lengths = [piece.length for piece in pieces[:-1]]
    assert set(lengths) == {35, 17}
    assert lengths.count(17) / len(lengths) == pytest.approx(0.05, abs=0.02)
    assert {piece.rate for piece in pieces[:-1]} == {1.0, 17 / 35}


def normal_below(value):
    return (1 + math.erf(value / math.sqrt(2))) / 2


def test_chunks_of_a_training_follow_the_normal_distribution_within_bounds():
    lengths = [piece.length for seed in range(40) for piece in at_random(20_000, 35, seed, 0, spread=True)[:-1]]
    shares = np.bincount(lengths, minlength=56) / len(lengths)
    assert len(shares) == 56
    expected = np.zeros(56)
    for chance, mean in ((0.95, 35), (0.05, 17.5)):
        for drawn in range(-40, 100):  # rounded down where it is positive, and any less than five is five
            likely = normal_below((drawn + 1 - mean) / 5) - normal_below((drawn - mean) / 5)
            expected[min(max(5, drawn), 55)] += chance * likely
    np.testing.assert_allclose(shares, expected, atol=4 * math.sqrt(0.25 / len(lengths)))
    np.testing.assert_allclose(np.mean(lengths), expected @ np.arange(56), atol=0.2)


@pytest.mark.parametrize("spread", [False, True])
def test_lengths_are_functions_of_seed_pass_and_step(spread):
    def lengths(seed, passes, rows=500):
        return [piece.length for piece in at_random(rows, 15, seed, passes, spread)]

    assert lengths(1, 2) == lengths(1, 2)
    assert lengths(1, 2) != lengths(1, 3) != lengths(2, 3)
    assert sum(lengths(1, 2)) in (498, 499)


def test_rows_are_cut_in_order():
    assert in_order(10, 4) == [Piece(0, 4), Piece(4, 4), Piece(8, 1)]
    assert in_order(9, 4) == [Piece(0, 4), Piece(4, 4)]
    assert at_random(3, 35, 0, 0, spread=False) == [Piece(0, 2, 2 / 35)]


def test_arch_chunks_begin_at_the_row_of_the_train_chunk_modulo_the_arch_text():
    module = search()
    loaders = module.train_dataloader()
    assert len(loaders["train"]) == len(loaders["arch"]) > 20
    rows, first = 157 // 5, 1003
    row = short = 0
    for (train, _), (arch, targets) in zip(loaders["train"], loaders["arch"], strict=True):
        start = row % (rows - 1)
        length = min(7, rows - 1 - start)
        short += length < 7
        assert train.tokens[0, 0] == row
        assert arch.tokens.shape == targets.shape == (length, 5)
        assert arch.tokens[:, 0].tolist() == list(range(first + start, first + start + length))
        assert (arch.rate, train.rate) == (1.0, len(train.tokens) / 7)
        row += len(train.tokens)
    assert short > 0
    assert row > 3 * rows  # the arch text was read several times


def test_split_halves_keeps_the_validation_text_for_val():
    module = search(split="halves_by_order")
    assert module.train_rows.max() < 501 <= module.arch_rows.min()
    assert module.arch_rows.max() < 1003 <= module.val_rows.min()
    assert not module.val_is_augmented
    published = search()
    assert published.arch_rows.min() == published.val_rows.min() == 1003
    halves = evaluation(images="search_halves", split="halves_by_order")
    assert torch.equal(halves.train_rows, module.train_rows)
    assert torch.equal(halves.test_rows, module.val_rows)


@pytest.mark.parametrize("made", [search, evaluation])
def test_a_pass_is_a_function_of_seed_and_pass_number(made):
    def lengths(**options):
        loader = made(**options).train_dataloader()
        return [len(targets) for _, targets in (loader["train"] if isinstance(loader, dict) else loader)]

    assert lengths(passes=4) == lengths(passes=4)
    assert lengths(passes=4) != lengths(passes=5)
    assert lengths(seed=1) != lengths(seed=2)
    assert lengths(chunks="fixed") == lengths(chunks="fixed", passes=3)


def test_a_loader_goes_on_after_the_batches_that_were_given():
    whole = [(chunk.tokens, chunk.rate, targets) for chunk, targets in search().train_dataloader()["train"]]
    loader = search().train_dataloader()["train"]
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    state = loader.state_dict()
    assert state == {"given": 4}
    resumed = search().train_dataloader()["train"]
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert len(resumed) == len(whole)
    assert resumed.state_dict() == {"given": len(whole)}
    for (chunk, targets), (tokens, rate, expected) in zip(rest, whole[4:], strict=True):
        assert torch.equal(chunk.tokens, tokens)
        assert torch.equal(targets, expected)
        assert chunk.rate == rate


def test_a_loader_names_its_batches():
    loader = ChunkLoader(torch.arange(10)[:, None], [Piece(0, 4), Piece(4, 5)], "seed=1, stream=train, pass=2")
    assert loader.key_of(1) == "seed=1, stream=train, pass=2, rows=4..9"


class Attached:
    """What a Trainer says of the processes."""

    def __init__(self, rank, processes):
        self.global_rank, self.world_size, self.current_epoch = rank, processes, 3
        self.strategy = self
        self.root_device = torch.device("cpu")


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_divide_the_columns(processes):
    def of(rank):
        module = TextSearchData(Counting(), 5, 0)
        module.trainer = Attached(rank, processes)
        module.setup("fit")
        return module

    modules = [of(rank) for rank in range(processes)]
    whole = search(batch_size=5 * processes, passes=3)
    for name in ("train_rows", "arch_rows", "val_rows"):
        parts = [getattr(module, name) for module in modules]
        together = torch.cat(parts, dim=1).sort(dim=1).values
        assert torch.equal(together, getattr(whole, name).sort(dim=1).values)
    pieces = [module.train_dataloader()["train"].pieces for module in modules]
    assert all(one == whole.train_dataloader()["train"].pieces for one in pieces)


def test_every_process_has_a_column_of_the_test_text():
    module = TextEvaluationData(Counting(test_columns=1), 5, 0)
    module.trainer = Attached(1, 2)
    module.setup("fit")
    assert module.test_rows.shape == (30, 1)


def test_selection_reads_val_in_other_columns_and_from_elsewhere():
    module = search()
    assert next(iter(module.selection_dataloader()))[0].tokens.shape == (7, 5)
    tokens, _ = joined(module.selection_dataloader(batch_size=3))
    assert tokens.shape == (157 // 3 - 1, 3)
    assert tokens[0, 0] == 1003
    assert joined(module.selection_dataloader(500))[0].shape == (1, 78)  # not more than pairs of tokens
    orders = {joined(module.selection_dataloader(shuffle=key))[0][0, 0].item() for key in "abcd"}
    assert len(orders) > 1
    again = joined(module.selection_dataloader(shuffle="a"))
    assert torch.equal(again[0], joined(module.selection_dataloader(shuffle="a"))[0])
    assert torch.equal(again[1][:-1], again[0][1:])


def test_the_fixed_arch_batch_is_the_first_of_the_arch_text():
    chunk, targets = search().fixed_arch_batch()
    assert isinstance(chunk, Chunk)
    assert (chunk.state, chunk.rate) == (None, 1.0)
    assert chunk.tokens[:, 0].tolist() == list(range(1003, 1010))
    assert torch.equal(targets, chunk.tokens + 1)


def test_splits_of_images_are_refused():
    with pytest.raises(DataError, match=r"data.split=stratified: allowed for a text: published, halves_by_order"):
        search(split="stratified")


def test_texts_that_are_too_short_are_refused():
    message = r"search.batch_size=90: so many columns are too short, .* 157 to learn .*at most search.batch_size=78"
    with pytest.raises(DataError, match=message):
        search(batch_size=90)
    assert search(batch_size=78) is not None  # the number that is offered works
    with pytest.raises(DataError, match=r"data.val_columns=100: a text of 157 tokens"):
        search(val_columns=100)
    with pytest.raises(DataError, match=r"data.test_columns=50: a text of 61 tokens"):
        evaluation(test_columns=50)
    with pytest.raises(DataError, match=r"evaluation.batch_size=500: so many columns are too short"):
        evaluation(batch_size=500)
    with pytest.raises(
        DataError, match=r"search.batch_size=60: so many columns in each of 2 processes .* search.batch_size=39"
    ):
        search(batch_size=60, processes=2)
