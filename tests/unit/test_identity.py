"""The name of a transcript: the same for the same work, another for any other."""

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from consumer.engine.base import Options
from consumer.identity import transcript_id

_facts = st.fixed_dictionaries(
    {
        "bucket": st.text(min_size=1),
        "key": st.text(min_size=1),
        "version_id": st.none() | st.text(min_size=1),
        "etag": st.none() | st.text(min_size=1),
        "weights_sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
        "options": st.builds(
            Options,
            language=st.none() | st.sampled_from(["en", "de"]),
            task=st.sampled_from(["transcribe", "translate"]),
            prompt=st.text(max_size=5),
            start_seconds=st.sampled_from([0.0, 5.0]),
            end_seconds=st.sampled_from([6.0, math.inf]),
            words=st.booleans(),
            carry_context=st.booleans(),
        ),
    }
)


@given(_facts)
def test_equal_facts_give_equal_names(facts: dict[str, object]) -> None:
    assert transcript_id(**facts) == transcript_id(**facts)  # type: ignore[arg-type]


@given(_facts, st.none() | st.text())
def test_the_version_does_not_matter_where_there_is_an_etag(facts: dict[str, object], version_id: str | None) -> None:
    assume(facts["etag"])
    assert transcript_id(**facts) == transcript_id(**facts | {"version_id": version_id})  # type: ignore[arg-type]


@given(_facts, _facts)
def test_other_facts_give_other_names(one: dict[str, object], other: dict[str, object]) -> None:
    def named(facts: dict[str, object]) -> dict[str, object]:
        return facts | {"version_id": None} if facts["etag"] else facts

    assume(named(one) != named(other))
    assert transcript_id(**one) != transcript_id(**other)  # type: ignore[arg-type]


def test_a_name_never_changes() -> None:
    """Whoever changes this value gives every transcript that exists another name."""
    name = transcript_id(
        "calls", "ü/1.wav", version_id=None, etag="abc", weights_sha256="0" * 64, options=Options(language="en")
    )
    hurried = Options(language="en", priority="high")
    assert name == transcript_id(
        "calls", "ü/1.wav", version_id=None, etag="abc", weights_sha256="0" * 64, options=hurried
    )
    assert name == "f84b0ce739c505e6c61cca43ee679953323255ef4bc021868a24b115232665c2"
