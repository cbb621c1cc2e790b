"""A call of a hand-written workflow that waits for a commit: a start, or a signal. A frozen value.

It holds the very request that Temporal's client would have sent, so it carries every option of that client. The
request's own id makes it safe to send the call twice: the server does nothing for an id that it knows.

In an outbox row a call is two payloads: a few words about it as JSON, and the request as bytes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidTaskError
from ..payload import Payload
from ..payload.bounds import read_json
from .message import Message, is_name, readable

if TYPE_CHECKING:
    from ..payload.codecs import Codec

MARK = "ptemporal-call"
VERSION = 1


@dataclass(frozen=True)
class WorkflowCall:
    """One request to the server about one workflow."""

    rpc: str
    """The server's call that takes the request: one of `client.workflow_requests.REQUESTS`."""
    request: bytes = field(repr=False)
    """The request, as protobuf. Its payloads have passed through the codecs."""
    id: str
    """The id of the request. Each call has its own."""
    workflow_id: str
    task: str
    """The workflow's type, or the name of the signal."""
    queue: str
    """The queue whose order the call keeps in the outbox."""
    eta: datetime.datetime | None = None
    """The workflow does not start before this moment (aware)."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return no messages: the call is not a task's."""
        return ()

    @property
    def publish_retry(self) -> None:
        """Return no retry policy: the call is sent again until `ptemporal.dispatch_timeout`."""

    @property
    def summary(self) -> str:
        """The call in one line, for people."""
        return f"{self.task} of workflow {self.workflow_id}"

    def encode(self) -> list[Payload]:
        about: dict[str, Any] = {MARK: VERSION, **{name: getattr(self, name) for name in _TEXTS}}
        if self.eta is not None:
            about["eta"] = self.eta.isoformat()
        return [
            Payload({"encoding": b"json/plain"}, json.dumps(about, separators=(",", ":")).encode()),
            Payload({"encoding": b"binary/plain"}, self.request),
        ]

    @classmethod
    def decode(cls, about: bytes, others: Sequence[Payload]) -> WorkflowCall:
        """Read a call that `encode` wrote."""
        try:
            (request,) = others
            found = read_json(about)
            texts = {name: found[name] for name in _TEXTS}
            eta = datetime.datetime.fromisoformat(found["eta"]) if "eta" in found else None
            is_known = int(found[MARK]) <= VERSION
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise InvalidTaskError(f"not a call of a workflow: {about[:200]!r}") from None
        if not is_known or not all(map(is_name, texts.values())) or (eta is not None and eta.tzinfo is None):
            raise InvalidTaskError(f"not a call of a workflow that this release can send: {about[:200]!r}")
        return cls(request=request.data, eta=eta, **texts)

    def for_log(self, codec: Codec | None = None) -> str:
        """Return the call as one line of JSON, encoded by `codec`. It is logged when the call is lost."""
        about, request = self.encode()
        return json.dumps({"call": readable(about, codec), "request": readable(request, codec)})


_TEXTS = ("rpc", "id", "workflow_id", "task", "queue")


def is_workflow_call(data: bytes) -> bool:
    """Return whether this is the first payload of a call."""
    return data.startswith(b'{"' + MARK.encode())
