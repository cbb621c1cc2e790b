"""`migrate ini`: sections, old names and modules become keys, and keys become sections again."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.migrate.ini_convert import to_keys, to_sections
from pyramid_temporal_compat.migrate.settings_modules import settings_of
from pyramid_temporal_compat.settings.ini import read_ini

from .parts import same

ADDRESS = "temporal:7233"
SECTIONS = """\
[app:main]
use = egg:shop
pyramid.includes =
    pyramid_tm
    pyramid_celery
sqlalchemy.url = sqlite://

[celery]
# where tasks go
BROKER_URL = redis://localhost:6379/0
CELERY_RESULT_BACKEND = redis://localhost:6379/1
CELERY_IMPORTS =
    shop.tasks
    shop.reports
; json alone
CELERY_TASK_SERIALIZER = json
CELERYD_CONCURRENCY = 4

[celerybeat:purge]
# every night
task = shop.tasks.purge
type = crontab
schedule = {"minute": 5, "hour": "*/2"}
args = [10]

[celerybeat:ping]
task = shop.tasks.ping
type = integer
schedule = 30

[celeryroutes]
shop.tasks.Purge = slow

[celery:task_publish_retry_policy]
max_retries = 5

[server:main]
use = egg:waitress#main
"""
KEYS = """\
[app:main]
use = egg:shop
pyramid.includes =
    pyramid_tm
    pyramid_temporal_compat
sqlalchemy.url = sqlite://
# where tasks go
ptemporal.address = temporal:7233
ptemporal.include =
    shop.tasks
    shop.reports
; json alone
celery.task_serializer = json
celery.worker_concurrency = 4
celery.task_publish_retry_policy.max_retries = 5
# every night
celery.beat_schedule =
    {
    "purge": {"task": "shop.tasks.purge", "schedule": {"crontab": {"minute": 5, "hour": "*/2"}}, "args": [10]},
    "ping": {"task": "shop.tasks.ping", "schedule": {"integer": 30}}
    }
celery.task_routes =
    {
    "shop.tasks.Purge": "slow"
    }

