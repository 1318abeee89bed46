from mycelium.core.envelope import Envelope, decode_frame, encode_frame, source_id

envelope = Envelope(
    topic="market.quickswap.wmatic-usdc",
    type_id=100,
    count=2,
    source=source_id("polygon_adapter"),
    epoch=1_700_000_000_000_000_000,
    sequence=41,
    published=1_700_000_000_000_000_001,
    payload=bytes.fromhex("929301a161c3930205c0"),  # msgpack: [[1, "a", true], [2, 5, nil]]
)
frame = encode_frame(envelope)
print(f"{len(frame)} bytes: {len(envelope.topic)} topic, 1 zero byte, 48 header, 6 TLV head, 10 payload")
print(frame.hex())
assert decode_frame(frame) == envelope
