"""Carries a flow out without a network: each request is answered by a function."""

from collections.abc import Callable
from typing import Any, TypeVar

from corechain.steps import Flow, Request

T = TypeVar("T")


def carried_out(flow: Flow[T], answer: Callable[[Request], Any]) -> T:
    """The result of a flow; questions to the chain are asked as they are."""
    try:
        step = next(flow)
        while True:
            step = flow.send(answer(step) if isinstance(step, Request) else step.question())
    except StopIteration as done:
        result: T = done.value
        return result
