"""Our payloads and codecs in the form that Temporal's SDK needs. Only this module and `headers` import temporalio."""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import temporalio.common
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    ExternalStorage,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from ..exceptions import PayloadTooLarge, SecurityError
from ..log_lines.throttled_log import ThrottledLog
from . import Payload
from .bounds import OutOfBounds, check_json, read_together
from .codecs import Codec, Encryption, chain
from .types import Unreadable

log = logging.getLogger(__name__)
refusals = ThrottledLog(log, logging.ERROR)

SMALL = 16 * 1024
"""Bytes of payloads that the event loop decodes itself. A thread takes about as long to start as these to decode."""


def data_converter(
    codecs: Sequence[Codec] = (),
    others: type[CompositePayloadConverter] = DefaultPayloadConverter,
    external_storage: ExternalStorage | None = None,
) -> DataConverter:
    """Return a converter that passes our payloads through unchanged and applies `codecs` in this order.

    All other values are converted as `others` does, by default as Temporal's own converter does.

    If one of the codecs is an `Encryption`, the messages and stack traces of failures are encrypted too.
    """
    encryption = next((codec for codec in codecs if isinstance(codec, Encryption)), None)
    failures = TracebackFailureConverter
    if encryption is not None:
        failures = EncryptedFailureConverter if encryption.required else PrivateFailureConverter
    return DataConverter(
        payload_converter_class=_passing(others),
        external_storage=external_storage,
        payload_codec=CodecAdapter(chain(codecs)) if codecs else None,
        failure_converter_class=failures,
    )


def to_raw(payload: Payload) -> RawValue:
    """Return our payload as a value that Temporal sends unchanged."""
    return RawValue(_to_proto(payload))


def from_raw(raw: RawValue) -> Payload:
    """Return our payload for a raw value that Temporal received. Raise if the codecs have refused it."""
    raise_if_refused(raw.payload)
    return _from_proto(raw.payload)


@functools.cache
def _passing(others: type[CompositePayloadConverter]) -> type[CompositePayloadConverter]:
    return type(f"Passing{others.__name__}", (PassingPayloads, others), {"__module__": __name__})


class PassingPayloads(CompositePayloadConverter):
    """Lets payloads, ours or raw ones, pass unchanged. The second base class converts all other values."""

    def to_payloads(self, values: Sequence[Any]) -> list[ProtoPayload]:
        return super().to_payloads([to_raw(value) if isinstance(value, Payload) else value for value in values])

    def from_payloads(self, payloads: Sequence[ProtoPayload], type_hints: list[type] | None = None) -> list[Any]:
        hints = list(type_hints or [])
        hints += [None] * (len(payloads) - len(hints))  # type: ignore[list-item]
        return [self._from_payload(payload, hint) for payload, hint in zip(payloads, hints, strict=False)]

    def _from_payload(self, payload: ProtoPayload, hint: type | None) -> Any:
        if hint not in (None, RawValue):  # else the reader sees the refused payload, and `from_raw` raises
            raise_if_refused(payload)
        if hint is Payload:
            return _from_proto(payload)
        if hint is None and payload.metadata.get("encoding") not in self.converters:
            # Written by a serializer that Temporal does not know, such as the detail of a failure.
            return RawValue(payload)
        if payload.metadata.get("encoding") == b"json/plain":
            check_json(payload.data)
        return super().from_payloads([payload], [hint] if hint is not None else None)[0]


