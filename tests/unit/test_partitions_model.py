"""The rules of partitions.py all together: two members, their broker, deaths, lost answers and foreign metadata."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumer.delivery.commit_metadata import Entry, State, decode
from consumer.delivery.job import SourceRecord
from consumer.delivery.partitions import Commit, InFlight, LogRange, Opening, Partitions, TopicPartition

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
SMALL_WINDOW, FEW_ENTRIES = 12, 4  # so that both limits are met


def record(offset: int) -> SourceRecord:
    return SourceRecord("t", 0, offset, timestamp_ms=0, key=None, value=b"v")


class Answer(Enum):
    """What becomes of a commit."""

    ACCEPTED = auto()
    LOST = auto()  # accepted, but nobody hears of it
    REFUSED = auto()


class Harm(Enum):
    """What somebody else does to a commit while no worker runs."""

    NONE = auto()
    GARBLED = auto()
    RESET = auto()  # to an earlier offset, without metadata
    RESET_KEEPING_METADATA = auto()


HARMS = st.sampled_from([Harm.NONE] * 6 + list(Harm))


@dataclass
class Doing:
    """What the model knows of running work."""

    deaths: int
    suspect: bool
    state: State | None = None
    attempt: int = 0
    on_record: bool = False


@dataclass
class Told:
    """What a commit says, by the model's own books."""

    offset: int | None = None
    finished: frozenset[int] = frozenset()
    entries: dict[int, Entry] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)  # number of the attempt, by offset
    states: dict[InFlight, State] = field(default_factory=dict)


@dataclass
class Sent:
    commits: dict[TopicPartition, Commit]
    epoch: int
    told: Told


class Member:
    """A process."""

    def __init__(self) -> None:
        self.partitions = Partitions()
        self.position: int | None = None  # None where it does not believe to hold the partition
        self.known: set[int] = set()  # finished, for all it knows
        self.running: dict[InFlight, Doing] = {}
        self.suspects: dict[int, int] = {}  # that wait: deaths by offset
        self.sent: Sent | None = None
        self.last_seen: tuple[int | None, str] | None = None  # commit that it knows the broker to hold


