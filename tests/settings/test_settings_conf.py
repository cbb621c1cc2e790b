"""`app.conf`: where settings come from, which wins, and what can be asked of them."""

import copy
import pickle
import sys
import threading
import types

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured, UnknownSetting
from pyramid_temporal_compat.settings import Effect, Settings


class Configuration:
    """A configuration class as Celery's documentation has it."""

    task_default_queue = "object"
    worker_concurrency = 3
    MY_OWN = "mine"


@pytest.fixture
def module(monkeypatch):
    found = types.ModuleType("settings_test_config")
    found.os = sys
    found.task_default_queue = "module"
    monkeypatch.setitem(sys.modules, "settings_test_config", found)
    return found


# --- reading and writing


def test_a_setting_is_an_item_and_an_attribute():
    conf = Settings()
    conf.task_default_queue = "items"
    assert conf["task_default_queue"] == conf.task_default_queue == "items"
    conf["task_default_queue"] = "video"
    assert conf.task_default_queue == "video"


def test_our_own_settings_are_items_by_their_name_and_attributes_with_an_underscore():
    conf = Settings()
    conf.ptemporal_heartbeat_timeout = "5m"
    assert conf["ptemporal.heartbeat_timeout"] == conf.ptemporal_heartbeat_timeout == 300.0
    assert "ptemporal.heartbeat_timeout" in conf
    assert "ptemporal_heartbeat_timeout" in conf


def test_old_names_read_and_write_the_new_ones():
    conf = Settings()
    conf.CELERY_DEFAULT_QUEUE = "items"
    assert conf.task_default_queue == conf["CELERY_DEFAULT_QUEUE"] == "items"
    assert conf.CELERYD_CONCURRENCY is None
    assert "BROKER_URL" in conf


def test_keys_that_are_no_setting_are_kept_as_the_applications_own():
    conf = Settings()
    conf.update(PYRAMID_APP="app", colour="red")
    assert conf.PYRAMID_APP == "app"
    assert conf["colour"] == "red"


def test_a_key_that_nothing_has_is_missing():
    conf = Settings()
    assert "nonsense" not in conf
    assert not hasattr(conf, "nonsense")
    assert conf.get("nonsense", 1) == 1
    with pytest.raises(KeyError):
        conf["nonsense"]
    with pytest.raises(AttributeError, match=r"ptemporal\.address"):
        _ = conf.ptemporal_adress


def test_deleting_uncovers_what_lies_below():
    conf = Settings({"task_default_queue": "code"})
    del conf["task_default_queue"]
    assert conf.task_default_queue == "celery"
    with pytest.raises(KeyError, match="not set in code"):
        del conf["task_default_queue"]


def test_clear_forgets_what_was_set_in_code():
    conf = Settings({"task_default_queue": "code", "mine": 1}, source=Configuration)
    conf.clear()
    assert conf.task_default_queue == "object"
    assert "mine" not in conf


def test_a_mutable_default_belongs_to_one_app():
    one, other = Settings(), Settings()
    one.beat_schedule["nightly"] = {"task": "t", "schedule": 1}
    assert other.beat_schedule == {}
    assert one.value_set_for("beat_schedule") is False
    assert one.table() == {"beat_schedule": one.beat_schedule}


def test_our_own_settings_are_checked_where_they_are_set():
    with pytest.raises(ImproperlyConfigured, match=r"ptemporal_enlist = 'sometimes'"):
        Settings().ptemporal_enlist = "sometimes"
    with pytest.raises(UnknownSetting):
        Settings().update({"ptemporal.outbax": "x"})


def test_none_gives_one_of_our_settings_its_default_back():
    conf = Settings({"ptemporal.heartbeat_timeout": 5, "ptemporal.api_key": "k"})
    conf.update({"ptemporal.heartbeat_timeout": None, "ptemporal.api_key": None})
    assert (conf.ptemporal_heartbeat_timeout, conf.ptemporal_api_key) == (30.0, None)


# --- the layers


