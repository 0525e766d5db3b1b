"""`task=convert`, from the words of the command line to the file."""

import pickle

import numpy as np
import pytest

import nas_lightning as nl
from nas_lightning.config.compose import as_dict, compose
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


def run(tmp_path, *words):
    return run_task(as_dict(compose(["task=convert", *words])), RunFolder(tmp_path / "run"))


def test_convert(tmp_path, capsys):
    for name in [f"train_data_batch_{i}" for i in range(1, 11)] + ["val_data"]:
        content = {"data": np.full((2, 768), 7, np.uint8), "labels": [1, 121]}
        (tmp_path / name).write_bytes(pickle.dumps(content))
    words = ["convert=imagenet16_120", f"convert.source={tmp_path}", f"convert.target={tmp_path}/out.npz"]
    assert run(tmp_path, *words) is None
    shown = " ".join(capsys.readouterr().out.split())
    assert "ImageNet16-120: 11" in shown
    assert f"written: {tmp_path}/out.npz" in shown
    assert np.load(tmp_path / "out.npz")["y_train"].tolist() == [0] * 10
    assert not (tmp_path / "run").exists()  # nothing but the file is written
    with pytest.raises(nl.ConfigError, match=r"exists already; .*convert\.overwrite=true"):
        run(tmp_path, *words)
    run(tmp_path, *words, "convert.overwrite=true")


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(
        nl.ConfigError, match=r"convert=null: .* choose imagenet16_120 or nasbench101 or nasbench201 or runs$"
    ):
        run(tmp_path)
    with pytest.raises(nl.ConfigError, match=r"convert\.source=null"):
        run(tmp_path, "convert=nasbench201")
    with pytest.raises(nl.ConfigError, match=r"convert\.sorce=x: there is no such key; did you mean"):
        run(tmp_path, "convert=nasbench201", "convert.sorce=x")
    with pytest.raises(nl.ConfigError, match=r"convert\.overwrite=maybe: must be true or false"):
        run(tmp_path, "convert=nasbench201", "convert.overwrite=maybe")


def test_other_tasks_have_no_such_section():
    assert "convert" not in nl.compose([])
