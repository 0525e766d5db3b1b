"""Genotypes as other programs print them: every spelling gives the same cells, nothing is run, mistakes are named."""

import json
from collections import namedtuple

import pytest

from cases import build_space
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.functional import count_parameters
from nas_lightning.spaces import PUBLISHED, Genotype, genotype

Tuple = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")


def pairs(name, cell):
    return [(op, source) for _, op, source in PUBLISHED[name].cells[cell]]


def as_tuple(name="darts_v2", concat=range(2, 6)):
    return Tuple(pairs(name, "normal"), concat, pairs(name, "reduce"), concat)


def grouped(edges):
    return [edges[i : i + 2] for i in range(0, len(edges), 2)]


PRINTED = str(as_tuple())
SPELLINGS = {
    "named tuple": PRINTED,
    "lists for ranges": str(as_tuple(concat=[2, 3, 4, 5])),
    "assigned, over lines": "\n# the best of four\nBEST = genotypes." + PRINTED.replace(", ", ",\n    "),
    "line of a log": f"11/29 01:02:03 AM genotype = {PRINTED}",
    "twice in a log": f"epoch 0 genotype = {PRINTED}\nepoch 1 genotype = {PRINTED} (same)",
    "by position": f"Genotype({', '.join(map(str, as_tuple()))})",
    "numbers of numpy": PRINTED.replace("1)", "np.int64(1))"),
    "list of a range": PRINTED.replace("range(2, 6)", "list(range(2, 6))"),
    "JSON of the fields": json.dumps(
        {**as_tuple()._asdict(), "normal_concat": [2, 3, 4, 5], "reduce_concat": [2, 3, 4, 5]}
    ),
    "JSON of the tuple": json.dumps(as_tuple(concat=[2, 3, 4, 5])),
    "JSON of the text": json.dumps(PRINTED),
    "under a key": json.dumps({"genotype": PRINTED}),
    "a dictionary of Python": str(as_tuple()._asdict()).removeprefix("OrderedDict"),
    "two cells": json.dumps([pairs("darts_v2", "normal"), pairs("darts_v2", "reduce")]),
    "a list for each node": str(as_tuple()._replace(normal=grouped(pairs("darts_v2", "normal")))),
    "turned pairs": str(as_tuple()._replace(reduce=[pair[::-1] for pair in pairs("darts_v2", "reduce")])),
    "triples": str(as_tuple()._replace(normal=[(op, n, s) for n, op, s in PUBLISHED["darts_v2"].cells["normal"]])),
    "empty fields of other spaces": PRINTED[:-1] + ", normal_bottleneck='', reduce_bottleneck='')",
}


RECURRENT = "Genotype(recurrent=%s, concat=range(1, 9))"
RECURRENT_PAIRS = pairs("darts_v2_rnn", "cell")


