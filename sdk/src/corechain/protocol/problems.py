"""Errors as problem details (RFC 9457): what every HTTP answer that refuses says of its error."""

import re
from functools import cache

from corechain.protocol.errors import ProtocolError

_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z`])")


@cache
def _first_sentence(text: str) -> str:
    # The sentence, not the line: where a line breaks is a matter of the source.
    return _SENTENCE_END.split(" ".join(text.split()), maxsplit=1)[0].replace("`", "")


def problem_title(kind: type[ProtocolError]) -> str:
    """The title of a kind's problem details (RFC 9457): the first sentence of its docstring."""
    return _first_sentence(kind.__doc__ or kind.__name__)


def problem_type(error: ProtocolError) -> str:
    """The RFC 9457 problem type: the error's one name as a URN."""
    return f"urn:corechain:error:{error.name}"
