"""The table: Celery's names, its defaults, and what is said of each."""

import datetime
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from celery.app import defaults as celery_defaults

from pyramid_temporal_compat.exceptions import ImproperlyConfigured, UnknownSetting
from pyramid_temporal_compat.settings import SETTINGS, Effect, Settings, resolve, unsupported
from pyramid_temporal_compat.settings.page import refreshed

PAGE = Path(__file__).parents[2] / "migration_guide" / "settings.md"
# Silence about acks_late means durable here, so the setting has to know silence from False.
DIFFERENT_DEFAULTS = {"task_acks_late": None}


def test_every_setting_of_celery_can_be_read_and_has_its_default():
    conf = Settings()
    assert {name: conf[name] for name in celery_defaults.DEFAULTS} == {**celery_defaults.DEFAULTS, **DIFFERENT_DEFAULTS}


def test_every_old_name_of_celery_leads_to_its_new_one():
    assert {old: resolve(old) for old in celery_defaults._TO_NEW_KEY} == celery_defaults._TO_NEW_KEY


def test_no_old_name_means_two_settings():
    old = [name for setting in SETTINGS.values() for name in setting.old]
    assert len(old) == len(set(old))


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_says_what_it_is_and_what_to_use_where_it_does_not_act(setting):
    assert setting.help.endswith(".")
    assert bool(setting.sentence) == (setting.effect is not Effect.ACTS)
    assert setting.sentence == "" or setting.sentence.endswith((".", "`."))


def test_unsupported_has_the_refused_ones_and_no_others():
    sentences = unsupported()
    assert "ptemporal.address" in sentences["conf.broker_url"]
    assert "conf.task_serializer" not in sentences
    assert "conf.result_expires" not in sentences


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("ptemporal.adress", "ptemporal.address"),
        ("ptemporal.heartbeat_timout", "ptemporal.heartbeat_timeout"),
        ("ptemporal_namespce", "ptemporal.namespace"),
        ("celery.task_rutes", "celery.task_routes"),
    ],
)
def test_an_unknown_key_in_our_namespaces_is_an_error_that_names_the_nearest(key, nearest):
    with pytest.raises(UnknownSetting) as caught:
        Settings()[key] = "x"
    assert repr(key) in str(caught.value)
    assert repr(nearest) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("ptemporal.tls", "Yes", True),
        ("ptemporal.tls", "off", False),
        ("ptemporal.heartbeat_timeout", "30", 30.0),
        ("ptemporal.heartbeat_timeout", "1.5", 1.5),
        ("ptemporal.heartbeat_timeout", "500ms", 0.5),
        ("ptemporal.heartbeat_timeout", "5m", 300.0),
        ("ptemporal.heartbeat_timeout", "1h 30m", 5400.0),
        ("ptemporal.heartbeat_timeout", datetime.timedelta(minutes=1), 60.0),
        ("ptemporal.graceful_timeout", "0", 0.0),
        ("ptemporal.include", "a.tasks b.tasks,\n c.tasks", ("a.tasks", "b.tasks", "c.tasks")),
        ("ptemporal.include", ["a.tasks"], ("a.tasks",)),
        ("ptemporal.enlist", "Required", "required"),
        ("ptemporal.address", "[::1]:7233", "[::1]:7233"),
        ("task_routes", '{"a.*": "q"}', {"a.*": "q"}),
        ("task_routes", "proj.routes.route", "proj.routes.route"),
        ("task_queues", "items, video", ("items", "video")),
        ("worker_concurrency", "auto", "auto"),
        ("worker_concurrency", "4", 4),
        ("result_backend_max_retries", "inf", float("inf")),
    ],
)
def test_values_are_read_from_text(name, written, value):
    assert SETTINGS[name].parse(written) == value


@pytest.mark.parametrize(
    ("name", "written", "takes"),
    [
        ("ptemporal.tls", "maybe", "true or false"),
        ("ptemporal.transaction_attempts", "0", "a whole number from 1 on"),
        ("ptemporal.transaction_attempts", "many", "a whole number from 1 on"),
        ("ptemporal.transaction_attempts", True, "a whole number from 1 on"),
        ("ptemporal.heartbeat_timeout", "0", "seconds above 0"),
        ("ptemporal.heartbeat_timeout", "soon", "seconds above 0"),
        ("ptemporal.heartbeat_timeout", "5 minutes", "seconds above 0"),
        ("ptemporal.heartbeat_timeout", "inf", "seconds above 0"),
        ("ptemporal.heartbeat_timeout", "-1", "seconds above 0"),
        ("ptemporal.address", "http://localhost:7233", "host:port"),
        ("ptemporal.address", "localhost", "host:port"),
        ("ptemporal.address", "localhost:70000", "host:port"),
        ("ptemporal.enlist", "sometimes", "one of auto, required, never"),
        ("ptemporal.namespace", " ", "a text"),
        ("beat_schedule", "{oops}", "a JSON object"),
        ("beat_schedule", "[]", "a JSON object"),
        ("task_routes", '{"a": ', "JSON"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_its_key_and_what_it_takes(name, written, takes):
    with pytest.raises(ImproperlyConfigured) as caught:
        SETTINGS[name].parse(written)
    assert name in str(caught.value)
    assert repr(written) in str(caught.value)
    assert takes in str(caught.value)


def test_a_secret_that_cannot_be_read_is_not_shown():
    with pytest.raises(ImproperlyConfigured) as caught:
        Settings({"ptemporal.encryption_keys": {"key": "hush"}})
    assert "hush" not in str(caught.value)


def test_the_page_of_settings_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert page == refreshed(page), f"run `python -m pyramid_temporal_compat.settings {PAGE.parent.name}/{PAGE.name}`"


def test_the_command_prints_the_tables():
    run = subprocess.run(
        [sys.executable, "-m", "pyramid_temporal_compat.settings"], capture_output=True, text=True, check=True
    )
    assert "| `ptemporal.address` |" in run.stdout
    assert all(f"`{name}`" in run.stdout for name in SETTINGS)


def test_reading_settings_does_not_import_temporalio():
    code = (
        "import sys; from pyramid_temporal_compat.settings import Settings; "
        "Settings().ptemporal_address; sys.exit('temporalio' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_of_the_table_can_be_pickled():
    assert pickle.loads(pickle.dumps(Settings().finalize())) == Settings()


def test_the_periodic_tasks_of_an_application_act_and_a_scheduler_class_is_named_as_refused():
    conf = Settings({"beat_scheduler": "redbeat.RedBeatScheduler"})
    conf.beat_schedule["nightly"] = {"task": "t", "schedule": 1}
    assert ["ptemporal.schedules names a callable" in notice.sentence for notice in conf.notices] == [True]
    assert "conf.beat_schedule" not in unsupported()
