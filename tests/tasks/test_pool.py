"""Search over a pool: against a plain reference on tables, cut off anywhere, with real trainings that pause."""

import csv
import json
import shutil
import subprocess

import numpy as np
import pytest

import nas_lightning as nl
from killed import PROGRAM, environment
from nas_lightning import reports
from nas_lightning.cli.main import main
from nas_lightning.config.compose import as_dict
from nas_lightning.core.draws import seeded_generator
from nas_lightning.evaluation.table import load
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.judges import untrained
from nas_lightning.tasks.pool import proposer_of, run_pool
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task
from nas_lightning.training.workbench import Workbench
from pool_parts import Noted, failing, pool_of, undo
from whole_runs import checkpoint_differences

POOL = ["method=random_search", "candidates.key=null", "candidates.values=null", "trusted=[pool_parts]"]
DRAWN = [*POOL, "+candidates.proposer._target_=pool_parts.Drawn"]
SIZES = ["candidates.pool=100", "candidates.initial=16", "candidates.batch=8"]
TABLE = ["space=nasbench201", "evaluation=tabular", "evaluation.dataset=cifar10", "candidates.levels=[12,200]"]
SMALL = ["candidates.pool=3", "candidates.initial=2", "candidates.batch=1", "candidates.levels=[1,2,3]"]


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


def run(overrides, folder):
    return run_task(as_dict(nl.compose(overrides)), RunFolder(folder))


def table_words(tiny):
    return [word for word in tiny if not word.startswith(("evaluation.", "space"))] + [*DRAWN, *SIZES, *TABLE]


@pytest.fixture(scope="module")
def tabled(images_file, tmp_path_factory):
    """A pyramid of two levels on the table of NAS-Bench-201, and its words."""
    words = [f"data.path={images_file}", "data=arrays", "trainer=cpu", "~callbacks.curvature", *DRAWN, *SIZES, *TABLE]
    folder = tmp_path_factory.mktemp("tabled") / "run"
    run(words, folder)
    return folder


def reference(ratio=0.5, pool=100, initial=16, batch=8):
    """The search by hand: rows of the table, a dictionary of levels, no journal; candidates in the order of draws."""
    space = nl.build_space(nl.compose(["space=nasbench201"]))
    table = load("nasbench201")
    columns = [table.columns[name] for name in ("cifar10_valid_12", "cifar10_test_200")]
    names, level, generations, draw = [], {}, [], 0
    while len(names) < pool:
        joining = []
        draw = len(names)
        wanted = min(batch if names else initial, pool - len(names))
        while len(joining) < wanted:
            path = space.sample(seeded_generator(0, "random genotype", draw), none=False)
            one = space.genotype_of(path).arch_str
            draw += 1
            if one not in names + joining:
                joining.append(one)
        names += joining
        level |= dict.fromkeys(joining, 0)
        up = max(1, int(ratio * len(joining)))
        waiting = [one for one in names if level[one] == 0]
        values = np.array([columns[0][table.rows[one]] for one in waiting])
        for place in np.argsort(-values, kind="stable")[:up]:
            level[waiting[place]] = 1
        generations.append(sorted(level.values()))
    top = [one for one in names if level[one] == 1]
    return names, level, generations, max(top, key=lambda one: columns[1][table.rows[one]])


def test_a_pyramid_on_a_table_is_that_of_the_reference(tabled):
    found = pool_of(tabled)
    summary = found["summary"]
    names, level, generations, best = reference()
    told = summary["candidates"]
    assert [one["genotype"]["arch_str"] for one in told] == names
    assert {one["genotype"]["arch_str"]: one["level"] for one in told} == level
    assert [(int(row["at_level_0"]), int(row["at_level_1"])) for row in found["rows"]] == [
        (one.count(0), one.count(1)) for one in generations
    ]
    assert summary["genotype"]["arch_str"] == best
    assert [one["genotype"]["arch_str"] for one in told if one["chosen"]] == [best]
    assert summary["search"]["epochs_spent"] == 10_600  # 50 x 12 + 50 x 200, known
    assert int(found["rows"][-1]["epochs_spent"]) == 10_600
    assert (summary["search"]["judge"], summary["search"]["levels"]) == ("table", [12, 200])
    assert summary["evaluation"]["test_accuracy"] == max(one["value"] for one in told if one["level"])
    assert float(found["rows"][-1]["regret"]) == summary["evaluation"]["regret"]
    assert not (tabled / "candidates").exists()
    assert (tabled / "plots/pool.svg").exists()


