"""Files of any pixel format become 8 bits by one rule, in training and in prediction."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.data import Arrays, ImageFolder
from nas_lightning.data.checks import unlike
from nas_lightning.data.preprocessing import Preprocessing, read_upright

RNG = np.random.default_rng(3)


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return str(path)


def two_classes(root, make, extension=".png", count=6):
    """Photos of a dark and of a light class: `make(light)` gives the pixels."""
    for light in (0, 1):
        for i in range(count):
            save(root / ("dark", "light")[light] / f"{i}{extension}", make(light))
    return str(root)


def ramp(largest, dtype):
    return (np.arange(24 * 24).reshape(24, 24) / (24 * 24 - 1) * largest).astype(dtype)


@pytest.mark.parametrize(
    ("largest", "dtype", "extension", "white"),
    [
        (65535, np.uint16, ".png", 65535),
        (65535, np.uint16, ".tiff", 65535),
        (4095, np.uint16, ".png", 4095),  # 12 bits in 16
        (1000, np.uint16, ".tif", 1023),
        (200, np.uint16, ".png", 255),
        (40000, np.int32, ".tif", 65535),
        (1, np.float32, ".tif", 1),
        (255, np.float32, ".tif", 255),
    ],
)
def test_deep_pixels_keep_their_levels_in_training_and_prediction(tmp_path, largest, dtype, extension, white):
    stored = ramp(largest, dtype)
    data = ImageFolder(two_classes(tmp_path, lambda _: stored, extension), image_size=24)
    data.prepare()
    assert data.white == white
    expected = torch.from_numpy(np.rint(stored.astype(np.float64) * 255 / white))
    read = data.preprocessing().read(str(tmp_path / "light" / f"0{extension}"))
    assert read.dtype == torch.uint8
    assert torch.equal(functional.center_crop(data._images["train"][0], [24]), read)
    alone = torch.from_numpy(np.array(read_upright(str(tmp_path / "light" / f"0{extension}"), "L", white=white)))
    assert (alone - expected).abs().max() <= 1  # one level: 32-bit floats round differently at halves


def test_a_dark_class_stays_darker_than_a_light_one(tmp_path):
    data = ImageFolder(
        two_classes(tmp_path, lambda k: (RNG.integers(0, 900, (20, 20)) + (300, 2600)[k]).astype(np.uint16)),
        image_size=16,
    )
    data.prepare()
    assert data.white == 4095
    means = [
        np.mean(
            [image.float().mean() for image, y in zip(data._images["train"], data.train_labels, strict=True) if y == k]
        )
        for k in (0, 1)
    ]
    assert means[0] == pytest.approx(750 / 4095 * 255, rel=0.05)
    assert means[1] == pytest.approx(3050 / 4095 * 255, rel=0.05)
    assert "white is 4095" in data.found()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (ramp(5000, np.int32) - 1024, "integer pixels go from -1024 to 3976, allowed: 0"),
        (ramp(2, np.float32) - 1, r"real pixels go from -1 to 1"),
        (np.full((9, 9), np.nan, np.float32), "nan"),
        (ramp(70000, np.int32), "to 70000, allowed: 0 .black. to 65535 .white.*data.white=70000"),
    ],
)
def test_pixels_beyond_the_scale_are_refused(tmp_path, values, message):
    path = save(tmp_path / "a.tif", values)
    with pytest.raises(DataError, match=message) as raised:
        Preprocessing(1, 8, 8).read(path)
    assert path in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_scale_can_be_given_and_is_that_of_prediction(tmp_path):
    data = ImageFolder(two_classes(tmp_path, lambda _: ramp(4000, np.uint16)), image_size=16, white=8000)
    data.prepare()
    assert int(data.preprocessing().read(str(tmp_path / "dark" / "0.png")).max()) <= 128
    with pytest.raises(DataError, match=r"to 4000, allowed: 0 .* 2000 .*data.white=4095"):
        ImageFolder(str(tmp_path), image_size=16, white=2000).prepare()


def test_integers_and_real_numbers_have_no_common_scale(tmp_path):
    two_classes(tmp_path, lambda _: ramp(1, np.float32), ".tif")
    save(tmp_path / "dark" / "z.png", ramp(65535, np.uint16))
    with pytest.raises(DataError, match=r"z.png holds integers .* real numbers.*save them in one format$"):
        ImageFolder(str(tmp_path), image_size=16).prepare()


def test_a_scale_that_makes_photos_black_is_refused_or_leaves_them_out(tmp_path, caplog):
    """Real numbers up to 1 beside integers of 16 bits: no white is right for both."""
    two_classes(tmp_path, lambda _: ramp(60000, np.uint16))
    save(tmp_path / "dark" / "z.tif", ramp(1, np.float32))
    with pytest.raises(DataError, match=r"z.tif .*real pixels reach 1 only, of 65535 .*black"):
        ImageFolder(str(tmp_path), image_size=16, white=65535).prepare()
    data = ImageFolder(str(tmp_path), image_size=16, white=65535, skip_unreadable=True)
    data.prepare()
    assert "z.tif" in caplog.text
    save(tmp_path / "dark" / "y.png", np.zeros((9, 9), np.uint16))  # black as it is
    ImageFolder(str(tmp_path), image_size=16, white=65535, skip_unreadable=True).prepare()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "I;16"])
@pytest.mark.parametrize("background", [255, 0, 100])
def test_transparent_pixels_show_the_background(tmp_path, mode, background):
    """The upper half is transparent, over a colour that must not show; the lower half is 60."""
    values = np.full((10, 10), 60, np.uint8)
    values[:5] = 200
    options = {}
    if mode == "I;16":
        image, options = Image.fromarray(values.astype(np.uint16) * 257), {"transparency": 200 * 257}
    elif mode in ("RGBA", "LA"):
        image = Image.fromarray(values).convert(mode)
        image.putalpha(Image.fromarray(np.where(values == 200, 0, 255).astype(np.uint8)))
    else:
        image = Image.fromarray(values).convert(mode)
        options = {"transparency": {"RGB": (200, 200, 200), "L": 200}.get(mode, image.getpixel((0, 0)))}
    path = str(tmp_path / "a.png")
    image.save(path, **options)
    read = np.array(read_upright(path, "RGB", background=background)).astype(int)
    assert abs(read[:5] - background).max() == 0
    assert abs(read[5:] - 60).max() <= 8  # a palette may round


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.new("RGBA", (4, 4), (0, 100, 200, 128)).save(tmp_path / "a.png")
    read = np.array(read_upright(str(tmp_path / "a.png"), "RGB"))[0, 0]
    np.testing.assert_allclose(read, [255 - 128, 255 - 128 * 155 / 255, 255 - 128 * 55 / 255], atol=1)


def test_deep_photos_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.zeros((10, 20), np.uint16)
    values[:, :10] = 65535  # left as stored: above, once turned clockwise
    path = save(tmp_path / "a.png", values, exif=exif)
    read = np.array(read_upright(path, "L"))
    assert read.shape == (20, 10)
    assert (read[:10] == 255).all()
    assert (read[10:] == 0).all()


@pytest.mark.parametrize("level", [0, 137, 255])
def test_training_images_without_contrast_are_refused(tmp_path, level):
    flat = np.full((20, 20, 3), level, np.uint8)
    with pytest.raises(DataError, match=rf"data.path=.*training images.* are all {level}; .*data.white=VALUE"):
        ImageFolder(two_classes(tmp_path / "photos", lambda _: flat), image_size=16).prepare()
    labels = np.array([0, 1])
    images = np.stack([flat, flat])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(DataError, match=f"are all {level}"):
        Arrays(str(tmp_path / "a.npz")).prepare()


def test_transparent_drawings_in_the_colour_of_the_background_are_refused(tmp_path):
    white = np.full((20, 20, 4), 255, np.uint8)
    white[::2, :, 3] = 0
    two_classes(tmp_path, lambda _: white)
    with pytest.raises(DataError, match=r"are all 255; .*data.background=LEVEL"):
        ImageFolder(str(tmp_path), image_size=16).prepare()
    ImageFolder(str(tmp_path), image_size=16, background=0).prepare()


def test_hardly_any_contrast_is_reported(tmp_path, caplog):
    """Colour of 12 bits in 16, of which PIL reads the upper 8."""
    two_classes(tmp_path, lambda _: RNG.integers(0, 16, (20, 20, 3)).astype(np.uint8))
    ImageFolder(str(tmp_path), image_size=16).prepare()
    assert "all between 0 and 15: is their scale right" in caplog.text


def test_test_images_of_another_scale_are_reported(tmp_path, caplog):
    train = RNG.integers(0, 256, (8, 12, 12), dtype=np.uint8)
    labels = np.arange(8) % 2
    for name, test in (("same", train), ("other", train // 64)):
        np.savez(tmp_path / f"{name}.npz", x_train=train, y_train=labels, x_test=test, y_test=labels)
        caplog.clear()
        Arrays(str(tmp_path / f"{name}.npz")).prepare()
        assert ("x_test are unlike the training images" in caplog.text) == (name == "other")
    for part, divisor in (("train", 1), ("test", 60)):
        two_classes(
            tmp_path / "d" / part, lambda _, by=divisor: RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8) // by
        )
    with caplog.at_level(logging.WARNING):
        ImageFolder(str(tmp_path / "d"), image_size=16).prepare()
    assert "test images are unlike the training images" in caplog.text


def test_unlike_pools_the_channels():
    """A constant channel, whose deviation is stored as 1, hides nothing and is no difference itself."""
    images = torch.zeros(50, 2, 8, 8, dtype=torch.uint8)
    images[:, 0] = torch.from_numpy(RNG.integers(0, 30, (50, 8, 8), dtype=np.uint8))
    mean, std = (float(images[:, 0].double().mean() / 255), 0.0), (float(images[:, 0].double().std() / 255), 1.0)
    assert unlike(images, mean, std) == ""
    assert unlike(images * 8, mean, std)
    assert unlike(torch.full_like(images, 255), mean, std)


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif", ".webp"])
def test_photos_are_read_as_pil_reads_them_with_copies(tmp_path, extension, orientation):
    """PIL's own two calls are the reference: turn a copy upright, then convert the copy."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    pixels = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    for mode in ("RGB", "L", "P", "CMYK", "RGBA"):
        photo = Image.fromarray(pixels).convert(mode)
        path = tmp_path / f"{mode}{extension}"
        try:
            photo.save(path, exif=exif)
        except (OSError, KeyError, ValueError):  # the format has no such mode
            continue
        with Image.open(path) as opened:
            if opened.has_transparency_data:
                continue  # shown on a background, see above
            upright = ImageOps.exif_transpose(opened)
            for wanted in ("RGB", "L"):
                found = read_upright(str(path), wanted)
                assert (found.mode, found.size) == (wanted, upright.size)
                assert np.array_equal(np.asarray(found), np.asarray(upright.convert(wanted)))