class TwoMembers(RuleBasedStateMachine):
    """The partition goes to and fro between two members that die, stop, and are thought dead."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            patch("consumer.delivery.partitions.MAX_ENTRIES", FEW_ENTRIES),
            patch("consumer.delivery.offsets.WINDOW_OFFSETS", SMALL_WINDOW),
        ]
        for each in self.patches:
            each.start()
        self.log = list(range(6))
        self.committed: int | None = None
        self.metadata = ""
        self.told = Told()
        self.members = [Member(), Member()]
        self.owner: Member | None = None
        self.answered: set[int] = set()
        self.attempts = 0
        self.fatal: dict[int, set[int]] = {}  # attempts that ended by a death that counts, by offset
        self.exact = True  # until knowledge was destroyed, or two members held the partition at once
        self.hand_over(to=0, answer=Answer.REFUSED, unnoticed=False)

    # ---- the world

    @rule(count=st.integers(1, 4), gap=st.sampled_from([0, 0, 0, 1, 3, SMALL_WINDOW + 2]))
    def append(self, count: int, gap: int) -> None:
        start = (self.log[-1] + 1 if self.log else 0) + gap
        self.log += range(start, start + count)

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(to=st.integers(0, 1), answer=st.sampled_from(Answer), unnoticed=st.booleans())
    def hand_over(self, *, to: int, answer: Answer, unnoticed: bool) -> None:
        """A rebalance; ``unnoticed`` by a member that loses the partition, since it was thought dead."""
        heir, former = self.members[to], self.owner
        is_zombie = unnoticed and former is not None and former is not heir
        taking_part = [member for member in self.members if not (is_zombie and member is former)]
        stale = {member: member.sent for member in taking_part if member.sent}
        for member in taking_part:
            if member.position is not None:
                self._give_back(member, answer)
        self.owner = None
        for member in taking_part:
            lost = member.partitions.assign({P0 if member is heir else P1})
            if member is heir:
                assert not lost
                if member is not former and member.running:
                    self._comes_back(member)
                self._open(member)
            else:
                self._part(member, lost)
        for member, sent in stale.items():
            before = [work.on_record for work in member.running], member.partitions.to_commit()
            assert member.partitions.committed(sent.commits, sent.epoch) == ()
            assert before == ([work.on_record for work in member.running], member.partitions.to_commit())

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(which=st.integers(0, 1), to=st.integers(0, 1), harm=HARMS, back=st.integers(0, 9))
    def kill(self, which: int, to: int, harm: Harm, back: int) -> None:
        """An unclean death; the other member, or a new process, takes over."""
        was_owner = self._replace(which)
        if was_owner:
            self._harm(harm, back)
            self.hand_over(to=to, answer=Answer.REFUSED, unnoticed=False)

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(which=st.integers(0, 1), to=st.integers(0, 1), answer=st.sampled_from(Answer))
    def stop(self, which: int, to: int, answer: Answer) -> None:
        """A clean end: all work is abandoned."""
        member = self.members[which]
        for work, doing in list(member.running.items()):
            member.partitions.abandon(work)
            del member.running[work]
            if doing.suspect or doing.deaths:
                member.suspects[work.record.offset] = doing.deaths
        if member.position is not None:
            self._give_back(member, answer)
        if self._replace(which):
            self.hand_over(to=to, answer=Answer.REFUSED, unnoticed=False)

    def _replace(self, which: int) -> bool:
        gone, self.members[which] = self.members[which], Member()
        if self.owner is not gone:
            return False
        self.owner = None
        return True

    def _harm(self, harm: Harm, back: int) -> None:
        if harm is Harm.NONE or self.committed is None:
            return
        self.exact = False
        earlier = max(0, self.committed - back)
        if harm is Harm.GARBLED:
            self.metadata = self.metadata[:-1] + "?"
        elif harm is Harm.RESET or earlier == self.committed:
            self.metadata = ""
        self.committed = self.committed if harm is Harm.GARBLED else earlier
        self.told = Told(self.committed)

    # ---- members and the partition

    def _give_back(self, member: Member, answer: Answer) -> None:
        """The last commit of the epoch, once what was sent before is answered."""
        self._answer(member, answer)
        self._send(member, clean=True)
        self._answer(member, answer)
        member.partitions.revoke()
        assert member.partitions.to_commit() == {}

    def _comes_back(self, member: Member) -> None:
        """It was thought dead, which may have been counted, and may die yet: as good as new attempts."""
        self.exact = False
        for doing in member.running.values():
            self.attempts += 1
            doing.attempt = self.attempts

    def _part(self, member: Member, lost: tuple[InFlight, ...]) -> None:
        assert set(lost) == set(member.running)
        for work in lost:
            member.partitions.begin_attempt(work, alone=True)
            assert not member.partitions.finish(work)
            assert not member.partitions.holds(work)
        member.partitions.open(P1, LogRange(None, 0, 0))
        member.position = None
        member.known, member.running, member.suspects, member.last_seen = set(), {}, {}, None

    def _open(self, heir: Member) -> None:
        self.owner = heir
        end = self.log[-1] + 1 if self.log else 0
        opening = heir.partitions.open(P0, LogRange(self.committed, 0, end, self.metadata))
        assert not opening.missing
        done = self.told.finished | set(range(self.committed or 0))
        assert {work.record.offset for work in opening.lost} == {
            work.record.offset for work in heir.running if work.record.offset in done
        }
        for work in opening.lost:
            del heir.running[work]
        heir.known |= done
        heir.position = opening.position
        assert set(self.log) & set(range(opening.position)) <= heir.known, "reading begins above unfinished records"
        self._learn(heir, opening)
        for doing in heir.running.values():
            doing.on_record = False

    def _learn(self, heir: Member, opening: Opening) -> None:
        """Entries of the commit: deaths of others, and suspects."""
        here = {work.record.offset: doing for work, doing in heir.running.items()}
        for offset, entry in self.told.entries.items():
            if offset in here:
                here[offset].deaths = max(here[offset].deaths, entry.deaths)
                continue
            is_death = entry.state is State.ALONE
            if is_death:
                self.fatal.setdefault(offset, set()).add(self.told.attempts[offset])
            heir.suspects[offset] = max(heir.suspects.get(offset, 0), entry.deaths + is_death)
        heir.suspects = {offset: deaths for offset, deaths in heir.suspects.items() if offset not in heir.known}
        is_readable = True
        try:
            decode(self.committed or 0, self.metadata)
        except ValueError:
            is_readable = False
        commit = (self.committed, self.metadata)
        assert (opening.foreign_metadata is not None) == (not is_readable and heir.last_seen != commit)
        heir.last_seen = commit

    # ---- work

    @rule(
        data=st.data(), count=st.integers(1, 6), begins=st.booleans(), tells=st.sampled_from(["no", "before", "after"])
    )
    def deliver(self, data: st.DataObject, count: int, tells: str, *, begins: bool) -> None:
        """As a worker does: read, begin suspects alone and others beside each other, and tell."""
        member = data.draw(st.sampled_from([each for each in self.members if each.position is not None]))
        for _ in range(count):
            self._deliver(member)
        if tells == "before":  # computed before the attempts begin, answered afterwards
            self.send(self.members.index(member))
        for work, doing in member.running.items():
            if begins and doing.state in {None, State.BESIDE_OTHERS}:
                self._begin(member, work, alone=doing.suspect)
        if tells != "no":
            self.send(self.members.index(member))
            self._answer(member, Answer.ACCEPTED)

    def _deliver(self, member: Member) -> None:
        assert member.position is not None
        offset = next((at for at in self.log if at >= member.position), None)
        if offset is None:
            return
        taken = member.partitions.take(record(offset), now=0)
        assert taken.lost is None
        if taken.beyond:
            assert member.running, "a partition waits for nothing"
            assert member.partitions.full == {P0}
            assert not member.partitions.has_room(P0)
            again_from = member.partitions.next_offset(P0)
            assert again_from is not None
            assert member.position <= again_from <= offset, "the record would not be read again"
            return
        member.position = offset + 1
        if taken.start is None:
            assert offset in member.known or offset in {work.record.offset for work in member.running}
            return
        assert offset not in member.known, "finished work was repeated"
        assert offset not in {work.record.offset for work in member.running}, "running work was repeated"
        deaths = member.suspects.pop(offset, None)
        assert (taken.start.deaths, taken.start.suspect) == (deaths or 0, deaths is not None)
        counted = len(self.fatal.get(offset, ()))
        assert taken.start.deaths == counted if self.exact else taken.start.deaths <= counted
        assert not taken.start.on_record
        member.running[taken.start] = Doing(deaths or 0, suspect=deaths is not None)

    def _any(self, data: st.DataObject) -> tuple[Member, InFlight, Doing]:
        works = [(member, work, doing) for member in self.members for work, doing in member.running.items()]
        return data.draw(st.sampled_from(works))

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(data=st.data(), alone=st.booleans())
    def begin_attempt(self, data: st.DataObject, *, alone: bool) -> None:
        member, work, _ = self._any(data)
        self._begin(member, work, alone=alone)

    def _begin(self, member: Member, work: InFlight, *, alone: bool) -> None:
        doing = member.running[work]
        member.partitions.begin_attempt(work, alone=alone)
        self.attempts += 1
        doing.state, doing.attempt = (State.ALONE if alone else State.BESIDE_OTHERS), self.attempts
        doing.suspect, doing.on_record = doing.suspect or alone, False

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(data=st.data(), clears=st.booleans(), tells=st.booleans())
    def progress(self, data: st.DataObject, *, clears: bool, tells: bool) -> None:
        member, work, doing = self._any(data)
        if clears:
            member.partitions.cleared(work)
            if doing.state is not None:
                doing.state, doing.suspect = State.BESIDE_OTHERS, False
        else:
            member.partitions.progressed(work)
            doing.state = State.ALONE_PROGRESSED if doing.state is State.ALONE else doing.state
        if tells:
            self.send(self.members.index(member))
            self._answer(member, Answer.ACCEPTED)

    @precondition(lambda self: any(member.running for member in self.members))
    @rule(data=st.data(), all_but=st.sampled_from([None, 0, 1]))
    def finish(self, data: st.DataObject, all_but: int | None) -> None:
        """One, or all but so many of the lowest."""
        member, work, _ = self._any(data)
        ascending = sorted(member.running, key=lambda running: running.record.offset)
        for each in [work] if all_but is None else ascending[all_but:]:
            self._finish(member, each)

    def _finish(self, member: Member, work: InFlight) -> None:
        foreseen = member.partitions.to_commit_with(P0, [work])
        assert member.partitions.finish(work)
        del member.running[work]
        member.known.add(work.record.offset)
        self.answered.add(work.record.offset)
        assert foreseen == member.partitions.to_commit_with(P0, [work])  # as it is now: the work is not held any more

    # ---- commits

    @rule(which=st.integers(0, 1))
    def send(self, which: int) -> None:
        member = self.members[which]
        if member.position is not None and member.sent is None:
            self._send(member, clean=False)

    @rule(which=st.integers(0, 1), answer=st.sampled_from(Answer))
    def answer(self, which: int, answer: Answer) -> None:
        self._answer(self.members[which], answer)

    def _send(self, member: Member, *, clean: bool) -> None:
        commits = member.partitions.to_commit(clean=clean)
        waiting = [work for work, doing in member.running.items() if doing.state is not None and not doing.on_record]
        if P0 not in commits:
            assert clean or not waiting, "an attempt waits to be told"
            return
        told = self._telling(member, commits[P0], clean=clean)
        assert set(commits[P0].attempts) == set(told.states)
        member.sent = Sent(commits, member.partitions.epoch, told)

    def _telling(self, member: Member, commit: Commit, *, clean: bool) -> Told:
        """What the commit has to say, and that its metadata says just that."""
        read = decode(commit.offset, commit.metadata)
        assert set(self.log) & set(range(commit.offset)) <= member.known, "committed past an unfinished record"
        assert read.finished == {offset for offset in member.known if offset >= commit.offset}
        entries = {offset: Entry(deaths, State.SUSPECT) for offset, deaths in member.suspects.items()}
        told = Told(commit.offset, frozenset(member.known))
        for work, doing in member.running.items():
            offset = work.record.offset
            if doing.state is not None and not clean:
                entries[offset] = Entry(doing.deaths, doing.state)
                told.attempts[offset], told.states[work] = doing.attempt, doing.state
            elif doing.suspect or doing.deaths:
                entries[offset] = Entry(doing.deaths, State.SUSPECT)
        entries = {offset: entry for offset, entry in entries.items() if offset >= commit.offset}
        if len(entries) > FEW_ENTRIES:
            self.exact = False
            assert len(read.entries) == FEW_ENTRIES
            assert read.entries.items() <= entries.items()
        else:
            assert read.entries == entries
        return replace(told, entries=dict(read.entries))

    def _answer(self, member: Member, answer: Answer) -> None:
        sent, member.sent = member.sent, None
        if sent is None or answer is Answer.REFUSED or member is not self.owner:
            return  # the group knows better than a member that was thought dead
        commit = sent.commits[P0]
        assert commit.offset >= (self.committed or 0), "the committed offset fell"
        self.committed, self.metadata, self.told = commit.offset, commit.metadata, sent.told
        if answer is Answer.LOST:
            return
        member.last_seen = (self.committed, self.metadata)
        came = set()
        for work, doing in member.running.items():
            if work not in sent.told.states:
                doing.on_record = False
            elif sent.told.states[work] is doing.state and not doing.on_record:
                doing.on_record = True
                came.add(work)
        assert set(member.partitions.committed(sent.commits, sent.epoch)) == came

    # ---- what always holds

    @invariant()
    def never_committed_past_an_unanswered_record(self) -> None:
        assert set(self.log) & set(range(self.committed or 0)) <= self.answered

    @invariant()
    def what_is_on_record_is_known_to_the_broker(self) -> None:
        for member in self.members:
            for work, doing in member.running.items():
                assert work.on_record is doing.on_record
                assert (work.deaths, work.suspect, work.attempt) == (doing.deaths, doing.suspect, doing.state)
                if doing.on_record and member is self.owner:
                    assert self.told.entries[work.record.offset].state is not State.SUSPECT

    def teardown(self) -> None:
        """Whatever happened: whoever works on to the end has answered and committed everything."""
        try:
            self.hand_over(to=0, answer=Answer.ACCEPTED, unnoticed=False)
            member = self.members[0]
            for _ in range(2 * len(self.log) + 1):
                self._deliver(member)
                if member.running and (self.log[-1] < (member.position or 0) or member.partitions.full):
                    self._finish(member, min(member.running, key=lambda work: work.record.offset))
            while member.running:
                self._finish(member, next(iter(member.running)))
            self._send(member, clean=False)
            self._answer(member, Answer.ACCEPTED)
            assert self.answered == set(self.log)
            assert (self.committed or 0) == (self.log[-1] + 1 if self.log else 0)
            assert self.metadata == ""
        finally:
            for each in self.patches:
                each.stop()


TestTwoMembers = TwoMembers.TestCase
TestTwoMembers.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)
