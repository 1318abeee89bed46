"""Says to libzmq which keys are accepted, and whose they are (ZAP 1.0, https://rfc.zeromq.org/spec/27/).

libzmq asks with every handshake: version, request id, domain, address, identity, mechanism, and for CURVE the public
key, 32 bytes. The answer: version, request id, status code, status text, user, metadata. The user is what every message
of that connection carries from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
import zmq

from mycelium.transport.curve import ZAP_DOMAIN, ZAP_ENDPOINT
from mycelium.transport.keyring import encoded_key, fingerprint
from mycelium.transport.sockets import Port

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("broker")

VERSION = b"1.0"

UNKNOWN_KEY = "unknown key"

NOT_YET = b"300"
"""Of an unknown key, too: a holder may have his new one before we have looked. After 400 libzmq's client never tries
again, after 300 it does, ever more seldom."""


class Authenticator:
    """Answers libzmq's questions, in the running event loop; one for all of a process.

    Args:
        users: the user by public key, of the keys that are accepted.
        refuse: counts a refusal: who, and the cause.
    """

    def __init__(self, users: Mapping[str, str], refuse: Callable[[str, str], None]) -> None:
        self.users: Mapping[str, str] = users
        """May be replaced while it answers."""
        self._refuse = refuse
        self._port = Port(zmq.ROUTER, self._on_questions)
        self._is_open = False

    def open(self) -> None:
        """Answer from now on.

        Raises:
            PathError: another one answers in this process.
        """
        self._port.bind(ZAP_ENDPOINT)
        self._is_open = True

    def close(self) -> None:
        """Answer no more: nobody is let in."""
        if self._is_open:
            self._port.unbind()
        self._port.close()

    def _on_questions(self, burst: list[list[bytes]]) -> None:
        for peer, empty, *question in burst:
            if len(question) >= 6:
                self._port.send_parts([peer, empty, *self._answer(*question)])

    def _answer(
        self,
        _version: bytes,
        request: bytes,
        domain: bytes,
        address: bytes,
        _identity: bytes,
        mechanism: bytes,
        *credentials: bytes,
    ) -> list[bytes]:
        where = address.decode("ascii", "replace")
        key = encoded_key(credentials[0]) if len(credentials) == 1 and len(credentials[0]) == 32 else ""
        user = self.users.get(key) if domain == ZAP_DOMAIN and mechanism == b"CURVE" else None
        if user is None:
            self._refuse(where, UNKNOWN_KEY)
            log.debug("refused", address=where, key=fingerprint(key), mechanism=mechanism.decode("ascii", "replace"))
            return [VERSION, request, NOT_YET, b"no access", b"", b""]
        return [VERSION, request, b"200", b"OK", user.encode(), b""]
