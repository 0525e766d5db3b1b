"""A proxy before the pool: against scores by hand, on tables and trainings, with every proposer, and resumed."""

import json
import shutil

import pytest
import torch

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.draws import hashed_seed, seeded_generator
from nas_lightning.core.genotypes import Genotype
from nas_lightning.data import Arrays
from nas_lightning.data.module import EvaluationData
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces import CellSpace
from nas_lightning.tasks.pool import check_pool, run_pool
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench
from pool_parts import pool_of, undo

POOL = ["method=random_search", "candidates.key=null", "candidates.values=null", "trusted=[pool_parts]"]
DRAWN = [*POOL, "+candidates.proposer._target_=pool_parts.Drawn"]
SIZES = ["candidates.pool=7", "candidates.initial=3", "candidates.batch=2"]
SYNFLOW, NASWOT = "proxy@candidates.screen=synflow", "proxy@candidates.screen=naswot"
TABLE = ["space=nasbench201", "evaluation=tabular", "evaluation.dataset=cifar10"]


def on_table(images_file, *words):
    return [f"data.path={images_file}", "data=arrays", "trainer=cpu", "~callbacks.curvature", *words, *SIZES, *TABLE]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def bench_of(words, folder):
    bench = Workbench(as_dict(nl.compose(words)), RunFolder(folder))
    bench.folder.path.mkdir(exist_ok=True)
    return bench


def proposals(folder):
    events = map(json.loads, (folder / "pool.jsonl").read_text().splitlines())
    return [event for event in events if event["event"] == "proposed"]


@pytest.fixture(scope="module")
def screened(images_file, tmp_path_factory):
    """On the table of NAS-Bench-201, by the number of parameters, of three suggestions one."""
    folder = tmp_path_factory.mktemp("screened") / "run"
    run(on_table(images_file, *DRAWN, "proxy@candidates.screen=parameters", "candidates.screened=3"), folder)
    return folder


def test_a_screen_by_parameters_changes_the_candidates_of_a_table_as_by_hand(screened):
    space = nl.build_space(nl.compose(["space=nasbench201"]))
    drawn, draw, expected = [], 0, []
    for joining in (3, 2, 2):
        draw, suggested = len(drawn), []
        while len(suggested) < 3 * joining:
            one = space.genotype_of(space.sample(seeded_generator(0, "random genotype", draw), none=False))
            draw += 1
            if one not in drawn + suggested:
                suggested.append(one)
        # The networks of the table: 10 classes, 3 channels of images, 16 of the first cells, 5 cells a stage.
        counts = [sum(p.numel() for p in space.network(one, 10, 3, 16, 5).parameters()) for one in suggested]
        order = sorted(range(len(suggested)), key=lambda place: (-counts[place], place))
        expected += [suggested[place].arch_str for place in order[:joining]]
        drawn += suggested
    found = pool_of(screened)["summary"]["candidates"]
    assert [one["genotype"]["arch_str"] for one in found] == expected
    assert expected != [one.arch_str for one in drawn[:7]]
    assert [len(event["suggested"]) for event in proposals(screened)] == [9, 6, 6]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.2, 0.45, 0.9])
def test_a_screened_search_that_is_cut_off_ends_alike(screened, tmp_path, share):
    whole, folder = pool_of(screened), tmp_path / "run"
    shutil.copytree(screened, folder)
    content = (folder / "pool.jsonl").read_bytes()
    (folder / "pool.jsonl").write_bytes(content[: int(share * len(content))])
    undo(folder)
    resume(folder)
    assert pool_of(folder) == whole


def finished(member, genotype, epochs):
    """Train nothing: the accuracy is the index."""
    return {"val_accuracy": float(member.folder.path.name), "seconds": 1.0}


def test_exactly_those_that_score_best_are_trained(tiny, images_file, tmp_path):
    """By SNIP, on images of the run and networks of its evaluation, all scored by hand."""
    screen = ["proxy@candidates.screen=snip", "candidates.levels=[1]", "seed=5", "space.num_nodes=2"]
    screen += ["candidates.screened=2"]
    run_pool(bench_of([*tiny, *DRAWN, *SIZES, *screen], tmp_path / "run"), finished)
    space = CellSpace("s3", ("none", "skip_connect", "sep_conv_3x3"), num_nodes=2)
    module = EvaluationData(Arrays(str(images_file)), 64, 5)
    module.setup("fit")
    images, labels = next(iter(module.train_dataloader()))

    def snip(genotype):
        torch.manual_seed(hashed_seed(5, "proxies"))
        network = space.network(genotype, 4, 1, 4, 3)
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        return sum(float((p * p.grad).abs().sum().detach()) for p in network.parameters() if p.dim() > 1)

    for event in proposals(tmp_path / "run"):
        scores = {json.dumps(one): snip(Genotype.from_dict(one)) for one in event["suggested"]}
        kept = [scores[json.dumps(one)] for one in event["genotypes"]]
        assert len(scores) == 2 * len(kept)
        assert kept == sorted(scores.values(), reverse=True)[: len(kept)]


