"""Our payloads and codecs in the form that Temporal's SDK needs. The only module here that imports temporalio."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import temporalio.common
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from . import Payload
from .codecs import Codec, Encryption, chain


def data_converter(codecs: Sequence[Codec] = ()) -> DataConverter:
    """Return a converter that passes our payloads through unchanged and applies `codecs` in this order.

    All other values are converted as Temporal's own converter does.

    If one of the codecs is an `Encryption`, the messages and stack traces of failures are encrypted too.
    """
    private = any(isinstance(codec, Encryption) for codec in codecs)
    return DataConverter(
        payload_converter_class=PassingPayloadConverter,
        payload_codec=CodecAdapter(chain(codecs)) if codecs else None,
        failure_converter_class=PrivateFailureConverter if private else TracebackFailureConverter,
    )


def to_raw(payload: Payload) -> RawValue:
    """Return our payload as a value that Temporal sends unchanged."""
    return RawValue(_to_proto(payload))


def from_raw(raw: RawValue) -> Payload:
    """Return our payload for a raw value that Temporal received."""
    return _from_proto(raw.payload)


class PassingPayloadConverter(DefaultPayloadConverter):
    """Converts values as Temporal does by default. Payloads, ours or raw ones, pass unchanged."""

    def to_payloads(self, values: Sequence[Any]) -> list[ProtoPayload]:
        return super().to_payloads([to_raw(value) if isinstance(value, Payload) else value for value in values])

    def from_payloads(self, payloads: Sequence[ProtoPayload], type_hints: list[type] | None = None) -> list[Any]:
        hints = list(type_hints or [])
        hints += [None] * (len(payloads) - len(hints))  # type: ignore[list-item]
        return [self._from_payload(payload, hint) for payload, hint in zip(payloads, hints, strict=False)]

    def _from_payload(self, payload: ProtoPayload, hint: type | None) -> Any:
        if hint is Payload:
            return _from_proto(payload)
        if hint is None and payload.metadata.get("encoding") not in self.converters:
            # Written by a serializer that Temporal does not know, such as the detail of a failure.
            return RawValue(payload)
        return super().from_payloads([payload], [hint] if hint is not None else None)[0]


class CodecAdapter(PayloadCodec):
    """Makes a codec of ours one of Temporal's. Encoding takes microseconds, so it runs on the event loop."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    async def encode(self, payloads: Sequence[ProtoPayload]) -> list[ProtoPayload]:
        return [_to_proto(self.codec.encode(_from_proto(payload))) for payload in payloads]

    async def decode(self, payloads: Sequence[ProtoPayload]) -> list[ProtoPayload]:
        return [_to_proto(self.codec.decode(_from_proto(payload))) for payload in payloads]


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
        attributes = {"message": failure.message, "stack_trace": failure.stack_trace}
        failure.encoded_attributes.CopyFrom(payload_converter.to_payloads([attributes])[0])
        failure.message = "Encoded failure"
        failure.stack_trace = ""


def _to_proto(payload: Payload) -> ProtoPayload:
    return ProtoPayload(metadata=dict(payload.metadata), data=payload.data)


def _from_proto(proto: ProtoPayload) -> Payload:
    return Payload(dict(proto.metadata), proto.data)