def test_code_wins_over_ini_over_added_defaults_over_the_object_over_defaults():
    conf = Settings(source=Configuration)
    layers = []
    for change in (
        lambda: conf.add_defaults({"task_default_queue": "added"}),
        lambda: conf.add_ini({"task_default_queue": "ini"}),
        lambda: conf.update(task_default_queue="code"),
    ):
        layers.append((conf.task_default_queue, conf.origin("task_default_queue")))
        change()
    layers.append((conf.task_default_queue, conf.origin("task_default_queue")))
    assert layers == [
        ("object", "config_from_object"),
        ("added", "add_defaults"),
        ("ini", "ini"),
        ("code", "code"),
    ]
    assert conf.origin("task_serializer") == "default"
    assert conf.origin("nonsense") is None


def test_lazy_defaults_are_evaluated_when_settings_are_first_read():
    conf = Settings()
    called = []
    conf.add_defaults(lambda: called.append(1) or {"task_default_queue": "lazy"})
    assert called == []
    assert conf.task_default_queue == "lazy"
    conf.add_defaults(lambda: {"task_default_queue": "later"})
    assert conf.task_default_queue == "later"
    assert called == [1]


def test_nothing_is_read_until_a_setting_is(module):
    conf = Settings(source="settings_test_config")
    conf.task_serializer = "pickle"
    conf.setdefault("worker_agent", "x")
    assert "not read yet" in repr(conf)
    assert not conf.configured
    module.task_default_queue = "changed meanwhile"
    assert conf.task_default_queue == "changed meanwhile"
    assert conf.configured


@pytest.mark.parametrize(
    "source",
    [
        Configuration,
        Configuration(),
        {"task_default_queue": "object", "MY_OWN": "mine"},
        f"{__name__}:Configuration",
        f"{__name__}.Configuration",
    ],
    ids=["class", "instance", "mapping", "module:attribute", "module.attribute"],
)
def test_a_configuration_object_can_be_many_things(source):
    conf = Settings()
    conf.config_from_object(source)
    assert conf.task_default_queue == "object"
    assert conf.MY_OWN == "mine"


def test_what_a_module_imports_is_no_setting(module):
    conf = Settings(source=module)
    assert conf.task_default_queue == "module"
    assert "os" not in conf


def test_a_configuration_can_be_read_again(module):
    conf = Settings(source=Configuration)
    assert conf.task_default_queue == "object"
    conf.config_from_object("settings_test_config")
    assert conf.task_default_queue == "module"


def test_a_configuration_that_is_missing_is_an_error_unless_silent():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = Settings(source="no_such_module").task_serializer
    with pytest.raises(ImproperlyConfigured, match=r"'proj\.celeryconfig'"):
        _ = Settings(source="proj.celeryconfig.py").task_serializer
    with pytest.raises(ImproperlyConfigured, match="has no 'missing'"):
        _ = Settings(source=f"{__name__}:missing").task_serializer
    assert Settings(source="no_such_module", silent=True).task_serializer == "json"


def test_an_attribute_error_in_the_configuration_is_not_taken_for_a_missing_setting():
    conf = Settings()
    conf.add_defaults(lambda: {"mine": sys.no_such_attribute})
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="no_such_attribute"):
            hasattr(conf, "mine")


def test_a_configuration_beside_the_user_is_found(tmp_path, monkeypatch):
    (tmp_path / "settings_test_beside.py").write_text("task_default_queue = 'beside'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert Settings(source="settings_test_beside").task_default_queue == "beside"
    assert str(tmp_path) not in sys.path


def test_a_configuration_named_by_an_environment_variable(module, monkeypatch):
    monkeypatch.delenv("MY_CONFIG", raising=False)
    conf = Settings()
    assert conf.config_from_envvar("MY_CONFIG", silent=True) is False
    with pytest.raises(ImproperlyConfigured, match="MY_CONFIG is not set"):
        conf.config_from_envvar("MY_CONFIG")
    monkeypatch.setenv("MY_CONFIG", "settings_test_config")
    assert conf.config_from_envvar("MY_CONFIG")
    assert conf.task_default_queue == "module"


def test_celery_config_module_is_read_where_the_application_names_none(module, monkeypatch):
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "settings_test_config")
    assert Settings().task_default_queue == "module"
    assert Settings(source=Configuration).task_default_queue == "object"


