"""Logs: nothing that a task is given, called or told can pass for a line of ours."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.log import ColorFormatter, TaskFormatter
from pyramid_temporal_compat.log_lines.text_safety import one_line, record_text
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from tests.security.conftest import JSON, PATIENCE, Target

FORGED = "x\n[2026-01-01 00:00:00,000: INFO/MainProcess] Task shop.pay[1] succeeded\r\x1b[2J\u2028\u202e\ud800\x00"
FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
BEGINS = re.compile(r"^\S", re.MULTILINE)


def test_one_line_is_one_line() -> None:
    shown = one_line(FORGED)
    assert shown.isprintable()
    assert shown.startswith(r"x\n[2026-01-01 00:00:00,000: INFO/MainProcess] Task")
    assert shown.endswith(r"\r\x1b[2J\u2028\u202e\ud800\x00")
    assert one_line("plain é 日本 \\n") == "plain é 日本 \\n"
    assert one_line(5) == "5"


def test_a_record_s_further_lines_are_indented() -> None:
    assert record_text("a\nb\n\n\tc\r\nd") == "a\n  b\n\n  \tc\\r\n  d"


@pytest.mark.parametrize("formatter", [ColorFormatter, TaskFormatter])
def test_a_record_begins_once_whatever_it_says(formatter: type[logging.Formatter]) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        raised = (type(error), error, error.__traceback__)
    record = logging.LogRecord("app", logging.ERROR, "f.py", 1, "%s", (FORGED,), raised)
    text = formatter(FORMAT, use_color=False).format(record)  # type: ignore[call-arg]
    assert len(BEGINS.findall(text)) == 1
    assert "\x1b" not in text
    assert "Traceback (most recent call last)" in text
    assert text.encode()  # no lone surrogates


def test_what_a_canvas_or_a_summary_shows_moves_no_cursor() -> None:
    message = Message("shop.pay", "1", (Payload(JSON, b"{}"),), "q", argsrepr=f"({FORGED},)")
    assert message.summary.isprintable()
    assert "\n" not in message.for_log()


def test_no_line_of_a_worker_can_be_forged_by_a_task(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    class Sly(Exception):
        def __repr__(self) -> str:
            return FORGED

        __str__ = __repr__

    class SlyResult(str):
        def __repr__(self) -> str:
            return FORGED

    @target.app.task(name="shop.sly", bind=True)
    def sly(self: Any, what: str) -> Any:
        if what == "retry" and self.request.retries == 0:
            raise self.retry(exc=Sly(), countdown=0)
        if what == "fail":
            raise Sly
        return SlyResult("x")

    with caplog.at_level(logging.DEBUG):
        for what in ("return", "retry", "fail"):
            sly.apply_async((what,), argsrepr=FORGED).get(timeout=PATIENCE, propagate=False)
        control = target.app.control
        control.revoke([FORGED.replace("\ud800", "")])
        control.broadcast("no such\n[2026", reply=True, timeout=PATIENCE, limit=1)
        control.broadcast(
            "rate_limit", {"task_name": "shop.sly", "rate_limit": " 5/s\n"}, reply=True, timeout=PATIENCE, limit=1
        )
        control.broadcast(
            "rate_limit", {"task_name": "shop.sly", "rate_limit": ""}, reply=True, timeout=PATIENCE, limit=1
        )
    ours = [record for record in caplog.records if record.name.startswith(("pyramid_temporal_compat", "celery"))]
    assert len(ours) > 6
    for record in ours:
        assert "\n" not in record.getMessage(), record
        assert "\x1b" not in record.getMessage(), record
    assert caplog.text.count("Task shop.sly") >= 3


def test_arguments_that_a_call_hides_are_in_no_line(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    @target.app.task(name="shop.charge", bind=True)
    def charge(self: Any, card: str, fail: bool = False) -> str:
        if fail:
            raise LookupError("declined")
        return "paid"

    with caplog.at_level(logging.DEBUG, logger="pyramid_temporal_compat"), caplog.at_level(logging.DEBUG, "celery"):
        for fail in (False, True):
            result = charge.apply_async(
                ("4111-1111",), {"fail": fail}, argsrepr="('****',)", kwargsrepr="{'fail': ...}"
            )
            result.get(timeout=PATIENCE, propagate=False)
    said = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "shop.charge" in said
    assert "4111" not in said


def test_the_settings_that_a_worker_tells_have_no_secrets() -> None:
    app = Celery("told", set_as_current=False)
    secrets = {
        "ptemporal_api_key": "s3cret-a",
        "ptemporal_encryption_keys": ("k:s3cret-b",),
        "security_key_password": b"s3cret-c",
    }
    app.conf.update(secrets)
    assert "s3cret" not in str(app.conf.table(with_defaults=True))
    assert "s3cret" not in app.bugreport()
