"""What a dead letter says, and what it leaves untouched."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery.deadletters import HEADER_BYTES, headers_of, verdict_on
from consumer.delivery.job import SourceRecord
from consumer.errors import Reason, Rejected, Stage


def letter(record: SourceRecord, error: BaseException, attempts: int = 1) -> dict[str, str]:
    headers = headers_of(record, verdict_on(error, attempts), "group")
    return {name: (value or b"").decode() for name, value in headers[len(record.headers) :]}


RECORD = SourceRecord("audio.uploaded", 3, 41, 1_700_000_000_000, b"k", b"v", (("trace", b"\x00"), ("trace", b"")))


def test_a_rejection_in_headers() -> None:
    assert letter(RECORD, Rejected(Reason.TOO_LONG, Stage.DECODE, "13 h; at most 12 h"), attempts=2) == {
        "kafka_dlt-original-topic": "audio.uploaded",
        "kafka_dlt-original-partition": "3",
        "kafka_dlt-original-offset": "41",
        "kafka_dlt-original-timestamp": "1700000000000",
        "kafka_dlt-original-consumer-group": "group",
        "kafka_dlt-exception-fqcn": "consumer.errors.Rejected",
        "kafka_dlt-exception-message": "13 h; at most 12 h",
        "whisper-consumer-reason": "too_long",
        "whisper-consumer-stage": "decode",
        "whisper-consumer-attempts": "2",
    }


def test_a_defect_names_its_type_and_none_of_its_words() -> None:
    headers = letter(RECORD, KeyError("words of a transcript"))
    assert headers["whisper-consumer-reason"] == "internal"
    assert headers["whisper-consumer-stage"] == "unknown"
    assert headers["kafka_dlt-exception-fqcn"] == "builtins.KeyError"
    assert "words" not in str(headers)


@given(
    st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=20)), max_size=5),
    st.text(max_size=10_000),
)
def test_original_headers_come_first_untouched_and_ours_fit_their_room(
    original: list[tuple[str, bytes | None]], message: str
) -> None:
    record = SourceRecord("t" * 249, 2**31, 2**63, 2**63, None, b"v", tuple(original))
    error = Rejected(Reason.BAD_EVENT, Stage.PARSE, message)
    headers = headers_of(record, verdict_on(error, attempts=10**9), "g" * 249)
    assert headers[: len(original)] == tuple(original)
    ours = headers[len(original) :]
    assert sum(len(name.encode()) + len(value or b"") for name, value in ours) < HEADER_BYTES / 4


def test_a_message_that_utf8_cannot_hold_is_escaped() -> None:
    assert letter(RECORD, Rejected(Reason.BAD_EVENT, Stage.PARSE, "\ud800"))["kafka_dlt-exception-message"] == "\\ud800"
