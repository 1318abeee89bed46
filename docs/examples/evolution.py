from mycelium import Message
from mycelium.core.message import PayloadCodec


class Before(Message, type_id=7, topic="readings.{sensor}"):
    sensor: str
    millidegrees: int


class Today(Message, type_id=7, topic="readings.{sensor}"):
    sensor: str
    millidegrees: int
    battery_percent: int = 100


before, today = PayloadCodec(Before), PayloadCodec(Today)
print("an old message, read today:", today.decode(before.encode([Before("roof", 21500)]), 1))
print("a message of today, read by an old reader:", before.decode(today.encode([Today("roof", 21500, 80)]), 1))
