"""What a machine does to a run: damaged checkpoints, losses that are no numbers, full disks, images that vanish."""

import json
import logging
import resource
import shutil
import signal
import zipfile

import pytest
import torch
from PIL import Image

import nas_lightning as nl
from lightning_parts import NotANumber
from nas_lightning.cli.main import main
from nas_lightning.core.errors import MachineError, NonFiniteError
from nas_lightning.data.folders import ImageNet
from nas_lightning.data.loading import PassLoader
from nas_lightning.runs.faults import reporting_failures
from nas_lightning.runs.folder import RunFolder
from whole_runs import checkpoint_differences, outcome, run

pytestmark = pytest.mark.xdist_group("faults")  # in one worker, which makes what they share once
BAD = ["trusted=[lightning_parts]", "objective._target_=lightning_parts.NotANumber", "~objective.metric"]
BAD += ["~objective.class_weights"]


def unfinish(folder, *phases):
    """As if it had been killed before these parts of the summary were written."""
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, **dict.fromkeys(phases)}))


@pytest.fixture
def tiny(tiny):
    """Cells of two nodes: 5 edges each in place of 14."""
    return [*tiny, "space.num_nodes=2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images_file):
    """A finished run of three epochs each."""
    from conftest import TINY_SIZES

    folder = tmp_path_factory.mktemp("whole") / "run"
    data = ["data=arrays", f"data.path={images_file}", "space=s3", "space.num_nodes=2"]
    data += ["trainer=cpu", "~callbacks.curvature"]
    run([*data, *TINY_SIZES], folder)
    return folder


def test_both_checkpoints_damaged_is_told(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    unfinish(folder, "evaluation")
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / "checkpoints/evaluation" / name).write_text("hello")
    with pytest.raises(nl.ConfigError, match=r"last\.ckpt is damaged.*so is previous\.ckpt.*delete both"):
        nl.resume(folder)


@pytest.mark.parametrize(
    ("phase", "harm"),
    [("", "cut"), *(("evaluation", harm) for harm in ("cut", "flipped", "no checkpoint", "foreign", "gone"))],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(whole, tmp_path, caplog, phase, harm):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    if phase:
        unfinish(folder, "evaluation")
    else:  # as if it had been killed before the evaluation
        unfinish(folder, "search", "selection", "genotype", "evaluation")
        RunFolder(folder).truncate("evaluation", 0)
        shutil.rmtree(folder / "checkpoints/evaluation")
    last = folder / "checkpoints" / phase / "last.ckpt"
    content = last.read_bytes()
    if harm == "cut":
        last.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        with zipfile.ZipFile(last) as archive:  # which stores what it holds as it is
            record = archive.read(max(archive.infolist(), key=lambda info: info.file_size))
        middle = content.index(record) + len(record) // 2
        last.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif harm == "no checkpoint":
        last.write_text("hello")
    elif harm == "foreign":
        saved = torch.load(last, weights_only=True)
        torch.save({**saved, "nas_lightning": {**saved["nas_lightning"], "run": "another"}}, last)
    else:
        last.unlink()
    with caplog.at_level(logging.WARNING):
        nl.resume(folder)
    told = [record.message for record in caplog.records if "previous.ckpt" in record.message]
    assert len(told) == (harm != "gone")
    assert all("\n" not in line and "last.ckpt" in line for line in told)
    assert outcome(folder) == outcome(whole)
    assert checkpoint_differences(folder, whole, f"{phase}/last.ckpt".lstrip("/")) == []


def test_a_checkpoint_of_another_format_is_refused(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    unfinish(folder, "evaluation")
    path = folder / "checkpoints/evaluation/last.ckpt"
    saved = torch.load(path, weights_only=True)
    del saved["nas_lightning"]
    torch.save(saved, path)
    with pytest.raises(nl.ConfigError, match=r"is of format 1, this version reads \d+"):
        nl.resume(folder)


def test_half_a_row_is_no_row(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    unfinish(folder, "evaluation")
    (folder / "checkpoints/evaluation/last.ckpt").unlink()
    for name in ("metrics.csv", "genotypes.jsonl"):
        with (folder / name).open("a") as file:
            file.write("evaluation,9" if "csv" in name else '{"epo')
    nl.resume(folder)
    assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_killed_before_the_summary_a_run_names_itself(whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copyfile(whole / "config.yaml", folder / "config.yaml")
    nl.resume(folder)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize(("at", "loss"), [(3, "arch"), (4, "train")])
def test_a_loss_that_is_no_number_stops_the_search_before_its_step(tiny, tmp_path, at, loss):
    """Architecture and weight steps take turns: what is asked for with odd numbers is the arch loss."""
    words = [*tiny, *BAD, "task=search", "search.batch_size=4", "search.checkpoint_minutes=1e-9"]
    NotANumber.asked = 0
    with pytest.raises(NonFiniteError) as raised:
        run([*words, f"+objective.at={at}"], tmp_path / "run")
    line = str(raised.value)
    assert f"the {loss} loss is nan in epoch 0, batch 1, step 1; its images: seed=0, stream={loss}, pass=0," in line
    assert "positions=4..7" in line
    assert "resume=run" in line
    bad, before = (
        torch.load(tmp_path / "run/checkpoints" / name, weights_only=True) for name in ("nonfinite.ckpt", "last.ckpt")
    )
    parameters = [name for name in before["state_dict"] if name.endswith("weight")]
    assert all(torch.equal(bad["state_dict"][name], before["state_dict"][name]) for name in parameters)
    same = all(torch.equal(bad["search"]["arch"][n], a) for n, a in before["search"]["arch"].items())
    assert same == (loss == "arch")  # before the weight step the architecture has taken its own
    assert all(torch.isfinite(a).all() for a in bad["search"]["arch"].values())
    NotANumber.asked = 10**6
    assert nl.resume(tmp_path / "run")["search"] is not None


def test_a_loss_that_is_no_number_stops_the_retraining(tiny, tmp_path):
    words = [*tiny, *BAD, "task=evaluate", "genotype=random", "evaluation.batch_size=8"]
    NotANumber.asked = 0
    with pytest.raises(NonFiniteError, match=r"the training loss is nan in epoch 1, batch 2, step 7; .*positions=16"):
        run([*words, "+objective.at=8"], tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoint("evaluation/nonfinite.ckpt")["evaluation"]["num_steps"] == 7
    assert folder.checkpoint("evaluation/last.ckpt")["evaluation"]["num_steps"] == 5


def test_a_full_disk_is_told_and_the_run_goes_on_later(tiny, tmp_path, whole):
    """The largest size of a file is what a test can run out of without harm; the error is of the same kind."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(MachineError, match=r"no space is left .*free some, then continue with resume=run"):
            run(tiny, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)
    assert not list((tmp_path / "run").rglob("*.tmp"))
    nl.resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(whole)


def test_vanished_images(tiny, tmp_path, images_file, whole):
    """Between run and resume: one line; put back, the run goes on."""
    moved = tmp_path / "mine.npz"
    shutil.copyfile(images_file, moved)
    words = [f"data.path={moved}" if word.startswith("data.path") else word for word in tiny]
    run(words, tmp_path / "run")
    unfinish(tmp_path / "run", "evaluation")
    moved.rename(tmp_path / "away.npz")
    with pytest.raises(MachineError, match="put the images back as they were, then continue with resume=run"):
        nl.resume(tmp_path / "run")
    (tmp_path / "away.npz").rename(moved)
    nl.resume(tmp_path / "run")
    assert outcome(tmp_path / "run")["metrics"] == outcome(whole)["metrics"]


def test_images_that_vanish_under_the_workers_are_told_in_one_line(tmp_path):
    """The error comes from another process, with its traceback as message."""
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (16, 16)).save(tmp_path / "photos" / part / name / f"{number}.jpeg")
    images = ImageNet(str(tmp_path / "photos"), image_size=16)
    images.prepare()
    loader = PassLoader(images.dataset("train", augment=True), 0, "train", num_workers=2).begin(0, range(8), 2)
    (tmp_path / "photos/train/b/1.jpeg").unlink()
    with pytest.raises(MachineError) as raised, reporting_failures(RunFolder(tmp_path / "run")):
        list(loader)
    line = str(raised.value)
    assert line.startswith("cannot read the image")
    assert "1.jpeg" in line
    assert f"put the images back as they were, then continue with resume={tmp_path / 'run'}, or add" in line
    assert "\n" not in line


def test_a_folder_that_cannot_be_written_is_refused(whole, tmp_path, monkeypatch, capsys):
    """A folder in the place of the log cannot be opened by anybody, the administrator included."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run/run.log").mkdir()
    with pytest.raises(SystemExit) as raised:
        main(["resume=run"])
    assert raised.value.code == 2
    assert (
        capsys.readouterr().err == "nas-lightning: resume=run: cannot be written (Is a directory); make it writable\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError("Unable to allocate 2.00 GiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_no_memory_left_is_told_with_the_command_to_resume(error, tmp_path):
    words = r"^out of memory .*resume=.*mine; or begin anew with a smaller"
    with pytest.raises(MachineError, match=words), reporting_failures(RunFolder(tmp_path / "mine")):
        raise error
    with pytest.raises(RuntimeError, match="shapes"), reporting_failures(RunFolder(tmp_path / "mine")):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
