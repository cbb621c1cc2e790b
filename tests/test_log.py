"""Loggers, formatters and printed lines, as Celery has them."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import Celery, log, signals
from pyramid_temporal_compat.context import Context, running


@pytest.fixture
def app() -> Celery:
    return Celery("logged", set_as_current=False)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "celery", "celery.task", "celery.redirected")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    out, err = sys.stdout, sys.stderr
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    sys.stdout, sys.stderr = out, err
    log.Logging.already_setup = False
    logging.captureWarnings(False)


def test_task_loggers_are_below_celerys_task_logger() -> None:
    logger = log.get_task_logger("shop.tasks.one")
    assert logger.parent is log.task_logger
    assert log.task_logger.parent is log.base_logger
    assert log.get_task_logger("shop.tasks.one") is logger
    for name in ("celery", "celery.task"):
        with pytest.raises(RuntimeError, match=r"use get_task_logger\(__name__\)"):
            log.get_task_logger(name)


def test_a_records_task_is_known_to_any_formatter(app: Celery) -> None:
    @app.task(name="shop.pay")
    def pay() -> None: ...

    logger = log.get_task_logger("shop.tasks.two")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(task_name)s[%(task_id)s] %(message)s"))
    logger.addHandler(handler)
    try:
        with running(pay, Context(id="7", called_directly=False)):
            logger.warning("paid")
        logger.warning("outside")
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == "shop.pay[7] paid\n???[???] outside\n"


def test_colours_are_for_terminals_only() -> None:
    record = logging.LogRecord("n", logging.ERROR, "", 1, "bad %s", ("news",), None)
    assert log.ColorFormatter("%(message)s", use_color=False).format(record) == "bad news"
    assert log.ColorFormatter("%(message)s").format(record) == "\x1b[1;31mbad news\x1b[0m"
    quiet = logging.LogRecord("n", logging.INFO, "", 1, "fine", (), None)
    assert log.ColorFormatter("%(message)s").format(quiet) == "fine"


def test_a_record_that_cannot_be_formatted_is_shown_all_the_same() -> None:
    record = logging.LogRecord("n", logging.INFO, "", 1, "%d", ("text",), None)
    assert "<Unrepresentable" in log.ColorFormatter("%(message)s").format(record)


def test_levels_by_name_and_number() -> None:
    assert (log.mlevel("info"), log.mlevel(30), log.mlevel(None)) == (20, 30, None)
    assert (log.LOG_LEVELS["DEBUG"], log.LOG_LEVELS[10], log.LOG_LEVELS["FATAL"]) == (10, "DEBUG", 50)


def test_what_is_printed_is_logged_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file: Any = log.LoggingProxy(logging.getLogger("printed"), "INFO")
    print("hello", file=file)
    file.writelines(["a\n", b"b\n"])
    assert [record.getMessage() for record in caplog.records] == ["hello", "a", "b"]
    assert not file.isatty()
    file.close()
    assert file.write("late") == 0


def test_a_logger_that_writes_to_the_logged_file_does_not_go_round() -> None:
    logger = logging.getLogger("round")
    logger.propagate = False
    file: Any = log.LoggingProxy(logger, logging.ERROR)
    handler = logging.StreamHandler(file)
    logger.addHandler(handler)
    try:
        assert file.write("once\n") == 4
    finally:
        logger.removeHandler(handler)


def test_a_signal_handlers_words_go_past_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", stderr)
    with log.in_sighandler():
        log.LoggingProxy(logging.getLogger("handler"), "ERROR").write("stopping")
    assert (stderr.getvalue(), caplog.records) == ("stopping\n", [])


def test_setting_up_gives_workers_and_tasks_their_formats(app: Celery) -> None:
    app.conf.worker_log_format = "W %(message)s"
    app.conf.worker_task_log_format = "%(task_name)s %(message)s"
    stream = io.StringIO()
    log.Logging(app).setup(loglevel="INFO", logfile=stream)
    logging.getLogger("anything").info("one")
    log.get_task_logger("shop.tasks.three").info("two")
    logging.getLogger("anything").debug("unseen")
    assert stream.getvalue() == "W one\n??? two\n"
    assert log.Logging(app).setup_logging_subsystem() is None  # once a process


def test_a_receiver_of_setup_logging_does_it_instead(app: Celery) -> None:
    asked: list[dict[str, Any]] = []

    def own(**kwargs: Any) -> None:
        asked.append(kwargs)

    handlers = list(logging.getLogger().handlers)
    signals.setup_logging.connect(own)
    try:
        assert log.Logging(app).setup_logging_subsystem("DEBUG")
    finally:
        signals.setup_logging.disconnect(own)
    assert asked[0]["loglevel"] == logging.DEBUG
    assert logging.getLogger().handlers == handlers


def test_receivers_are_told_of_the_loggers_that_were_set_up(app: Celery) -> None:
    told: list[Any] = []

    def note(logger: logging.Logger, **kwargs: Any) -> None:
        told.append((logger.name, kwargs["loglevel"], kwargs["colorize"]))

    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(note)
    try:
        log.Logging(app).setup(loglevel="WARNING", logfile=io.StringIO(), colorize=True)
    finally:
        for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
            signal.disconnect(note)
    assert told == [("root", 30, False), ("celery.task", 30, False)]


def test_what_is_printed_is_logged_if_asked_for(app: Celery) -> None:
    stream = io.StringIO()
    app.conf.worker_log_format = "%(levelname)s %(message)s"
    log.Logging(app).setup(loglevel="INFO", logfile=stream, redirect_stdouts=True, redirect_level="WARNING")
    print("printed")
    assert stream.getvalue() == "WARNING printed\n"


def test_json_lines_name_the_task_and_its_workflow(app: Celery) -> None:
    @app.task(name="shop.pay")
    def pay() -> None: ...

    app.conf["ptemporal.log_format"] = "json"
    stream = io.StringIO()
    log.Logging(app).setup_handlers(logging.getLogger("celery.task"), stream, None, False)
    request = Context(id="7", called_directly=False, workflow_id="canvas-1", workflow_run_id="run-1", retries=2)
    with running(pay, request):
        log.get_task_logger("shop.json").warning("paid %s\n{line two} (%s)", "5", None)
    try:
        raise KeyError("no such item")
    except KeyError:
        log.get_task_logger("shop.json").exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (
        first.items()
        >= {
            "message": "paid 5\n{line two} (None)",
            "task_id": "7",
            "task_name": "shop.pay",
            "workflow_id": "canvas-1",
            "run_id": "run-1",
            "retries": 2,
            "level": "WARNING",
        }.items()
    )
    assert second["error"] == "KeyError"
    assert "no such item" in second["traceback"]


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError


def test_json_lines_have_the_extras_of_a_record(app: Celery) -> None:
    app.conf["ptemporal.log_format"] = "json"
    stream = io.StringIO()
    log.Logging(app).setup_handlers(logging.getLogger("celery.task"), stream, None, False)
    circle: list[Any] = []
    circle.append(circle)
    extras = {"item": 5, "level": "mine", "set": {1}, "nan": float("nan"), "circle": circle, "what": Unspeakable()}
    log.get_task_logger("shop.json").warning("paid", extra=extras, stack_info=True)
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["item"], found["level"], found["set"], found["nan"]) == (5, "WARNING", "{1}", "nan")
    assert found["circle"] == "[[...]]"
    assert found["what"] == "<Unspeakable: its repr raises RuntimeError>"
    assert "test_json_lines_have" in found["stack"]


def test_json_lines_of_a_workflow_have_its_ids_once(app: Celery) -> None:
    app.conf["ptemporal.log_format"] = "json"
    stream = io.StringIO()
    log.Logging(app).setup_handlers(logging.getLogger("celery.task"), stream, None, False)
    details = {"workflow_id": "w-1"}  # as temporalio's workflow.logger writes them
    log.get_task_logger("shop.json").warning(f"begin ({details})", extra={"temporal_workflow": details})
    found = json.loads(stream.getvalue().splitlines()[-1])
    assert found["message"] == "begin"
    assert "temporal_workflow" not in found
