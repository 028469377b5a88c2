"""Native work on one recording: when it may begin, whether it runs alone, how far it got; and the log tells of it."""

import logging
from types import TracebackType
from typing import Self

from consumer.engine.base import CLEARED_AFTER_SECONDS, Passage, Turn
from consumer.engine.places import Places

log = logging.getLogger(__name__)


class NativeWork:
    """Stands for one recording in the engine, as the owner of its calls. Leave the context once no more are made.

    The log holds a line when the work begins and one when it ends or is abandoned, with the fields ``from_seconds``,
    ``alone`` (whether it began alone) and, at the end, ``to_seconds`` (the end of what was transcribed, given as a
    passage or not) and ``segments``.
    """

    def __init__(self, places: Places, turn: Turn, after_seconds: float) -> None:
        self._places = places
        self._turn = turn
        self._after_seconds = after_seconds
        self._to_seconds = after_seconds
        self._n_segments = 0
        self._alone = False
        self._is_cleared = False
        self._has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_begun:
            self._turn.ends()
        self._places.give_back(self)
        if self._has_begun:
            log.info(
                "native work abandoned" if kind else "native work ended",
                extra={
                    "from_seconds": self._after_seconds,
                    "to_seconds": self._to_seconds,
                    "alone": self._alone,
                    "segments": self._n_segments,
                },
            )

    async def begin(self) -> None:
        """Return once native code may touch the recording, from the second time on at once."""
        if self._has_begun:
            return
        self._alone = self._turn.alone
        if self._alone:
            await self._places.be_alone(self)
        await self._turn.begins()
        self._has_begun = True
        log.info("native work begins", extra={"from_seconds": self._after_seconds, "alone": self._alone})

    def transcribed(self, passage: Passage) -> None:
        """A passage is finished, though others before it may not be."""
        self._to_seconds = max(self._to_seconds, passage.end_seconds)
        self._n_segments += len(passage.segments)

    def given(self, passage: Passage) -> None:
        """A passage was given, and whoever took it is done with it: a suspect may go on beside others now."""
        far_enough = passage.end_seconds >= self._after_seconds + CLEARED_AFTER_SECONDS
        if self._alone and not self._is_cleared and far_enough:
            self._is_cleared = True
            self._places.give_back(self)
            self._turn.cleared()
