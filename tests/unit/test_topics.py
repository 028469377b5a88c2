"""What is said about topics that do not fit the work."""

from consumer.delivery.deadletters import HEADER_BYTES
from consumer.delivery.topics import TopicNames, warnings_about

NAMES = TopicNames("in", "out", "dead")
MIB = 1024 * 1024


def warnings(limits: dict[str, int], max_record_bytes: int = MIB) -> list[str]:
    return warnings_about(NAMES, limits, max_record_bytes, max_event_bytes=MIB // 2)


def test_topics_that_fit() -> None:
    assert warnings({"in": MIB, "out": MIB, "dead": MIB + HEADER_BYTES}) == []


def test_missing_topics_are_named() -> None:
    assert len(warnings({})) == 3
    (warning,) = warnings({"in": MIB, "out": MIB})
    assert warning == "topic 'dead' does not exist: create it"


def test_a_dead_letter_needs_room_for_the_largest_record_and_its_headers() -> None:
    (warning,) = warnings({"in": MIB, "out": MIB, "dead": MIB})
    assert "'dead'" in warning
    assert str(MIB + HEADER_BYTES) in warning


def test_results_need_room_too() -> None:
    (warning,) = warnings({"in": MIB, "out": MIB // 2, "dead": 2 * MIB})
    assert "'out'" in warning


def test_records_larger_than_the_worker_expects() -> None:
    (warning,) = warnings({"in": 2 * MIB, "out": MIB, "dead": 2 * MIB})
    assert "KAFKA_MAX_RECORD_BYTES" in warning