[server:main]
use = egg:waitress#main
"""


def read(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "app.ini"
    path.write_text(text)
    return read_ini(path)


def test_sections_and_old_names_become_keys_with_their_comments() -> None:
    done = to_keys(SECTIONS, address=ADDRESS)
    assert done.text == KEYS
    assert any("RESULT_BACKEND is left out: Temporal keeps the results" in note for note in done.notes)
    assert to_keys(done.text, address=ADDRESS).text == done.text


def test_the_values_are_the_same_before_after_and_back(tmp_path: Path) -> None:
    before = read(tmp_path, SECTIONS)
    now = read(tmp_path, KEYS)
    assert now.pop("ptemporal.address") == ADDRESS
    assert now.pop("ptemporal.include") == before["imports"]
    kept = {name: value for name, value in before.items() if name not in ("imports", "broker_url", "result_backend")}
    assert now == kept
    for names in ("new", "old"):
        back = to_sections(KEYS, names=names).text
        assert read(tmp_path, back) == {**kept, "imports": before["imports"], "ptemporal.address": ADDRESS}
        assert ("CELERYD_CONCURRENCY = 4" in back) == (names == "old")
        assert "# every night" in back


def test_file_that_is_done_does_not_change() -> None:
    assert to_keys(KEYS, address="other:7233").text == KEYS


def test_line_of_includes_gets_the_package() -> None:
    assert "pyramid.includes = pyramid_tm pyramid_temporal_compat\n" in (
        to_keys("[app:main]\npyramid.includes = pyramid_tm\n", address=ADDRESS).text
    )
    assert "config.include" in to_keys("[app:main]\nuse = egg:shop\n", address=ADDRESS).notes[0]


def test_settings_without_a_meaning_are_left_out_and_named() -> None:
    done = to_keys("[app:main]\ncelery.task_protocol = 1\ncelery.our_own = 1\n", address=ADDRESS)
    assert done.text == "[app:main]\ncelery.our_own = 1\n"
    assert [note.split()[0] for note in done.notes[1:]] == ["celery.task_protocol", "celery.our_own"]


def test_ini_without_an_application_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"no section \[app:main\]"):
        to_keys("[celery]\nworker_concurrency = 1\n", address=ADDRESS)


def test_module_of_settings_becomes_keys(tmp_path: Path) -> None:
    module = same(
        """
        from celery.schedules import crontab

        broker_url = "amqp://localhost/"
        imports = ("shop.tasks", "shop.reports")
        task_default_queue = "items"
        worker_log_format = "%(message)s"
        task_acks_late = True
        result_expires = 60 * 60
        task_routes = {"compose": {"queue": "slow"}}
        beat_schedule = {
            "purge": {"task": "shop.purge", "schedule": crontab(hour=2), "kwargs": {"keep": 10}},
            "ping": {"task": "shop.ping", "schedule": 3 * 60},
        }
        task_annotations = (Annotate(),)
        broker_login_method = b"PLAIN"
        favourite_colour = "red"
        """
    )
    found = settings_of(module, "celeryconfig.py")
    assert found.notes == [
        "task_annotations stays in celeryconfig.py:14: its value is computed there",
        "broker_login_method stays in celeryconfig.py:15: an ini file can't hold its value",
    ]
    text = to_keys("[app:main]\npyramid.includes = pyramid_tm\n", address=ADDRESS, more=found.pairs).text
    settings = read(tmp_path, text)
    assert settings["ptemporal.include"] == ("shop.tasks", "shop.reports")
    assert settings["task_acks_late"] is True
    assert settings["worker_log_format"] == "%(message)s"
    assert settings["task_routes"] == {"compose": {"queue": "slow"}}
    assert settings["beat_schedule"]["ping"]["schedule"] == 180  # type: ignore[index]
    assert settings["beat_schedule"]["purge"]["schedule"].hour == 2  # type: ignore[index]


def test_schedule_that_is_no_json_is_an_error_of_its_key() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"celery\.beat_schedule"):
        to_sections("[app:main]\ncelery.beat_schedule = {'a'\n")


def test_module_that_is_no_python_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"--from-module conf.py is no Python that can be read: .*line 1"):
        settings_of("x = (\n", "conf.py")


def test_key_that_the_application_sets_is_written_once_and_the_other_is_named(tmp_path: Path) -> None:
    text = (
        "[app:main]\npyramid.includes = pyramid_tm\ncelery.task_default_queue = ours\n"
        "[celery]\nCELERY_DEFAULT_QUEUE = theirs\n"
        "[celerybeat:purge]\ntask = shop.purge\ntype = integer\nschedule = 30\n"
    )
    done = to_keys(text, address=ADDRESS, more=[("task_default_queue", "more"), ("beat_schedule", "{}")])
    settings = read(tmp_path, done.text)
    assert settings["task_default_queue"] == read(tmp_path, text)["task_default_queue"] == "ours"
    assert list(settings["beat_schedule"]) == ["purge"]  # type: ignore[call-overload]
    assert [note for note in done.notes if "which wins" in note] == [
        "[celery] CELERY_DEFAULT_QUEUE is left out: [app:main] sets celery.task_default_queue, which wins",
        "task_default_queue of the module is left out: [app:main] sets celery.task_default_queue, which wins",
        "beat_schedule of the module is left out: [app:main] sets celery.beat_schedule, which wins",
    ]


NOTES = ["# a note", "; c", ""]
OURS = ["celery.task_acks_late = true", "ptemporal.include = shop", "x = 1\n    2"]
THEIRS = ["CELERYD_CONCURRENCY = 2", "CELERY_ACKS_LATE = no", "include = a b", "broker_url = redis://x", "shop.a = b"]
HEADERS = ["[celery]", "[server:main]", "[celeryroutes]"]
LINES = st.lists(st.sampled_from([*NOTES, *OURS, *THEIRS, *HEADERS]), max_size=12)


@given(LINES)
@settings(max_examples=200, deadline=None)
def test_twice_is_once_for_any_file(lines: list[str]) -> None:
    text = "\n".join(["[app:main]", "pyramid.includes = pyramid_tm", *lines, ""])
    once = to_keys(text, address=ADDRESS).text
    assert to_keys(once, address=ADDRESS).text == once
    assert not is_readable(text) or is_readable(once)
    for line in lines:
        if line.startswith(("# ", "; ")):
            assert line in once


def is_readable(text: str) -> bool:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return False
    return True
