"""TLS, client certificates, API keys, namespaces and profiles, against a server behind real TLS."""

import configparser
import re

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, OperationalError
from pyramid_temporal_compat.server import EmbeddedServer
from tests.client.client_parts import TIMEOUT, client_app, started
from tests.client.tls_parts import Authority, TLSProxy

NAME = "temporal.internal"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files with certificates and keys of the server, of a client, and of an unknown authority."""
    directory = tmp_path_factory.mktemp("tls")
    for authority, names in {"ours": {"server": NAME, "client": "web"}, "theirs": {"stranger": "web"}}.items():
        issuer = Authority(authority)
        (directory / f"{authority}.pem").write_bytes(issuer.pem)
        for file, host in names.items():
            issuer.issue(directory / file, host)
    return directory


@pytest.fixture(scope="module")
def proxy(temporal_address, files):
    with TLSProxy(temporal_address, (str(files / "server.pem"), str(files / "server.key"))) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def strict_proxy(temporal_address, files):
    """A proxy that asks for a client certificate."""
    certificate = str(files / "server.pem"), str(files / "server.key")
    with TLSProxy(temporal_address, certificate, client_ca=files / "ours.pem") as proxy:
        yield proxy


def tls(files, authority="ours", client=None, name=NAME):
    settings = {"tls_ca_file": str(files / f"{authority}.pem"), "tls_server_name": name}
    if client:
        settings |= {"tls_cert_file": str(files / f"{client}.pem"), "tls_key_file": str(files / f"{client}.key")}
    return settings


def call(address, **settings):
    with client_app(address, **{"dispatch_timeout": 10.0, **settings}) as app:
        task_id = app.send_task("buy", (1,)).id
        return started(app, [task_id]) == {task_id}


def test_a_certificate_of_a_private_authority_is_accepted(proxy, files):
    assert call(proxy.address, **tls(files))


def test_a_client_certificate_is_sent(strict_proxy, files):
    assert call(strict_proxy.address, **tls(files, client="client"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"authority": "theirs"}, r"signed by an authority that is not trusted here; .* \(ptemporal\.tls_ca_file\)"),
        ({"name": "other.internal"}, r"carries another name .* \(ptemporal\.tls_server_name\)"),
        ({"name": None}, r"carries another name .* \(ptemporal\.tls_server_name\)"),
    ],
)
def test_a_server_with_another_certificate_is_an_error_at_once(proxy, files, settings, says):
    with client_app(proxy.address, dispatch_timeout=60.0, **tls(files, **settings)) as app:
        with pytest.raises(OperationalError, match=says):
            app.send_task("buy", (1,))
        with pytest.raises(OperationalError, match=says):
            app.AsyncResult("any").state  # noqa: B018


@pytest.mark.parametrize("client", [None, "stranger"])
def test_a_missing_or_unknown_client_certificate_is_refused(strict_proxy, files, client):
    with pytest.raises(OperationalError, match=r"closed the connection at once; .* \(ptemporal\.tls_cert_file\)\?"):
        call(strict_proxy.address, **tls(files, client=client), dispatch_timeout=TIMEOUT)


def test_a_certificate_with_another_certificates_key_is_refused(proxy, files):
    settings = {**tls(files, client="client"), "tls_key_file": str(files / "stranger.key")}
    with pytest.raises(OperationalError, match="certificate and the private key do not belong together"):
        call(proxy.address, **settings)


def test_tls_and_plain_ports_that_are_mixed_up_are_named_in_the_error(proxy, temporal_address):
    with pytest.raises(OperationalError, match=r"does not speak TLS; turn TLS off \(ptemporal\.tls = false\)"):
        call(temporal_address, tls=True)
    with pytest.raises(OperationalError, match=r"does it speak TLS \(ptemporal\.tls\)"):
        call(proxy.address, dispatch_timeout=TIMEOUT)


def test_a_file_without_a_certificate_is_refused(proxy, files, tmp_path):
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ImproperlyConfigured, match=r"tls_ca_file: '.*empty\.pem' is not in PEM form"):
        call(proxy.address, **{**tls(files), "tls_ca_file": str(tmp_path / "empty.pem")})


# --- what arrives --------------------------------------------------------------------------------------

HUFFMAN = {letter: f"{code:05b}" for code, letter in enumerate("012aceiost")}
HUFFMAN |= {"B": "1011101", "r": "101100", " ": "010100"}
"""HPACK's codes (RFC 7541, appendix B) of the letters in the tests' header values."""


def as_header(value):
    """Return the bytes of a header's value in an HTTP/2 frame."""
    bits = "".join(HUFFMAN[letter] for letter in value)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def test_the_api_key_arrives_and_turns_tls_on(proxy, files, tmp_path, monkeypatch):
    key = "cat0tea1icicoast2"
    assert as_header(f"Bearer {key}") not in proxy.received
    assert call(proxy.address, api_key=key, **tls(files))
    assert as_header(f"Bearer {key}") in proxy.received


