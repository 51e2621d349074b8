"""Logs are events with fields, one JSON object a line, on standard error."""

import json
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


class _StandardError:
    """What standard error is at the moment: who replaces it, as tests do, may close it later.

    What cannot be written, as to a file on a full disk, is lost and counted: a line of the log must
    not end what it tells of.
    """

    _lost = 0

    def write(self, text: str) -> int:
        try:
            sys.stderr.write(text)
            if self._lost:
                lost, self._lost = self._lost, 0
                told = {"event": "log lines lost", "level": "error", "lines": lost}
                sys.stderr.write(json.dumps(told) + "\n")
        except OSError:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


# One list for all calls: loggers keep the one that they first used.
_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
]


def configure_logs(level: str) -> None:
    """May be called again: a command that runs within another program does."""
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
