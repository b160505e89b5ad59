"""The charts of a run: what is drawn of it, each with the same in words"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from xml.etree.ElementTree import Element

from edgeslm.bench.report import svg
from edgeslm.bench.report.figures import amount, condition, plain
from edgeslm.bench.report.published import MARK, ROWS
from edgeslm.bench.report.published import span as written
from edgeslm.bench.report.schema import BenchReport, Measured, SustainedPoint, TaskRun
from edgeslm.bench.report.summary import main_task

T = TypeVar("T")

#: dots of one series; more are not told apart, and make the page heavy
_DOTS: Final = 400
_RIGHT: Final = svg.WIDTH - 14
#: room for the labels of an upright axis, such as 1000 ms
_LEFT: Final = 56
#: rows of dots in a strip, so that those of the same time lie beside each other
_LANES: Final = 7


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title and caption; ``legend`` maps styles to what they stand for."""

    title: str
    caption: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()


def charts(report: BenchReport) -> list[Chart]:
    """What can be drawn of one run."""
    charts = []
    if report.tasks:
        charts += [_distribution(report.tasks), _lengths(report.tasks)]
    if report.load:
        charts.append(_load(report))
    if report.sustained:
        charts.append(_sustained(report.sustained))
        charts += _sensors(report.sustained)
    return charts


def comparison(reports: Sequence[BenchReport]) -> Chart | None:
    """The median requests of some runs as bars, and published ones; None if no run has any."""
    rows = _measured_rows(reports)
    if not rows:
        return None
    published = [
        (f"{row.name}, {row.task}", row.p50, "*" if row.contradiction else "") for row in ROWS
    ]
    height = 34 * (len(rows) + len(published)) + 62
    words = [f"{name}: {amount(ms, 'ms')}" for name, ms, _, _ in rows]
    words += [f"{name}: {written(span)} ms, {MARK}" for name, span, _ in published]
    drawn = svg.drawing(height, f"Median time of a whole request. {'; '.join(words)}.")
    ends = [high for *_, high in rows] + [span[1] for _, span, _ in published]
    x = svg.scale(ends, 8, _RIGHT - 60)
    y = 18.0
    for name, ms, low, high in rows:
        svg.text(drawn, 8, y, svg.fitted(name, _RIGHT - 8), "label")
        svg.bar(drawn, (8, x(ms)), y + 12, "bar", f"{name}: {amount(ms, 'ms')}")
        svg.line(drawn, (x(low), y + 12), (x(high), y + 12), "whisker")
        svg.text(drawn, max(x(ms), x(high)) + 6, y + 16, amount(ms, "ms"), "value")
        y += 34
    svg.line(drawn, (8, y - 4), (_RIGHT, y - 4), "axis")
    svg.text(drawn, 8, y + 14, f"{MARK}:", "tick")
    y += 36
    for name, span, star in published:
        said = f"{written(span)} ms"
        svg.text(drawn, 8, y, svg.fitted(name, _RIGHT - 8), "label")
        svg.bar(drawn, (8, x(span[1])), y + 12, "published", f"{name}: {said}, {MARK}")
        svg.text(drawn, x(span[1]) + 6, y + 16, said + star, "value")
        y += 34
    return Chart(
        "Whole requests",
        "Median time of a whole request; the whisker is its 95 % interval. Outlined bars were "
        f"{MARK}, on other inputs.",
        svg.rendered(drawn),
        (("bar", "measured"), ("published", MARK)),
    )


def _measured_rows(reports: Sequence[BenchReport]) -> list[tuple[str, float, float, float]]:
    rows = []
    for report in reports:
        task = main_task(report)
        if task is not None and "p50" in task.latency:
            stated = task.latency["p50"]
            name = f"{plain(report.model.name, 60)}, {report.model.task}, {condition(task)}"
            mark = ", random weights" if report.model.synthetic else ""
            rows.append((name + mark, stated.value, stated.low, stated.high))
    return rows


# --- requests ---------------------------------------------------------------------