@pytest.mark.parametrize(
    "text",
    [
        RECURRENT % RECURRENT_PAIRS,
        RECURRENT % [pair[::-1] for pair in RECURRENT_PAIRS],
        f"Genotype(recurrent={RECURRENT_PAIRS})",
        f"DARTS_V2 = {RECURRENT % RECURRENT_PAIRS}",
        json.dumps({"recurrent": RECURRENT_PAIRS, "concat": list(range(1, 9))}),
    ],
)
def test_recurrent_cells_are_read_and_their_space_is_known(text):
    assert Genotype.from_text(text) == PUBLISHED["darts_v2_rnn"]
    assert Genotype.from_text(text, "recurrent_reduced").space == "recurrent_reduced"


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_gives_the_same_genotype(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Genotype.from_text(text) == PUBLISHED["darts_v2"]
    for name in ("cell.txt", "cell.py", "cell.json", "no_ending"):
        (tmp_path / name).write_text("\ufeff" + text)
        assert genotype(str(tmp_path / name)) == PUBLISHED["darts_v2"]
    if not text.startswith(('"', "\n")):
        assert genotype(text) == PUBLISHED["darts_v2"]


def test_the_space_is_that_of_the_caller():
    assert genotype(PRINTED, "darts_nonone").space == "darts_nonone"
    build_space("darts_nonone").validate(genotype(PRINTED, "darts_nonone"))


SOURCE = f"""
from collections import namedtuple

Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
PRIMITIVES = ["none", "skip_connect"]
# OLD = {as_tuple("snas")}
FIRST = {as_tuple("darts_v1")}
SECOND = {as_tuple("darts_v2")}
DEFAULT = SECOND
"""


def test_a_file_with_several_is_asked_for_a_name(tmp_path):
    file = tmp_path / "genotypes.py"
    file.write_text(SOURCE)
    assert genotype(f"{file}:FIRST") == PUBLISHED["darts_v1"]
    assert genotype(f"{file}:SECOND") == PUBLISHED["darts_v2"]
    with pytest.raises(GenotypeError, match=r"holds 2 different genotypes; name one, FILE:FIRST; it has FIRST, SECOND"):
        genotype(str(file))
    with pytest.raises(GenotypeError, match=r"has no genotype THIRD; it has FIRST, SECOND"):
        genotype(f"{file}:THIRD")


def test_a_log_with_several_is_refused(tmp_path):
    (tmp_path / "log.txt").write_text(f"genotype = {PRINTED}\nx (1)\ngenotype = {as_tuple('snas')}\n")
    with pytest.raises(GenotypeError, match=r"holds 2 different genotypes; keep the one that you mean"):
        genotype(str(tmp_path / "log.txt"))


def test_nothing_is_run(tmp_path):
    mark = tmp_path / "mark"
    for text in (
        f"Genotype(normal=open({str(mark)!r}, 'w'), normal_concat=[], reduce=[], reduce_concat=[])",
        f"Genotype(normal=[(open({str(mark)!r}, 'w').name, 0)], reduce=[])",
        f"__import__('pathlib').Path({str(mark)!r}).touch() or Genotype(normal=[], reduce=[])",
        "Genotype(normal=[('a', 0)] * 10**9, reduce=[])",
        "Genotype(normal=range(10**12), reduce=range(10**12))",
        "Genotype(normal=" + "(" * 5000,
        "[" * 100_000,
        "Genotype(normal=[('a\0', 0)",
    ):
        with pytest.raises(GenotypeError) as caught:
            Genotype.from_text(text)
        assert "\n" not in str(caught.value)
    assert not mark.exists()


MISTAKES = {
    "lacks reduce": ("Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)])", "it lacks reduce"),
    "odd": ("Genotype(normal=[('skip_connect', 0)], reduce=[])", "normal has 1 pairs .* list of pairs for each node"),
    "other field": (PRINTED[:-1] + ", bottleneck='x')", "it has bottleneck"),
    "recurrent with another field": ("Genotype(recurrent=[('relu', 0)], normal=[('relu', 0)])", "it has normal"),
    "recurrent in groups": ("Genotype(recurrent=[[('relu', 0)]])", "recurrent has .* no pair"),
    "recurrent without pairs": ("Genotype(recurrent=[])", "recurrent must be a list of pairs"),
    "recurrent concat": ("Genotype(recurrent=[('relu', 0)], concat=8)", "concat=8 must be a list of nodes"),
    "a number for an operation": ("Genotype(normal=[(3, 0), (3, 1)], reduce=[])", "normal has .*neither a pair"),
    "concat": (PRINTED.replace("range(2, 6)", "7"), r"normal_concat=7 must be a list of nodes"),
    "words": ("Genotype of the year", "not a genotype"),
    "half": (PRINTED[:-30], "not a genotype"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_named(text):
    words, message = MISTAKES[text]
    with pytest.raises(GenotypeError, match=f"^here: not a genotype.*{message}|^here: {message}"):
        Genotype.from_text(words, where="here")


class TestAgainstTheSpace:
    """What a text may say but a space may not build is found by the space."""

    def of(self, **changes):
        return Genotype.from_text(str(as_tuple()._replace(**changes)))

    def test_three_edges_into_a_node_and_a_short_concat_are_built(self):
        space = build_space("darts")
        nodes = grouped(pairs("darts_v2", "normal"))
        nodes[1] = [*nodes[1], ("skip_connect", 2)]
        three = self.of(normal=nodes)
        assert [edge for edge in three.cells["normal"] if edge[0] == 3][-1] == (3, "skip_connect", 2)
        small = {"init_channels": 4, "layers": 3}
        plain = count_parameters(space.network(PUBLISHED["darts_v2"], **small))
        assert count_parameters(space.network(three, **small)) == plain  # an identity has no weights
        assert count_parameters(space.network(self.of(normal_concat=[4, 5]), **small)) < plain

    def test_none_is_built_where_the_space_has_it(self):
        found = self.of(normal=[("none", 0), *pairs("darts_v2", "normal")[1:]])
        build_space("darts").validate(found)
        with pytest.raises(GenotypeError, match="normal cell has none from 0 to 2"):
            build_space("darts_nonone").validate(found)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"normal_concat": [2, 6]}, r"normal cell concatenates \(2, 6\)"),
            ({"reduce_concat": [2, 2]}, r"reduce cell concatenates"),
            ({"normal": [("nor_conv_3x3", 0), ("skip_connect", 1)] * 4}, "normal cell has nor_conv_3x3 from 0 to 2"),
            ({"normal": [("skip_connect", 0), ("skip_connect", 1)]}, r"normal cell feeds nodes \[2, 2\]"),
            ({"normal": [("skip_connect", 0), ("skip_connect", 3)] * 4}, "from 3 to 2, the space has no edge at all"),
        ],
    )
    def test_what_cannot_be_built_is_refused(self, changes, message):
        with pytest.raises(GenotypeError, match=message):
            build_space("darts").validate(self.of(**changes))


CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
BENCHMARK = {
    "AutoDL": f"Structure(4 nodes with {CELL})",
    "HPOBench": f"_Structure(4 nodes with {CELL})",
    "quoted": f"'{CELL}'",
    "blanks": CELL.replace("|", " | ").replace("~", " ~ ") + "\n",
    "NASLib": "|ReLUConvBN3x3~0|+|Zero~0|ReLUConvBN1x1~1|+|Identity~0|AvgPool1x1~1|ReLUConvBN3x3~2|",
    "capitals": CELL.upper(),
    "nested lists": str(
        [
            [("nor_conv_3x3", 0)],
            [("none", 0), ("nor_conv_1x1", 1)],
            [("skip_connect", 0), ("avg_pool_3x3", 1), ("nor_conv_3x3", 2)],
        ]
    ),
    "JSON": json.dumps({"arch_str": CELL}),
}


@pytest.mark.parametrize("text", BENCHMARK.values(), ids=BENCHMARK.keys())
def test_cells_of_nasbench201_in_other_spellings(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert genotype(text).arch_str == CELL
    (tmp_path / "cell.txt").write_text(text)
    assert genotype("cell.txt").arch_str == CELL


def test_numbers_for_operations_are_refused():
    """Programs number operations and edges differently: nothing in six numbers says whose they are."""
    with pytest.raises(GenotypeError, match="not a genotype"):
        genotype("[3, 0, 2, 1, 4, 3]")
    with pytest.raises(GenotypeError, match=r"\[1,2\]|not a cell|not a genotype"):
        genotype("[[1], [2, 3], [1, 2, 3]]")


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "cell.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(GenotypeError, match="pointer of Git LFS"):
        genotype(str(tmp_path / "cell.json"))
