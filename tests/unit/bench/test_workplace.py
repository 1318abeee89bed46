"""The files of a measurement are right by the fabric's own rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mycelium.bench.messages import Sample
from mycelium.bench.workplace import ENDS, ipc_store, own_environment, write_system
from mycelium.cli.fabric import broker_address
from mycelium.core.message import contract_of
from mycelium.journal.protocol import Durability
from mycelium.spec.model import load_spec
from mycelium.topology.load import load_topology
from mycelium.transport.ports import free_ports


def test_the_topology_has_the_broker(tmp_path: Path) -> None:
    path, address = write_system(tmp_path)
    topology = load_topology(path)
    broker = topology.values.broker
    assert broker is not None
    assert broker_address(broker) == address
    assert broker.durability is Durability.PROCESS
    assert topology.state_directory.parent == tmp_path
    assert topology.values.placed == ENDS


def test_the_broker_keeps_as_much_as_it_is_told(tmp_path: Path) -> None:
    path, _ = write_system(tmp_path, journal_bytes=64 << 20)
    broker = load_topology(path).values.broker
    assert broker is not None
    assert broker.journal_bytes == 64 << 20


def test_the_spec_says_what_the_message_is(tmp_path: Path) -> None:
    path, _ = write_system(tmp_path)
    spec, contract = load_spec(load_topology(path).spec_path), contract_of(Sample)
    (name,) = spec.contracts
    said = spec.contracts[name]
    assert (name, said.class_) == (contract.name, f"{Sample.__module__}:{contract.name}")
    assert (said.type_id, said.topic) == (contract.type_id, contract.topic.text)
    assert said.fields == {field.name: str(field) for field in contract.fields}
    assert tuple(spec.services) == ENDS


def test_ports_are_different() -> None:
    assert len(set(free_ports(5))) == 5


def test_an_ipc_store_has_no_place_to_publish_to(tmp_path: Path) -> None:
    store = ipc_store(tmp_path, "near")
    assert store.publish is None
    assert store.frames != store.control


def test_the_settings_of_the_user_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCELIUM_DEPLOYMENT__MODE", "bundled")
    found = own_environment()
    assert not any(name.startswith("MYCELIUM_") for name in found)
    assert found["PATH"] == os.environ["PATH"]
