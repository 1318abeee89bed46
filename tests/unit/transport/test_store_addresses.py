"""Where stores bind, and what happens when somebody is there already."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mycelium import Bus, Fabric, Network, PathError, StoreAddress, UsageError


def bundle(place: Path, name: str = "one") -> Network:
    return Network(
        fabric=Fabric(own=StoreAddress(name, f"ipc://{place}/{name}.frames", f"ipc://{place}/{name}.control"))
    )


async def test_a_second_bundle_does_not_take_the_sockets_of_the_first(tmp_path: Path) -> None:
    async with Bus("first", network=bundle(tmp_path)):
        with pytest.raises(PathError, match="another process is bound there"):
            await Bus("second", network=bundle(tmp_path)).__aenter__()
    async with Bus("third", network=bundle(tmp_path)):
        pass


async def test_others_of_the_group_may_connect_and_nobody_else(tmp_path: Path) -> None:
    async with Bus("first", network=bundle(tmp_path / "made")):
        for name in ("one.frames", "one.control"):
            assert stat.S_IMODE((tmp_path / "made" / name).stat().st_mode) == 0o660


async def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PathError, match="its directory cannot be made"):
        await Bus("first", network=bundle(tmp_path / "file" / "below")).__aenter__()


async def test_a_fabric_has_somewhere_to_publish_to() -> None:
    with pytest.raises(UsageError, match="needs a broker, or a store of its own"):
        await Bus("first", network=Network(fabric=Fabric())).__aenter__()
