"""Encryption and compression of payloads: both ways, twice, tampered with, and with the wrong key."""

from __future__ import annotations

import base64
import os
import sys
import zlib
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured, PayloadTooLarge, SecurityError
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import Compression, Encryption, chain, pack, parse_keys, unpack
from pyramid_temporal_compat.payload.serializers import deserialize, serialize
from pyramid_temporal_compat.payload.types import Unreadable

OLD, NEW = os.urandom(32), os.urandom(32)
SECRET = serialize({"card": "4111 1111"}, "pickle")
PAYLOADS = [
    Payload({}, b""),
    SECRET,
    serialize("ü" * 300),
    Payload({"encoding": b"x", "": b"\xff" * 200}, b"\0" * 20_000),
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"{len(payload.data)} bytes")
def test_packed_payload_is_temporals_own_protobuf(payload: Payload) -> None:
    from temporalio.api.common.v1 import Payload as Proto

    assert unpack(pack(payload)) == payload
    proto = Proto.FromString(pack(payload))
    assert (dict(proto.metadata), proto.data) == (payload.metadata, payload.data)
    assert unpack(proto.SerializeToString()) == payload


@pytest.mark.parametrize(
    "packed", [b"\x0a", b"\x12\x05ab", b"\x08\x01", b"\x12\xff\xff\xff\xff\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"]
)
def test_what_is_no_packed_payload_is_unreadable(packed: bytes) -> None:
    with pytest.raises(Unreadable):
        unpack(packed)


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"{len(payload.data)} bytes")
def test_encrypted_payload_shows_nothing_and_comes_back(payload: Payload) -> None:
    codec = Encryption({"new": NEW})
    sealed = codec.encode(payload)
    assert dict(sealed.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"new"}
    assert codec.decode(sealed) == payload
    assert b"4111" not in sealed.data
    assert codec.encode(payload).data != sealed.data


def test_codecs_leave_alone_what_they_have_done() -> None:
    for codec in (Encryption({"a": NEW}), Compression(1)):
        big = serialize("x" * 5000)
        once = codec.encode(big)
        assert once is not big
        assert codec.encode(once) is once
        assert codec.decode(codec.decode(once)) == big


def test_rotation_the_first_key_encrypts_and_all_decrypt() -> None:
    before = Encryption({"old": OLD})
    during = Encryption({"new": NEW, "old": OLD})
    assert during.decode(before.encode(SECRET)) == SECRET
    assert during.encode(SECRET).metadata["encryption-key-id"] == b"new"
    with pytest.raises(SecurityError, match="encrypted with the key 'new', and only 'old' are known here"):
        before.decode(during.encode(SECRET))


def test_every_changed_byte_is_noticed() -> None:
    codec = Encryption({"a": NEW})
    sealed = codec.encode(Payload({"encoding": b"json/plain"}, b"[1]"))
    for position in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[position] ^= 1
        with pytest.raises(SecurityError, match="changed on its way"):
            codec.decode(Payload(sealed.metadata, bytes(changed)))
    for data in (b"", b"short", sealed.data[:-1], sealed.data + b"x"):
        with pytest.raises(SecurityError):
            codec.decode(Payload(sealed.metadata, data))


def test_key_of_the_same_name_that_differs_does_not_open() -> None:
    sealed = Encryption({"a": OLD}).encode(SECRET)
    with pytest.raises(SecurityError, match="the key of that name differs"):
        Encryption({"a": NEW}).decode(sealed)
    with pytest.raises(SecurityError, match="key ''"):
        Encryption({"a": NEW}).decode(Payload({"encoding": b"binary/encrypted"}, sealed.data))


def test_plain_payload_is_read_unless_encryption_is_required() -> None:
    assert Encryption({"a": NEW}).decode(SECRET) is SECRET
    with pytest.raises(SecurityError, match="came unencrypted \\(binary/pickle\\), and encryption is required"):
        Encryption({"a": NEW}, required=True).decode(SECRET)


