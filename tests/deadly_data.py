"""Images on which a process that loads them dies, once: as if the system had killed it."""

import os
import signal
from pathlib import Path

from torch.utils.data import Dataset, get_worker_info

from nas_lightning.data import Arrays


class DeadlyArrays(Arrays):
    """Arrays; while the file `PATH.deadly` exists, a process that loads training image 7 ends with the signal in it."""

    name = "deadly"

    def dataset(self, part, augment, cutout=0):
        images = super().dataset(part, augment, cutout)
        return Deadly(images, Path(f"{self.path}.deadly")) if part == "train" else images


class Deadly(Dataset):
    def __init__(self, images, armed):
        self.images, self.armed = images, armed

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index == 7 and get_worker_info() is not None and self.armed.exists():
            number = signal.Signals[self.armed.read_text()]
            self.armed.unlink()
            os.kill(os.getpid(), number)
        return self.images[index]
