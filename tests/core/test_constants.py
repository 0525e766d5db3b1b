"""Constants of a captured pass live as long as their owner, and no longer."""

import weakref

from nas_lightning.core.constants import keep, kept_by


class Constants:
    pass


def test_they_are_kept_by_the_owner_of_the_block_alone():
    owner, inner = [], []
    made = [Constants() for _ in range(3)]
    left = list(map(weakref.ref, made))
    keep(made[0])  # outside of a block nobody keeps anything
    with kept_by(owner):
        keep(made[1])
        keep(made[1])
        with kept_by(inner):
            keep(made[2])
    assert (len(owner), len(inner)) == (1, 1)
    made.clear()
    assert [ref() is not None for ref in left] == [False, True, True]
    inner.clear()
    assert [ref() is not None for ref in left] == [False, True, False]
