"""The page: one look at the worker in HTML. Pure; the browser's script only puts newer sections in place of older ones.

So what is shown is made in one place, with a script and without. Everything that comes from outside is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from typing import Final

from consumer.observe.pages import security_headers
from consumer.status.snapshot import Snapshot

_TEMPLATE: Final = files("consumer.status").joinpath("page.html").read_text(encoding="utf-8")
HEADERS: Final = security_headers(_TEMPLATE)

_NUMBER: Final = ' class="number"'
_NAME: Final = ' class="name"'
_ENDINGS: Final = {"transcribed": "transcribed", "found": "found in the store", "not_wanted": "not wanted: too short"}


def page(seen: Snapshot) -> str:
    """The whole page."""
    headings = {
        "state": "State",
        "in-flight": "In flight",
        "recent": "Finished last",
        "dead-letters": "Dead letters since the start",
        "group": "Consumer group",
        "engine": "Model",
        "dependencies": "Dependencies",
    }
    found = sections(seen)
    parts = (
        f'<section tabindex="0" aria-labelledby="h-{name}"><h2 id="h-{name}">{heading}</h2>'
        f'<div id="{name}">{found[name]}</div></section>'
        for name, heading in headings.items()
    )
    return _TEMPLATE.replace("{{host}}", escape(seen["worker"]["host"])).replace("{{sections}}", "\n".join(parts))


def sections(seen: Snapshot) -> dict[str, str]:
    """The inner HTML of each section, by its id."""
    return {
        "state": _state(seen),
        "in-flight": _in_flight(seen["inFlight"]),
        "recent": _recent(seen["recent"]),
        "dead-letters": _table(
            "Dead letters by reason",
            ("Reason", "#Records"),
            ((escape(reason), str(count)) for reason, count in seen["deadLetters"].items()),
        ),
        "group": _group(seen["consumerGroup"]),
        "engine": _engine(seen),
        "dependencies": _dependencies(seen["dependencies"]),
    }


def duration(seconds: float) -> str:
    """As people say it: 5.2 s, 3:07, 2:01:07."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _state(seen: Snapshot) -> str:
    worker = seen["worker"]
    well = worker["live"] and worker["ready"] and all(each["available"] for each in seen["dependencies"])
    kind, verdict = ("good", "Well") if well else ("bad", "Not well")
    facts = {
        "Worker": escape(f"{worker['version']} on {worker['host']}"),
        "Running since": _time(worker["started"]),
        "Audio transcribed": duration(seen["audio"]["finishedSeconds"]),
        "Audio in flight": duration(seen["audio"]["backlogSeconds"]),
    }
    sentence = f'<p class="state {kind}">{verdict}: {escape(worker["why"])}</p>'
    return sentence + _facts(facts)


def _in_flight(recordings: Sequence[Snapshot]) -> str:
    rows = (
        (
            _name(each),
            each["stage"],
            _progress(each),
            "" if each["durationSeconds"] is None else duration(each["durationSeconds"]),
            "" if each["speed"] is None else f"{each['speed']:.1f} ×",
            duration(each["seconds"]),
        )
        for each in recordings
    )
    return _table("Recordings in flight", ("Recording", "Stage", "Progress", "#Length", "#Speed", "#For"), rows)


def _recent(finished: Sequence[Snapshot]) -> str:
    rows = (
        (
            _name(each),
            escape(_ENDINGS.get(each["ending"], f"dead letter: {each['ending']}")),
            escape(each["language"] or ""),
            "" if each["audioSeconds"] is None else duration(each["audioSeconds"]),
            duration(each["seconds"]),
            _time(each["ended"]),
        )
        for each in finished
    )
    return _table("Recordings finished last", ("Recording", "Ending", "Language", "#Length", "#Took", "Ended"), rows)


def _group(group: Snapshot) -> str:
    facts = {
        "Group": escape(group["groupId"]),
        "Reads": escape(group["inputTopic"]),
        "Writes": escape(group["outputTopic"]),
        "Lag": f"{group['lag']} records",
        "Rebalances": str(group["rebalances"]),
    }
    rows = (
        (str(each["partition"]), str(_or_empty(each["finishedBelow"])), str(each["unfinished"]))
        for each in group["partitions"]
    )
    return _facts(facts) + _table(
        "Partitions of this worker", ("Partition", "#Finished below offset", "#Read and not finished"), rows
    )


def _engine(seen: Snapshot) -> str:
    states = seen["states"]
    return _facts(
        {
            **{name.replace("_", " ").capitalize(): escape(text) for name, text in seen["model"].items()},
            "States busy": f"{states['busy']} of {states['count']}",
            "Windows queued": str(states["windowsQueued"]),
        }
    )


def _dependencies(dependencies: Sequence[Snapshot]) -> str:
    rows = (
        (
            escape(each["name"]),
            '<span class="good">no work waits for it</span>'
            if each["available"]
            else f'<span class="bad">waited for since {duration(each["waitingSeconds"])}</span>',
            escape(each["message"]),
        )
        for each in dependencies
    )
    return _table("Dependencies", ("Dependency", "State", "What it says"), rows)


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """``rows`` are HTML already; a head that begins with # is one of numbers."""
    kinds = [_NUMBER if head.startswith("#") else _NAME if head == "Recording" else "" for head in heads]
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>" for row in rows
    )
    if not body:
        return '<p class="none">none</p>'
    head = "".join(f'<th scope="col"{kind}>{name.lstrip("#")}</th>' for name, kind in zip(heads, kinds, strict=True))
    return f'<table aria-label="{caption}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _facts(facts: Mapping[str, str]) -> str:
    """Of what is HTML already."""
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{fact}</dd></div>' for name, fact in facts.items())}</dl>"


def _or_empty(value: object) -> object:
    return "" if value is None else value


def _name(each: Snapshot) -> str:
    text = f"<p>{escape(each['text'])}</p>" if each["text"] else ""
    return f"{escape(each['bucket'])}/{escape(each['key'])}{text}"


def _progress(each: Snapshot) -> str:
    share = each["shareDone"]
    if share is None:
        return "" if not each["doneSeconds"] else f"{duration(each['doneSeconds'])} done"
    label = escape(f"{each['key']}: share transcribed")
    return f'<progress max="1" value="{share:.3f}" aria-label="{label}"></progress> {share:.0%}'


def _time(when: datetime) -> str:
    return f'<time datetime="{when.isoformat(timespec="seconds")}">{when:%Y-%m-%d %H:%M:%S} UTC</time>'
