"""The ledger's judgement: a faultless history holds, and each single thing that goes wrong is found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.facts import (
    Answer,
    Checkpointed,
    Committed,
    Disturbed,
    Ended,
    Facts,
    Inferred,
    Input,
    Letter,
)
from tests.chaos.ledger import judge
from tests.chaos.plan import EXPECTED, SKIP, TRANSCRIPT

START = 1_000_000.0


def entry(offset: int, expected: str, *, key: str | None = None, partition: int = 0) -> Input:
    own = key or (f"{partition}-{offset}.wav" if expected == TRANSCRIPT else None)
    return Input((partition, offset), f"e{partition}-{offset}", expected, own, key is not None, START + offset, "raw")


def answer(to: Input, *, after: float = 1.0) -> Answer:
    key = str(to.key)
    return Answer(0, to.written + after, to.place, f"id-{key}", key, True, f"value-{key}", f"wav-{key}", key, True)


def letter(to: Input, *, after: float = 1.0) -> Letter:
    return Letter(0, to.written + after, to.place, to.expected, to.value_sha256)


def history(inputs: list[Input], *, exactly_once: bool = False) -> Facts:
    """All answered one second after they came, each committed half a second later."""
    answers = tuple(answer(each) for each in inputs if each.expected == TRANSCRIPT)
    letters = tuple(letter(each) for each in inputs if each.expected not in {TRANSCRIPT, SKIP})
    commits = tuple(Committed(each.written + 1.5, each.place[0], each.place[1] + 1, 0) for each in inputs)
    inferred = tuple(
        Inferred("worker-1.1", each.place, each.written, 0.0, each.written + 0.5, 5.0)
        for each in inputs
        if each.expected == TRANSCRIPT and not each.duplicate
    )
    stored = {each.id: each.written - 0.3 for each in answers}
    return Facts(
        exactly_once=exactly_once,
        inputs=tuple(inputs),
        answers=answers,
        letters=letters,
        commits=tuple(sorted(commits, key=lambda commit: commit.seen)),
        inferred=inferred,
        stored=stored,
    )


INPUTS = [entry(0, TRANSCRIPT), entry(1, "not_audio"), entry(2, SKIP), entry(3, TRANSCRIPT, key="0-0.wav")]
INPUTS += [entry(4, TRANSCRIPT), entry(0, "missing", partition=1), entry(1, TRANSCRIPT, partition=1)]
GOOD = history(INPUTS)
SECOND_THOUGHT = replace(letter(INPUTS[0]), reason="missing")
KILLED = Disturbed("kill", "worker-1", START, START + 5)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(set(EXPECTED.values()))), st.integers(0, 2)), max_size=30),
    st.booleans(),
)
def test_a_faultless_history_holds(drawn: list[tuple[str, int]], exactly_once: bool) -> None:
    counts: dict[int, int] = {}
    inputs = []
    for expected, partition in drawn:
        offset = counts[partition] = counts.get(partition, -1) + 1
        inputs.append(entry(offset, expected, partition=partition))
    verdict = judge(history(inputs, exactly_once=exactly_once))
    assert verdict.holds, [row for row in verdict.rows if row.holds is False]
    assert verdict.row("events in").figure == str(len(inputs))


@given(st.data())
def test_no_output_can_be_taken_away_unseen(data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from([*GOOD.answers, *GOOD.letters]))
    facts = replace(
        GOOD,
        answers=tuple(each for each in GOOD.answers if each is not lost),
        letters=tuple(each for each in GOOD.letters if each is not lost),
    )
    verdict = judge(facts)
    assert verdict.row("lost").figure == "1"
    assert verdict.row("committed past unfinished records").figure == "1"
    assert not verdict.holds


@given(st.sampled_from(GOOD.answers), st.booleans())
def test_a_repeated_answer_is_counted_by_default_and_refused_exactly_once(again: Answer, exactly_once: bool) -> None:
    facts = replace(GOOD, answers=(*GOOD.answers, replace(again, written=again.written + 3)), exactly_once=exactly_once)
    verdict = judge(facts)
    assert verdict.row("inputs with more than one output").figure == "1"
    assert verdict.holds is not exactly_once


@given(st.integers(0, len(GOOD.commits) - 1))
def test_a_commit_that_comes_before_the_answer_is_found(index: int) -> None:
    commit = GOOD.commits[index]
    ahead = Committed(START - 1, commit.partition, commit.offset, 0)
    before = [each for each in INPUTS if each.place[0] == commit.partition and each.place[1] < commit.offset]
    verdict = judge(replace(GOOD, commits=(ahead, *GOOD.commits)))
    expected = sum(1 for each in before if each.expected != SKIP)
    assert verdict.row("committed past unfinished records").figure == str(expected)


def test_what_is_not_committed_is_pending_and_not_lost() -> None:
    verdict = judge(replace(GOOD, commits=tuple(each for each in GOOD.commits if each.partition == 0)))
    assert verdict.row("pending").figure == "2"
    assert verdict.row("lost").figure == "0"
    assert not verdict.holds


def test_answers_without_a_header_count_for_their_object() -> None:
    unnamed = tuple(replace(each, source=None) for each in GOOD.answers)
    assert judge(replace(GOOD, answers=unnamed)).holds
    assert not judge(replace(GOOD, answers=unnamed, exactly_once=True)).holds
    verdict = judge(replace(GOOD, answers=unnamed[1:]))
    assert verdict.row("lost").figure == "1"


def _answers(change: Callable[[Answer], Answer]) -> Facts:
    return replace(GOOD, answers=(change(GOOD.answers[0]), *GOOD.answers[1:]))


def _letters(change: Callable[[Letter], Letter]) -> Facts:
    return replace(GOOD, letters=(change(GOOD.letters[0]), *GOOD.letters[1:]))


def _again(*, from_seconds: float = 0.0, after: float = 0.6) -> Inferred:
    first = GOOD.inferred[0]
    return Inferred("worker-2.1", first.place, first.began + after, from_seconds, None, None)


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        ("dead letters with a wrong reason", _letters(lambda each: replace(each, reason="internal"))),
        ("dead letters with other bytes", _letters(lambda each: replace(each, value_sha256="other"))),
        ("other wrong outcomes", replace(GOOD, answers=(*GOOD.answers, replace(GOOD.answers[0], source=(0, 2))))),
        ("dead letters with a wrong reason", replace(GOOD, letters=(*GOOD.letters, SECOND_THOUGHT))),
        ("outputs for no input", replace(GOOD, answers=(*GOOD.answers, replace(GOOD.answers[0], source=(5, 5))))),
        ("objects whose answers differ", _answers(lambda each: replace(each, value_sha256="other"))),
        ("objects whose answers differ", _answers(lambda each: replace(each, id="other"))),
        ("answers that are not the input's", _answers(lambda each: replace(each, source=(0, 4)))),
        ("answers that are not the input's", _answers(lambda each: replace(each, consistent=False))),
        ("answers without their stored result", _answers(lambda each: replace(each, stored=False))),
        ("equal recordings with other words", _answers(lambda each: replace(each, text_sha256="other"))),
        ("committed offsets that fell", replace(GOOD, commits=(*GOOD.commits, Committed(START + 99, 0, 1, 0)))),
        ("inferred again without a fault", replace(GOOD, inferred=(*GOOD.inferred, _again()))),
        ("inferred though the result was stored", replace(GOOD, inferred=(*GOOD.inferred, _again(after=9)))),
        ("workers that crashed", replace(GOOD, ended=(Ended("worker-1.1", START, 1, None),))),
        ("workers that crashed", replace(GOOD, ended=(Ended("worker-1.1", START, -11, None),))),
    ],
)
def test_each_thing_that_goes_wrong_is_found(row: str, facts: Facts) -> None:
    verdict = judge(facts)
    assert verdict.row(row).holds is False
    assert not verdict.holds


def test_work_that_a_fault_ended_may_be_done_again() -> None:
    facts = replace(GOOD, inferred=(*GOOD.inferred, _again()), disturbed=(KILLED,))
    verdict = judge(facts)
    assert verdict.holds
    assert verdict.row("inputs inferred more than once").figure == "1"


def test_not_more_than_five_minutes_are_repeated() -> None:
    first = replace(GOOD.inferred[0], to_seconds=900.0)
    for from_seconds, holds in ((600.0, True), (599.0, False)):
        inferred = (first, *GOOD.inferred[1:], _again(from_seconds=from_seconds))
        verdict = judge(replace(GOOD, inferred=inferred, disturbed=(KILLED,)))
        assert verdict.row("audio repeated beyond the bound").holds is holds
        assert verdict.holds is holds


def test_a_checkpoint_is_not_passed_over() -> None:
    saved = Checkpointed(START - 20, GOOD.answers[0].id, 120.0)
    runs = (replace(GOOD.inferred[0], began=START - 30, ended=None, to_seconds=None), *GOOD.inferred[1:])
    for from_seconds, holds in ((120.0, True), (60.0, False)):
        again = _again(from_seconds=from_seconds)
        facts = replace(
            GOOD,
            inferred=(*runs, again),
            checkpoints=(saved,),
            disturbed=(Disturbed("kill", "worker-1", START - 50, START - 35),),
        )
        assert judge(facts).row("audio repeated beyond the bound").holds is holds


def test_facts_are_kept_whole(tmp_path: Path) -> None:
    facts = replace(
        GOOD,
        ends={0: 5, 1: 2},
        disturbed=(KILLED,),
        ended=(Ended("worker-1.1", START, -9, "kill"),),
        checkpoints=(Checkpointed(START, "id", 60.0),),
    )
    facts.save(tmp_path / "facts.json")
    assert Facts.load(tmp_path / "facts.json") == facts
