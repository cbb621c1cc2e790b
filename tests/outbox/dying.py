"""A process that is killed, or forks, at a bad moment: `python -m tests.outbox.dying CASE app.ini`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pyramid.paster import bootstrap

from pyramid_temporal_compat.app import APP_KEY
from pyramid_temporal_compat.outbox import row_format
from pyramid_temporal_compat.outbox.relay import Relay
from tests.enlist.application import Member
from tests.outbox.parts import running
from tests.parts import wait_until
from tests.worker.shop import Line, note


def main(case: str, ini: str) -> None:
    with bootstrap(ini) as env:
        CASES[case](env["request"])


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def say(task_id: str) -> None:
    os.write(1, f"{task_id}\n".encode())  # in one write, because several processes write


def call(request: Any, text: str) -> str:
    request.dbsession.add(Line(text=f"{text} was asked for"))
    task_id: str = note.delay(text).id
    return task_id


def after_the_commit(request: Any) -> None:
    with request.tm:
        request.tm.get().addAfterCommitHook(die)  # before our own hook
        say(call(request, "kept"))


def after_the_commit_of_a_workflow(request: Any) -> None:
    with request.tm:
        request.tm.get().addAfterCommitHook(die)
        request.dbsession.add(Line(text="a workflow was asked for"))
        say(request.temporal.start_workflow("Unserved", 5, task_queue="unserved-workflows").id)


def before_the_commit(request: Any) -> None:
    with request.tm:
        member = Member(request.tm)
        member.tpc_vote = die  # type: ignore[method-assign]
        request.tm.get().join(member)
        say(call(request, "never"))


def relays_for_a_second_at_a_time(request: Any) -> None:
    Relay(request.registry[APP_KEY], lease=1.0).run()


def relays_that_a_row_ends(request: Any) -> None:
    """Run relays one after the other, each in a process of its own, until no row is left to send."""
    read = row_format.decode_units

    def reads(data: bytes, codec: Any) -> Any:
        return die() if b"poison" in data else read(data, codec)

    while (pid := os.fork()) and os.waitpid(pid, 0)[1]:
        pass
    if pid == 0:
        row_format.decode_units = reads
        relay = Relay(request.registry[APP_KEY], lease=0.2, poll_interval=0.05)
        with running(relay):
            wait_until(lambda: not relay.store.summary().rows)


def forks(request: Any) -> None:
    """Fork: the child uses none of the parent's connections, and its own rows are deleted, too."""
    with request.tm:
        say(call(request, "parent"))
    pid = os.fork()
    with request.tm:
        request.dbsession.add(Line(text="child" if pid == 0 else "parent"))
        say(call(request, "child" if pid == 0 else "parent again"))
    if pid:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


CASES = {
    function.__name__: function
    for function in (
        after_the_commit,
        after_the_commit_of_a_workflow,
        before_the_commit,
        relays_for_a_second_at_a_time,
        relays_that_a_row_ends,
        forks,
    )
}

if __name__ == "__main__":
    main(*sys.argv[1:])
