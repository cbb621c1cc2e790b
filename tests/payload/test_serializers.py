"""Serialisers by name, and the gate that content passes before anything decodes it."""

from __future__ import annotations

import bz2
import gzip
import json
import pickle
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import (
    ContentDisallowed,
    ImproperlyConfigured,
    NotSerializable,
    PayloadTooLarge,
)
from pyramid_temporal_compat.payload import Payload, compression, serializers
from pyramid_temporal_compat.payload.serializers import SerializerNotInstalled, deserialize, serialize
from pyramid_temporal_compat.payload.types import Unreadable

VALUE = {"args": [1, "ü"], "kwargs": {"a": None}}
EVERYTHING = ["json", "yaml", "msgpack", "pickle"]


class Exploding:
    """Unpickling it is the attack."""

    ran = False

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    Exploding.ran = True


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("squeezed", [None, "gzip", "zlib", "bzip2", "bzip", "lzma", "xz"])
def test_every_serializer_returns_the_value_with_and_without_compression(name: str, squeezed: str | None) -> None:
    payload = serialize(VALUE, name, squeezed)
    assert deserialize(payload, [name]) == VALUE
    assert deserialize(payload, {serializers.find(name).content_type}) == VALUE


def test_json_payload_is_temporals_own_json_so_the_ui_shows_it() -> None:
    assert serialize(VALUE) == Payload(
        {"encoding": b"json/plain"}, json.dumps(VALUE, ensure_ascii=False, separators=(",", ":")).encode()
    )


def test_other_payloads_say_what_they_are() -> None:
    assert serialize(1, "pickle").metadata == {
        "encoding": b"binary/pickle",
        "content-type": b"application/x-python-serialize",
        "content-encoding": b"binary",
    }


def test_pickle_carries_what_json_refuses() -> None:
    assert deserialize(serialize({1: (2, 1j)}, "pickle"), ["pickle"]) == {1: (2, 1j)}


@pytest.mark.parametrize("value", [b"\x00\xff", "grün"])
def test_raw_is_read_without_being_named_in_accept(value: Any) -> None:
    assert deserialize(serialize(value, "raw"), []) == value


def test_native_payloads_of_temporal_are_read() -> None:
    assert deserialize(Payload({"encoding": b"json/plain"}, b"[1]"), ["json"]) == [1]
    assert deserialize(Payload({"encoding": b"binary/plain"}, b"\xff"), []) == b"\xff"
    assert deserialize(Payload({"encoding": b"binary/null"}, b""), []) is None


def test_content_that_is_not_accepted_is_refused_before_it_is_decoded() -> None:
    payload = serialize(Exploding(), "pickle")
    with pytest.raises(ContentDisallowed) as raised:
        deserialize(payload, ["json", "application/x-yaml"])
    assert Exploding.ran is False
    assert str(raised.value) == (
        "refused to read pickle (application/x-python-serialize): only json (application/json), "
        "yaml (application/x-yaml) is accepted here. Add 'pickle' to accept_content if everyone who can write "
        "to this queue is trusted with it"
    )
    deserialize(payload, ["pickle"])
    assert Exploding.ran is True


def test_refusal_names_the_setting_it_is_given() -> None:
    with pytest.raises(ContentDisallowed, match="Add 'json' to result_accept_content"):
        deserialize(serialize(1), [], setting="result_accept_content")


def test_refused_content_is_not_even_inflated() -> None:
    payload = serialize(1, "pickle", "gzip")
    with pytest.raises(ContentDisallowed):
        deserialize(Payload(payload.metadata, b"not zlib"), ["json"])


def test_metadata_of_a_json_payload_cannot_choose_another_decoder() -> None:
    lies = {"encoding": b"json/plain", "content-type": b"application/x-python-serialize"}
    with pytest.raises(Unreadable, match="not JSON"):
        deserialize(Payload(lies, pickle.dumps(Exploding())), ["json", "pickle"])


def test_unknown_encoding_and_missing_decryption_are_explained() -> None:
    with pytest.raises(Unreadable, match="encoding 'json/protobuf'"):
        deserialize(Payload({"encoding": b"json/protobuf"}, b"{}"), ["json"])
    with pytest.raises(Unreadable, match=r"ptemporal\.encryption_keys"):
        deserialize(Payload({"encoding": b"binary/encrypted"}, b""), ["json"])


def test_metadata_that_is_no_text_is_refused_like_any_other() -> None:
    with pytest.raises(Unreadable):
        deserialize(Payload({"encoding": b"\xff"}, b""), ["json"])
    with pytest.raises(ContentDisallowed):
        deserialize(Payload({"encoding": b"binary/x", "content-type": b"\xff"}, b""), ["json"])


def test_unknown_names_are_errors_that_list_the_known() -> None:
    with pytest.raises(SerializerNotInstalled, match=r"'xml'; there are json, msgpack, pickle, raw, yaml"):
        serialize(1, "xml")
    with pytest.raises(SerializerNotInstalled, match="'xml'"):
        deserialize(serialize(1), ["xml"])
    with pytest.raises(ImproperlyConfigured, match=r"compression 'rar' .* gzip"):
        serialize(1, compression="rar")


def test_registered_serializer_is_used_until_it_is_unregistered() -> None:
    serializers.register("reversed", lambda value: value[::-1], lambda data: data.decode()[::-1], "application/x-rev")
    try:
        payload = serialize("abc", "reversed")
        assert payload.data == b"cba"
        assert deserialize(payload, ["reversed"]) == "abc"
    finally:
        serializers.unregister("reversed")
    with pytest.raises(SerializerNotInstalled):
        serialize("abc", "reversed")
    with pytest.raises(ContentDisallowed, match="Add 'application/x-rev'"):
        deserialize(payload, ["json"])


