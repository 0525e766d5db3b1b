"""Pictures of a run are rendered where their kind is new, and sketched where it is not."""

from nas_lightning.reports import save_curves
from sketched import SKETCH


def is_rendered(folder, title, losses=(2.0, 1.0)):
    rows = "".join(f"evaluation,{epoch},{loss}\n" for epoch, loss in enumerate(losses))
    (folder.parent / "metrics.csv").write_text(f"phase,epoch,train_loss\n{rows}")
    (path,) = save_curves(folder.parent / "metrics.csv", folder, title)
    text = path.read_text()
    assert (text == SKETCH) != (title in text)
    return text != SKETCH


def test_a_new_kind_is_rendered(tmp_path):
    plots = tmp_path / "plots"
    assert is_rendered(plots, "first ~~ title 1")
    assert not is_rendered(plots, "other ~~ name 22")
    assert is_rendered(plots, "other ~~ name $22")  # another mark
    assert is_rendered(plots, "other ~~ name", (2.0, float("inf")))
    assert is_rendered(plots, "other ~~ name", (2.0,))  # a dot, no line
    assert is_rendered(tmp_path / "elsewhere", "other ~~ name")
