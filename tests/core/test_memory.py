"""Bytes of tensors that live, counted by hand on `meta`; free memory from made-up files of a system."""

import pytest
import torch

from nas_lightning.core.memory import LiveBytes, free_bytes

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
