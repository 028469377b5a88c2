"""The judgement: from what was seen from outside to a table that says what holds. Pure.

1. An input is answered by the messages that name it in their header; a message that names none counts for an
   input of the same object that has no answer yet, else as a repetition of the first one.
2. Every input ends as exactly one of: a transcript, a dead letter with the expected reason, a skip. What the group
   has not committed is pending, what it committed without its answer is lost.
3. A committed offset was too early if an input below it had no answer when the offset was first seen.
4. All answers about one object have one id and the same bytes. With exactly_once no input has two.
5. Inference is repeated only for work that a fault may have ended: between the two beginnings a fault was on, or its
   aftermath (AFTERMATH_SECONDS: a session that ends, a rebalance, a worker that starts).
6. Nothing is inferred once its result is stored: unless the worker had looked for the result before, and a fault
   held it up. So time in which a fault was on, or its aftermath, does not count, and STALE_SECONDS are allowed.
7. Whoever goes on with a recording repeats at most REPEATED_AUDIO_SECONDS of it, and nothing before a checkpoint
   that lay there for STALE_SECONDS.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.facts import Answer, Disturbed, Facts, Inferred, Input, Letter, Place
from tests.chaos.plan import SKIP, TRANSCRIPT

AFTERMATH_SECONDS = 15.0
STALE_SECONDS = 5.0
REPEATED_AUDIO_SECONDS = 300.0

CRASHED = 1
"""Exit code of a worker that ended by an exception nobody caught."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``holds`` is None where a figure is only told."""

    name: str
    figure: str
    holds: bool | None = None
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The table."""

    rows: tuple[Row, ...]

    @property
    def holds(self) -> bool:
        return all(row.holds is not False for row in self.rows)

    def row(self, name: str) -> Row:
        """The line of this name."""
        return next(row for row in self.rows if row.name == name)


def judge(facts: Facts) -> Verdict:
    """Judge a run."""
    return Verdict(tuple(_rows(_Books(facts))))


class _Books:
    """The facts, put in order."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.inputs: dict[Place, Input] = {entry.place: entry for entry in facts.inputs}
        self.answers = attribute(facts.inputs, facts.answers)
        self.letters: dict[Place, list[Letter]] = defaultdict(list)
        for letter in facts.letters:
            self.letters[letter.source].append(letter)
        self.committed: dict[int, int] = {}
        for commit in facts.commits:
            self.committed[commit.partition] = commit.offset
        self.ids = {place: found[0].id for place, found in self.answers.items() if found}

    def outputs(self, place: Place) -> int:
        return len(self.answers.get(place, ())) + len(self.letters.get(place, ()))

    def first_output(self, place: Place) -> float | None:
        """When the input was first answered."""
        found = [answer.written for answer in self.answers.get(place, ())]
        found += [letter.written for letter in self.letters.get(place, ())]
        return min(found, default=None)

    def is_pending(self, entry: Input) -> bool:
        partition, offset = entry.place
        return offset >= self.committed.get(partition, 0)


def attribute(inputs: Iterable[Input], answers: Iterable[Answer]) -> dict[Place, list[Answer]]:
    """Which messages answer which input (rule 1), in the order in which they were written."""
    found: dict[Place, list[Answer]] = defaultdict(list)
    by_key: dict[str | None, list[Place]] = defaultdict(list)
    for entry in sorted(inputs, key=lambda entry: entry.written):
        by_key[entry.key].append(entry.place)
    for answer in sorted(answers, key=lambda answer: (answer.source is None, answer.written)):
        if answer.source is not None:
            found[answer.source].append(answer)
        elif places := by_key.get(answer.key):
            open_places = [place for place in places if place not in found]
            found[(open_places or places)[0]].append(answer)
    return found


def _rows(books: _Books) -> Iterator[Row]:
    yield from _counts(books)
    yield from _outcomes(books)
    yield from _repetitions(books)
    yield from _contents(books)
    yield from _commits(books)
    yield from _inference(books)
    yield from _processes(books)


def _counts(books: _Books) -> Iterator[Row]:
    facts = books.facts
    yield Row("events in", str(len(facts.inputs)))
    yield Row("transcripts", str(sum(1 for place in books.inputs if books.answers.get(place))))
    reasons = Counter(letters[0].reason for letters in books.letters.values())
    yield Row("dead letters", _counted(reasons))
    done = [entry for entry in facts.inputs if not books.is_pending(entry) and not books.outputs(entry.place)]
    yield Row("skips", str(sum(1 for entry in done if entry.expected == SKIP)))
    pending = [entry for entry in facts.inputs if books.is_pending(entry)]
    yield _none("pending", map(_described, pending))
    yield _none("lost", (_described(entry) for entry in done if entry.expected != SKIP))