def _distribution(tasks: Sequence[TaskRun]) -> Chart:
    height = 84 * len(tasks) + 30
    said = [
        f"{condition(task)}: " + ", ".join(f"{p} {amount(m.value, 'ms')}" for p, m in _sorted(task))
        for task in tasks
    ]
    drawn = svg.drawing(height, f"Times of whole requests. {'; '.join(said)}.")
    x = svg.scale([max(task.milliseconds) for task in tasks], 10, _RIGHT)
    svg.across(drawn, x, (18, height - 24), _short_ms(x.top))
    for i, task in enumerate(tasks):
        _strip(drawn, x, 84 * i + 14, task)
    return Chart(
        "How long requests take",
        f"Each dot is a request{_thinned(tasks)}; the lines are percentiles, the bar is the 95 % "
        "interval of the median.",
        svg.rendered(drawn),
    )


def _strip(drawn: Element, x: svg.Scale, top: float, task: TaskRun) -> None:
    """The requests under one condition as a strip of dots, with lines at the percentiles."""
    percentiles = ", ".join(f"{p} {amount(m.value, 'ms')}" for p, m in _sorted(task) if p != "p90")
    svg.text(drawn, 10, top, condition(task), "label strong")
    svg.text(drawn, _RIGHT, top, percentiles, "value", anchor="end")
    style = _style(task)
    for i, ms in enumerate(_thin(task.milliseconds)):
        svg.dot(drawn, x(ms), top + 16 + 5 * (i % _LANES), f"{style} faint", amount(ms, "ms"))
    for name, stated in _sorted(task):
        if name != "p90":
            place = x(stated.value)
            svg.line(drawn, (place, top + 8), (place, top + 56), "percentile")
    if "p50" in task.latency:
        stated = task.latency["p50"]
        svg.bar(drawn, (x(stated.low), x(stated.high)), top + 56, "interval", height=4)


def _lengths(tasks: Sequence[TaskRun]) -> Chart:
    shortest = min(min(task.input_tokens) for task in tasks)
    longest = max(max(task.input_tokens) for task in tasks)
    drawn = svg.drawing(
        240, f"Time of a request over the length of its input, {shortest} to {longest} tokens."
    )
    x = svg.scale([longest], _LEFT, _RIGHT)
    y = svg.scale([max(task.milliseconds) for task in tasks], 200, 18)
    svg.upright(drawn, y, (_LEFT, _RIGHT), _short_ms(y.top))
    svg.across(drawn, x, (200, 200), lambda value: f"{value:g}")
    svg.text(drawn, _RIGHT, 232, "tokens of input", "tick", anchor="end")
    for task in tasks:
        pairs = list(zip(task.input_tokens, task.milliseconds, strict=True))
        for tokens, ms in _thin(pairs):
            tip = f"{tokens} tokens: {amount(ms, 'ms')}, {condition(task)}"
            svg.dot(drawn, x(tokens), y(ms), f"{_style(task)} faint", tip)
    legend = tuple(dict.fromkeys((_style(task), condition(task)) for task in tasks))
    return Chart(
        "Over the length of the input",
        f"Each dot is a request{_thinned(tasks)}.",
        svg.rendered(drawn),
        legend,
    )


