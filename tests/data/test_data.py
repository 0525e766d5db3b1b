"""Loaders as pure functions of the pass, alone and under a real Trainer."""

import multiprocessing
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.data import Arrays, Digits
from nas_lightning.data.from_datamodule import from_datamodule
from nas_lightning.data.module import EvaluationData, SearchData

FORK = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def digits():
    return Digits()


@pytest.fixture
def tiny(tmp_path):
    """Image i of the training part is a single shade, so that batches tell which images they hold."""

    def tiny(count, classes=2):
        images = np.repeat(np.arange(count, dtype=np.uint8), 64).reshape(count, 8, 8)
        labels = np.arange(count) % classes
        path = tmp_path / f"{count}.npz"
        np.savez(path, x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4])
        return Arrays(str(path), flip=False)

    return tiny


def search(data, batch_size=16, seed=1, epoch=None, world_size=1, rank=0, **options):
    module = SearchData(data, batch_size, seed, **options)
    return ready(module, epoch, world_size, rank)


def ready(module, epoch=None, world_size=1, rank=0):
    module.prepare_data()
    module.setup("fit")
    if epoch is not None:
        module.trainer = SimpleNamespace(current_epoch=epoch, world_size=world_size, global_rank=rank)
    return module


def images_of(loader):
    return torch.cat([images for images, _ in loader])


def shades(loader, data):
    """Which images a loader gives, batch by batch, read off the brightest pixel."""
    batches = [images.amax((1, 2, 3)) * data.std[0] + data.mean[0] for images, _ in loader]
    return [(batch * 255).round().int().tolist() for batch in batches]


def flat(batches):
    return [image for batch in batches for image in batch]


def states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_both_streams_have_equally_many_batches(digits):
    module = search(digits, 64)
    loaders = module.train_dataloader()
    assert (len(module.split.train), len(module.split.arch)) == (719, 719)
    assert len(loaders["train"]) == len(loaders["arch"]) == 12
    sizes = {name: [len(labels) for _, labels in loader] for name, loader in loaders.items()}
    assert sizes == {"train": [64] * 11 + [15], "arch": [64] * 12}


def test_an_epoch_passes_once_through_the_train_images(tiny):
    module = search(data := tiny(40), 8)
    first = shades(module.train_dataloader()["train"], data)
    assert sorted(flat(first)) == module.split.train.tolist()
    module.trainer = SimpleNamespace(current_epoch=1, world_size=1, global_rank=0)
    second = shades(module.train_dataloader()["train"], data)
    assert sorted(flat(second)) == sorted(flat(first))
    assert second != first