@pytest.mark.parametrize(
    "name",
    ["random", "evolution", "local_search", *(pytest.param(n, marks=pytest.mark.slow) for n in ("bananas", "ranking"))],
)
def test_every_proposer_suggests_what_is_new(images_file, tmp_path, name):
    words = [*POOL, f"proposer@candidates.proposer={name}", "proxy@candidates.screen=parameters"]
    summary = run([*on_table(images_file, *words), "candidates.pool=9"], tmp_path / "run")
    events = proposals(tmp_path / "run")
    assert [len(event["genotypes"]) for event in events] == [3, 2, 2, 2]
    suggested = [one["arch_str"] for event in events for one in event["suggested"]]
    assert len(suggested) == len(set(suggested)) == 4 * 9  # what was left out once is not suggested again
    space = nl.build_space(nl.compose(["space=nasbench201"]))
    tried = [Genotype.from_dict(one["genotype"]) for one in summary["candidates"]]
    around = {near.identity for one in tried[:3] for near in space.neighbours(one)}
    if name in ("evolution", "local_search", "bananas"):  # these learn from what was kept
        second = [Genotype.from_dict(one).identity in around for one in events[1]["suggested"]]
        assert sum(second) >= 4, second


@pytest.mark.slow
def test_a_supernet_judges_what_the_screen_keeps(searched, tiny, tmp_path):
    words = [*tiny, *DRAWN, *SIZES, "space.num_nodes=2", f"candidates.supernet={searched}", "task=search"]
    run([*words, "proxy@candidates.screen=naswot", "candidates.screened=2"], tmp_path / "run")
    run(words, tmp_path / "without")
    assert [len(event["suggested"]) for event in proposals(tmp_path / "run")] == [6, 4, 4]
    assert "suggested" not in proposals(tmp_path / "without")[0]
    first = proposals(tmp_path / "run")[0]
    assert proposals(tmp_path / "without")[0]["genotypes"] == first["suggested"][:3]


def test_the_seconds_of_a_screen_are_those_of_its_generation(tiny, tmp_path):
    slow = ["+candidates.screen._target_=pool_parts.Slow", "candidates.levels=[1]"]
    _, search, _, _ = run_pool(
        bench_of([*tiny, *DRAWN, *SIZES, *slow, "space.num_nodes=2"], tmp_path / "run"), finished
    )
    for event in proposals(tmp_path / "run"):
        assert event["took"] >= 0.02 * len(event["suggested"])
    assert search["seconds"] >= 0.02 * 28


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["proxy@candidates.screen=naswot"],
            "in 4 classes and the networks of evaluation.dataset=cifar10 take 3x32x32",
        ),
        ([NASWOT], "use data=cifar10, or a proxy that reads none, such as synflow"),
        ([SYNFLOW, "candidates.screened=1"], "candidates.screened=1: must be at least 2"),
        (["candidates.screened=3"], "nothing is screened; add proxy@candidates.screen=synflow"),
        (["+candidates.screen._target_=pathlib.Path"], "candidates.screen"),
        (["candidates.screen=synflow"], "write proxy@candidates.screen=synflow"),
        (
            [SYNFLOW, "candidates.proposer=null"],
            "only chooses among what a proposer suggests",
        ),
        (
            [
                "proxy@candidates.screen=synflow",
                "~evaluation",
                "+evaluation._target_=nas_lightning.evaluation.Evaluator",
            ],
            "names no network",
        ),
    ],
)
def test_what_cannot_be_screened_is_refused(images_file, tmp_path, overrides, told):
    words = on_table(images_file, *DRAWN)
    words = [word for word in words if "~evaluation" not in overrides or not word.startswith("evaluation")]
    with pytest.raises(nl.ConfigError) as refused:
        check_pool(bench_of([*words, *overrides], tmp_path / "run"))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_networks_that_read_text_are_screened_by_what_suits_them(tmp_path):
    words = ["space=recurrent", "data=grammar", "trainer=cpu", *DRAWN, "~callbacks.curvature"]
    with pytest.raises(nl.ConfigError, match=r"^candidates\.screen: Synflow scores networks that read images"):
        check_pool(bench_of([*words, "proxy@candidates.screen=synflow"], tmp_path / "run"))
    check_pool(bench_of([*words, "proxy@candidates.screen=snip"], tmp_path / "run"))