def _load(report: BenchReport) -> Chart:
    points = [point for point in report.load if "p50" in point.latency]
    height = 38 * len(points) + 34
    said = [
        f"{plain(p.label, 40)}: p50 {amount(p.latency['p50'].value, 'ms')}, "
        f"{p.requests_per_second:.2f} requests/s"
        for p in points
    ]
    drawn = svg.drawing(height, f"Latency under load. {'; '.join(said)}.")
    tops = [max(stated.value for stated in point.latency.values()) for point in points]
    x = svg.scale(tops, 10, _RIGHT)
    svg.across(drawn, x, (4, height - 24), _short_ms(x.top))
    for i, point in enumerate(points):
        y = 38 * i + 16
        rate = f"{point.requests_per_second:.2f} requests/s"
        svg.text(drawn, 10, y, svg.fitted(plain(point.label, 60), 200), "label strong")
        svg.text(drawn, _RIGHT, y, rate, "value", anchor="end")
        median, last = point.latency["p50"], max(s.value for s in point.latency.values())
        svg.line(drawn, (x(median.value), y + 11), (x(last), y + 11), "range")
        for name, stated in sorted(point.latency.items()):
            style = "series1" if name == "p50" else "hollow"
            tip = f"{plain(point.label, 40)}, {name}: {amount(stated.value, 'ms')}"
            svg.dot(drawn, x(stated.value), y + 11, style, tip, radius=5 if name == "p50" else 3.5)
    return Chart(
        "Under load",
        "The filled dot is the median; the others are p90, p95 and p99.",
        svg.rendered(drawn),
    )


# --- sustained runs ---------------------------------------------------------------


def _sustained(points: Sequence[SustainedPoint]) -> Chart:
    first, last = points[0].milliseconds, points[-1].milliseconds
    return _curve(
        "Sustained",
        "The median request of each window. A curve that rises shows throttling.",
        [(point.seconds, point.milliseconds) for point in points],
        _short_ms(max(point.milliseconds for point in points)),
        f"Median latency over time: {amount(first, 'ms')} at first, {amount(last, 'ms')} at last.",
    )


def _sensors(points: Sequence[SustainedPoint]) -> list[Chart]:
    """Heat and clock over time, where the machine tells."""
    heat = [(p.seconds, p.temperature) for p in points if p.temperature is not None]
    clock = [(p.seconds, p.clock_mhz) for p in points if p.clock_mhz is not None]
    curves = []
    if heat:
        highest = max(value for _, value in heat)
        said = f"Temperature over time, {highest:.0f} °C at most."
        curves.append(_curve("Temperature", said, heat, lambda value: f"{value:g} °C", said))
    if clock:
        lowest = min(value for _, value in clock)
        said = f"Clock over time, {lowest:,.0f} MHz at least."
        curves.append(_curve("Clock", said, clock, lambda value: f"{value:,.0f} MHz", said))
    return curves


def _curve(
    title: str,
    caption: str,
    points: Sequence[tuple[float, float]],
    label: Callable[[float], str],
    description: str,
) -> Chart:
    left = _LEFT + 10  # 10,000 MHz
    drawn = svg.drawing(200, description)
    x = svg.scale([seconds for seconds, _ in points], left, _RIGHT)
    y = svg.scale([value for _, value in points], 160, 14)
    svg.upright(drawn, y, (left, _RIGHT), label)
    svg.across(drawn, x, (160, 160), lambda value: f"{value:g} s")
    places = [(x(seconds), y(value)) for seconds, value in points]
    svg.path(drawn, places, "curve")
    for (seconds, value), place in zip(_thin(points), _thin(places), strict=True):
        svg.dot(drawn, *place, "series1", f"{seconds:.0f} s: {label(round(value, 1))}", radius=2)
    return Chart(title, caption, svg.rendered(drawn))


# --- shared -----------------------------------------------------------------------


def _style(task: TaskRun) -> str:
    return "series1" if task.prefix_cache else "series2"


def _sorted(task: TaskRun) -> list[tuple[str, Measured]]:
    return sorted(task.latency.items())


def _short_ms(top: float) -> Callable[[float], str]:
    """Labels of an axis of times, all in one unit."""
    if top >= 2000:
        return lambda value: f"{value / 1000:g} s"
    return lambda value: f"{value:g} ms"


def _thin(items: Sequence[T]) -> Sequence[T]:
    """Every so many of the items, so that a page stays light."""
    return items[:: max(1, -(-len(items) // _DOTS))]


def _thinned(tasks: Sequence[TaskRun]) -> str:
    most = max(len(task.milliseconds) for task in tasks)
    return f" (of {most:,}, {_DOTS} at most are drawn)" if most > _DOTS else ""
