from pathlib import Path

from adapters.polygon.capture import CaptureReader
from adapters.polygon.lines import Fault
from adapters.polygon.pools import Ignored, PoolBook, Refused

with CaptureReader(Path(__file__).parent / "captures" / "small.jsonl") as reader:
    for pool in reader.header.pools:
        print(f"pool: {pool.venue} {pool.instrument}, fee {pool.fee_pips} pips")
    book = PoolBook(reader.header.pools, reader.header.missing_tokens)
    for reading in reader:
        if isinstance(reading, Fault):
            print(f"{reading.position}: {reading.cause}: {reading.detail}")
            continue
        applied = book.apply(reading.log)
        if isinstance(applied, Ignored | Refused):
            print(f"{reading.position}: {applied.cause}: {applied.detail}")
        else:
            print(f"{reading.position}: {', '.join(type(message).__name__ for message in applied)}")
