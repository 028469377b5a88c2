"""The figures of a comparison as Markdown."""

from typing import Any


def table(figures: dict[str, Any]) -> str:
    """All of them: speed and errors, latency, everybody as they come, the share of the machine's peak, ratios."""
    about = figures["machine"]
    parts = [
        f"Model {figures['size']}, greedy, fixed language, {about['cores']} cores of {about['cpu']} "
        f"({about['cpu_class']}), median of {figures['rounds']} rounds in turn.",
        _runs(figures["work"]),
        _latency(figures["latency"]),
    ]
    if figures["as_they_come"]:
        parts += ["As they come, with their own defaults:", _runs({"short": {"runs": figures["as_they_come"]}})]
    share = figures["share_of_peak"]
    parts += [
        "The bare engine on short clips: "
        f"{_percent(share['arithmetic'])} of what the cores multiply at that precision at best in its encoder, "
        f"{_percent(share['memory'])} of what they read at best in its decoder, each over the whole time.",
        f"Over the bare engine, the whole worker costs {_percent(figures['cpu_cost_over_the_bare_engine'])} of CPU by "
        f"itself, and {_percent(figures['cost_over_the_bare_engine'])} of time with Kafka and the store on its cores.",
        "Ours to the best opponent: " + ", ".join(f"{name} {ratio}" for name, ratio in figures["ratios"].items()) + ".",
    ]
    return "\n\n".join(parts)


def _runs(works: dict[str, Any]) -> str:
    lines = [
        "| work | who | x real time | WER (95 %) | CPU-seconds an audio second | memory peak | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, work in works.items():
        lines += [
            f"| {name} | {who} | {run['x']} | {_errors(run)} | {run['cpu_seconds_per_audio_second']} | "
            f"{run['peak_megabytes']} MB | {run['load_seconds']} s |"
            for who, run in work["runs"].items()
        ]
    return "\n".join(lines)


def _errors(run: dict[str, Any]) -> str:
    if run["wer"] is None:
        return f"{run['words_invented']} words invented"
    return f"{_percent(run['wer'])} ({100 * run['wer_low']:.1f} to {100 * run['wer_high']:.1f})"


def _latency(latency: dict[str, Any]) -> str:
    return "\n".join(
        [
            "| in hand | ours, median / 95th percentile | opponent, median / 95th percentile | which |",
            "|---|---|---|---|",
            *(
                f"| {name} | {one['ours']['p50']} / {one['ours']['p95']} s | {one['peer']['p50']} / "
                f"{one['peer']['p95']} s | {one['peer']['mode']} |"
                for name, one in latency.items()
            ),
        ]
    )


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.1f} %"