def test_metadata_of_the_profile_and_of_the_environment_arrives(proxy, files, tmp_path, monkeypatch):
    profile = tmp_path / "temporal.toml"
    profile.write_text(f"""
[profile.office]
address = "{proxy.address}"
namespace = "default"
[profile.office.tls]
server_name = "{NAME}"
server_ca_cert_path = "{files / "ours.pem"}"
[profile.office.grpc_meta]
team = "attic0tasteasease"
""")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    monkeypatch.setenv("TEMPORAL_PROFILE", "office")
    monkeypatch.setenv("TEMPORAL_API_KEY", "tacit1cocoa")
    monkeypatch.setenv("TEMPORAL_GRPC_META_SITE", "coast2coast")
    app = Celery("shop", set_as_current=False)
    with app:
        task_id = app.send_task("buy", (1,)).id
        assert app.AsyncResult(task_id).name == "buy"
    for value in ("attic0tasteasease", "Bearer tacit1cocoa", "coast2coast"):
        assert as_header(value) in proxy.received


def test_all_connection_settings_can_come_from_an_ini(strict_proxy, files):
    ini = configparser.ConfigParser()
    ini.read_string(f"""
[app:main]
ptemporal.address = {strict_proxy.address}
ptemporal.namespace = default
ptemporal.tls_ca_file = %(here)s/ours.pem
ptemporal.tls_cert_file = %(here)s/client.pem
ptemporal.tls_key_file = %(here)s/client.key
ptemporal.tls_server_name = {NAME}
ptemporal.api_key = test0ini
ptemporal.identity = the-web
[DEFAULT]
here = {files}
""")
    app = Celery("shop", set_as_current=False)
    app.conf.add_ini({name: value for name, value in ini["app:main"].items() if name.startswith("ptemporal.")})
    with app:
        task_id = app.send_task("buy", (1,)).id
        handle = app.temporal.call(_first_event(task_id))
    assert handle.workflow_execution_started_event_attributes.identity == "the-web"


def _first_event(task_id):
    async def ask(client):
        history = await client.get_workflow_handle(task_id).fetch_history()
        return history.events[0]

    return ask


@pytest.mark.integration
def test_two_apps_in_two_namespaces_do_not_see_each_others_tasks():
    with (
        EmbeddedServer(headless=True, namespaces=["shop", "office"]) as server,
        client_app(server.address, namespace="shop") as shop,
        client_app(server.address, namespace="office") as office,
    ):
        ids = [shop.send_task("buy", (1,)).id, office.send_task("buy", (1,)).id]
        assert started(shop, ids[:1]) == {ids[0]}
        assert office.AsyncResult(ids[0]).name is None
        assert started(office, ids[1:]) == {ids[1]}


def test_secrets_stay_out_of_errors(proxy, files):
    with pytest.raises(OperationalError) as caught:
        call(proxy.address, api_key="secret0tea", **tls(files, authority="theirs"))
    assert not re.search("secret0tea", str(caught.value) + repr(caught.value.__cause__))