def test_accuracies_on_test_are_an_oracle_and_never_val(tabled, tiny, tmp_path):
    summary = pool_of(tabled)["summary"]
    assert summary["search"]["oracle"]
    assert summary["search"]["val_accuracy"] is None
    assert {one["val_accuracy"] for one in summary["candidates"]} == {None}
    cheap = run([*table_words(tiny), "candidates.levels=null", "candidates.pool=16"], tmp_path / "run")
    assert "oracle" not in cheap["search"]
    assert cheap["search"]["levels"] == [12]
    best = max(cheap["candidates"], key=lambda one: one["val_accuracy"])
    assert cheap["search"]["val_accuracy"] == best["val_accuracy"]
    assert cheap["genotype"] == best["genotype"]


@pytest.mark.parametrize("share", [0.0, 0.013, 0.5, 0.77, 1.0])
def test_cut_off_after_any_byte_it_ends_alike(tabled, tmp_path, share):
    whole, folder = pool_of(tabled), tmp_path / "run"
    shutil.copytree(tabled, folder)
    content = (folder / "pool.jsonl").read_bytes()
    (folder / "pool.jsonl").write_bytes(content[: int(share * len(content))])
    rows = (folder / "generations.csv").read_text().splitlines(keepends=True)
    (folder / "generations.csv").write_text("".join(rows[: 1 + int(share * (len(rows) - 1))]))
    undo(folder)
    resume(folder)
    assert pool_of(folder) == whole
    kept = content[: int(share * len(content))].rpartition(b"\n")[0]
    assert (folder / "pool.jsonl").read_bytes().startswith(kept)
    assert len((folder / "pool.jsonl").read_bytes().splitlines()) == len(content.splitlines())


def test_an_event_has_a_whole_generation(tabled):
    proposed = [event for event in pool_of(tabled)["events"] if event["event"] == "proposed"]
    assert [event["generation"] for event in proposed] == list(range(12))
    assert [event["index"] for event in proposed] == [0, *range(16, 100, 8)]
    assert [len(event["genotypes"]) for event in proposed] == [16, *[8] * 10, 4]


def test_the_seconds_of_a_generation_that_was_cut_off_are_counted(tabled, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tabled, folder)
    undo(folder)
    lines = (folder / "pool.jsonl").read_text().splitlines(keepends=True)[:5]
    last = {**json.loads(lines[-1]), "took": 1000.0}
    (folder / "pool.jsonl").write_text("".join([*lines[:-1], json.dumps(last) + "\n"]))
    (folder / "generations.csv").unlink()
    resume(folder)
    with (folder / "generations.csv").open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    assert 1000 <= seconds[0] < 1100
    assert max(seconds[1:]) < 100
    assert 1000 <= json.loads((folder / "summary.json").read_text())["search"]["seconds"] < 1200


def test_without_its_journal_the_table_of_generations_is_that_of_the_new_search(tabled, tmp_path):
    whole, folder = pool_of(tabled), tmp_path / "run"
    shutil.copytree(tabled, folder)
    undo(folder)
    (folder / "pool.jsonl").unlink()
    rows = (folder / "generations.csv").read_text().splitlines(keepends=True)
    wrong = [row.replace(",", ",9", 1) for row in rows[1:]]
    (folder / "generations.csv").write_text("".join([rows[0], *wrong, *wrong]))
    resume(folder)
    assert pool_of(folder) == whole


def test_a_candidate_that_fails_is_the_worst_and_the_search_goes_on(tiny, tmp_path):
    sizes = ["candidates.pool=9", "candidates.initial=3", "candidates.batch=3", "candidates.levels=[1,2]"]
    config = as_dict(nl.compose([*tiny, *DRAWN, *sizes, "candidates.promote=0.9"]))
    bench = Workbench(config, RunFolder(tmp_path / "run"))
    bench.folder.path.mkdir()
    best, search, _, records = run_pool(bench, failing)
    # 2 of 3 go on each time: of those that failed, too, where there are no others.
    assert [one["value"] for one in records] == [None, None, 2.0, None, None, 5.0, None, None, 8.0]
    assert sum(one["level"] for one in records) == 6
    assert best.to_dict() == records[8]["genotype"]
    assert search["val_accuracy"] == 8.0
    events = [json.loads(line) for line in (tmp_path / "run/pool.jsonl").read_text().splitlines()]
    failed = {event["index"]: event["failed"] for event in events if "failed" in event}
    assert sorted(failed) == [0, 1, 3, 4, 6, 7]
    assert (failed[0], failed[1]) == ("the train loss is nan in epoch 0", "its accuracy is nan")
    again = run_pool(Workbench(config, bench.folder), untrained)  # all is in the journal
    assert (again[0], again[3]) == (best, records)


