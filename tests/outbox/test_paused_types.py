"""Calls that wait in the outbox while their type is paused."""

from __future__ import annotations

from typing import Any

from pyramid_temporal_compat.control import process_state
from pyramid_temporal_compat.control.paused_types import pause_type, paused_types, resume
from pyramid_temporal_compat.outbox.relay import Relay
from tests.enlist.application import serving
from tests.outbox.parts import OutboxSite, running, unique, without_dispatch
from tests.parts import wait_until


def test_calls_in_the_outbox_wait_for_their_paused_type_and_then_run_once(site: OutboxSite) -> None:
    queue, ran = unique(), []

    @site.app.task(name=f"{queue}.note")
    def note(what: str) -> None:
        ran.append(what)

    def single(request: Any) -> Any:
        return note.apply_async(("single",), queue=queue)

    def bundle(request: Any) -> Any:
        return [note.apply_async((f"bundled {number}",), queue=queue) for number in range(8)]

    def waiting() -> int:
        return sum(each.waiting for each in site.app.temporal.call(paused_types, 20) if each.name == note.name)

    site.app.temporal.call(lambda client: pause_type(client, note.name), 20)
    with without_dispatch():
        results = [site.visit(single), *site.visit(bundle)]
    assert site.count() == 2
    site.hurry()
    try:
        with serving(site.app, queue), running(Relay(site.app)):
            site.is_empty()
            wait_until(lambda: waiting() == 2, 60, "the workflows of the single call and of the bundle")
            assert ran == []
            assert resume(site.app, note.name) == 2
            for result in results:
                result.get(timeout=60)
    finally:
        process_state.paused_types.clear()
    assert sorted(ran) == sorted(["single", *(f"bundled {number}" for number in range(8))])
