"""Settings in ini files."""

import datetime
import os

import pytest

from pyramid_temporal_compat.cli.bootstrap import bootstrapped
from pyramid_temporal_compat.exceptions import CeleryWarning, ImproperlyConfigured, UnknownSetting
from pyramid_temporal_compat.settings import CrontabFields, Settings, celery_sections, from_pyramid, read_ini
from pyramid_temporal_compat.settings.ini import value_of_application


@pytest.fixture
def ini(tmp_path):
    def write(text):
        path = tmp_path / "app.ini"
        path.write_text(text)
        return path

    return write


def test_keys_of_the_application_section_are_read_and_others_left_alone(ini):
    values = read_ini(
        ini("""
[DEFAULT]
ptemporal.namespace = inherited
unrelated = x
[app:main]
use = egg:myapp
sqlalchemy.url = sqlite://
ptemporal.address = temporal.example:7233
ptemporal.include = myapp.tasks
    otherapp.tasks
ptemporal.api_key =
celery.task_default_queue = items
celery.task_routes = {"myapp.tasks.video_*": "video"}
celery.task_soft_time_limit = 5m
celery.CELERYD_CONCURRENCY = 4
celery.task_always_eager = no
""")
    )
    assert values == {
        "ptemporal.address": "temporal.example:7233",
        "ptemporal.namespace": "inherited",
        "ptemporal.include": ("myapp.tasks", "otherapp.tasks"),
        "task_default_queue": "items",
        "task_routes": {"myapp.tasks.video_*": "video"},
        "task_soft_time_limit": 300.0,
        "worker_concurrency": 4,
        "task_always_eager": False,
    }


def test_here_and_environment_variables_are_replaced(ini, monkeypatch):
    monkeypatch.setenv("SETTINGS_TEST_QUEUE", "100%")
    path = ini("""
[app:main]
ptemporal.tls_ca_file = %(here)s/ca.pem
[celery]
task_default_queue = %(ENV_SETTINGS_TEST_QUEUE)s
""")
    assert read_ini(path) == {
        "ptemporal.tls_ca_file": os.path.join(path.parent, "ca.pem"),
        "task_default_queue": "100%",
    }


def test_the_sections_of_pyramid_celery_are_read_as_it_reads_them(ini):
    values = read_ini(
        ini("""
[DEFAULT]
debug = true
[celery]
broker_url = redis://localhost:1337/0
celery_imports = myapp.tasks
                 otherapp.tasks
accept_content =
  json
  yaml
timezone = America/Los_Angeles
colour = red
[celery:broker_transport_options]
visibility_timeout = 18000
queue_order_strategy = priority
[celeryroute:otherapp.tasks.Task3]
queue = slow_tasks
routing_key = turtle
[celeryroutes]
myapp.tasks.Image_* = images
myapp.tasks.Other = {"queue": "others"}
[celerybeat:task1]
# Every hour
task = myapp.tasks.Task1
type = crontab
schedule = {"minute": 0}
options = {"task_id": "4446"}
[celerybeat:task2]
task = myapp.tasks.Task2
type = timedelta
schedule = {"seconds": 30}
args = [16, 16]
[celerybeat:task3]
task = myapp.tasks.Task3
type = integer
schedule = 30
kwargs = {"boom": "shaka"}
""")
    )
    assert values == {
        "broker_url": "redis://localhost:1337/0",
        "imports": ("myapp.tasks", "otherapp.tasks"),
        "accept_content": ("json", "yaml"),
        "timezone": "America/Los_Angeles",
        "colour": "red",
        "broker_transport_options": {"visibility_timeout": 18000, "queue_order_strategy": "priority"},
        "task_routes": {
            "otherapp.tasks.Task3": {"queue": "slow_tasks", "routing_key": "turtle"},
            "myapp.tasks.Image_*": "images",
            "myapp.tasks.Other": {"queue": "others"},
        },
        "beat_schedule": {
            "task1": {
                "task": "myapp.tasks.Task1",
                "schedule": CrontabFields(minute=0),
                "options": {"task_id": "4446"},
            },
            "task2": {
                "task": "myapp.tasks.Task2",
                "schedule": datetime.timedelta(seconds=30),
                "args": [16, 16],
            },
            "task3": {"task": "myapp.tasks.Task3", "schedule": 30, "kwargs": {"boom": "shaka"}},
        },
    }


