"""Services: what they declare, how they live, and the host that runs them."""

from mycelium.core.errors import Draining
from mycelium.service.dead_letters import DeadLetter
from mycelium.service.declarations import OnFailure, Retry, handles
from mycelium.service.host import Host, Outcome, Placement
from mycelium.service.intake import Intake
from mycelium.service.service import ConfigPath, NoSettings, Progress, Service, ServiceContext

__all__ = [
    "ConfigPath",
    "DeadLetter",
    "Draining",
    "Host",
    "Intake",
    "NoSettings",
    "OnFailure",
    "Outcome",
    "Placement",
    "Progress",
    "Retry",
    "Service",
    "ServiceContext",
    "handles",
]
