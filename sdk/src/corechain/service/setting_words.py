"""What is wrong with settings, in words for an operator."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from corechain.service.settings import ServiceSettings

# In place of pydantic's words for programmers, by the type of its error; {about} is the setting's
# description, which says what a pattern would.
_WORDS = {
    "too_short": "has less than {min_length} characters",
    "string_too_short": "has less than {min_length} characters",
    "too_long": "has more than {max_length} characters",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern_mismatch": "is none of what it takes: {about}",
    "bool_parsing": "is neither true nor false",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
}


def sentence_of(kind: type["ServiceSettings"], prefix: str, error: ValidationError) -> str:
    """All that is missing and all that is wrong, so that one run tells an operator everything."""
    errors = error.errors(include_url=False, include_input=False)
    missing = [prefix + str(e["loc"][0]).upper() for e in errors if e["type"] == "missing"]
    wrong = [_wrong(kind, prefix, e) for e in errors if e["type"] != "missing"]
    return "; ".join(([unset(missing)] if missing else []) + wrong)


def unset(names: Sequence[str]) -> str:
    """Says of one or more settings that they are missing."""
    if len(names) == 1:
        return f"{names[0]} is not set"
    return f"{', '.join(names[:-1])} and {names[-1]} are not set"


def _wrong(kind: type["ServiceSettings"], prefix: str, error: "ErrorDetails") -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message  # of several settings together: it names them
    field = str(error["loc"][0])
    if error["type"] in _WORDS:
        about = kind.model_fields[field].description
        message = _WORDS[error["type"]].format(about=about, **error.get("ctx", {}))
    return f"{prefix}{field.upper()}: {message[:1].lower()}{message[1:]}"
