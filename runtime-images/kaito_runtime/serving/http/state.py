"""The state of a server: what all its requests share."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http.auth import ApiKeys
from kaito_runtime.serving.http.limits import Limits
from kaito_runtime.serving.http.metrics import ServerMetrics
from kaito_runtime.serving.http.rate_limit import RateLimiter
from kaito_runtime.serving.start import StartLedger


@dataclass
class ServerState:
    """What all requests share."""

    pipeline: str
    adapter_digest: str = ""
    engine: ChatEngine | None = None
    """None until the model is loaded and has generated one token."""
    limits: Limits = field(default_factory=Limits)
    keys: ApiKeys | None = None
    """None: everyone may ask."""
    rate: RateLimiter = field(default_factory=RateLimiter)
    is_stopping: bool = False
    connections: Callable[[], int] = lambda: 0
    """How many clients are connected; the server says."""
    running: int = 0
    """Requests for the engine that have not been answered yet."""
    metrics: ServerMetrics = field(default_factory=ServerMetrics)
    start: StartLedger = field(default_factory=StartLedger)
    started_at: int = field(default_factory=lambda: int(time.time()))
    """Seconds since 1970."""

    @property
    def is_ready(self) -> bool:
        """Return true while requests can be answered."""
        return self.engine is not None and self.engine.is_healthy() and not self.is_stopping

    async def drained(self, seconds: float) -> None:
        """Wait until no request is in progress, at most so long."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            await asyncio.sleep(0.05)