def test_a_schedule_may_stand_in_one_key():
    values = from_pyramid(
        {"celery.beat_schedule": '{"nightly": {"task": "t", "schedule": {"crontab": {"hour": "3"}}}}'}
    )
    assert values["beat_schedule"]["nightly"]["schedule"] == CrontabFields(hour="3")


def test_use_celeryconfig_takes_the_module_and_not_the_sections(ini, monkeypatch, tmp_path):
    (tmp_path / "celeryconfig.py").write_text("task_default_queue = 'module'\n")
    monkeypatch.chdir(tmp_path)
    conf = Settings()
    conf.add_ini(
        read_ini(
            ini("[app:main]\nptemporal.namespace = n\n[celery]\nUSE_CELERYCONFIG = True\ntask_serializer = yaml\n")
        )
    )
    assert (conf.task_default_queue, conf.task_serializer, conf.ptemporal_namespace) == ("module", "json", "n")


def test_settings_that_a_program_made_need_not_be_text():
    values = from_pyramid(
        {"celery.task_always_eager": True, "ptemporal.heartbeat_timeout": 5, "celery.beat_schedule": {}, "tm.x": 1}
    )
    assert values == {"task_always_eager": True, "ptemporal.heartbeat_timeout": 5.0, "beat_schedule": {}}


def test_an_unknown_key_of_ours_is_an_error():
    with pytest.raises(UnknownSetting, match=r"the nearest is 'ptemporal\.address'"):
        from_pyramid({"ptemporal.adress": "x"})


@pytest.mark.parametrize("key", ["celery.task_default_queu", "celery.CELERYD_CONCURENCY", "celery.task_ruotes"])
def test_a_key_that_is_one_edit_away_from_a_setting_of_celerys_is_an_error(key):
    with pytest.raises(UnknownSetting, match=rf"'{key}'; did you mean 'celery\.(task|worker)_"):
        from_pyramid({key: "x"})


@pytest.mark.parametrize("key", ["celery.broker_redis_url", "celery.scheduler_url", "celery.broker", "celery.a.b"])
def test_an_applications_own_key_under_celery_is_a_warning_that_names_the_nearest_setting(key):
    with pytest.warns(CeleryWarning, match=rf"^{key} is no setting of Celery's, .*the nearest setting is '\w+'"):
        assert from_pyramid({key: "redis://"}) == {}


def test_a_key_below_a_mapping_is_one_entry_of_the_mapping():
    values = from_pyramid(
        {
            "celery.broker_transport_options": '{"visibility_timeout": 60}',
            "celery.broker_transport_options.queue_name_prefix": "shop-",
            "celery.broker_transport_options.max_retries": "3",
        }
    )
    assert values == {
        "broker_transport_options": {"visibility_timeout": 60, "queue_name_prefix": "shop-", "max_retries": 3}
    }


def test_a_section_of_the_applications_own_is_a_warning(ini):
    with pytest.warns(CeleryWarning, match=r"\[celery:nonsense\] is no setting of Celery's"):
        assert read_ini(ini("[celery:nonsense]\na = b\n")) == {}


def test_pastes_variables_are_replaced_in_celerys_sections(ini):
    path = ini("[app:main]\nport = %(unknown)s\n[celeryroutes]\nshop.* = %(queue)s\n")
    assert celery_sections(path, {"queue": "items"}) == {"celeryroutes": {"shop.*": "items"}}


