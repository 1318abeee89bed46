"""From a topology to keys and rules: what the broker and the services show one another, and when they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated

import structlog
import typer

from mycelium.broker.security import Security, security_of
from mycelium.cli import completion
from mycelium.cli.reload import Watched
from mycelium.core.errors import ConfigError, Problem
from mycelium.core.policy import Delivery
from mycelium.observe.redaction import register_secret
from mycelium.spec.access import access_of, check_access
from mycelium.spec.check import check_spec
from mycelium.spec.code import SystemCode
from mycelium.spec.model import SystemSpec, load_spec
from mycelium.topology.hosts import is_loopback
from mycelium.topology.load import LoadedTopology
from mycelium.topology.model import Broker, Mode
from mycelium.transport.keyring import Credentials, KeyPair, Keyring

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("security")


def keyring_of(topology: LoadedTopology) -> Keyring | None:
    """The keys of a system; None if it has none."""
    keys = topology.values.security.keys
    return None if keys is None else Keyring(topology.directory / keys)


def credentials_by_name(topology: LoadedTopology) -> Callable[[str], Credentials] | None:
    """What finds the credentials of a service or operator, as the files are now; None where none are needed."""
    keyring = keyring_of(topology)
    if keyring is None or topology.values.deployment.mode is not Mode.DISTRIBUTED:
        return None

    def find(name: str) -> Credentials:
        found = keyring.credentials(name, time.time())
        register_secret(found.pair.secret)
        return found

    return find


DEFAULT_OPERATOR = "ledger"

OperatorOption = Annotated[
    str,
    typer.Option(
        "--as",
        help="The operator of system.yaml whose key is shown, where the topology has keys.",
        autocompletion=completion.operators,
    ),
]


def operator_credentials(topology: LoadedTopology, name: str) -> Credentials | None:
    """What a tool shows a store.

    Raises:
        ConfigError: its keys are not there.
    """
    find = credentials_by_name(topology)
    return None if find is None else find(name)


# --- the broker ------------------------------------------------------------------------------


def security_from(topology: LoadedTopology, spec: SystemSpec) -> Security | None:
    """The keys and rules that a broker goes by; None if it has none.

    Raises:
        ConfigError: the spec is wrong, the broker could not keep apart what it does, or keys cannot be read.
    """
    keyring = keyring_of(topology)
    if keyring is None:
        return None
    file = str(topology.spec_path)
    problems = check_spec(spec, SystemCode({}, {}, ()), file) or check_access(spec, file)
    if problems:
        raise ConfigError(problems)
    security = security_of(access_of(spec), keyring, time.time())
    register_secret(security.pair.secret)
    return security


def deliveries(spec: SystemSpec) -> dict[int, Delivery]:
    """The delivery class of each type id."""
    return {contract.type_id: contract.delivery for contract in spec.contracts.values()}


def rules_watched(
    topology: LoadedTopology,
    spec: SystemSpec,
    security: Security,
    renew: Callable[[Security, Mapping[int, Delivery]], None],
) -> Watched:
    """What a broker with keys looks at while it runs: the keys, when they end, and ``system.yaml``.

    Args:
        topology: says where they are.
        spec: what it has begun with.
        security: the same.
        renew: goes by other keys and rules.
    """
    keyring = keyring_of(topology)
    assert keyring is not None, "a broker with keys"
    current: list[tuple[SystemSpec, Mapping[str, str], KeyPair]] = [(spec, security.users, security.pair)]

    def state() -> object:
        try:
            found = topology.spec_path.stat()
        except OSError:
            return None  # an editor is replacing it
        try:
            accepted = frozenset(keyring.holders(time.time()))
        except ConfigError:
            accepted = frozenset()  # said when it is taken up
        return keyring.state(), accepted, found.st_mtime_ns, found.st_ino

    def take_up() -> None:
        try:
            known, changed = deliveries(current[0][0]), load_spec(topology.spec_path)
            problems = [
                Problem(str(topology.spec_path), f"contracts.{name}.delivery", "has changed, which needs a restart")
                for name, contract in changed.contracts.items()
                if known.get(contract.type_id, contract.delivery) is not contract.delivery
            ]
            if problems:
                raise ConfigError(problems)
            new = security_from(topology, changed)
            assert new is not None, "the topology has keys"
            found = (changed, new.users, new.pair)
            if current == [found]:
                return
            renew(new, deliveries(changed))
        except ConfigError as error:
            for problem in error.problems:
                log.error("the changed keys and rules are not taken up", problem=str(problem))
            return
        current[:] = [found]
        log.info("goes by the keys and rules as they are now", keys=len(new.users))

    return Watched(state, take_up)


# --- the services ----------------------------------------------------------------------------


def keys_watched(topology: LoadedTopology, renew: Callable[[], None]) -> list[Watched]:
    """What a process with services looks at while it runs: its keys and the broker's."""
    keyring = keyring_of(topology)
    if keyring is None or topology.values.deployment.mode is not Mode.DISTRIBUTED:
        return []

    def take_up() -> None:
        try:
            renew()
        except ConfigError as error:
            for problem in error.problems:
                log.error("the changed keys are not taken up", problem=str(problem))

    return [Watched(keyring.state, take_up)]


# --- without keys ----------------------------------------------------------------------------


def check_binding(topology: LoadedTopology, broker: Broker, bind: str | None) -> None:
    """Refuse to open a broker without keys to the network.

    Raises:
        ConfigError: it would be.
    """
    security = topology.values.security
    if security.keys is None and not security.insecure and not is_loopback(bind or broker.host):
        message = (
            f"is missing, and the broker is to listen on {bind or broker.host!r}: everybody who reaches it could read "
            "and publish. Make keys with `mycelium keys init` and name their directory here, or say insecure = true"
        )
        raise ConfigError([Problem(topology.origin("security", "keys"), "security.keys", message)])


def warn_if_open(topology: LoadedTopology, bind: str | None = None) -> None:
    """Say at every start that anybody may read and publish, if that is so.

    Args:
        topology: says whether there are keys.
        bind: where a broker binds, whatever the mode is; None for services, which use one in mode distributed.
    """
    values = topology.values
    uses_broker = bind is not None or values.deployment.mode is Mode.DISTRIBUTED
    if values.broker is None or not uses_broker or values.security.keys is not None:
        return
    host = bind or values.broker.host
    if not is_loopback(host):
        log.warning(
            "INSECURE: everybody who reaches the broker may read and publish, in plain text",
            broker=host,
            because="security.insecure = true",
            instead="mycelium keys init",
        )
