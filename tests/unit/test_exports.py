"""The public names are those of ``__all__``, and each is there."""

from __future__ import annotations

import mycelium
import mycelium.service
import mycelium.testing


def test_every_public_name_is_there_and_sorted() -> None:
    for module in (mycelium, mycelium.service, mycelium.testing):
        assert sorted(module.__all__) == list(module.__all__), module.__name__
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_nothing_public_is_left_out() -> None:
    classes = {name for name, value in vars(mycelium).items() if isinstance(value, type)}
    assert classes == {name for name in mycelium.__all__ if isinstance(getattr(mycelium, name), type)}
