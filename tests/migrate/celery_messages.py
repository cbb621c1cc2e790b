"""Prints messages as a real Celery writes them: `{name: envelope}`, as JSON. Its arguments: a key and a certificate."""

from __future__ import annotations

import datetime as dt
import functools
import json
import sys
from collections.abc import Callable
from typing import Any

from celery import Celery, chain, chord, group

LATER = dt.datetime(2031, 5, 6, 7, 8, tzinfo=dt.timezone.utc)
PAST = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
QUEUE = "carried"


class Producer:
    """An application on Celery, and the messages that it has written."""

    def __init__(self, **conf: Any) -> None:
        self.app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(task_default_queue=QUEUE, **conf)
        names = ("add", "note", "total")
        self.add, self.note, self.total = (self.app.task(anything, name=f"shop.{name}") for name in names)
        self.sent: dict[str, Any] = {}

    def send(self, name: str, sending: Callable[[], Any]) -> None:
        """Keep the first message of a call."""
        self.app.set_current()
        sending()
        with self.app.connection_for_write() as connection:
            channel = connection.default_channel
            found = [channel._get(QUEUE) for _ in range(channel._size(QUEUE))]
        self.sent[name] = found[0]


def anything(*args: Any, **kwargs: Any) -> None:
    """Never run: only the messages matter."""


def all_messages(key: str, certificate: str) -> dict[str, Any]:
    new, old = Producer(), Producer(task_protocol=1)
    add, note, total, send = new.add, new.note, new.total, new.send
    signature = new.app.signature
    send("plain", lambda: add.apply_async((1, 2), {"z": 3}))
    for serializer in ("pickle", "yaml", "msgpack"):
        send(serializer, functools.partial(add.apply_async, ([1], "ä"), serializer=serializer))
    send("pickled set", lambda: add.apply_async(({1, 2},), serializer="pickle"))
    for method in ("gzip", "bzip2", "lzma"):
        send(method, functools.partial(add.apply_async, ("x" * 2000,), compression=method))
    send("options", lambda: add.apply_async(
        (1, 2), eta=LATER, expires=LATER, retries=2, priority=6, headers={"tenant": "x"}, shadow="adding",
        time_limit=30, soft_time_limit=20, ignore_result=True, app_id="till", root_id="the-root", parent_id="parent",
    ))  # fmt: skip
    send("expired", lambda: add.apply_async((1, 2), expires=PAST))
    send("stamped", lambda: add.s(1, 2).set(order=7, stamped_headers=["order"]).delay())
    send("links", lambda: add.apply_async((1, 2), link=[note.s(), note.si(5)], link_error=total.s()))
    send("chain", lambda: chain(add.s(1, 2), add.s(3).set(queue="old"), note.s()).apply_async(task_id="last"))
    send("chain to group", lambda: chain(add.s(1, 2), group(note.s(), total.s())).apply_async())
    send("chain to chord", lambda: chain(add.s(1, 2), group(note.s(), add.s(1)), total.s()).apply_async())
    send("member of group", lambda: group(add.s(1, 2), note.s(1)).apply_async())
    send("chunks", lambda: add.chunks([(1, 2), (3, 4)], 1).apply_async())
    send("map", lambda: note.map([1, 2]).apply_async())
    send("unknown", lambda: new.app.send_task("shop.gone"))
    send("unknown step", lambda: chain(add.s(1, 2), signature("shop.gone")).apply_async())
    send("unknown link", lambda: add.apply_async((1, 2), link=signature("shop.gone")))
    send("member of chord", lambda: chord([add.s(1, 2), note.s(1)])(total.s()))
    send("chain in chord", lambda: chord([chain(add.s(1, 2), note.s()), note.s(1)])(total.s()))
    send("chain to group in chord", lambda: chord([chain(add.s(1, 2), group(note.s(), note.s())), note.s()])(total.s()))
    send("chord unlock", lambda: new.app.send_task("celery.chord_unlock", ("g", {}), {}))
    send("cleanup", lambda: new.app.send_task("celery.backend_cleanup"))
    old.send("protocol 1", lambda: old.add.apply_async(
        (1, 2), {"z": 3}, eta=LATER, link=old.note.s(), headers={"tenant": "x"}
    ))  # fmt: skip
    old.send("protocol 1 in chord", lambda: chord([old.add.s(1, 2), old.note.s(1)])(old.total.s()))
    signing = Producer(
        security_key=key, security_certificate=certificate, security_cert_store=certificate, task_serializer="auth",
        event_serializer="auth", accept_content=["auth"],
    )  # fmt: skip
    signing.app.setup_security()
    signing.send("signed", lambda: signing.add.apply_async((1, 2)))
    return {**new.sent, **old.sent, **signing.sent}


if __name__ == "__main__":
    print(json.dumps(all_messages(*sys.argv[1:])))