def test_a_namespace_is_a_prefix_of_uppercase_names():
    conf = Settings()
    conf.config_from_object(
        {
            "CELERY_TASK_DEFAULT_QUEUE": "items",
            "CELERY_RESULT_SERIALIZER": "pickle",
            "CELERY_PTEMPORAL_HEARTBEAT_TIMEOUT": "5m",
            "CELERY_COLOUR": "red",
            "TIME_ZONE": "Europe/Berlin",
            "SECRET": "hush",
        },
        namespace="CELERY",
    )
    assert conf.task_default_queue == conf.CELERY_TASK_DEFAULT_QUEUE == "items"
    assert conf.CELERY_RESULT_SERIALIZER == conf.result_serializer == "pickle"
    assert conf["ptemporal.heartbeat_timeout"] == 300.0
    assert conf.colour == conf.CELERY_COLOUR == "red"
    assert conf.timezone == "Europe/Berlin"
    assert conf.SECRET == "hush"


# --- old and new names together


def test_new_names_among_mostly_old_ones_are_an_error_that_says_what_to_rename():
    source = {"CELERY_DEFAULT_QUEUE": "a", "BROKER_URL": "b", "worker_concurrency": 1}
    with pytest.raises(ImproperlyConfigured, match="worker_concurrency -> CELERYD_CONCURRENCY"):
        Settings(source=source).finalize()


def test_old_names_among_mostly_new_ones_are_an_error_that_says_what_to_rename():
    source = {"task_default_queue": "a", "broker_url": "b", "CELERYD_CONCURRENCY": 1}
    with pytest.raises(ImproperlyConfigured, match="CELERYD_CONCURRENCY -> worker_concurrency"):
        Settings(source=source).finalize()


def test_a_setting_may_be_given_under_both_of_its_names():
    source = {"result_expires": 1, "CELERY_TASK_RESULT_EXPIRES": 2, "task_default_queue": "a"}
    assert Settings(source=source).result_expires == 1


def test_names_set_in_code_before_the_first_read_must_not_be_mixed_either():
    conf = Settings(given={"broker_url": "redis://"})
    conf.update(CELERY_ALWAYS_EAGER=True, CELERY_DEFAULT_QUEUE="q")
    conf.worker_agent = "x"
    with pytest.raises(ImproperlyConfigured, match="worker_agent -> CELERYD_AGENT"):
        _ = conf.task_always_eager


def test_what_the_apps_arguments_say_stands_beside_either_spelling():
    conf = Settings(given={"broker_url": "redis://"})
    conf.update(CELERY_ALWAYS_EAGER=True)
    assert conf.task_always_eager is True
    assert conf.broker_url == "redis://"


# --- what does not act


def test_an_unmodified_application_runs_and_is_told_what_does_not_act(monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://:hush@localhost/0")
    conf = Settings(source={"redis_max_connections": 5, "task_serializer": "json", "result_expires": 60})
    assert conf.redis_max_connections == 5
    assert conf.broker_url == "redis://:hush@localhost/0"
    notices = {notice.name: notice for notice in conf.notices}
    assert set(notices) == {"broker_url", "redis_max_connections", "result_expires"}
    assert notices["broker_url"].effect is Effect.REFUSED
    assert notices["result_expires"].effect is Effect.EQUIVALENT
    assert "ptemporal.address" in str(notices["broker_url"])
    assert "hush" not in "".join(map(str, conf.notices))


def test_a_setting_that_repeats_its_default_is_not_worth_a_notice():
    assert Settings({"broker_connection_retry": True}).notices == []


def test_broker_and_backend_of_the_environment_are_read_as_celery_reads_them(monkeypatch):
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "rpc://")
    conf = Settings({"result_backend": "redis://", "broker_host": "rabbit"})
    assert conf.result_backend == "rpc://"
    assert conf.broker_url == "rabbit"
    assert conf.broker_write_url == "rabbit"
    monkeypatch.setenv("CELERY_BROKER_READ_URL", "reader")
    assert conf.broker_read_url == "reader"
    conf.result_backend = "other"
    assert conf["result_backend"] == "other"


def test_the_default_exchange_and_routing_key_are_the_default_queue():
    conf = Settings({"task_default_queue": "items"})
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("items", "items")


def test_silence_about_acks_late_can_be_told_from_false():
    assert Settings().task_acks_late is None
    assert Settings({"CELERY_ACKS_LATE": False}).task_acks_late is False


# --- showing