def _outcomes(books: _Books) -> Iterator[Row]:
    wrong_letters, wrong_ends = [], []
    for entry in books.facts.inputs:
        reasons = {letter.reason for letter in books.letters.get(entry.place, ())}
        wrong_letters += [f"{_described(entry)}: {reason}" for reason in sorted(reasons - {entry.expected})]
        answered = bool(books.answers.get(entry.place))
        if answered and entry.expected != TRANSCRIPT:
            wrong_ends.append(f"{_described(entry)}: transcript")
        if answered and reasons:
            wrong_ends.append(f"{_described(entry)}: transcript and dead letter")
    strangers = [str(place) for place in (*books.answers, *books.letters) if place not in books.inputs]
    yield _none("dead letters with a wrong reason", wrong_letters)
    yield _none("other wrong outcomes", wrong_ends)
    yield _none("outputs for no input", strangers)


def _repetitions(books: _Books) -> Iterator[Row]:
    exactly_once = books.facts.exactly_once
    doubled = [_described(entry) for entry in books.facts.inputs if books.outputs(entry.place) > 1]
    name = "inputs with more than one output"
    yield _none(name, doubled) if exactly_once else Row(name, str(len(doubled)))
    yield _none("repeated outputs that differ", _differing(books))
    yield Row("duplicate events", str(sum(1 for entry in books.facts.inputs if entry.duplicate)))
    by_key: dict[str, list[Answer]] = defaultdict(list)
    for answer in books.facts.answers:
        by_key[answer.key].append(answer)
    torn = [key for key, answers in by_key.items() if len({(each.id, each.value_sha256) for each in answers}) > 1]
    yield _none("objects whose answers differ", torn)
    unnamed = [answer.key for answer in books.facts.answers if answer.source is None]
    yield Row("answers that name no input", str(len(unnamed)), not unnamed if exactly_once else None)
    yield Row("outputs seen uncommitted", str(books.facts.answers_uncommitted))


def _differing(books: _Books) -> Iterator[str]:
    for entry in books.facts.inputs:
        answers, letters = books.answers.get(entry.place, ()), books.letters.get(entry.place, ())
        if len({(answer.id, answer.value_sha256) for answer in answers}) > 1:
            yield _described(entry)
        if len({(letter.reason, letter.value_sha256) for letter in letters}) > 1:
            yield _described(entry)


def _contents(books: _Books) -> Iterator[Row]:
    foreign = [
        f"{_described(books.inputs[place])}: {answer.key}"
        for place, answers in books.answers.items()
        for answer in answers
        if place in books.inputs and (answer.key != books.inputs[place].key or not answer.consistent)
    ]
    yield _none("answers that are not the input's", foreign)
    yield _none("answers without their stored result", {each.key for each in books.facts.answers if not each.stored})
    altered = [
        _described(books.inputs[place])
        for place, letters in books.letters.items()
        for letter in letters
        if place in books.inputs and letter.value_sha256 != books.inputs[place].value_sha256
    ]
    yield _none("dead letters with other bytes", altered)
    words: dict[str, set[str]] = defaultdict(set)
    for answer in books.facts.answers:
        words[answer.audio_sha256].add(answer.text_sha256)
    heard = {answer.audio_sha256: answer.key for answer in books.facts.answers}
    yield _none("equal recordings with other words", (heard[sound] for sound, said in words.items() if len(said) > 1))


def _commits(books: _Books) -> Iterator[Row]:
    early, fallen = [], []
    reached: dict[int, int] = defaultdict(int)
    by_partition: dict[int, list[Input]] = defaultdict(list)
    for entry in sorted(books.facts.inputs, key=lambda entry: entry.place, reverse=True):
        by_partition[entry.place[0]].append(entry)
    for commit in books.facts.commits:
        if commit.offset < reached[commit.partition]:
            fallen.append(f"{commit.partition}: from {reached[commit.partition]} to {commit.offset}")
        reached[commit.partition] = commit.offset
        rest = by_partition[commit.partition]
        while rest and rest[-1].place[1] < commit.offset:
            entry = rest.pop()
            written = books.first_output(entry.place)
            if entry.expected != SKIP and (written is None or written > commit.seen):
                early.append(_described(entry))
    yield _none("committed past unfinished records", early)
    yield _none("committed offsets that fell", fallen)


