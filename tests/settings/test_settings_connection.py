"""The connection: what code, environment, ini and profile make together."""

import importlib
import os

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.settings import Settings, connection

PROFILES = """
[profile.default]
address = "file.example:1"
namespace = "from-file"
[profile.default.grpc_meta]
tenant = "file"
team = "file"
[profile.cloud]
address = "cloud.example:7233"
api_key = "cloud-key"
[profile.certified.tls]
server_name = "temporal.internal"
client_cert_data = "-----BEGIN CERTIFICATE-----"
client_key_data = "-----BEGIN PRIVATE KEY-----"
[profile.plain.tls]
disabled = true
"""

PEM = {
    "ca": b"-----BEGIN CERTIFICATE-----\nCA",
    "cert": b"-----BEGIN CERTIFICATE-----",
    "key": b"-----BEGIN PRIVATE KEY-----",
}


@pytest.fixture
def profiles(tmp_path):
    path = tmp_path / "temporal.toml"
    path.write_text(PROFILES)
    return str(path)


@pytest.fixture(autouse=True)
def _no_profile_of_this_machine(tmp_path, monkeypatch):
    for variable in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "nowhere"))


def test_defaults_are_a_local_server_without_tls():
    found = connection(Settings(), {})
    assert (found.address, found.namespace, found.api_key, found.tls) == ("localhost:7233", "default", None, False)
    assert found.sources["ptemporal.address"] == "default"


def test_code_wins_over_environment_over_ini_over_profile(profiles):
    environ = {"TEMPORAL_CONFIG_FILE": profiles}
    conf = Settings()
    steps = [connection(conf, environ)]
    conf.add_ini({"ptemporal.address": "ini.example:2"})
    steps.append(connection(conf, environ))
    environ["TEMPORAL_ADDRESS"] = "environment.example:3"
    steps.append(connection(conf, environ))
    conf["ptemporal.address"] = "code.example:4"
    steps.append(connection(conf, environ))
    assert [(step.address, step.sources["ptemporal.address"]) for step in steps] == [
        ("file.example:1", "profile"),
        ("ini.example:2", "ini"),
        ("environment.example:3", "environment"),
        ("code.example:4", "code"),
    ]
    assert {step.namespace for step in steps} == {"from-file"}


def test_an_api_key_turns_tls_on_unless_tls_is_off(profiles):
    assert connection(Settings({"ptemporal.api_key": "k"}), {}).tls is True
    assert connection(Settings({"ptemporal.api_key": "k", "ptemporal.tls": "no"}), {}).tls is False
    found = connection(Settings({"ptemporal.profile": "cloud", "ptemporal.config_file": profiles}), {})
    assert (found.address, found.api_key, found.tls) == ("cloud.example:7233", "cloud-key", True)
    assert "cloud-key" not in repr(found)


def test_the_environment_chooses_a_profile_over_the_ini(profiles):
    conf = Settings()
    conf.add_ini({"ptemporal.profile": "default", "ptemporal.config_file": profiles})
    assert connection(conf, {"TEMPORAL_PROFILE": "cloud"}).address == "cloud.example:7233"


def test_certificates_are_read_from_files(tmp_path):
    for name, content in PEM.items():
        (tmp_path / name).write_bytes(content)
    conf = Settings({f"ptemporal.tls_{name}_file": str(tmp_path / name) for name in ("ca", "cert", "key")})
    found = connection(conf, {})
    assert (found.tls, found.tls_ca, found.tls_cert, found.tls_key) == (True, *PEM.values())


def test_certificates_in_a_profile_are_taken(profiles):
    found = connection(Settings({"ptemporal.profile": "certified", "ptemporal.config_file": profiles}), {})
    assert (found.tls, found.tls_cert, found.tls_key) == (True, PEM["cert"], PEM["key"])
    assert found.tls_server_name == "temporal.internal"


def test_a_profile_can_turn_tls_off(profiles):
    conf = Settings({"ptemporal.profile": "plain", "ptemporal.config_file": profiles})
    assert connection(conf, {}).tls is False


def test_metadata_is_merged_name_by_name(profiles):
    environ = {"TEMPORAL_CONFIG_FILE": profiles, "TEMPORAL_GRPC_META_TENANT": "environment"}
    assert dict(connection(Settings(), environ).grpc_meta) == {"tenant": "environment", "team": "file"}