def test_secrets_are_hidden_when_settings_are_shown():
    conf = Settings(
        {
            "ptemporal.api_key": "hush1",
            "ptemporal.encryption_keys": ["hush2"],
            "ptemporal.tls_key_file": "/etc/key.pem",
            "broker_url": "amqp://user:hush3@host/vhost;amqp://user:hu@sh/4@host",
            "result_backend": "db+postgresql://u:hush5@host/db",
            "broker_password": "hush6",
            "redis_backend_use_ssl": {"ssl_key_password": "hush7", "ssl_ca_certs": "/ca"},
            "broker_read_url": "azureblockblob://AccountName=a;AccountKey=hush8==",
            "MY_TOKEN": "hush9",
            "broker_write_url": ["redis://:hush10@a", "redis://:hush11@b"],
        }
    )
    for shown in (conf.humanize(), str(conf.table(with_defaults=True)), repr(conf)):
        assert "hush" not in shown
        assert "sh/4" not in shown
    assert conf.table()["ptemporal.tls_key_file"] == "/etc/key.pem"
    assert conf.table()["redis_backend_use_ssl"]["ssl_ca_certs"] == "/ca"
    assert conf.table(censored=False)["ptemporal.api_key"] == "hush1"


def test_humanize_shows_what_was_given_one_a_line():
    conf = Settings({"task_default_queue": "items", "worker_concurrency": 2})
    assert conf.humanize().splitlines() == ["task_default_queue: 'items'", "worker_concurrency: 2"]
    assert "task_serializer: 'json'" in conf.humanize(with_defaults=True).splitlines()


def test_without_defaults_has_what_was_given():
    conf = Settings({"task_default_queue": "items"}, source={"worker_concurrency": 2})
    assert dict(conf.without_defaults()) == {"task_default_queue": "items", "worker_concurrency": 2}
    assert conf.changes == {"task_default_queue": "items"}


def test_settings_are_found_by_parts_of_their_names():
    conf = Settings({"worker_concurrency": 2})
    assert conf.find_option("concurrency")[:2] == ("worker", "concurrency")
    assert conf.find_option("queues")[:2] == ("task", "queues")
    assert conf.find_option("enable_utc")[:2] == (None, "enable_utc")
    assert conf.find_value_for_key("concurrency") == 2
    assert conf.get_by_parts("worker", "concurrency") == 2
    assert conf.first("worker_agent", "worker_concurrency") == 2


# --- copies, threads, hooks


def test_settings_can_be_pickled_before_and_after_they_were_read(module):
    conf = Settings({"mine": 1}, source=module, namespace=None)
    conf.add_ini({"worker_concurrency": 2})
    for _ in range(2):
        again = pickle.loads(pickle.dumps(conf))
        assert not again.configured
        assert (again.mine, again.task_default_queue, again.worker_concurrency) == (1, "module", 2)
        conf.finalize()


def test_lazy_defaults_do_not_keep_settings_from_being_pickled():
    conf = Settings({"mine": 1})
    conf.add_defaults(lambda: {"task_default_queue": "lazy"})
    assert pickle.loads(pickle.dumps(conf)).mine == 1
    assert conf.task_default_queue == "lazy"


def test_a_copy_is_independent():
    conf = Settings({"beat_schedule": {}, "task_default_queue": "a"})
    for other in (copy.copy(conf), copy.deepcopy(conf), conf.copy()):
        other.task_default_queue = "b"
        assert conf.task_default_queue == "a"


def test_hooks_run_once_around_the_first_read_and_may_use_the_settings():
    seen = []
    conf = Settings(source=Configuration)

    def before():
        conf.worker_agent = "set before"
        seen.append(("before", conf.configured))

    def after():
        conf.task_serializer = "set after"
        seen.append(("after", conf.task_default_queue))

    conf.on_load(before, after)
    assert (conf.worker_agent, conf.task_serializer) == ("set before", "set after")
    assert seen == [("before", False), ("after", "object")]


def test_threads_that_read_at_once_read_one_configuration():
    called = []
    conf = Settings()
    conf.add_defaults(lambda: called.append(1) or {"task_default_queue": "lazy"})
    start, values = threading.Barrier(8), []

    def read():
        start.wait()
        values.append(conf.task_default_queue)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == ["lazy"] * 8
    assert called == [1]