def _inference(books: _Books) -> Iterator[Row]:
    by_place: dict[Place, list[Inferred]] = defaultdict(list)
    for run in sorted(books.facts.inferred, key=lambda run: run.began):
        by_place[run.place].append(run)
    repeated = {place: runs for place, runs in by_place.items() if len(runs) > 1}
    yield Row("inputs inferred more than once", str(len(repeated)))
    quiet = _Quiet(books.facts)
    unasked = [
        f"{place}: {first.worker} and {second.worker}"
        for place, runs in repeated.items()
        for first, second in pairwise(runs)
        if not quiet.disturbed(first.began, second.began)
    ]
    yield _none("inferred again without a fault", unasked)
    stale = [
        f"{run.place} by {run.worker}"
        for run in books.facts.inferred
        if (stored := books.facts.stored.get(books.ids.get(run.place, ""))) is not None
        and quiet.seconds(stored, run.began) > STALE_SECONDS
    ]
    yield _none("inferred though the result was stored", stale)
    yield _none("audio repeated beyond the bound", _audio_repeated(books, repeated, quiet))


def _audio_repeated(books: _Books, repeated: Mapping[Place, Sequence[Inferred]], quiet: "_Quiet") -> Iterator[str]:
    for place, runs in repeated.items():
        for index, run in enumerate(runs[1:], start=1):
            reached = max((before.to_seconds or 0.0 for before in runs[:index] if _over(before, run)), default=0.0)
            if reached - run.from_seconds > REPEATED_AUDIO_SECONDS:
                yield f"{place}: from {run.from_seconds:g} s again, {reached:g} s were done"
            for saved in books.facts.checkpoints:
                known = saved.id == books.ids.get(place) and quiet.seconds(saved.seen, run.began) > STALE_SECONDS
                if known and saved.done_seconds > run.from_seconds:
                    yield f"{place}: from {run.from_seconds:g} s again, checkpoint at {saved.done_seconds:g} s"
                    break


def _over(before: Inferred, run: Inferred) -> bool:
    return before.ended is not None and before.ended < run.began


class _Quiet:
    """Tells apart time in which something was broken, or its aftermath, from time in which nothing was."""

    def __init__(self, facts: Facts) -> None:
        unasked = [Disturbed("ended", end.worker, end.when, end.when) for end in facts.ended]
        spans = sorted((fault.began, fault.ended + AFTERMATH_SECONDS) for fault in (*facts.disturbed, *unasked))
        self._spans: list[tuple[float, float]] = []
        for began, ended in spans:
            if self._spans and began <= self._spans[-1][1]:
                self._spans[-1] = (self._spans[-1][0], max(ended, self._spans[-1][1]))
            else:
                self._spans.append((began, ended))

    def disturbed(self, began: float, ended: float) -> bool:
        """Whether anything was broken in this time."""
        return any(first < ended and began < last for first, last in self._spans)

    def seconds(self, began: float, ended: float) -> float:
        """How much of this time nothing was broken."""
        broken = sum(max(0.0, min(last, ended) - max(first, began)) for first, last in self._spans)
        return max(0.0, ended - began - broken)


def _processes(books: _Books) -> Iterator[Row]:
    facts = books.facts
    yield Row("faults", _counted(Counter(fault.fault for fault in facts.disturbed)))
    unasked = Counter(str(end.code) for end in facts.ended if end.asked is None)
    yield Row("workers that ended unasked, by status", _counted(unasked))
    crashed = [
        f"{end.worker}: {end.code}"
        for end in facts.ended
        if end.code == CRASHED or (end.asked is None and end.code < 0)
    ]
    yield _none("workers that crashed", crashed)
    slow = [end.worker for end in facts.ended if end.asked == "term, too slow"]
    yield Row("workers too slow to end", str(len(slow)), None, tuple(slow))


def _none(name: str, offenders: Iterable[str]) -> Row:
    """A figure that must be 0."""
    details = tuple(offenders)
    return Row(name, str(len(details)), not details, details)


def _counted(counter: Counter[str]) -> str:
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
    return f"{counter.total()} ({parts})" if parts else "0"


def _described(entry: Input) -> str:
    return f"{entry.name} at {entry.place[0]}:{entry.place[1]}"