def test_json_can_be_replaced_and_stays_temporals_json() -> None:
    original = serializers.find("json")
    serializers.register(
        "json", lambda value: json.dumps([value]), lambda data: json.loads(data)[0], "application/json"
    )
    try:
        payload = serialize(7)
        assert payload == Payload({"encoding": b"json/plain"}, b"[7]")
        assert deserialize(payload, ["json"]) == 7
    finally:
        serializers.register("json", original.encoder, original.decoder, original.content_type)


def test_serializer_without_encoder_only_reads() -> None:
    serializers.register("readonly", None, bytes, "application/x-readonly")
    try:
        with pytest.raises(SerializerNotInstalled, match="no encoder"):
            serialize(1, "readonly")
    finally:
        serializers.unregister("readonly")


def test_serializer_without_decoder_gives_text() -> None:
    serializers.register("writeonly", str, None, "application/x-writeonly")
    try:
        assert deserialize(serialize(12, "writeonly"), ["writeonly"]) == "12"
    finally:
        serializers.unregister("writeonly")


@pytest.mark.parametrize("name", ["yaml", "msgpack", "pickle", "raw"])
def test_value_that_a_serializer_cannot_write_is_named(name: str) -> None:
    with pytest.raises(NotSerializable, match=f"result can't be written by the serializer '{name}'"):
        serialize([lambda: 1], name, name="result")


@pytest.mark.parametrize("name", EVERYTHING)
def test_bytes_that_a_serializer_cannot_read_are_described(name: str) -> None:
    payload = serialize(VALUE, name)
    with pytest.raises(Unreadable):
        deserialize(Payload(payload.metadata, b"\x80{: ["), [name])


def test_yaml_builds_no_python_objects() -> None:
    payload = serialize(1, "yaml")
    with pytest.raises(Unreadable, match="could not determine a constructor"):
        deserialize(Payload(payload.metadata, b"!!python/object/apply:os.getcwd []"), ["yaml"])


@pytest.mark.parametrize(("name", "package", "pip"), [("yaml", "yaml", "pyyaml"), ("msgpack", "msgpack", "msgpack")])
def test_missing_library_says_what_to_install(monkeypatch, name: str, package: str, pip: str) -> None:
    payload = serialize(VALUE, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SerializerNotInstalled, match=f"pip install {pip}"):
        serialize(VALUE, name)
    with pytest.raises(SerializerNotInstalled, match=f"pip install {pip}"):
        deserialize(payload, [name])


def test_names_that_codecs_use_are_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="can't be called 'encrypted'"):
        serializers.register("encrypted", str, str, "application/x-mine")


def test_largest_argument_is_found() -> None:
    assert serializers.largest([1, "abc"], {"data": "x" * 100}) == ("kwargs['data']", 102)
    assert serializers.largest(["x" * 100], {"data": 1})[0] == "args[0]"
    assert serializers.largest([], {}) == ("the arguments", 0)


# --- compression ---


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma"])
def test_decompression_bomb_is_not_inflated(name: str) -> None:
    bomb = serialize("0" * 5_000_000, compression=name)
    assert len(bomb.data) < 10_000
    with pytest.raises(PayloadTooLarge, match="inflates to more than 1,000,000 bytes"):
        deserialize(bomb, ["json"], limit=1_000_000)
    assert len(deserialize(bomb, ["json"])) == 5_000_000


def test_what_inflates_to_exactly_the_limit_is_read() -> None:
    assert compression.decompress(zlib.compress(b"x" * 100), "zlib", 100) == b"x" * 100


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma"])
def test_damaged_compressed_data_is_unreadable(name: str) -> None:
    payload = serialize("hello", compression=name)
    for data in (b"", b"rubbish", payload.data[:-3], payload.data + b"more"):
        with pytest.raises(Unreadable):
            deserialize(Payload(payload.metadata, data), ["json"])


def test_gzip_of_other_tools_is_read_too() -> None:
    assert compression.decompress(gzip.compress(b"abc"), "gzip") == b"abc"
    assert compression.decompress(bz2.compress(b"abc"), "application/x-bz2") == b"abc"


def test_names_are_kombus() -> None:
    kombu = pytest.importorskip("kombu.compression", reason="kombu is what our compression is compared with")
    for name in ("gzip", "zlib", "bzip2", "bzip", "lzma", "xz"):
        squeezed, content_type = kombu.compress(b"abc", name)
        assert compression.decompress(squeezed, content_type) == b"abc"
        assert kombu.decompress(*compression.compress(b"abc", name)) == b"abc"


def test_own_compression_is_used_and_its_output_is_bounded() -> None:
    compression.register(lambda data: data[::-1], lambda data: data[::-1] * 2, "application/x-mirror", ["mirror"])
    assert compression.decompress(b"ab", "mirror", 4) == b"baba"
    with pytest.raises(PayloadTooLarge):
        compression.decompress(b"ab", "mirror", 3)


def test_kombu_payload_under_our_json_is_the_same_value() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5)
    assert deserialize(serialize({"eta": now}), ["json"]) == {"eta": now}


def test_one_value_is_written_by_many_threads_at_once() -> None:
    value = {"a": [1, float("inf")], "b": {1, 2}}
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: deserialize(serialize(value), ["json"]), range(500)))
    assert made == [value] * 500