class CodecAdapter(PayloadCodec):
    """Makes a codec of ours one of Temporal's.

    Encoding takes microseconds, so it runs on the event loop. Others have written what is decoded, and it may inflate.
    So larger payloads are decoded in a thread, and all payloads of one call share one limit.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    async def encode(self, payloads: Sequence[ProtoPayload]) -> list[ProtoPayload]:
        return [_to_proto(self.codec.encode(_from_proto(payload))) for payload in payloads]

    async def decode(self, payloads: Sequence[ProtoPayload]) -> list[ProtoPayload]:
        if sum(len(payload.data) for payload in payloads) <= SMALL:
            return self._decode(payloads)
        return await asyncio.to_thread(self._decode, payloads)

    def _decode(self, payloads: Sequence[ProtoPayload]) -> list[ProtoPayload]:
        with read_together():
            return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: ProtoPayload) -> ProtoPayload:
        try:
            return _to_proto(self.codec.decode(_from_proto(payload)))
        except tuple(REFUSALS.values()) as error:
            # An error here would stop all that came with the payload. So one bad signal would stop a workflow for good.
            refusals.say("%d payloads of the last minute were refused; the last one: %s: %s", name_of(error), error)
            return ProtoPayload(
                metadata={"encoding": REFUSED, "error": name_of(error).encode()}, data=str(error).encode()
            )


REFUSED = b"binary/refused"
"""The encoding that stands for a payload which the codecs have refused. Its data is the reason."""
REFUSALS: dict[str, type[Exception]] = {
    each.__name__: each for each in (SecurityError, Unreadable, PayloadTooLarge, OutOfBounds)
}


def name_of(error: Exception) -> str:
    """Return the name, in `REFUSALS`, of the error with which a codec has refused a payload."""
    return next(name for name, kind in REFUSALS.items() if isinstance(error, kind))


def is_refused(payload: ProtoPayload) -> bool:
    return payload.metadata.get("encoding") == REFUSED


def raise_if_refused(payload: ProtoPayload) -> None:
    """Raise the error with which the codecs have refused this payload, if they have."""
    if is_refused(payload):
        kind = REFUSALS.get(payload.metadata.get("error", b"").decode(errors="replace"), SecurityError)
        raise kind(payload.data.decode(errors="replace"))


class TracebackFailureConverter(DefaultFailureConverter):
    """Writes the stack trace that the application's authors know: the task's own, without frames of ours."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        remote = _remote_traceback(exception)
        if remote is not None:
            failure.stack_trace = remote
        elif getattr(exception, "failure", None) is None:  # raised here, and not passed on from another failure
            own = _own_frames(exception)
            failure.stack_trace = failure.stack_trace if own is None else own


def _remote_traceback(exception: BaseException) -> str | None:
    """Return the task's own traceback, which an error of ours carries; None if there is none."""
    found = getattr(exception, "remote_traceback", None)
    details = exception.details if isinstance(exception, ApplicationError) else ()
    if found is None and details and isinstance(details[0], Mapping):
        found = details[0].get("traceback")
    return found if isinstance(found, str) else None


def _own_frames(exception: BaseException) -> str | None:
    """Return the stack from the application's first frame on.

    An error that this package raises on purpose has no such frame, and no stack. For one that it does not expect,
    return None: its whole stack is wanted.
    """
    frames = traceback.extract_tb(exception.__traceback__)
    own = next((place for place, frame in enumerate(frames) if not frame.filename.startswith(NOT_OWN)), None)
    if own is not None:
        return "".join(traceback.format_list(frames[own:]))
    return "" if isinstance(exception, ApplicationError) else None


NOT_OWN = (str(Path(str(temporalio.common.__file__)).parent), str(Path(__file__).parent.parent))
"""Where the client library and this package are."""


class PrivateFailureConverter(TracebackFailureConverter):
    """Moves message and stack trace to the part of a failure that codecs encrypt, as Temporal's own converter does."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        attributes = {
            "message": failure.message,
            "stack_trace": failure.stack_trace,
            "type": failure.application_failure_info.type,
        }
        failure.encoded_attributes.CopyFrom(payload_converter.to_payloads([attributes])[0])
        failure.message = "Encoded failure"
        failure.stack_trace = ""


class EncryptedFailureConverter(PrivateFailureConverter):
    """Reads failures where encryption is required: only what was encrypted is taken over.

    An error of a task must have been encrypted, and its type with it. The other kinds of failure are the server's own,
    such as a timeout. Of these the kind counts, and no text.
    """

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        if failure.HasField("application_failure_info"):
            if not _was_encrypted(failure, payload_converter):
                return ApplicationError(UNENCRYPTED, type=SecurityError.__name__, non_retryable=True)
        elif not failure.HasField("encoded_attributes"):
            stripped = Failure()
            stripped.CopyFrom(failure)
            stripped.message = stripped.stack_trace = ""
            failure = stripped
        return super().from_failure(failure, payload_converter)


UNENCRYPTED = (
    "an error came unencrypted, or was changed on its way, and encryption is required here: its text is left out; "
    "give its sender the same ptemporal.encryption_keys"
)


def _was_encrypted(failure: Failure, payload_converter: PayloadConverter) -> bool:
    info = failure.application_failure_info
    if not failure.HasField("encoded_attributes") or any(map(is_refused, info.details.payloads)):
        return False
    (attributes,) = payload_converter.from_payloads([failure.encoded_attributes])
    return isinstance(attributes, dict) and attributes.get("type") == info.type


def _to_proto(payload: Payload) -> ProtoPayload:
    return ProtoPayload(metadata=dict(payload.metadata), data=payload.data)


def _from_proto(proto: ProtoPayload) -> Payload:
    return Payload(dict(proto.metadata), proto.data)
