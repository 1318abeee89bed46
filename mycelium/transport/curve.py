"""Options of libzmq for encrypted and authenticated connections: CURVE, and ZAP on the side that binds."""

from __future__ import annotations

from collections.abc import Mapping

import zmq

from mycelium.transport.keyring import Credentials, KeyPair

ZAP_DOMAIN = b"mycelium"

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
"""Where libzmq asks whether a key is accepted (https://rfc.zeromq.org/spec/27/), one for all of a process."""


def server_options(pair: KeyPair) -> Mapping[int, int | bytes]:
    """For what binds. Without somebody at :data:`ZAP_ENDPOINT` libzmq lets nobody in."""
    return {
        zmq.CURVE_SERVER: 1,
        zmq.CURVE_SECRETKEY: pair.secret.encode(),
        zmq.ZAP_DOMAIN: ZAP_DOMAIN,
        zmq.ZAP_ENFORCE_DOMAIN: 1,
    }


def options_of(credentials: Credentials | None) -> Mapping[int, int | bytes]:
    """For what connects with the server's newest key, or without keys."""
    return {} if credentials is None else client_options(credentials, credentials.servers[0])


def client_options(credentials: Credentials, server: str) -> Mapping[int, int | bytes]:
    """For what connects.

    Args:
        credentials: whose.
        server: the public key that the server should have.
    """
    return {
        zmq.CURVE_PUBLICKEY: credentials.pair.public.encode(),
        zmq.CURVE_SECRETKEY: credentials.pair.secret.encode(),
        zmq.CURVE_SERVERKEY: server.encode(),
    }
