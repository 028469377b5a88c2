"""Progress is told once a second at most, and every segment of it once."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from consumer.audio.decoder_messages import Header
from consumer.engine.base import Passage
from consumer.pipeline.reporter import INTERVAL_SECONDS, Reporter
from schemas import AudioUploaded, TranscriptProgress
from tests.support.transcripts import TRANSCRIPT_ID, make_segment

UPLOAD = AudioUploaded(bucket="calls", key="a b.wav")


class Followed:
    """A reporter, and what it told when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[float, TranscriptProgress]] = []
        self.reporter = Reporter(TRANSCRIPT_ID, UPLOAD, self._told, now=lambda: self.now)

    def _told(self, event: TranscriptProgress) -> None:
        self.told.append((self.now, event))

    def passage(self, end_seconds: float) -> None:
        segment = make_segment(end_seconds - 1, end_seconds, f"until {end_seconds:g}")
        self.reporter.on_passage(Passage(end_seconds, (segment,), "en", 0.1))


@given(st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_once_a_second_at_most_and_all_that_is_new(pauses: list[float]) -> None:
    followed = Followed()
    followed.reporter.on_header(None, Header(100.0, 1))
    for number, pause in enumerate(pauses, 1):
        followed.now += pause
        followed.passage(float(number))
    times = [when for when, _ in followed.told]
    assert all(after - before >= INTERVAL_SECONDS for before, after in pairwise(times))
    texts = [segment.text for _, event in followed.told for segment in event.data.segments]
    done = int(followed.told[-1][1].data.done_seconds)
    assert texts == [f"until {number}" for number in range(1, done + 1)]
    assert len({event.id for _, event in followed.told}) == len(followed.told)


def test_what_an_event_says() -> None:
    followed = Followed()
    followed.reporter.on_header(None, Header(40.0, 2))
    followed.passage(10.0)
    ((_, event),) = followed.told
    assert (event.source, event.subject) == ("/calls/a%20b.wav", "a b.wav")
    data = event.data
    assert (data.transcript_id, data.done_seconds, data.duration_seconds, data.percent) == (TRANSCRIPT_ID, 10, 40, 25)


def test_channels_are_parts_of_the_whole_and_an_unknown_length_has_no_percent() -> None:
    followed = Followed()
    followed.reporter.on_header(1, Header(40.0, 2))
    followed.passage(20.0)
    assert (followed.told[0][1].data.channel, followed.told[0][1].data.percent) == (1, 75)
    assert followed.told[0][1].data.segments[0].channel == 1
    unknown = Followed()
    unknown.reporter.on_header(None, Header(None, 1))
    unknown.passage(20.0)
    assert unknown.told[0][1].data.percent is None


def test_nobody_who_wants_to_know_costs_nothing() -> None:
    Reporter(TRANSCRIPT_ID, UPLOAD, None).on_passage(Passage(1.0, (), "en", 0.1))
