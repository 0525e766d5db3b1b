"""What the words of torch and of the system say about processes that load images."""

import errno
import re

import pytest

from nas_lightning.core.workers import NO_FILES, NO_ROOM, cannot_hand_over, reason_of_end, reason_of_start


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "SIGKILL, as the system does where memory"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. ", "SIGBUS: .*--shm-size"),
        ("DataLoader worker (pid 7) exited unexpectedly with exit code 74. Details", "no room in /dev/shm"),
        ("DataLoader worker (pid 7) exited unexpectedly with exit code 75. Details", "too many open files"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "ended$"),
        ("received 0 items of ancdata", "too many open files"),
        ("mat1 and mat2 shapes cannot be multiplied", None),
    ],
)
def test_the_end_of_a_worker_is_found_behind_a_later_error(words, expected):
    try:
        try:
            raise RuntimeError(words)
        except RuntimeError:
            raise RuntimeError("Please call `iter(combined_loader)` first.")  # noqa: B904 - as Lightning does
    except RuntimeError as error:
        found = reason_of_end(error)
    assert found is None if expected is None else re.search(expected, found)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EMFILE, "too many open files"),
        (errno.ENOSPC, "no room in /dev/shm"),
        (errno.EAGAIN, "no further process can be started"),
        (errno.ENOENT, None),
    ],
)
def test_a_worker_that_cannot_be_started(number, expected):
    found = reason_of_start(OSError(number, "words"))
    assert found is None if expected is None else re.search(expected, found)


def test_a_worker_that_cannot_hand_over_a_batch():
    full = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
    assert cannot_hand_over(RuntimeError(full)) == NO_ROOM
    assert cannot_hand_over(OSError(errno.EMFILE, "Too many open files")) == NO_FILES
    assert cannot_hand_over(TypeError("cannot pickle 'generator' object")) is None


def test_errors_that_refer_to_each_other_come_to_an_end():
    first, second = RuntimeError("one"), RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    first.__cause__, second.__cause__ = second, first
    assert "SIGKILL" in reason_of_end(first)
    assert reason_of_end(RuntimeError("one")) is None
