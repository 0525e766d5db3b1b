"""Bytes of tensors that live, counted by hand on `meta`; free memory from made-up files of a system."""

import pytest
import torch

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.memory import GIB, Demand, LiveBytes, free_bytes

CPU = torch.device("cpu")
KIB = 1024


def test_live_bytes_by_hand():
    x = torch.empty(256, device="meta", requires_grad=True)
    live = LiveBytes()
    live.hold([x, x.view(16, 16)])  # one storage
    assert live.now == KIB
    with live:
        y = x.exp()  # saved for the backward pass, as is its product with itself
        z = (y * y).sum()
        assert (live.now, live.peak) == (2 * KIB + 4, 3 * KIB + 4)
        del y
        assert live.now == 2 * KIB + 4  # the graph holds it
        z.backward()
        del z
    assert live.now == 2 * KIB  # x and its gradient
    assert live.peak > 3 * KIB


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 6 kB\n"}, 6 * KIB),
        ({"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "1\n"}, None),
        (
            {
                "proc/meminfo": "MemAvailable: 6 kB\n",
                "sys/fs/cgroup/memory.max": "5000\n",
                "sys/fs/cgroup/memory.current": "904\n",
            },
            4 * KIB,
        ),
        (
            {
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000",
            },
            0,
        ),
        (
            {
                "sys/fs/cgroup/memory.max": "5000",
                "sys/fs/cgroup/memory.current": "4900",
                "sys/fs/cgroup/memory.stat": "anon 900\nfile 4000\ninactive_file 3000\nactive_file 1000\n",
            },
            4100,
        ),
        ({}, None),
    ],
    ids=["machine", "no limit", "both", "old limit passed", "cached files are free", "unknown"],
)
def test_free_bytes(tmp_path, files, expected):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert free_bytes(CPU, tmp_path) == expected


def test_a_limit_of_any_group_above_the_process_counts(tmp_path):
    files = {
        "proc/meminfo": "MemAvailable: 209715200 kB\n",
        "proc/self/cgroup": "0::/system.slice/job_7/step\n",
        "sys/fs/cgroup/system.slice/job_7/memory.max": "8000\n",
        "sys/fs/cgroup/system.slice/job_7/memory.current": "3000\n",
        "sys/fs/cgroup/system.slice/job_7/step/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/job_7/step/memory.current": "2000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_bytes(CPU, tmp_path) == 5000


def test_the_named_number_of_images_fits():
    """Weights do not shrink with the images."""
    demand = Demand("search step", 10 * GIB, "search.batch_size", 64, fixed=2 * GIB)
    with pytest.raises(ConfigError, match=r"use search\.batch_size=20$"):
        demand.check(5 * GIB)
    assert Demand("search step", int(2 * GIB + 8 * GIB * 20 / 64), "search.batch_size", 20).fits(5 * GIB)
    with pytest.raises(ConfigError, match=r"use smaller images or fewer channels or less=true$"):
        Demand("search step", 10 * GIB, "search.batch_size", 64, fixed=9 * GIB, instead="less=true").check(5 * GIB)
