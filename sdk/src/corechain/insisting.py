"""Asking again: a server that is busy says when."""

import random
from collections.abc import Collection
from typing import Any

from corechain.steps import HTTP_BUSY, ApiUnavailable, Flow, Pause, Request

LEAST_PAUSE_S = 0.2
"""A server that asks to come again after 0 seconds is not asked without end."""
PAGE_PATIENCE_S = 60.0
"""Who reads many pages waits so long for one of them: an API that lets him ask so and so often a
minute would end each long list."""


def _pause_before_retry(error: ApiUnavailable, left_s: float) -> Pause | None:
    """As long as the server asks, and up to half as long again: a fleet that was refused together
    comes back spread. None where it asks nothing, or for more time than is left."""
    if error.retry_after_s is None:
        return None
    least_s = max(LEAST_PAUSE_S, error.retry_after_s)
    return Pause(min(left_s, least_s * random.uniform(1.0, 1.5))) if least_s <= left_s else None


def insist(
    request: Request, patience_s: float, passing: Collection[int] | None = None
) -> Flow[Any]:
    """The answer; a server that is busy is asked again when it says, for so long in all. Only for
    what does no harm when it is done twice. `passing`: only with these statuses."""
    left_s = patience_s
    while True:
        try:
            return (yield request)
        except ApiUnavailable as error:
            pause = _pause_before_retry(error, left_s)
            if pause is None or (passing is not None and error.status not in passing):
                raise
        left_s -= pause.seconds
        yield pause


def page_of_many(request: Request) -> Flow[Any]:
    """The answer to a question for one of many pages. Asked again only where it came too soon
    (429), which the API says before anything is paid."""
    return (yield from insist(request, PAGE_PATIENCE_S, (HTTP_BUSY,)))
