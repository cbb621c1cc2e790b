"""The serialiser `auth`: who signed what, and what is refused."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import ContentDisallowed, ImproperlyConfigured, NotSerializable, SecurityError
from pyramid_temporal_compat.payload.serializers import deserialize, serialize, unregister

Message = dict[str, Any]


def write_pair(folder: Path, name: str, days: int = 1, key: Any = None) -> tuple[str, str]:
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    traditional, plain = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, traditional, plain))
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    return str(folder / f"{name}.key"), str(folder / f"{name}.pem")


@pytest.fixture
def app(tmp_path: Path) -> Any:
    key, certificate = write_pair(tmp_path, "worker")
    app = Celery("signed", set_as_current=False)
    app.conf.update(
        security_key=key,
        security_certificate=certificate,
        security_cert_store=str(tmp_path / "*.pem"),
        task_serializer="auth",
        accept_content=["auth"],
    )
    app.setup_security()
    yield app
    unregister("auth")


def test_what_was_signed_is_read(app: Celery) -> None:
    body = {"args": [1, "ü"], "kwargs": {"when": datetime.date(2026, 1, 2)}}
    assert deserialize(serialize(body, "auth"), ["auth"]) == body


def test_what_is_not_signed_is_not_read(app: Celery) -> None:
    with pytest.raises(ContentDisallowed):
        deserialize(serialize({"args": []}, "json"), ["auth"])


def test_every_changed_byte_of_the_body_is_noticed(app: Celery) -> None:
    payload = serialize({"args": [100]}, "auth")
    raw = base64.b64decode(payload.data)
    changed = base64.b64encode(raw.replace(b"100", b"999"))
    with pytest.raises(SecurityError, match="Bad signature"):
        deserialize(type(payload)(payload.metadata, changed), ["auth"])


def test_a_signed_body_does_not_choose_its_decoder(app: Celery) -> None:
    payload = serialize({"args": [1]}, "auth")
    raw = base64.b64decode(payload.data).replace(b"application/json", b"application/x-python-serialize")
    with pytest.raises(SecurityError, match="'application/json' is expected"):
        deserialize(type(payload)(payload.metadata, base64.b64encode(raw)), ["auth"])


@pytest.mark.parametrize("data", [b"", b"not base64!", base64.b64encode(b"no parts")])
def test_what_is_no_signed_message_is_refused(app: Celery, data: bytes) -> None:
    payload = serialize({}, "auth")
    with pytest.raises(SecurityError, match="no signed message"):
        deserialize(type(payload)(payload.metadata, data), ["auth"])


def test_a_signer_who_is_not_in_the_store_is_refused(app: Celery, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    key, certificate = write_pair(other, "stranger")
    foreign = Celery("foreign", set_as_current=False)
    foreign.conf.update(task_serializer="auth", accept_content=["auth"])
    foreign.setup_security(key=key, cert=certificate, store=str(other / "*.pem"))
    payload = serialize({"args": []}, "auth")
    app.setup_security()
    with pytest.raises(SecurityError, match="Unknown certificate: 'stranger"):
        deserialize(payload, ["auth"])


def test_an_expired_certificate_is_refused(app: Celery, tmp_path: Path) -> None:
    key, certificate = write_pair(tmp_path, "old", days=-1)
    with pytest.raises(SecurityError, match="Expired certificate"):
        app.setup_security(key=key, cert=certificate)


def test_keys_that_are_not_rsa_are_refused(app: Celery, tmp_path: Path) -> None:
    folder = tmp_path / "curve"
    folder.mkdir()
    key, certificate = write_pair(folder, "curve", key=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SecurityError, match=r"Invalid private key: .*RSA"):
        app.setup_security(key=key, cert=certificate)


def test_settings_that_make_signing_useless_are_refused(tmp_path: Path) -> None:
    app = Celery("half", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="needs task_serializer = 'auth' and accept_content"):
        app.setup_security()
    app.conf.update(task_serializer="auth", accept_content=["auth"])
    with pytest.raises(ImproperlyConfigured, match="needs security_key, security_certificate, security_cert_store"):
        app.setup_security()
    with pytest.raises(ImproperlyConfigured, match="can't be read"):
        app.setup_security(key="nowhere", cert="nowhere", store="nowhere")


def test_what_can_not_be_written_is_named_as_ever(app: Celery) -> None:
    with pytest.raises(NotSerializable):
        serialize({"args": [object()]}, "auth")
