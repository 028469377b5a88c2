"""The status page's listener, and what it says of a worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from consumer.errors import NotWanted, Reason, Rejected, Stage, Unavailable
from consumer.status import StatusServer
from consumer.status.page import duration, page, sections
from consumer.status.snapshot import snapshot
from tests.support.status import Scene, scene

TOKEN = "0123456789abcdef"


@asynccontextmanager
async def served(watched: Scene, token: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    server = StatusServer("127.0.0.1", 0, watched.watched, token=token)
    await server.start()
    jar = aiohttp.CookieJar(unsafe=True)  # of addresses, too
    try:
        async with aiohttp.ClientSession(server.url, cookie_jar=jar) as session:
            yield session
    finally:
        await server.close()


def test_a_recording_is_followed_through_its_stages() -> None:
    watched = scene()
    with watched.activity.recording("calls", "a.wav", "in-0-7") as shown:
        with shown.at(Stage.DECODE):
            shown.lasts(60.0, None, 2)
            shown.progressed(15.0, 5.0, "words that nobody may see")
        (seen,) = snapshot(watched.watched)["inFlight"]
        assert (seen["key"], seen["stage"], seen["shareDone"], seen["text"]) == ("a.wav", "decode", 0.25, "")
        assert seen["speed"] > 0
    assert snapshot(watched.watched)["inFlight"] == []
    (ended,) = snapshot(watched.watched)["recent"]
    assert (ended["ending"], ended["audioSeconds"], ended["text"]) == ("transcribed", 60.0, "")


def test_of_a_call_each_channel_is_a_part() -> None:
    watched = scene()
    with watched.activity.recording("calls", "a.wav", "in-0-7") as shown:
        shown.lasts(60.0, 1, 2)
        shown.progressed(30.0, 0.0, "")
        assert snapshot(watched.watched)["inFlight"][0]["shareDone"] == 0.75


def test_words_are_kept_where_that_was_asked_for_and_only_their_end() -> None:
    watched = scene(with_text=True)
    with watched.activity.recording("calls", "a.wav", "in-0-7") as shown:
        for _ in range(100):
            shown.progressed(1.0, 0.0, "one two three")
        (seen,) = snapshot(watched.watched)["inFlight"]
    assert seen["text"].endswith("one two three")
    assert len(seen["text"]) <= 300


def test_how_recordings_ended_is_told_the_latest_first() -> None:
    watched = scene()
    for error, name in (
        (Rejected(Reason.NOT_AUDIO, Stage.DECODE, "no audio"), "bad"),
        (NotWanted("too short"), "short"),
        (Unavailable("store", "away"), "again"),
        (asyncio.CancelledError(), "lost"),
    ):
        with pytest.raises(type(error)), watched.activity.recording("calls", name, "in-0-7"):
            raise error
    assert watched.activity.in_flight == []
    recent = snapshot(watched.watched)["recent"]
    assert [(each["key"], each["ending"]) for each in recent] == [("short", "not_wanted"), ("bad", "not_audio")]
    shown = sections(snapshot(watched.watched))["recent"]
    assert "dead letter: not_audio" in shown
    assert "not wanted: too short" in shown


async def test_what_is_waited_for_is_told() -> None:
    watched = scene()

    async def away() -> None:
        raise Unavailable("store", "connection refused <b>")

    waiting = asyncio.create_task(watched.outages.until_available(away))
    while not watched.outages.waiting:
        await asyncio.sleep(0)
    seen = snapshot(watched.watched)
    (store,) = (each for each in seen["dependencies"] if each["name"] == "store")
    assert (store["available"], store["message"]) == (False, "connection refused <b>")
    assert all(each["available"] for each in seen["dependencies"] if each["name"] != "store")
    assert 'class="state bad"' in sections(seen)["state"]
    assert "connection refused &lt;b&gt;" in sections(seen)["dependencies"]
    waiting.cancel()


def test_everything_from_outside_is_escaped() -> None:
    watched = scene(with_text=True)
    hostile = '<script>alert("1")</script>'
    with watched.activity.recording(hostile, hostile, "in-0-7") as shown:
        shown.progressed(1.0, 0.0, hostile)
        shown.language = hostile
        html = page(snapshot(watched.watched))
    html += page(snapshot(watched.watched))
    assert html.count("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;") == 7
    assert "<script>alert" not in html


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1:00"), (187, "3:07"), (7267, "2:01:07")]
)
def test_durations_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_the_json_is_the_same_look_at_the_worker() -> None:
    watched = scene()
    watched.metrics.dead_letters.labels(Reason.MISSING).inc(3)
    watched.metrics.lag.set(12)
    async with served(watched) as session, session.get("/status") as response:
        document = json.loads(await response.read())
    assert document["deadLetters"] == {"missing": 3}
    assert document["worker"]["ready"] is True
    assert document["model"] == {"size": "base", "precision": "q8_0"}
    assert document["consumerGroup"]["lag"] == 12
    assert document["consumerGroup"]["partitions"] == [
        {"partition": 0, "finishedBelow": 41, "unfinished": 2},
        {"partition": 3, "finishedBelow": None, "unfinished": 0},
    ]


async def test_a_follower_gets_all_sections_and_then_those_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.status.server.INTERVAL_SECONDS", 0.01)
    watched = scene()
    async with served(watched) as session, session.get("/events") as response:
        first = json.loads((await response.content.readuntil(b"\n\n")).removeprefix(b"data: "))
        assert set(first) == set(sections(snapshot(watched.watched)))
        watched.metrics.dead_letters.labels(Reason.MISSING).inc()
        async with asyncio.timeout(10):
            while not (changed := json.loads((await response.content.readuntil(b"\n\n")).removeprefix(b"data: "))):
                pass
        assert set(changed) == {"dead-letters"}


async def test_too_many_followers_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.status.server.MAX_FOLLOWERS", 1)
    async with served(scene()) as session, session.get("/events") as first:
        assert first.status == 200
        async with session.get("/events") as second:
            assert second.status == 503


async def test_a_page_from_elsewhere_cannot_read_it_under_its_own_name() -> None:
    async with served(scene()) as session:
        for host, status in (("localhost:1", 200), ("[::1]:1", 200), ("evil.example", 403), ("", 403)):
            async with session.get("/", headers={"Host": host}) as response:
                assert response.status == status, host


async def test_beyond_this_machine_a_token_is_needed() -> None:
    async with served(scene(), token=TOKEN) as session:
        for path in ("/", "/status", "/events"):
            async with session.get(path) as refused:
                assert refused.status == 403
                assert "STATUS_TOKEN" in await refused.text()
        async with session.get("/?token=wrong-wrong-wrong") as wrong:
            assert wrong.status == 403
        async with session.get("/status", headers={"Authorization": f"Bearer {TOKEN}"}) as program:
            assert program.status == 200
        async with session.get("/", params={"token": TOKEN}) as person:
            assert person.status == 200
            assert "token" not in str(person.url)
            assert TOKEN not in await person.text()
        async with session.get("/status") as later:
            assert later.status == 200
