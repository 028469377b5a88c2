"""Pictures of the figures. Runs in an environment of its own and imports nothing of ours.

``python plots_alone.py DIRECTORY``, figures as JSON on stdin; prints the names of the files it wrote, as JSON. Bars are
in order, best first. Ours are blue and bold, the others grey, which the colour-blind tell apart.
"""

import json
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]  # not in the environment that checks types

mpl.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image  # type: ignore[import-not-found]

OURS = "whisper-consumer"
BLUE, PALE_GREY, GREY, BLACK = "#0072B2", "#B4B4B4", "#6E6E6E", "#222222"
WIDTH_INCHES = 9.0
DOTS_PER_INCH = 150
CURVES_A_ROW = 3
POINTS_WITH_VALUES = 12
BESIDE_A_POINT = ((4, 2, "left"), (-4, 2, "right"), (4, -9, "left"), (-4, -9, "right"))  # for those that meet, in turn
COLOURS_OF_A_FILE = 64  # a third of the bytes, and nobody sees the difference

Run = dict[str, Any]
Runs = list[tuple[str, Run]]


def main() -> None:
    """All pictures that there are figures for."""
    directory = Path(sys.argv[1])
    figures = json.load(sys.stdin)
    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "text.parse_math": False,
            "figure.constrained_layout.h_pad": 0.08,
            "savefig.dpi": DOTS_PER_INCH,
        }
    )
    written = []
    for name, picture in _pictures(figures):
        _save(picture, directory / name)
        written.append(name)
    print(json.dumps(written))


def _save(picture: Any, path: Path) -> None:
    drawn = BytesIO()
    picture.savefig(drawn, format="png")
    plt.close(picture)
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(COLOURS_OF_A_FILE, dither=Image.Dither.NONE)
    few.save(path, optimize=True, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))


