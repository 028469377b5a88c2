"""Progress of recordings to a topic of its own. Nobody waits for it: what cannot be sent is dropped.

The whole text comes with the answer, so a lost event costs a follower some seconds, and an outage must cost no memory.
"""

import asyncio
import logging
from typing import Final

from consumer.delivery.publisher import Publisher
from consumer.errors import Unavailable
from schemas import TranscriptProgress
from schemas.cloud_event import STRUCTURED_HEADERS

log = logging.getLogger(__name__)

MOST_WAITING: Final = 1000
PAUSE_SECONDS: Final = 1.0
"""After an event that could not be sent."""


class ProgressTopic:
    """Takes events at any time and sends them one after another; the newest are dropped where too many wait."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._publisher = publisher
        self._topic = topic
        self._waiting: asyncio.Queue[TranscriptProgress] = asyncio.Queue(MOST_WAITING)

    def tell(self, event: TranscriptProgress) -> None:
        """Have an event sent. Returns at once."""
        if not self._waiting.full():
            self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        is_down = False
        while True:
            event = await self._waiting.get()
            value = event.model_dump_json(by_alias=True).encode()
            try:
                await self._publisher.publish(self._topic, event.data.transcript_id.encode(), value, STRUCTURED_HEADERS)
            except Unavailable as outage:
                if not is_down:
                    log.warning("progress cannot be told, it is dropped until that passes: %s", outage.message)
                is_down = True
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                is_down = False
