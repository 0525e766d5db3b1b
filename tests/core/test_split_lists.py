"""The list of the images of a search, and what is refused of one."""

import pytest

from nas_lightning.core.errors import DataError
from nas_lightning.core.split_lists import COLUMNS, ListedImage, read_list
from nas_lightning.runs import tables

ROWS = [
    ListedImage("train", "cat", "train/cat/1.jpg"),
    ListedImage("arch", 'a "dog", really', "train/dog/a,b\n.jpg"),
    ListedImage("val", "cat", "train/cat/\\xff ü.jpg"),
]


def test_what_was_written_is_read(tmp_path):
    tables.write(tmp_path / "split.csv", [row._asdict() for row in ROWS], COLUMNS)
    assert read_list(tmp_path / "split.csv") == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("part,label\ntrain,cat\n", "is no table with the columns part, label, image"),
        ("", "has no image of part train"),
        ("part,label,image\ntrain,cat,1\n", "has no image of part arch"),
        ("part,label,image\ntest,cat,1\n", "part test of image 1 is unknown; allowed: train, arch, val"),
        ("part,label,image\ntrain,cat\narch,cat,2\n", "part train of image None is unknown"),
        ("part,label,image\ntrain,cat,1\narch,cat,1\n", "names the image 1 twice"),
        ('part,label,image\ntrain,cat,"1', "is no table"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_list(tmp_path / "list.csv")
    assert str(caught.value).startswith(f"data.search_split={tmp_path / 'list.csv'}: ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"part,label,image\ntrain,\xff,1\n")
    with pytest.raises(DataError, match="is no table"):
        read_list(tmp_path / "list.csv")


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no such file; give the split\.csv of another run"):
        read_list(tmp_path / "none.csv")