def test_the_arch_stream_cycles_without_replacement(tiny):
    module = search(data := tiny(60), 7, val_fraction=0.0)
    module.split = type(module.split)(np.arange(49), np.arange(49, 59), np.arange(49, 59))
    seen = flat(shades(module.train_dataloader()["arch"], data))
    assert len(seen) == 7 * 7
    rounds = [seen[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(round_) == list(range(49, 59)) for round_ in rounds)
    assert len(set(map(tuple, rounds))) == 4
    assert len(set(seen[40:])) == 9


def test_arch_batches_shrink_to_the_images_there_are(tiny):
    module = search(tiny(60), 16)
    module.split = type(module.split)(np.arange(50), np.arange(50, 55), np.arange(50, 55))
    loaders = module.train_dataloader()
    assert [len(labels) for _, labels in loaders["arch"]] == [5] * 4
    assert len(loaders["train"]) == 4


@pytest.mark.parametrize(("count", "sizes"), [(34, [8, 8]), (36, [8, 8, 2]), (32, [8, 8])])
def test_a_lone_last_image_is_left_out(tiny, count, sizes):
    loaders = search(tiny(count), 8).train_dataloader()
    assert [len(labels) for _, labels in loaders["train"]] == sizes
    assert len(loaders["arch"]) == len(sizes)


def test_single_images_are_kept_when_the_user_asks_for_them(tiny):
    assert len(search(tiny(10), 1).train_dataloader()["train"]) == 5


def test_two_processes_share_a_pass(tiny):
    data = tiny(62)  # 31 train images, of which one is left out: it would stand alone in its batch
    loaders = [search(data, 5, epoch=0, world_size=2, rank=rank).train_dataloader() for rank in (0, 1)]
    for stream in ("train", "arch"):
        assert len(loaders[0][stream]) == len(loaders[1][stream]) == 3
    seen = [flat(shades(loader["train"], data)) for loader in loaders]
    assert len(seen[0]) == len(seen[1]) == 15
    assert len(set(seen[0] + seen[1])) == 30
    assert [len(labels) for _, labels in loaders[0]["arch"]] == [5] * 3


@FORK
def test_a_pass_is_the_same_again_with_workers_and_after_other_draws(digits):
    def everything(workers, epoch):
        module = search(digits, 64, epoch=epoch, num_workers=workers, cutout=4)
        loaders = {**module.train_dataloader(), "val": module.val_dataloader()}
        return {name: images_of(loader) for name, loader in loaders.items()}

    reference = everything(0, 2)
    torch.rand(10), np.random.rand(10), random.random()
    for name, images in everything(2, 2).items():
        assert torch.equal(images, reference[name])
    for name, images in everything(0, 3).items():
        assert images.shape == reference[name].shape
        assert not torch.equal(images, reference[name])


def test_a_later_stage_goes_on_from_the_passes_of_the_first(digits):
    later, same = search(digits, epoch=1), search(digits, epoch=3)
    later.first_pass = 2
    assert torch.equal(images_of(later.val_dataloader()), images_of(same.val_dataloader()))


def test_seeds_change_order_and_augmentation_but_not_the_split(digits):
    one, two = search(digits, seed=1), search(digits, seed=2)
    assert np.array_equal(one.split.train, two.split.train)
    assert not torch.equal(images_of(one.val_dataloader()), images_of(two.val_dataloader()))


@FORK
@pytest.mark.parametrize("workers", [0, 2])
def test_global_generators_are_untouched(digits, workers):
    before = states()
    module = search(digits, 64, num_workers=workers, cutout=4)
    for loader in (*module.train_dataloader().values(), module.val_dataloader()):
        images_of(loader)
    retraining = ready(EvaluationData(digits, 64, 1, num_workers=workers))
    images_of(retraining.train_dataloader())
    assert states() == before


def test_val_is_the_arch_half_augmented_as_published(digits):
    module = search(digits)
    labels = torch.cat([labels for _, labels in module.val_dataloader()])
    assert labels.tolist() == digits.train_labels[module.split.arch].tolist()
    plain = torch.stack([module.unaugmented[i][0] for i in module.split.arch])
    assert not torch.equal(images_of(module.val_dataloader()), plain)
    assert torch.equal(images_of(search(digits, augment_val=False).val_dataloader()), plain)


def test_val_of_its_own_is_never_augmented(digits):
    module = search(digits, val_fraction=0.2)
    parts = np.concatenate([module.split.train, module.split.arch, module.split.val])
    assert sorted(parts) == list(range(len(digits.train_labels)))
    plain = torch.stack([module.unaugmented[i][0] for i in module.split.val])
    assert torch.equal(images_of(module.val_dataloader()), plain)


def test_a_batch_must_fit_the_train_half(digits):
    with pytest.raises(DataError, match=r"search.batch_size=720: more than the 719 .*search.batch_size=89"):
        search(digits, 720)
    assert len(search(digits, 719).train_dataloader()["train"]) == 1


def test_retraining_uses_all_training_images_and_the_test_part(tiny):
    module = ready(EvaluationData(data := tiny(40), 16, seed=1))
    assert sorted(flat(shades(module.train_dataloader(), data))) == list(range(40))
    for loader in (module.val_dataloader(), module.test_dataloader()):
        assert flat(shades(loader, data)) == [0, 1, 2, 3]


def test_choosing_candidates_never_touches_the_test_part(tiny, monkeypatch):
    data = tiny(40)
    asked = []
    original = data.dataset
    monkeypatch.setattr(data, "dataset", lambda part, *a, **k: asked.append(part) or original(part, *a, **k))
    module = ready(EvaluationData(data, 16, seed=1, images="search_halves"))
    split = search(tiny(40)).split
    assert sorted(flat(shades(module.train_dataloader(), data))) == split.train.tolist()
    for loader in (module.val_dataloader(), module.test_dataloader()):
        assert flat(shades(loader, data)) == split.arch.tolist()
    assert set(asked) == {"train"}
    own = ready(EvaluationData(data, 16, seed=1, images="search_halves", val_fraction=0.2))
    assert len(own.held_out_indices) == 8
    assert len(own.train_indices) == 16


def test_retraining_applies_cutout_to_training_only(digits):
    module = ready(EvaluationData(digits, 64, seed=1, cutout=4))
    assert images_of(module.train_dataloader()).eq(0).any()
    assert not images_of(module.val_dataloader()).eq(0).any()


class Recorder(LightningModule):
    """Keeps a checksum of every batch it is given."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.optimizers().step()
        self.seen += [(self.current_epoch, name, images.sum().item()) for name, (images, _) in batch.items()]

    def validation_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, "val", batch[0].sum().item()))

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], 0.1)


def fit(data, folder=None, epochs=3, **options):
    """What a real Trainer gives to its module."""
    recorder = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        reload_dataloaders_every_n_epochs=1,
        callbacks=[ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=True)] if folder else [],
        enable_checkpointing=folder is not None,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(recorder, data, **options)
    return recorder.seen


QUIET = pytest.mark.filterwarnings(
    *("ignore:.*does not have many workers", "ignore:.*in the `DataLoader` will be put"),
    *("ignore:.*isinstance.treespec, LeafSpec.", "ignore:.*Checkpoint directory"),
    *("ignore:.*pre-optimization", "ignore:.*GPU available"),
)


@QUIET
@FORK
@pytest.mark.parametrize(("workers", "where"), [(0, "loader"), (0, "device"), (2, "device")])
def test_a_resumed_run_sees_what_the_unbroken_run_saw(digits, tmp_path, workers, where):
    def seen(epochs, folder, **options):
        data = SearchData(digits, 256, seed=1, num_workers=workers, cutout=4, augment_on=where)
        return fit(data, tmp_path / folder, epochs, **options)

    whole = seen(3, "whole")
    assert len({entry[1:] for entry in whole}) == len(whole) == 3 * (3 + 3 + 3)  # nothing comes twice
    first = seen(2, "first")
    rest = seen(3, "first", ckpt_path=str(tmp_path / "first" / "last.ckpt"))
    assert first + rest == whole
    assert whole == fit(SearchData(digits, 256, seed=1, cutout=4, augment_on="loader"))


# Where images are augmented, and whose workers stay


def under_trainer(module, epoch=0, device="cpu"):
    strategy = SimpleNamespace(root_device=torch.device(device))
    module.trainer = SimpleNamespace(current_epoch=epoch, world_size=1, global_rank=0, strategy=strategy)
    return module


def streams(module):
    retraining = isinstance(module, EvaluationData)
    train = {"train": module.train_dataloader()} if retraining else module.train_dataloader()
    return {**train, "val": module.val_dataloader(), **({"test": module.test_dataloader()} if retraining else {})}


@FORK
@pytest.mark.parametrize(("kind", "workers"), [(SearchData, 0), (SearchData, 2), (EvaluationData, 0)])
def test_images_augmented_on_the_device_are_those_of_the_loader(digits, kind, workers):
    options = {"cutout": 4, "num_workers": workers}
    device = under_trainer(ready(kind(digits, 64, 1, augment_on="device", **options)), epoch=2)
    loader = under_trainer(ready(kind(digits, 64, 1, augment_on="loader", **options)), epoch=2)
    for (name, handed), finished in zip(streams(device).items(), streams(loader).values(), strict=True):
        for batch, expected in zip(handed, finished, strict=True):
            assert batch[0].images.dtype == torch.uint8
            for images, labels in (
                device.on_after_batch_transfer(batch, 0),
                device.on_after_batch_transfer({name: batch}, 0)[name],
                loader.on_after_batch_transfer(expected, 0),  # finished already
            ):
                assert torch.equal(images, expected[0])
                assert torch.equal(labels, expected[1])


def test_auto_augments_and_pins_for_a_gpu_only(digits):
    for kind in (SearchData, EvaluationData):
        for device, where in (("cpu", "loader"), ("cuda", "device")):
            module = under_trainer(ready(kind(digits, 64, 1)), device=device)
            for loader in streams(module).values():
                assert loader.pin_memory == (device == "cuda")
                assert loader.dataset.finished == (where == "loader")
            assert not ready(kind(digits, 64, 1)).val_dataloader().pin_memory


def test_what_is_read_without_a_trainer_is_finished(digits):
    device, loader = (search(digits, 64, cutout=4, augment_on=where) for where in ("device", "loader"))
    assert torch.equal(images_of(device.val_dataloader()), images_of(loader.val_dataloader()))
    under_trainer(device, epoch=3, device="cuda"), under_trainer(loader, epoch=3)
    assert torch.equal(device.fixed_arch_batch()[0], loader.fixed_arch_batch()[0])
    assert device.selection_dataloader().dataset.finished


def test_only_images_in_memory_can_be_augmented_on_the_device():
    data = from_datamodule(Users(tensors(30), tensors(6)))
    for kind in (SearchData, EvaluationData):
        with pytest.raises(ConfigError, match=r"data.augment_on=device: .*Users .*use data.augment_on=auto") as raised:
            ready(kind(data, 4, 1, augment_on="device"))
        assert "\n" not in str(raised.value)
        module = under_trainer(ready(kind(data, 4, 1)), device="cuda")
        module.data.prepare()
        assert all(not hasattr(loader.dataset, "finished") for loader in streams(module).values())


class Watcher(Callback):
    """Which processes load the images of each epoch."""

    def __init__(self):
        self.workers = []

    def on_train_epoch_end(self, trainer, pl_module):
        kept = trainer.datamodule._persistent
        self.workers.append({name: [w.pid for w in loader._iterator._workers] for name, loader in kept.items()})


@QUIET
@FORK
def test_workers_are_started_once_and_let_go_at_the_end(digits, monkeypatch):
    watcher, data = Watcher(), SearchData(digits, 256, seed=1, num_workers=2)
    started = []
    start = multiprocessing.Process.start
    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", lambda self: (started.append(1), start(self))[1])
    monkeypatch.setattr(Recorder, "configure_callbacks", lambda self: [watcher], raising=False)
    fit(data)
    assert set(watcher.workers[0]) == {"train", "arch", "val"}
    assert watcher.workers[0] == watcher.workers[1] == watcher.workers[2]
    assert len(started) == 3 * 2
    assert not data._persistent
    assert not multiprocessing.active_children()


@FORK
def test_a_loader_that_is_being_read_is_left_alone(digits):
    module = under_trainer(search(digits, 64, num_workers=1))
    expected = [images for images, _ in search(digits, 64).val_dataloader()]
    first = iter(module.val_dataloader())
    seen = [next(first)[0]]
    assert torch.equal(images_of(module.val_dataloader()), torch.cat(expected))
    seen += [images for images, _ in first]
    assert torch.equal(torch.cat(seen), torch.cat(expected))


@FORK
def test_lasting_loaders_follow_larger_batches_and_a_new_setup(digits):
    module = under_trainer(search(digits, 64, num_workers=1))
    first = module.train_dataloader()["train"]
    list(first)
    module.batch_size = 128
    under_trainer(module, epoch=1)
    second = module.train_dataloader()["train"]
    assert second is first
    reference = under_trainer(search(digits, 128), epoch=1).train_dataloader()["train"]
    assert [len(labels) for _, labels in second] == [len(labels) for _, labels in reference]
    assert torch.equal(images_of(second), images_of(reference))
    module.setup("fit")
    assert module.train_dataloader()["train"] is not first


# A user's own LightningDataModule


class Users(LightningDataModule):
    def __init__(self, train, test, **attributes):
        super().__init__()
        self.train, self.test = train, test
        vars(self).update(attributes)

    def train_dataloader(self):
        return DataLoader(self.train, 4, shuffle=not isinstance(self.train, IterableDataset))

    def test_dataloader(self):
        return DataLoader(self.test, 4)


class Pairs(Dataset):
    """Items only, with nothing that tells the labels in advance."""

    def __init__(self, count, classes=3, **attributes):
        self.images, self.answers = torch.rand(count, 2, 8, 8), [i % classes for i in range(count)]
        vars(self).update(attributes)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError
        return self.images[index], self.answers[index]


def tensors(count):
    return TensorDataset(torch.rand(count, 2, 8, 8), torch.arange(count) % 3)


@pytest.mark.parametrize(
    "train",
    [tensors(30), Pairs(30), Pairs(30, targets=[i % 3 for i in range(30)]), Pairs(30, labels=[9] * 30)],
    ids=["tensors", "walked", "targets", "stored labels that are wrong"],
)
def test_a_users_module_serves_search_and_evaluation(train):
    data = from_datamodule(Users(train, tensors(6)))
    module = search(data, 4, cutout=4)
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("Users", 2, 8, 3)
    assert data.train_labels.tolist() == [i % 3 for i in range(30)]
    assert data.class_names == ("0", "1", "2")
    images, labels = next(iter(module.train_dataloader()["train"]))
    assert images.shape == (4, 2, 8, 8)
    assert images.eq(0).any()
    assert labels.dtype == torch.int64
    retraining = ready(EvaluationData(data, 4, 1))
    assert torch.equal(images_of(retraining.test_dataloader()), torch.stack([data.module.test[i][0] for i in range(6)]))
    assert train[0][0].min() > 0  # Cutout left the user's tensors alone


def test_a_users_random_split_is_the_same_for_all_seeds():
    class Splitting(Users):
        def setup(self, stage):
            self.train, _ = random_split(self.whole, [20, 10])

    whole, test = tensors(30), tensors(6)
    chosen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = states()
        data = from_datamodule(Splitting(None, test, whole=whole, num_classes=5, class_names="abcde"))
        data.prepare()
        assert states() == before
        chosen.append(data.module.train.indices)
        assert data.train_labels.tolist() == [i % 3 for i in data.module.train.indices]
        assert data.num_classes == 5
        assert data.class_names == tuple("abcde")
    assert chosen[0] == chosen[1]


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.rand(2, 8, 8), 0


def test_users_mistakes():
    def refused(module, message):
        with pytest.raises(DataError, match=message) as raised:
            from_datamodule(module).prepare()
        assert "data._target_" in str(raised.value)
        assert "\n" not in str(raised.value)

    class Untested(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(tensors(6))

        def val_dataloader(self):
            return DataLoader(tensors(6))

    good = tensors(6)
    refused(Untested(), r"Untested has no test_dataloader\(\)")
    refused(LightningDataModule(), r"has no train_dataloader\(\)")
    refused(Users(Endless(), good), r"returns a DataLoader from train_dataloader\(\)")
    refused(Users(TensorDataset(torch.rand(6, 2, 8, 9), torch.arange(6)), good), "images of 8x9 pixels")
    refused(Users(TensorDataset(torch.zeros(6, 8, 8), torch.arange(6)), good), r"float32 tensor of shape \[8, 8\]")
    bytes_ = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    refused(Users(TensorDataset(bytes_, torch.arange(6)), good), r"uint8 tensor .*not a float tensor")
    refused(Users(TensorDataset(torch.rand(6, 2, 8, 8)), good), r"gives a tuple as item")
    refused(Users(good, good, num_classes=2), "labels from 0 to 2 for 2 classes; give 0 to 1")
    refused(Users(TensorDataset(torch.rand(6, 2, 8, 8), torch.arange(6) - 1), good), "labels from -1")