def test_one_value_is_read_whatever_variables_the_others_need(ini, monkeypatch):
    monkeypatch.setenv("SETTINGS_TEST_HOST", "127.0.0.1")
    path = ini("""
[composite:main]
ptemporal.health_port = 1
[app:shop]
sqlalchemy.url = %(url)s
ptemporal.health_port = %(ENV_SETTINGS_TEST_HOST)s:%(port)s
[formatter_plain]
format = %(message)s
""")
    assert value_of_application(path, "ptemporal.health_port", {"port": "8080"}) == "127.0.0.1:8080"
    assert value_of_application(path, "ptemporal.metrics_port", {}) is None
    with pytest.raises(ImproperlyConfigured, match=r"refers to %\(port\)s, which is not set"):
        value_of_application(path, "ptemporal.health_port", {})


def test_a_likely_slip_in_the_celery_section_is_pointed_out(ini):
    with pytest.warns(CeleryWarning, match="'task_rutes', which is no setting; did you mean 'task_routes'"):
        assert read_ini(ini("[celery]\ntask_rutes = x\n")) == {"task_rutes": "x"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[app:main]\nptemporal.tls = perhaps\n", r"ptemporal\.tls = 'perhaps' can't be read: it takes true or false"),
        (
            "[app:main]\ncelery.task_queues = [1\n",
            r"celery\.task_queues = '\[1' can't be read .*it takes words, or",
        ),
        ("[celery]\nworker_concurrency = lots\n", r"\[celery\] worker_concurrency = 'lots'"),
        ("[celery]\nuse_celeryconfig = perhaps\n", r"\[celery\] use_celeryconfig = 'perhaps'"),
        ("[celery:task_rutes]\na = b\n", r"no setting for \[celery:task_rutes\]; did you mean \[celery:task_routes\]"),
        ("[celerybeat:t]\ntask = t\ntype = lunar\nschedule = 1\n", r"\[celerybeat:t\] has the schedule \{'lunar': 1\}"),
        ("[celerybeat:t]\ntask = t\nschedule = 0\n", r"it takes seconds above 0"),
        ('[celerybeat:t]\ntask = t\ntype = crontab\nschedule = {"minut": 0}\n', r"the crontab .*minut"),
        ("[celerybeat:t]\ntask = t\ntype = crontab\nschedule = {oops}\n", r"\[celerybeat:t\] schedule = '\{oops\}'"),
        ("[celerybeat:t]\ntask = t\n", r"needs a task and a schedule"),
        ("[celerybeat:t]\ntask = t\nschedule = 1\nargz = []\n", r"'argz'; the nearest that .* takes is 'args'"),
        ("[celeryroute:t]\nrouting_key = t\n", r"\[celeryroute:t\] needs a queue"),
        ("[app:main]\nptemporal.address = %(nonsense)s\n", r"app\.ini' can't be read: .*nonsense"),
        ("ptemporal.address = x:1\n", r"app\.ini' can't be read"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(ini, text, says):
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        read_ini(ini(text))
    assert "\n" not in str(caught.value)


def test_an_ini_file_that_is_missing_is_one_clear_line(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"missing\.ini' can't be read: No such file"):
        read_ini(tmp_path / "missing.ini")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("password hush\n[app:main]\n", "line 1 stands before the first"),
        ("[app:main]\nuse = x\npassword hush\n", "line 3 is neither"),
        (
            "[app:main]\nptemporal.api_key = hush%(nosuch)s\n",
            r"ptemporal.api_key in \[app:main\] refers to %\(nosuch\)s",
        ),
        ("[app:main]\nsqlalchemy.url = postgresql://u:hush%40@h/db hush\n", "write a percent sign as %%"),
        ("[app:main]\na = %(b)s hush\nb = %(a)s\n", "a % that can't be replaced"),
        ("[app:main]\na = hush\na = hush\n", "already exists"),
    ],
)
def test_an_ini_that_cannot_be_read_shows_no_value(ini, text, says):
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        read_ini(ini(text))
    assert "hush" not in str(caught.value)
    with pytest.raises(ImproperlyConfigured) as caught:
        bootstrapped(str(ini(text)), {})
    assert "hush" not in str(caught.value)
