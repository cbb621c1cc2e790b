"""Our payloads and codecs in Temporal's data converter."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import Compression, Encryption
from pyramid_temporal_compat.payload.converter import data_converter, from_raw, to_raw
from pyramid_temporal_compat.payload.errors import from_wire, to_wire
from pyramid_temporal_compat.payload.serializers import deserialize, serialize

CODECS = {"plain": (), "encrypted": (Compression(100), Encryption({"a": os.urandom(32)}))}
PAYLOADS = [serialize([1, "ü"]), serialize([1], "pickle"), serialize("x" * 5000, compression="gzip"), Payload({}, b"")]


@dataclasses.dataclass
class Native:
    number: int


@pytest.fixture(params=CODECS, name="converter")
def each_converter(request) -> DataConverter:
    return data_converter(CODECS[request.param])


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.encoding)
def test_payload_passes_as_it_is(converter: DataConverter, payload: Payload) -> None:
    async def there_and_back() -> list[Any]:
        sent = await converter.encode([payload, to_raw(payload)])
        return await converter.decode(sent, [RawValue, Payload])

    raw, ours = asyncio.run(there_and_back())
    assert from_raw(raw) == ours == payload


def test_native_values_are_temporals_own(converter: DataConverter) -> None:
    values = [1, "a", None, b"\xff", Native(3)]

    async def there_and_back(back: DataConverter) -> list[Any]:
        return await back.decode(await converter.encode(values), [int, str, type(None), bytes, Native])

    assert asyncio.run(there_and_back(converter)) == values
    if converter.payload_codec is None:
        assert asyncio.run(there_and_back(DataConverter.default)) == values


def test_our_json_is_read_by_temporal_and_temporals_by_us() -> None:
    assert asyncio.run(DataConverter.default.decode([to_raw(serialize({"a": [1]})).payload])) == [{"a": [1]}]
    [proto] = asyncio.run(DataConverter.default.encode([{"a": [1]}]))
    assert deserialize(from_raw(RawValue(proto)), ["json"]) == {"a": [1]}


def test_value_of_a_serializer_that_temporal_does_not_know_is_handed_over_raw(converter: DataConverter) -> None:
    payload = serialize([1], "pickle")

    async def there_and_back() -> list[Any]:
        return await converter.decode(await converter.encode([payload, 2]))

    raw, two = asyncio.run(there_and_back())
    assert (from_raw(raw), two) == (payload, 2)


def test_encrypted_values_show_nothing() -> None:
    [sent] = asyncio.run(data_converter(CODECS["encrypted"]).encode(["secret"]))
    assert sent.metadata["encoding"] == b"binary/encrypted"
    assert b"secret" not in sent.data


def _failed(error: BaseException) -> ApplicationError:
    wire = to_wire(error)
    failure = ApplicationError(wire["text"], serialize(wire), type=wire["type"])
    failure.remote_traceback = wire["traceback"]  # type: ignore[attr-defined]
    return failure


def test_failure_shows_the_remote_traceback_and_brings_the_error(converter: DataConverter) -> None:
    async def there_and_back() -> tuple[Failure, BaseException]:
        failure = Failure()
        try:
            int("secret")
        except ValueError as error:
            await converter.encode_failure(_failed(error), failure)
        sent = Failure()
        sent.CopyFrom(failure)
        return sent, await converter.decode_failure(failure)

    sent, back = asyncio.run(there_and_back())
    assert isinstance(back, ApplicationError)
    assert back.type == "ValueError"
    assert back.message == "invalid literal for int() with base 10: 'secret'"
    error = from_wire(back.details[0])
    assert type(error) is ValueError
    assert back.failure is not None
    assert back.failure.stack_trace == error.remote_traceback  # type: ignore[attr-defined]
    assert 'int("secret")' in back.failure.stack_trace
    assert (b"secret" in sent.SerializeToString()) is (converter.payload_codec is None)


def test_failure_that_passes_through_a_workflow_stays_readable_and_private(converter: DataConverter) -> None:
    async def there_and_on() -> tuple[Failure, BaseException]:
        first, second = Failure(), Failure()
        outer = ApplicationError("outer secret")
        outer.__cause__ = ValueError("inner secret")
        await converter.encode_failure(outer, first)
        await converter.encode_failure(await converter.decode_failure(first), second)
        sent = Failure()
        sent.CopyFrom(second)
        return sent, await converter.decode_failure(second)

    sent, back = asyncio.run(there_and_on())
    assert str(back) == "outer secret"
    assert str(back.__cause__) == "ValueError: inner secret"
    assert (b"secret" in sent.SerializeToString()) is (converter.payload_codec is None)


def test_ordinary_failure_keeps_its_own_stack_trace() -> None:
    failure = Failure()
    try:
        raise KeyError("here")
    except KeyError as error:
        asyncio.run(data_converter().encode_failure(error, failure))
    assert "test_ordinary_failure" in failure.stack_trace


def test_package_stays_light() -> None:
    code = (
        "import sys, pyramid_temporal_compat.payload.serializers, pyramid_temporal_compat.payload.errors,"
        " pyramid_temporal_compat.payload.codecs, pyramid_temporal_compat.payload.annotations;"
        " heavy = {'temporalio', 'yaml', 'msgpack', 'cryptography', 'pydantic', 'sqlalchemy'} & sys.modules.keys();"
        " assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
