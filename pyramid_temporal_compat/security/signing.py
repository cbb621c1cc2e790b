"""Keys, certificates, and the serialiser that signs with them."""

from __future__ import annotations

import base64
import datetime
import glob
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..exceptions import ImproperlyConfigured, SecurityError
from ..payload import Payload
from ..payload.serializers import deserialize, find, serialize
from .signed_places import SEPARATOR


class PrivateKey:
    """An RSA key that signs."""

    def __init__(self, pem: bytes, password: bytes | str | None = None) -> None:
        password = password.encode() if isinstance(password, str) else password
        try:
            key = serialization.load_pem_private_key(pem, password=password)
        except (ValueError, TypeError) as error:
            raise SecurityError(f"Invalid private key: {error}") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SecurityError(f"Invalid private key: it is {type(key).__name__}, and has to be RSA")
        self._key = key

    def sign(self, data: bytes, digest: hashes.HashAlgorithm) -> bytes:
        return self._key.sign(data, _padding(digest), digest)


class Certificate:
    """An X.509 certificate with an RSA key. It verifies the signatures of that key."""

    def __init__(self, pem: bytes) -> None:
        try:
            self._certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise SecurityError(f"Invalid certificate: {error}") from None
        key = self._certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise SecurityError(f"Invalid certificate: its key is {type(key).__name__}, and has to be RSA")
        self._key = key

    @property
    def id(self) -> str:
        """Issuer and serial number, by which a message names its signer."""
        issuer = " ".join(str(attribute.value) for attribute in self._certificate.issuer)
        return f"{issuer} {self._certificate.serial_number}"

    def has_expired(self) -> bool:
        return datetime.datetime.now(datetime.timezone.utc) >= self._certificate.not_valid_after_utc

    def verify(self, data: bytes, signature: bytes, digest: hashes.HashAlgorithm) -> None:
        if self.has_expired():
            raise SecurityError(f"Expired certificate: {self.id!r}")
        try:
            self._key.verify(signature, data, _padding(digest), digest)
        except InvalidSignature:
            raise SecurityError(f"Bad signature: not made with the key of {self.id!r}") from None


class CertificateStore:
    """The certificates whose messages are accepted: the files of a folder, or of a glob."""

    def __init__(self, path: str) -> None:
        pattern = str(Path(path) / "*") if Path(path).is_dir() else path
        self._certificates: dict[str, Certificate] = {}
        for name in sorted(glob.glob(pattern)):
            certificate = Certificate(Path(name).read_bytes())
            if certificate.has_expired():
                raise SecurityError(f"Expired certificate: {certificate.id!r} ({name})")
            if certificate.id in self._certificates:
                raise SecurityError(f"Duplicate certificate: {certificate.id!r} ({name})")
            self._certificates[certificate.id] = certificate
        if not self._certificates:
            raise ImproperlyConfigured(f"security_cert_store = {path!r} holds no certificate: nothing could be read")

    def __getitem__(self, id: str) -> Certificate:
        if id not in self._certificates:
            raise SecurityError(f"Unknown certificate: {id!r}")
        return self._certificates[id]


class SignedSerializer:
    """Writes values with another serialiser and signs the bytes."""

    def __init__(
        self, key: PrivateKey, certificate: Certificate, store: CertificateStore, digest: str, serializer: str
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._store = store
        self._digest = _digest(digest)
        self._inner = find(serializer)

    def serialize(self, value: Any) -> str:
        body = serialize(value, self._inner.name).data
        parts = (
            base64.b64encode(self._certificate.id.encode()),
            base64.b64encode(self._key.sign(body, self._digest)),
            self._inner.content_type.encode(),
            self._inner.content_encoding.encode(),
            body,
        )
        return base64.b64encode(SEPARATOR.join(parts)).decode()

    def deserialize(self, data: bytes | str) -> Any:
        try:
            raw = base64.b64decode(data, validate=True)
            signer, signature, content_type, _encoding, body = raw.split(SEPARATOR, 4)
            name, sign = base64.b64decode(signer).decode(), base64.b64decode(signature)
        except ValueError as error:
            raise SecurityError(f"Unable to deserialize: this is no signed message ({error})") from None
        self._store[name].verify(body, sign, self._digest)
        # The content type is not signed, so it does not choose the decoder: ours does.
        if content_type.decode() != self._inner.content_type:
            raise SecurityError(
                f"Unable to deserialize: a signed message of {content_type.decode()!r}, "
                f"and {self._inner.content_type!r} is expected"
            )
        metadata = {"encoding": b"binary/plain", "content-type": content_type, "content-encoding": b"utf-8"}
        if self._inner.content_type == "application/json":
            metadata = {"encoding": b"json/plain"}
        return deserialize(Payload(metadata, body), [self._inner.name])


def _padding(digest: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)


def _digest(name: str) -> hashes.HashAlgorithm:
    algorithm = getattr(hashes, name.upper(), None)
    if algorithm is None:
        raise ImproperlyConfigured(f"security_digest = {name!r} is no digest; write one like sha256")
    made: hashes.HashAlgorithm = algorithm()
    return made
