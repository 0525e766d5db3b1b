"""Which pass comes next and who shares it, before a Trainer is attached and with one."""

import lightning as L

from nas_lightning.data.passes import PassModule


class Prepared:
    times = 0

    def prepare(self):
        self.times += 1


def test_passes_go_on_from_the_first_one():
    module = PassModule()
    module.first_pass, module.expected_processes = 3, 2
    assert (module.pass_number, module.processes, module._on_cuda) == (3, 2, False)
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module.trainer.fit_loop.epoch_progress.current.completed = 4
    assert (module.pass_number, module.processes, module._on_cuda) == (7, 1, False)


def test_data_are_prepared():
    module = PassModule()
    module.data = Prepared()
    module.prepare_data()
    assert module.data.times == 1
