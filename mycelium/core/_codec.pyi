from collections.abc import Callable

from mycelium.core.envelope import Envelope

def configure(
    envelope_type: type[Envelope],
    topic_text: Callable[[bytes], str],
    topic_bytes: Callable[[str], bytes],
    decode_any: Callable[..., Envelope],
    build_any: Callable[..., bytes],
    zlib_crc32: Callable[[memoryview], int],
    max_topic_bytes: int,
    max_frame: int,
    /,
) -> None: ...
def decode_frame(frame: bytes, *, max_frame: int = ...) -> Envelope: ...
def build_frame(
    topic: str, type_id: int, count: int, source: int, epoch: int, sequence: int, published: int, payload: bytes, /
) -> bytes: ...