@pytest.mark.slow
def test_a_process_that_is_killed_is_resumed(tabled, images_file, tmp_path):
    killing = ["+candidates.proposer._target_=pool_parts.Killing", "+candidates.proposer.size=40"]
    words = [f"data.path={images_file}", "data=arrays", "trainer=cpu", "~callbacks.curvature", *POOL, *killing]
    words += [*SIZES, *TABLE, f"+candidates.proposer.file={tmp_path / 'killed'}", f"hydra.run.dir={tmp_path / 'run'}"]
    ended = subprocess.run([*PROGRAM, *words], env=environment(), capture_output=True, check=False, timeout=240)
    assert ended.returncode == -9
    resume(tmp_path / "run")
    found, whole = pool_of(tmp_path / "run"), pool_of(tabled)
    for one in (found, whole):  # the proposer is part of the configuration
        one["summary"].pop("config_hash")
    assert found == whole


def test_members_pause_and_go_on_as_if_trained_at_once(tiny, tmp_path):
    summary = run([*tiny, *DRAWN, *SMALL], tmp_path / "run")
    told = summary["candidates"]
    # 2 join, 1 goes on to the second level and 1 to the third; then 1 joins, and 1 goes on from each level.
    assert sorted(one["epochs"] for one in told) in ([1, 3, 3], [2, 2, 3], [1, 2, 3], [2, 3, 3])
    assert summary["search"]["epochs_spent"] == sum(one["epochs"] for one in told) == 7
    top = [one for one in told if one["level"] == 2]
    best = max(top, key=lambda one: one["val_accuracy"])
    assert summary["genotype"] == best["genotype"]
    assert summary["search"]["val_accuracy"] == best["val_accuracy"]
    for one in told:
        member = tmp_path / "run/candidates" / str(one["index"])
        inside = RunFolder(member).summary()["evaluation"]
        assert (inside["epochs"], inside["val_accuracy"]) == (one["epochs"], one["val_accuracy"])
        assert inside["test_accuracy"] is None  # the test images choose nothing
    index = top[0]["index"]
    member = tmp_path / "run/candidates" / str(index)
    at_once = ["task=evaluate", f"genotype={member / 'genotype.json'}", "evaluation.images=search_halves"]
    run([*tiny, *at_once, "evaluation.epochs=3"], tmp_path / "alone")
    assert (member / "metrics.csv").read_text() == (tmp_path / "alone/metrics.csv").read_text()
    assert differing(member, tmp_path / "alone") == []
    assert len(reports.collect(str(tmp_path / "run"))) == 1  # members are no runs


def differing(one, other):
    return checkpoint_differences(one, other, "evaluation/last.ckpt")


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_to_the_bit(images_file, tmp_path):
    from conftest import TINY_SIZES

    words = ["data=arrays", f"data.path={images_file}", "space=s3", "space.num_nodes=2", "trainer=cpu"]
    words += ["~callbacks.curvature", *TINY_SIZES, *DRAWN, *SMALL]
    run(words, tmp_path / "whole")
    words += [f"hydra.run.dir={tmp_path / 'cut'}"]
    awaited = tmp_path / "cut/candidates/0/checkpoints/evaluation/last.ckpt"
    process = subprocess.Popen([*PROGRAM, *words], env=environment(), stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and not awaited.exists():
            pass
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "cut/pool.jsonl").exists()
    resume(tmp_path / "cut")
    assert pool_of(tmp_path / "cut") == pool_of(tmp_path / "whole")
    for index in range(3):
        assert differing(*(tmp_path / part / "candidates" / str(index) for part in ("cut", "whole"))) == []


def test_a_space_that_is_exhausted_ends_the_search(tiny, tmp_path):
    words = [*table_words(tiny), "space=s5", "evaluation=tabular_s5", "evaluation.dataset=digits"]
    summary = run([*words, "candidates.levels=null", "+candidates.proposer.most=11", "candidates.initial=4"],
                  tmp_path / "run")  # fmt: skip
    assert 4 < len(summary["candidates"]) <= 11
    assert summary["search"]["levels"] == [8]


