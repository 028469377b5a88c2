"""Write the dashboards of ops/grafana/dashboards, which Grafana loads as they are.

A panel is its title, its unit and its queries with their legends; where it lies follows from the order. Every query is
over ``$job`` and is tried by the tests against a real Prometheus that looks at a real worker.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parent.parent / "ops" / "grafana" / "dashboards"
WIDTH = 24  # of a dashboard, in Grafana's columns
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Queries = Sequence[tuple[str, str]]
"""Expression and legend of each."""


@dataclass(frozen=True)
class Panel:
    """A graph over time, or with ``stat`` its last value."""

    title: str
    unit: str
    queries: Queries
    about: str = ""
    stat: bool = False
    bad_above: float | None = None
    bad_below: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    about: str
    panels: Sequence[Panel]


def metric(name: str, labels: str = "") -> str:
    """A series of the job that was chosen."""
    return f'whisper_consumer_{name}{{job=~"$job"{labels}}}'


def outcome(value: str) -> str:
    """The condition on that label."""
    return f',outcome="{value}"'


def rate(name: str, labels: str = "") -> str:
    """Of a counter, a second."""
    return f"rate({metric(name, labels)}[$__rate_interval])"


def quantile(share: float, name: str, by: str = "") -> str:
    """Of a histogram; ``by`` is a label beside the bounds."""
    return f"histogram_quantile({share}, sum by ({', '.join(filter(None, ('le', by)))}) ({rate(f'{name}_bucket')}))"


OPERATOR = Dashboard(
    "whisper-consumer-operator",
    "whisper-consumer: is it well?",
    "For whoever is woken up: whether recordings come through, and what keeps them from it.",
    [
        Panel(
            "Ready", "bool_yes_no", [(f"min({metric('ready')})", "ready")], "Of all workers.", stat=True, bad_below=1
        ),
        Panel("Workers", "none", [('count(up{job=~"$job"} == 1)', "workers")], stat=True, bad_below=1),
        Panel("Lag", "none", [(f"sum({metric('lag')})", "records")], "Records that are not answered yet.", stat=True),
        Panel(
            "Audio that waits",
            "s",
            [(f"sum({metric('backlog_audio_seconds')})", "seconds")],
            "Known and not yet transcribed, of what is in flight.",
            stat=True,
        ),
        Panel(
            "Dead letters in an hour",
            "none",
            [(f"sum(increase({metric('dead_letters_total')}[1h]))", "records")],
            stat=True,
            bad_above=5,
        ),
        Panel(
            "Late in an hour",
            "percentunit",
            [
                (
                    f"sum(increase({metric('objective_total', outcome('missed'))}[1h])) / "
                    f"sum(increase({metric('objective_total')}[1h]))",
                    "late",
                )
            ],
            "Share of recordings that missed 3 times their duration and 60 s; 5 % may.",
            stat=True,
            bad_above=0.05,
        ),
        Panel("Records finished", "cps", [(f"sum by (outcome) ({rate('records_finished_total')})", "{{outcome}}")]),
        Panel(
            "From event to transcript",
            "s",
            [
                (quantile(0.5, "event_to_transcript_seconds"), "half"),
                (quantile(0.95, "event_to_transcript_seconds"), "95 %"),
            ],
        ),
        Panel("Lag", "none", [(f"sum by (instance) ({metric('lag')})", "{{instance}}")]),
        Panel(
            "Audio transcribed in a second",
            "s",
            [(f"sum by (instance) ({rate('audio_out_seconds_total')})", "{{instance}}")],
            "Seconds of finished recordings: the speed of the fleet.",
        ),
        Panel(
            "Work waits for",
            "none",
            [(f"sum by (dependency) ({metric('dependency_waiting')})", "{{dependency}}")],
            "Records, and steps of the worker, that wait for something outside.",
        ),
        Panel(
            "Dead letters by reason",
            "none",
            [
                (f"sum by (reason) (increase({metric('dead_letters_total')}[1h]))", "{{reason}}"),
            ],
        ),
        Panel("In flight", "none", [(f"sum by (instance) ({metric('in_flight')})", "{{instance}}")]),
        Panel("Oldest in flight", "s", [(f"max by (instance) ({metric('oldest_in_flight_seconds')})", "{{instance}}")]),
    ],
)

ENGINEER = Dashboard(
    "whisper-consumer-engineer",
    "whisper-consumer: where does the time go?",
    "For whoever makes it faster or finds out why it is slower.",
    [
        Panel("Stages, 95 %", "s", [(quantile(0.95, "stage_seconds", "stage"), "{{stage}}")]),
        Panel(
            "Real-time factor",
            "none",
            [
                (f"sum({rate('real_time_factor_sum')}) / sum({rate('real_time_factor_count')})", "mean"),
                (quantile(0.95, "real_time_factor"), "95 %"),
            ],
            "Processing time for a second of audio.",
        ),
        Panel(
            "A window in the model",
            "s",
            [(quantile(0.5, "window_seconds"), "half"), (quantile(0.95, "window_seconds"), "95 %")],
        ),
        Panel(
            "States",
            "none",
            [
                (f"sum({metric('states_busy')})", "busy"),
                (f"sum({metric('states')})", "all"),
                (f"sum({metric('windows_queued')})", "windows that wait for one"),
            ],
        ),
        Panel("Passes made again", "cps", [(f"sum by (reason) ({rate('passes_repeated_total')})", "{{reason}}")]),
        Panel(
            "CPU",
            "none",
            [('sum by (instance) (rate(process_cpu_seconds_total{job=~"$job"}[$__rate_interval]))', "{{instance}}")],
            "Of the worker's own process.",
        ),
        Panel(
            "Memory",
            "bytes",
            [
                ('max(process_resident_memory_bytes{job=~"$job"})', "resident, the largest worker"),
                (f"max({metric('memory_predicted_bytes')})", "foreseen, with the decoders"),
                (f"max({metric('memory_limit_bytes')})", "limit"),
            ],
        ),
        Panel(
            "Late turns of the event loop, 99 %",
            "s",
            [(quantile(0.99, "event_loop_lag_seconds", "instance"), "{{instance}}")],
        ),
        Panel("Acknowledged by the broker, 95 %", "s", [(quantile(0.95, "publish_seconds"), "publish")]),
        Panel("Fetched from the store", "Bps", [(f"sum({rate('fetched_bytes_total')})", "bytes")]),
        Panel("Attempts repeated", "cps", [(f"sum by (dependency) ({rate('retries_total')})", "{{dependency}}")]),
        Panel(
            "Offset commits",
            "cps",
            [(f"sum({rate('commits_total')})", "accepted"), (f"sum({rate('commit_failures_total')})", "failed")],
        ),
        Panel(
            "Partitions",
            "none",
            [
                (f"sum({metric('assigned_partitions')})", "assigned"),
                (f"sum({metric('paused_partitions')})", "paused"),
                (f"sum({metric('incomplete_offsets')})", "offsets read and not finished"),
            ],
        ),
        Panel(
            "Rebalances in an hour",
            "none",
            [(f"max by (instance) (increase({metric('rebalances_total')}[1h]))", "{{instance}}")],
        ),
        Panel(
            "Checkpoints",
            "cps",
            [
                (f"sum({rate('checkpoints_written_total')})", "written"),
                (f"sum({rate('checkpoints_resumed_total')})", "gone on from"),
            ],
        ),
        Panel(
            "Oldest work without a checkpoint",
            "s",
            [(f"max by (instance) ({metric('checkpoint_age_seconds')})", "{{instance}}")],
        ),
        Panel(
            "Free on the disks",
            "percentunit",
            [(f"min by (disk) ({metric('disk_free_bytes')} / {metric('disk_size_bytes')})", "{{disk}}")],
        ),
        Panel(
            "Fetching artifacts at the start",
            "s",
            [(f"max by (instance) ({metric('artifact_pull_seconds')})", "{{instance}}")],
        ),
    ],
)

BUSINESS = Dashboard(
    "whisper-consumer-business",
    "whisper-consumer: what came out of it?",
    "Hours, languages and quality, over days.",
    [
        Panel(
            "Audio transcribed in a day",
            "s",
            [(f"sum(increase({metric('audio_out_seconds_total')}[1d]))", "audio")],
            stat=True,
        ),
        Panel(
            "Recordings in a day",
            "none",
            [(f"sum(increase({metric('records_finished_total', outcome('completed'))}[1d]))", "recordings")],
            stat=True,
        ),
        Panel(
            "Answered within the objective, of a day",
            "percentunit",
            [
                (
                    f"sum(increase({metric('objective_total', outcome('met'))}[1d])) / "
                    f"sum(increase({metric('objective_total')}[1d]))",
                    "in time",
                )
            ],
            "Within 3 times the duration and 60 s; 95 % are promised.",
            stat=True,
            bad_below=0.95,
        ),
        Panel(
            "Without speech, of a day",
            "none",
            [(f"sum(increase({metric('no_speech_total')}[1d]))", "recordings")],
            stat=True,
        ),
        Panel(
            "Audio by language",
            "s",
            [(f"sum by (language) (increase({metric('audio_by_language_seconds_total')}[1d]))", "{{language}}")],
            "Over a day.",
        ),
        Panel("Audio in an hour", "s", [(f"sum(increase({metric('audio_out_seconds_total')}[1h]))", "audio")]),
        Panel(
            "Doubtful segments in an hour",
            "none",
            [(f"sum by (flag) (increase({metric('segments_flagged_total')}[1h]))", "{{flag}}")],
            "Segments with a flag; one may have several.",
        ),
        Panel(
            "Left out of the text in an hour",
            "none",
            [(f"sum(increase({metric('segments_suppressed_total')}[1h]))", "segments")],
            "What was written where nobody spoke.",
        ),
        Panel(
            "Events by kind, of a day",
            "none",
            [(f"sum by (kind) (increase({metric('events_total')}[1d]))", "{{kind}}")],
        ),
        Panel(
            "Given up, of a day",
            "none",
            [(f"sum by (reason) (increase({metric('dead_letters_total')}[1d]))", "{{reason}}")],
        ),
        Panel(
            "Answered from stored results, of a day",
            "none",
            [(f"sum(increase({metric('results_reused_total')}[1d]))", "recordings")],
        ),
        Panel(
            "Transcribed in spite of damage, of a day",
            "none",
            [(f"sum(increase({metric('decode_damage_total')}[1d]))", "recordings")],
        ),
    ],
)

DASHBOARDS = (OPERATOR, ENGINEER, BUSINESS)


def rendered(dashboard: Dashboard) -> str:
    """The file's text."""
    others = [
        {"title": other.title, "type": "link", "url": f"/d/{other.uid}"}
        for other in DASHBOARDS
        if other is not dashboard
    ]
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["whisper-consumer"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": others,
        "templating": {"list": [_source_variable(), _job_variable()]},
        "panels": _panels(dashboard.panels),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _job_variable() -> dict[str, Any]:
    return {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": "label_values(whisper_consumer_ready, job)",
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _panels(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Values beside each other in the first row, then graphs, two in a row."""
    stats, graphs = [p for p in panels if p.stat], [p for p in panels if not p.stat]
    found = [
        _panel(number, panel, {"x": number * WIDTH // len(stats), "y": 0, "w": WIDTH // len(stats), "h": 4})
        for number, panel in enumerate(stats)
    ]
    top = 4 if stats else 0
    found += [
        _panel(len(stats) + number, panel, {"x": number % 2 * 12, "y": top + number // 2 * 8, "w": 12, "h": 8})
        for number, panel in enumerate(graphs)
    ]
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": DATA_SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **_thresholds(panel)}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATA_SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _thresholds(panel: Panel) -> dict[str, Any]:
    """Green where it is well, red where it is not."""
    if panel.bad_above is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.bad_above}]
    elif panel.bad_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    else:
        steps = [{"color": "text" if panel.stat else "green", "value": None}]
    return {"thresholds": {"mode": "absolute", "steps": steps}}


if __name__ == "__main__":
    for dashboard in DASHBOARDS:
        path = DIRECTORY / f"{dashboard.uid}.json"
        path.write_text(rendered(dashboard), encoding="utf-8")
        print(path.relative_to(DIRECTORY.parents[2]))