def _pictures(figures: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if work := figures.get("work"):
        yield "speed.png", _bars(work, "x", "times real time", _speed_and_errors, best_is_most=True)
        yield "errors.png", _errors_by_speed(work)
        yield "memory.png", _bars(work, "peak_megabytes", "memory peak, MB", _memory, best_is_most=False)
    if curves := figures.get("curves"):
        yield "curves.png", _curves(curves)


def _bars(work: dict[str, Any], value: str, label: str, written: Callable[[Run], str], *, best_is_most: bool) -> Any:
    """A panel for each work, all on one scale, and at each bar what ``written`` gives."""
    most = max(run[value] for one in work.values() for run in one["runs"].values())
    counts = [len(one["runs"]) for one in work.values()]
    picture, panels = plt.subplots(
        len(work),
        1,
        figsize=(WIDTH_INCHES, 0.5 + sum(0.45 + 0.3 * count for count in counts)),
        gridspec_kw={"height_ratios": [count + 0.5 for count in counts]},
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, (name, one) in zip(panels[:, 0], work.items(), strict=True):
        runs: Runs = sorted(one["runs"].items(), key=lambda item: item[1][value], reverse=best_is_most)
        colours = [BLUE if _is_ours(who) else PALE_GREY for who, _ in runs]
        bars = panel.barh([who for who, _ in runs], [run[value] for _, run in runs], height=0.7, color=colours)
        for text in panel.bar_label(bars, [written(run) for _, run in runs], padding=4, color=BLACK):
            text.set_clip_on(False)
        panel.set_ylim(len(runs) - 0.4, -0.6)
        panel.set_xlim(0, 1.02 * most)
        panel.set_title(_title(name, one))
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        for tick, (who, _) in zip(panel.get_yticklabels(), runs, strict=True):
            tick.set_fontweight("bold" if _is_ours(who) else "normal")
    panels[-1, 0].set_xlabel(label)
    return picture


def _errors_by_speed(work: dict[str, Any]) -> Any:
    """Word error rate and its interval over speed; a number at each point, and beside the panel whose it is."""
    most = max(run["x"] for one in work.values() for run in one["runs"].values())
    rows = max(len(one["runs"]) for one in work.values())
    picture, panels = plt.subplots(
        len(work),
        1,
        figsize=(WIDTH_INCHES, len(work) * max(2.6, 0.6 + 0.2 * rows)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, (name, one) in zip(panels[:, 0], work.items(), strict=True):
        runs: Runs = [(who, run) for who, run in one["runs"].items() if run.get("wer") is not None]
        runs.sort(key=lambda item: item[1]["x"], reverse=True)
        for who, run in runs:
            wer, low, high = (100 * run[key] for key in ("wer", "wer_low", "wer_high"))
            colour = BLUE if _is_ours(who) else GREY
            panel.errorbar(run["x"], wer, [[wer - low], [high - wer]], fmt="o", ms=5, capsize=3, lw=1, color=colour)
        panel.set_xlim(0, 1.04 * most)
        panel.set_title(_title(name, one))
        panel.set_ylabel("word error rate, %\n(bars: intervals of 95 %)")
        _number(panel, runs, 0.2 * len(work) / picture.get_figheight())
    panels[-1, 0].set_xlabel("times real time")
    return picture


def _number(panel: Any, runs: Runs, row: float) -> None:
    """Numbers at the points and names in a column, ``row`` (a share of the panel's height) apart."""
    for number, (who, run) in enumerate(runs, 1):
        style = {"fontsize": 8.5, "fontweight": "bold" if _is_ours(who) else "normal"}
        style["color"] = BLUE if _is_ours(who) else BLACK
        before = sum(_meet(panel, run, other) for _, other in runs[: number - 1])
        x, y, side = BESIDE_A_POINT[before % len(BESIDE_A_POINT)]
        panel.annotate(number, (run["x"], 100 * run["wer"]), (x, y), textcoords="offset points", ha=side, **style)
        height = 1 - (number - 0.5) * row
        panel.text(1.035, height, number, transform=panel.transAxes, ha="right", va="center", **style)
        panel.text(1.05, height, who, transform=panel.transAxes, va="center", **style)


def _meet(panel: Any, one: Run, other: Run) -> bool:
    """Whether numbers at these points would cover each other."""
    width, height = panel.get_xlim()[1], panel.get_ylim()[1] - panel.get_ylim()[0]
    return bool(abs(one["x"] - other["x"]) < 0.02 * width and 100 * abs(one["wer"] - other["wer"]) < 0.08 * height)


def _curves(curves: list[dict[str, Any]]) -> Any:
    """A panel for each, from zero; where points are few, with the value at each."""
    columns = min(CURVES_A_ROW, len(curves))
    rows = ceil(len(curves) / columns)
    picture, panels = plt.subplots(
        rows, columns, figsize=(WIDTH_INCHES, 2.5 * rows), squeeze=False, layout="constrained"
    )
    for panel, curve in zip(panels.flat, curves, strict=False):
        few = len(curve["x"]) <= POINTS_WITH_VALUES
        panel.plot(curve["x"], curve["y"], "o-" if few else "-", ms=4, lw=1.4, color=BLUE)
        if curve["log_x"]:
            panel.set_xscale("log")
        if few:
            for x, y in zip(curve["x"], curve["y"], strict=True):
                panel.annotate(f"{y:,.3g}", (x, y), (0, 5), textcoords="offset points", ha="center", fontsize=7.5)
            panel.set_xticks(curve["x"], [_short(x) for x in curve["x"]])
            panel.set_xticks([], minor=True)
            panel.margins(x=0.15)
        panel.set_ylim(0, 1.2 * max(curve["y"]))
        panel.set_title(curve["name"], fontsize=9)
        panel.set_xlabel(curve["x_label"], fontsize=8)
        panel.set_ylabel(curve["y_label"], fontsize=8)
    for panel in list(panels.flat)[len(curves) :]:
        panel.set_visible(False)
    return picture


def _short(number: float) -> str:
    return f"{number / 1000:g}k" if number >= 10_000 else f"{number:g}"


def _speed_and_errors(run: Run) -> str:
    if run.get("wer") is None:
        return f"{run['x']} x"
    wer, low, high = (100 * run[key] for key in ("wer", "wer_low", "wer_high"))
    return f"{run['x']} x · WER {wer:.1f} % ({low:.1f} to {high:.1f})"


def _memory(run: Run) -> str:
    return f"{run['peak_megabytes']:,.0f}"


def _title(name: str, work: dict[str, Any]) -> str:
    return f"{name}, {work['audio_seconds']:,.0f} s of audio"


def _is_ours(who: str) -> bool:
    return who.startswith(OURS)


if __name__ == "__main__":
    main()
