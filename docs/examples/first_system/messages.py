from mycelium import Message


class Reading(Message, type_id=1, topic="readings.{sensor}"):
    """A temperature in thousandths of a degree Celsius."""

    sensor: str
    millidegrees: int