def test_the_environment_of_the_process_is_read(monkeypatch):
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "mine")
    monkeypatch.setenv("TEMPORAL_TLS", "true")
    found = connection(Settings())
    assert (found.namespace, found.tls) == ("mine", True)


@pytest.mark.parametrize(
    ("settings", "environ", "says"),
    [
        ({}, {"TEMPORAL_ADDRESS": "http://x"}, r"ptemporal\.address \(from the environment\) = 'http://x'"),
        ({"ptemporal.config_file": "/nowhere.toml"}, {}, r"'/nowhere\.toml' .* does not exist"),
        ({"ptemporal.profile": "none"}, {}, r"profile 'none' can't be read: Profile 'none' not found"),
        ({"ptemporal.tls_ca_file": "/nowhere.pem"}, {}, r"tls_ca_file = '/nowhere\.pem' can't be read: No such file"),
        (
            {"ptemporal.tls_ca_file": os.devnull},
            {},
            r"tls_ca_file: .* is not in PEM form; it has no line '-----BEGIN CERT",
        ),
        ({"ptemporal.api_key": "half\nkey"}, {}, r"api_key \(from the code\) has a character that can't be sent"),
        ({}, {"TEMPORAL_API_KEY": "schlüssel"}, r"api_key \(from the environment\) has a character"),
        ({"ptemporal.tls_cert_file": "/cert.pem"}, {}, r"needs both"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(settings, environ, says):
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        connection(Settings(settings), environ)
    assert "\n" not in str(caught.value)


# --- Celery's broker -----------------------------------------------------------------------------------------


@pytest.fixture
def untold(monkeypatch):
    module = importlib.import_module("pyramid_temporal_compat.settings.connection")  # the package has a function there
    monkeypatch.setattr(module, "_told", set())


@pytest.mark.parametrize(
    "url", ["shop.example:7233", " temporal://shop.example:7233/ ", "Temporal://shop.example:7233"]
)
def test_a_broker_that_is_a_server_of_ours_is_the_address(url):
    in_file = Settings(source={"broker_url": url})
    for conf in (Celery("proj", broker=url, set_as_current=False).conf, Settings({"BROKER_URL": url}), in_file):
        assert connection(conf, {}).address == "shop.example:7233"
        assert "broker_url" not in [notice.name for notice in conf.notices]
    assert connection(in_file, {}).sources["ptemporal.address"] == "config_from_object"
    assert connection(in_file, {"TEMPORAL_ADDRESS": "environment.example:3"}).address == "environment.example:3"
    found = connection(Settings({"ptemporal.address": "code.example:4"}), {"CELERY_BROKER_URL": url})  # as `-b` sets it
    assert (found.address, found.sources["ptemporal.address"]) == ("shop.example:7233", "CELERY_BROKER_URL")


def test_beside_a_broker_in_the_same_place_the_address_counts():
    values = {"broker_url": "broker.example:1", "ptemporal.address": "own.example:2"}
    for conf in (Settings(values), Settings(source=values)):
        assert connection(conf, {}).address == "own.example:2"


@pytest.mark.parametrize(
    "url", ["amqp://guest:hush@localhost:5672//", "redis://localhost:6379/0", "memory", ["amqp://"]]
)
def test_another_broker_is_told_of_once_and_not_used(untold, url, caplog):
    caplog.set_level("INFO")
    conf = Celery("proj", broker=url, backend="rpc://", set_as_current=False).conf
    assert {connection(conf, {}).address for _ in range(3)} == {"localhost:7233"}
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("broker_url = ")
    assert "is not used: Temporal is the broker; ptemporal.address" in record.message
    assert "hush" not in caplog.text


def test_another_broker_is_no_news_where_the_address_is_set(untold, caplog):
    caplog.set_level("INFO")
    conf = Settings({"broker_url": "redis://"}, source={"ptemporal.address": "own.example:2"})
    assert connection(conf, {}).address == "own.example:2"
    assert connection(conf, {"CELERY_BROKER_URL": "amqp://"}).address == "own.example:2"
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


@pytest.mark.parametrize("url", ["temporal://", "temporal://me:hush@shop.example", "temporal://shop.example:99999"])
def test_an_address_of_ours_that_is_none_is_an_error(url):
    with pytest.raises(ImproperlyConfigured, match="it takes temporal://host:port") as error:
        connection(Settings({"broker_url": url}), {})
    assert "hush" not in str(error.value)
