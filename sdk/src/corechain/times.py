"""Times as text. Pure."""

from datetime import UTC, datetime


def time_text(second: int) -> str:
    """In UTC: 2013-02-01T12:00:00Z; nothing for what datetime does not know."""
    # A reading's time has 40 bits: the year 36,812 at the most, which datetime does not know.
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


def moment(second: int, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """In UTC, for people; the second itself where datetime does not know it."""
    try:
        return datetime.fromtimestamp(second, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return f"second {second}"