def test_generations_are_logged_before_the_evaluation(tiny, tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(Noted, "rows", rows)
    run([*tiny, *DRAWN, *SMALL, "candidates.levels=[1]", "+logger.noted._target_=pool_parts.Noted"], tmp_path / "run")
    own = [(row, step) for folder, row, step in rows if folder == tmp_path / "run"]
    assert [step for _, step in own] == [0, 1, 2, 3]  # two generations, two epochs
    assert [row["pool/size"] for row, _ in own[:2]] == [2, 3]
    assert own[1][0]["pool/epochs_spent"] == 3
    assert "evaluation/train_loss" in own[2][0]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([*SMALL, "candidates.levels=[2,1]"], "candidates.levels=[1,2]"),
        ([*SMALL, "candidates.levels=[2,2]"], "candidates.levels=[2]"),
        ([*SMALL, "candidates.levels=[]"], "candidates.levels=[20]"),
        ([*SMALL, "candidates.promote=0.0"], "candidates.promote=0.0"),
        ([*SMALL, "candidates.promote=1.5"], "candidates.promote=1.5"),
        ([*SMALL, "candidates.initial=4"], "candidates.initial=3"),
        ([*SMALL, "candidates.key=seed"], "candidates.key=null candidates.values=null"),
        ([*SMALL, "candidates.values=[1,2]"], "candidates.key=null candidates.values=null"),
        ([*SMALL, "candidates.supernet=somewhere"], "candidates.levels=null"),
        ([*SMALL, "candidates.levels=null", "candidates.supernet=nowhere"], "candidates.supernet=nowhere: "),
        (["candidates.proposer=null", "candidates.supernet=x"], "proposer@candidates.proposer=random"),
        (["candidates.proposer=null", "candidates.pool=4"], "is of a search over a pool"),
        (["candidates.proposer=null", "candidates.levels=[1,2]"], "candidates.levels=null"),
        ([*SMALL, "evaluation.warmup_epochs=1"], "give it 2 epochs or more"),
        ([*SMALL, "selector=magnitude"], "no supernet is trained"),
        ([*SMALL, "+regularizer=drop_path"], "regularizer.drop_path: no supernet is trained"),
        ([*SMALL, "relaxation=gumbel_soft"], "relaxation: no supernet is trained, so Gumbel would"),
        ([*SMALL, "~evaluation", "+evaluation._target_=nas_lightning.evaluation.Evaluator"], "evaluation=tabular"),
        ([*SMALL, "candidates.proposer._target_=pathlib.Path"], "candidates.proposer"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(tiny, tmp_path, capsys, overrides, told):
    # Keys of an evaluation that a case replaces are none of the new one.
    given = [word for word in tiny if "~evaluation" not in overrides or not word.startswith("evaluation.")]
    with pytest.raises(SystemExit) as left:
        main([*given, *DRAWN, *overrides, f"hydra.run.dir={tmp_path / 'run'}"])
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert told in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "run/config.yaml").exists()


def test_an_option_in_the_place_of_a_part_is_told_how_it_is_chosen():
    with pytest.raises(nl.ConfigError, match=r"to choose an option write proposer@candidates\.proposer=random$"):
        nl.compose(["method=evolution", "candidates.proposer=random"])


def test_a_table_names_its_lengths(tiny, tmp_path):
    with pytest.raises(nl.ConfigError, match=r"has no trainings of 50 epochs; use candidates\.levels=\[12,200\]"):
        run([*table_words(tiny), "candidates.levels=[12,50]"], tmp_path / "run")


@pytest.mark.parametrize("name", ["evolution", "local_search", "bananas", "ranking"])
def test_a_proposer_begins_with_the_random_candidates_of_the_run(tiny, tmp_path, name):
    words = [*tiny, *POOL, f"proposer@candidates.proposer={name}", "candidates.initial=5"]

    def begun(*more):
        bench = Workbench(as_dict(nl.compose([*words, *more])), RunFolder(tmp_path / "run"))
        return vars(proposer_of(bench))["initial"]

    assert begun() == 5
    assert begun("candidates.proposer.initial=3") == 3


@pytest.mark.slow
def test_a_random_pool_is_random_search(tiny, tmp_path):
    before = run([*tiny, "method=random_search", "candidates.values=3", "candidates.epochs=1"], tmp_path / "before")
    pool = ["method=random_search", "candidates.key=null", "candidates.values=null", "candidates.pool=3"]
    pool += ["proposer@candidates.proposer=random", "candidates.initial=2", "candidates.levels=[1]"]
    found = run([*tiny, *pool, "candidates.epochs=1"], tmp_path / "pool")
    for key in ("genotype", "val_accuracy", "chosen"):
        assert [one[key] for one in found["candidates"]] == [one[key] for one in before["candidates"]]
    assert found["genotype"] == before["genotype"]
    assert found["evaluation"]["test_accuracy"] == before["evaluation"]["test_accuracy"]
