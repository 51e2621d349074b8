"""What is said once a minute, however often it is so."""

from corechain.service.seldom import Seldom


def test_what_is_so_in_each_request_is_said_once_a_minute() -> None:
    said: list[tuple[str, dict[str, object]]] = []
    now = [100.0]
    seldom = Seldom(clock=lambda: now[0])

    def say(about: str) -> None:
        seldom.say(lambda event, **facts: said.append((event, facts)), "away", about, path=about)

    for _ in range(5):
        say("a")
    say("b")  # another matter is not hidden behind the first
    now[0] += 59.9
    say("a")
    assert said == [("away", {"path": "a", "times": 1}), ("away", {"path": "b", "times": 1})]
    now[0] += 0.2
    say("a")
    assert said[2:] == [("away", {"path": "a", "times": 6})]  # what was kept back is counted


def test_what_is_remembered_has_a_bound() -> None:
    seldom = Seldom(most=3, clock=lambda: 0.0)
    assert [seldom.times(number) for number in (1, 2, 3, 1, 4, 2)] == [1, 1, 1, 0, 1, 0]
    assert seldom.times(1) == 1  # was said first, and forgotten
    assert len(seldom._said) == 3