def test_keys_are_read_from_a_setting_in_order() -> None:
    setting = f" new : {base64.b64encode(NEW).decode()} ,\n old:{base64.urlsafe_b64encode(OLD).decode()},"
    assert list(parse_keys(setting).items()) == [("new", NEW), ("old", OLD)]
    assert parse_keys("") == {}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("c2VjcmV0c2VjcmV0", "entry 1 of the encryption keys is not of the form id:base64"),
        (":c2VjcmV0", "entry 1"),
        ("a:c2VjcmV0", "'a' has 6 bytes; AES takes 16, 24 or 32"),
        ("a:c2VjcmV0!", "'a' is not base64"),
        ("a:" + base64.b64encode(OLD).decode() + ",a:" + base64.b64encode(NEW).decode(), "name 'a' twice"),
    ],
    ids=["no id", "empty id", "too short", "not base64", "twice"],
)
def test_bad_keys_are_explained_without_being_shown(setting: str, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says) as raised:
        parse_keys(setting)
    assert "c2VjcmV0" not in str(raised.value)


def test_bad_keys_given_directly_are_explained() -> None:
    with pytest.raises(ImproperlyConfigured, match="at least one key"):
        Encryption({})
    with pytest.raises(ImproperlyConfigured, match="'a' has 5 bytes"):
        Encryption({"a": b"short"})


def test_missing_cryptography_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'pyramid-temporal-compat\[encryption\]'"):
        Encryption({"a": NEW})


def test_keys_are_in_no_repr() -> None:
    assert repr(NEW)[2:10] not in repr(Encryption({"a": NEW})) + repr(vars(Encryption({"a": NEW})))


# --- compression ---


def test_only_payloads_that_gain_are_compressed() -> None:
    codec = Compression(minimum=100)
    small, noise, big = serialize("x" * 50), serialize(os.urandom(500), "pickle"), serialize("x" * 5000)
    assert codec.encode(small) is small
    assert codec.encode(noise) is noise
    assert len(codec.encode(big).data) < 200
    assert codec.decode(codec.encode(big)) == big


def test_bomb_is_not_inflated() -> None:
    bomb = Payload({"encoding": b"binary/zlib"}, zlib.compress(b"\0" * 10_000_000))
    with pytest.raises(PayloadTooLarge):
        Compression(limit=1_000_000).decode(bomb)
    with pytest.raises(Unreadable):
        Compression().decode(Payload({"encoding": b"binary/zlib"}, b"rubbish"))


def test_chain_compresses_then_encrypts_and_comes_back() -> None:
    codec = chain([Compression(100), Encryption({"a": NEW})])
    big = serialize("x" * 50_000)
    sealed = codec.encode(big)
    assert sealed.encoding == "binary/encrypted"
    assert len(sealed.data) < 500
    assert codec.encode(sealed) is sealed
    assert codec.decode(sealed) == big
    assert codec.decode(big) is big
    assert chain([]).encode(big) is big


def test_accepted_content_is_judged_after_decryption() -> None:
    codec = Encryption({"a": NEW})
    value: Any = deserialize(codec.decode(codec.encode(SECRET)), ["pickle"])
    assert value == {"card": "4111 1111"}
    with pytest.raises(SecurityError):
        deserialize(codec.decode(codec.encode(SECRET)), ["json"])


@pytest.mark.parametrize("packed", [b"\x0a\x00" * 5_000_000, b"\x12\x00" * 5_000_000])
def test_a_payload_of_many_fields_is_refused_before_they_are_read(packed: bytes) -> None:
    with pytest.raises(Unreadable, match="more than 1,000 fields"):
        unpack(packed)


def test_the_name_of_an_unknown_key_does_not_fill_the_log() -> None:
    sealed = Encryption({"a": NEW}).encode(Payload({"encoding": b"json/plain"}, b"1"))
    named = Payload({**sealed.metadata, "encryption-key-id": b"x" * 1_000_000}, sealed.data)
    with pytest.raises(SecurityError, match="is encrypted with the key 'xxx") as caught:
        Encryption({"a": NEW}).decode(named)
    assert len(str(caught.value)) < 500
