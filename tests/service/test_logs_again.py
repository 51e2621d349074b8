"""Logs go on where standard error is replaced, as by whoever runs a command within a program."""

import io
import json
import sys

import pytest
import structlog

from corechain.service.logs import configure_logs


def test_a_log_goes_to_what_standard_error_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log, first, second = structlog.get_logger(), io.StringIO(), io.StringIO()
    before = structlog.get_config()
    try:
        monkeypatch.setattr(sys, "stderr", first)
        configure_logs("info")
        log.info("begun")
        assert json.loads(first.getvalue())["event"] == "begun"
        first.close()
        monkeypatch.setattr(sys, "stderr", second)
        log.info("gone on", of=1)
    finally:
        structlog.configure(**before)
    found = json.loads(second.getvalue())
    assert (found["event"], found["of"], found["level"]) == ("gone on", 1, "info")
