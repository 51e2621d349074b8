"""The picture of a run: what was acknowledged a second, and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.devnet.fleet.picture import BLACK, BLUE, GREY, RED, Colour, Picture, text_width
from corechain.devnet.fleet.timeline import Point

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 70, 40, 40
LINES = 5
"""Grid lines, and so labels, an axis."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From 0 to `top`, up or to the right."""

    top: float
    length: int

    @classmethod
    def over(cls, values: Sequence[float], length: int) -> "Axis":
        return cls(round_up(max(values, default=0.0)), length)

    def place(self, value: float) -> int:
        return round(min(value / self.top, 1.0) * self.length)

    def labels(self) -> list[tuple[int, str]]:
        """(place, words) of each grid line."""
        values = [self.top * line / LINES for line in range(LINES + 1)]
        return [(self.place(value), words(value)) for value in values]


def round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten: labels are round."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value > 0:
        power /= 10
    return next((step * power for step in (1, 2, 5, 10) if step * power >= value), power)


def words(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def rates(points: Sequence[Point]) -> list[float]:
    """Reports acknowledged a second, up to each point."""
    found, at_s, total = [], 0.0, 0
    for point in points:
        span = point.at_s - at_s
        found.append((point.acknowledged - total) / span if span > 0 else 0.0)
        at_s, total = point.at_s, point.acknowledged
    return found


def chart(points: Sequence[Point]) -> bytes:
    """A PNG: the rate in blue on the left axis, each second its p95 in red (ms) on the right."""
    picture = Picture(WIDTH, HEIGHT)
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    times = Axis.over([point.at_s for point in points], across)
    speed = rates(points)
    latency = [point.p95_ms for point in points]
    left, right = Axis.over(speed, up), Axis.over(latency, up)
    _frame(picture, times, left, right)
    for values, axis, colour in ((speed, left, BLUE), (latency, right, RED)):
        picture.curve(_curve(points, values, times, axis), colour)
    return picture.png()


def _curve(
    points: Sequence[Point], values: Sequence[float], times: Axis, axis: Axis
) -> list[tuple[int, int]]:
    return [
        (LEFT + times.place(point.at_s), HEIGHT - BOTTOM - axis.place(value))
        for point, value in zip(points, values, strict=True)
    ]


def _frame(picture: Picture, times: Axis, left: Axis, right: Axis) -> None:
    for place, label in times.labels():
        x = LEFT + place
        picture.line((x, TOP), (x, HEIGHT - BOTTOM), GREY)
        picture.text(x - text_width(label) // 2, HEIGHT - BOTTOM + 8, label, BLACK)
    for place, label in left.labels():
        y = HEIGHT - BOTTOM - place
        picture.line((LEFT, y), (WIDTH - RIGHT, y), GREY)
        _label(picture, LEFT - text_width(label) - 6, y, label, BLUE)
    for place, label in right.labels():
        _label(picture, WIDTH - RIGHT + 6, HEIGHT - BOTTOM - place, label, RED)
    picture.text(LEFT, 12, "acknowledged/s", BLUE)
    picture.text(WIDTH - RIGHT - text_width("p95 ms"), 12, "p95 ms", RED)
    picture.text(WIDTH - RIGHT + 20, HEIGHT - 16, "s", BLACK)


def _label(picture: Picture, x: int, y: int, label: str, colour: Colour) -> None:
    picture.text(x, y - 5, label, colour)
