"""The client in one process: threads, a server that is away or hangs, batches, closing."""

import asyncio
import concurrent.futures
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import transaction
from pyramid.config import Configurator
from temporalio.service import RPCError, RPCStatusCode

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.client.connection import connect_failure, is_transient
from pyramid_temporal_compat.enlist.dispatcher import CONCURRENT_STARTS, GRACE, DispatchBatch
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, OperationalError
from pyramid_temporal_compat.exceptions import TimeoutError as CallTimeout
from pyramid_temporal_compat.server import EmbeddedServer
from tests.client.client_parts import TIMEOUT, black_hole, client_app, closed_port, messages, silent_server, started
from tests.parts import wait_until

LOST = "committed, but not started"


@pytest.fixture
def app(temporal_address):
    with client_app(temporal_address) as app:
        yield app


def lost_ids(caplog):
    return [record.args[1] for record in caplog.records if record.msg.startswith(LOST)]


def call_in_transaction(app, count=1):
    with transaction.manager:
        return [app.send_task("buy", (number,)).id for number in range(count)]


# --- nothing is loaded early ---------------------------------------------------------------------------


def test_importing_the_package_imports_none_of_the_heavy_libraries():
    code = "import pyramid_temporal_compat, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pyramid_temporal_compat" in loaded
    assert not {"temporalio", "pyramid", "sqlalchemy", "google", "transaction", "celery"}.intersection(loaded)


def test_including_loads_the_client_library_and_starts_no_thread():
    code = """
import os, sys
from pyramid.config import Configurator
config = Configurator(settings={"pyramid.includes": "pyramid_tm pyramid_temporal_compat"})
config.make_wsgi_app()
print("temporalio.client" in sys.modules, len(os.listdir("/proc/self/task")))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "1"]


@pytest.mark.parametrize("uses_it", [False, True])
def test_savepoints_are_followed_from_the_start_in_an_application_that_has_sqlalchemy(uses_it):
    code = f"""
import sys
from pyramid.config import Configurator
config = Configurator(settings={{"pyramid.includes": "pyramid_tm pyramid_temporal_compat"}})
if {uses_it}:
    import sqlalchemy.orm
config.make_wsgi_app()
print("sqlalchemy" in sys.modules, "pyramid_temporal_compat.enlist.nested_sessions" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(uses_it)] * 2


def test_a_certificate_that_cannot_be_read_stops_the_start_and_not_the_first_request():
    Celery("shop")  # the newest app is adopted; without this line, another test's app would be
    with pytest.raises(ImproperlyConfigured, match=r"tls_ca_file = '/nowhere\.pem' can't be read"):
        Configurator(
            settings={
                "pyramid.includes": "pyramid_temporal_compat",
                "ptemporal.tls_ca_file": "/nowhere.pem",
            }
        )


# --- threads and loops ---------------------------------------------------------------------------------


def test_many_threads_call_at_once_through_one_connection(app):
    together = threading.Barrier(16)

    def work():
        together.wait(10)
        return [app.send_task("buy", (number,)).id for number in range(5)]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        ids = [task_id for future in [pool.submit(work) for _ in range(16)] for task_id in future.result()]
    assert len(ids) == len(set(ids)) == 80
    assert started(app, ids) == set(ids)
    assert [thread.name for thread in threading.enumerate()].count("ptemporal-dispatch") == 1


def test_a_call_on_the_thread_of_a_running_event_loop_does_not_deadlock(app):
    async def view():
        return [app.send_task("buy", (1,)).id, *call_in_transaction(app)]

    ids = asyncio.run(view())
    assert started(app, ids) == set(ids)


def test_a_call_that_waits_is_refused_on_the_connections_own_thread(app):
    async def work():
        app.send_task("buy", (1,))

    with pytest.raises(RuntimeError, match="on the connection's own thread, where it would wait for itself"):
        app.temporal.submit(work).result(10)

    async def ask():
        return app.AsyncResult("any").state

    with pytest.raises(RuntimeError, match="on the connection's own thread"):
        app.temporal.submit(ask).result(10)


def test_a_commit_on_the_connections_own_thread_does_not_wait(app):
    async def work():
        return call_in_transaction(app)

    ids = app.temporal.submit(work).result(10)
    wait_until(lambda: started(app, ids) == set(ids))


# --- a server that is away, or hangs -------------------------------------------------------------------


@pytest.fixture(params=["refused", "silent", "black hole"])
def away(request):
    if request.param == "refused":
        yield f"127.0.0.1:{closed_port()}"
    else:
        with {"silent": silent_server, "black hole": black_hole}[request.param]() as address:
            yield address


def test_a_direct_call_fails_when_the_dispatch_timeout_is_over(away):
    with client_app(away, dispatch_timeout=TIMEOUT) as app:
        begun = time.monotonic()
        with pytest.raises(OperationalError, match=rf"Temporal at {away}: (connection refused|no answer within 1 s)"):
            app.send_task("buy", (1,))
        # This does not measure speed: a hang would last the connect timeout of 10 s.
        assert time.monotonic() - begun < 6


def test_a_commit_stands_and_the_message_is_logged_when_the_server_is_away(away, caplog):
    with client_app(away, dispatch_timeout=TIMEOUT) as app:
        ids = call_in_transaction(app, 40)
    assert lost_ids(caplog) == ids
    assert '"envelope": {"ptemporal": 1' in caplog.text
    assert "buy(39)" in caplog.text


def test_a_question_fails_when_the_dispatch_timeout_is_over(away):
    with (
        client_app(away, dispatch_timeout=TIMEOUT) as app,
        pytest.raises((CallTimeout, OperationalError), match=f"Temporal at {away}"),
    ):
        app.AsyncResult("any").state  # noqa: B018


def test_in_the_background_the_hook_returns_while_the_server_is_silent(caplog):
    with silent_server() as address, client_app(address, dispatch="background", dispatch_timeout=TIMEOUT) as app:
        ids = call_in_transaction(app, 3)
        assert not lost_ids(caplog)  # the hook has returned before the outcome is known
        wait_until(lambda: lost_ids(caplog) == ids)


@pytest.mark.integration
def test_a_server_that_starts_later_is_used(tmp_path):
    server = EmbeddedServer(port=closed_port(), headless=True)
    with client_app(f"127.0.0.1:{server.port}", dispatch_timeout=TIMEOUT) as app:
        with pytest.raises(OperationalError, match="is it running"):
            app.send_task("buy", (1,))
        with server:
            ids = [app.send_task("buy", (1,)).id, *call_in_transaction(app)]
            assert started(app, ids) == set(ids)


@pytest.mark.integration
def test_the_server_is_killed_and_comes_back_between_calls_and_under_one(tmp_path):
    server = EmbeddedServer(headless=True, database=tmp_path / "state.db")
    with server, client_app(server.address, dispatch_timeout=20.0) as app:
        before = app.send_task("buy", (1,)).id
        server.kill()
        server.start()
        between = app.send_task("buy", (2,)).id
        server.kill()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            under = pool.submit(call_in_transaction, app, 3)
            server.start()
            ids = [before, between, *under.result()]
        assert started(app, ids) == set(ids)


@pytest.mark.integration
def test_a_server_that_was_suspended_is_used_again(caplog):
    with EmbeddedServer(headless=True) as server, client_app(server.address, dispatch_timeout=TIMEOUT) as app:
        app.send_task("buy", (0,))
        subprocess.run(["kill", "-STOP", str(server.pid)], check=True)
        wait_until(lambda: is_suspended(server.pid))
        try:
            with pytest.raises(OperationalError, match="no answer within 1 s"):
                app.send_task("buy", (1,))
        finally:
            subprocess.run(["kill", "-CONT", str(server.pid)], check=True)
        app.conf["ptemporal.dispatch_timeout"] = 20.0
        app._dispatcher = None  # the next dispatcher reads the new timeout
        moving = app.send_task("buy", (2,)).id
        assert started(app, [moving]) == {moving}


def is_suspended(pid):
    """Tell whether the signal has reached every thread of the process: on a busy machine, it takes a while."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


# --- refusals ------------------------------------------------------------------------------------------


def test_a_namespace_that_does_not_exist_is_an_error_at_once(temporal_address, caplog):
    with client_app(temporal_address, namespace="nowhere", dispatch_timeout=60.0) as app:
        with pytest.raises(OperationalError, match=r"namespace 'nowhere': .* does the namespace exist\?"):
            app.send_task("buy", (1,))
        ids = call_in_transaction(app)
        assert lost_ids(caplog) == ids
        assert "does the namespace exist?" in caplog.text


def test_an_error_that_another_attempt_can_not_change_is_not_retried():
    codes = RPCStatusCode
    permanent = (codes.PERMISSION_DENIED, codes.UNAUTHENTICATED, codes.NOT_FOUND, codes.INVALID_ARGUMENT)
    assert not any(is_transient(RPCError("", code, b"")) for code in permanent)
    assert is_transient(RPCError("", codes.UNAVAILABLE, b""))
    refused = '`get_system_info` call error after connection: Status { code: PermissionDenied, message: "no" }'
    assert connect_failure(refused) == (
        "it refuses this client; may this key or certificate use it? (ptemporal.api_key)",
        False,
    )


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (RPCStatusCode.PERMISSION_DENIED, "may this key use the namespace"),
        (RPCStatusCode.UNAUTHENTICATED, "is the key right"),
    ],
)
def test_a_refusal_names_the_key(app, code, hint):
    assert hint in str(app.temporal.explain(RPCError("no", code, b"")))


# --- batches -------------------------------------------------------------------------------------------


def test_a_transaction_of_500_messages_is_started_whole_although_it_takes_longer_than_the_timeout(
    app, temporal_address, caplog
):
    with client_app(temporal_address, dispatch_timeout=TIMEOUT) as sender:
        ids = call_in_transaction(sender, 500)
        # Asked by the other app: this one gives up after a second, and the server is busy.
        wait_until(lambda: lost_ids(caplog) or started(app, ids[-CONCURRENT_STARTS:]) == set(ids[-CONCURRENT_STARTS:]))
    assert lost_ids(caplog) == []


def test_a_batch_has_few_starts_under_way(app):
    under_way, most = 0, 0

    async def count(client, message):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1

    batch = DispatchBatch(messages(app, 100), app.temporal, 10, count)
    app.temporal.submit(batch.run).result(10)
    assert (batch.failed(), most) == ([], CONCURRENT_STARTS)


def test_exactly_the_messages_of_a_batch_that_did_not_start_are_logged(app, caplog, monkeypatch):
    from pyramid_temporal_compat.enlist import dispatcher

    start = dispatcher.start

    async def refuse_every_third(client, message, now=None):
        if "3" in message.argsrepr:
            raise RPCError("too large", RPCStatusCode.INVALID_ARGUMENT, b"")
        await start(client, message)

    monkeypatch.setattr(dispatcher, "start", refuse_every_third)
    sent = messages(app, 40)
    app.dispatcher.after_commit(sent)
    refused = [message.id for message in sent if "3" in message.argsrepr]
    assert 0 < len(refused) < 40
    assert lost_ids(caplog) == refused
    assert started(app, [message.id for message in sent]) == {m.id for m in sent} - set(refused)


def test_a_batch_gives_up_when_no_start_succeeds_and_keeps_the_reason_of_each_message(app):
    calls = 0

    async def first_two_only(client, message):
        nonlocal calls
        calls += 1
        if calls > 2:
            raise RPCError("gone", RPCStatusCode.UNAVAILABLE, b"")

    batch = DispatchBatch(messages(app, 100), app.temporal, 0.3, first_two_only)
    app.temporal.submit(batch.run).result(10)
    assert len(batch.failed()) == 98
    assert {str(reason) for _, reason in batch.failed()} == {"gone"}


def test_a_message_that_was_started_before_counts_as_started(app, caplog):
    sent = messages(app, 2)
    app.dispatcher.send(sent[:1])
    app.dispatcher.after_commit(sent)
    assert lost_ids(caplog) == []
    assert started(app, [message.id for message in sent]) == {message.id for message in sent}


# --- interrupted, closed -------------------------------------------------------------------------------


def test_ctrl_c_ends_the_hooks_wait_and_the_dispatch_continues(app, caplog, monkeypatch):
    from pyramid_temporal_compat.enlist import dispatcher

    start, may_start, main_thread = dispatcher.start, threading.Event(), threading.get_ident()

    async def interrupted(client, message, now=None):
        if not may_start.is_set():
            signal.pthread_kill(main_thread, signal.SIGINT)  # the main thread waits in the hook
        await asyncio.to_thread(may_start.wait)
        await start(client, message)

    monkeypatch.setattr(dispatcher, "start", interrupted)
    sent = messages(app, 1)
    with pytest.raises(KeyboardInterrupt):
        app.dispatcher.after_commit(sent)
    may_start.set()
    app.close()  # waits for the dispatch
    assert lost_ids(caplog) == []
    assert started(app, [sent[0].id]) == {sent[0].id}


def test_ctrl_c_ends_the_wait_for_a_result_and_says_how_to_ask_again(app, monkeypatch):
    from pyramid_temporal_compat.client import task_status

    main_thread = threading.get_ident()

    async def interrupted(client, task_id, interval, elsewhere):
        signal.pthread_kill(main_thread, signal.SIGINT)  # the main thread waits for the result
        await asyncio.sleep(60)

    monkeypatch.setattr(task_status, "wait_for_end", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"stopped waiting for task \[x\]; .*AsyncResult\('x'\) asks") as raised:
        app.AsyncResult("x").get()
    assert raised.value.__suppress_context__


def test_closing_waits_for_a_dispatch_in_the_background(temporal_address, caplog):
    with client_app(temporal_address, dispatch="background") as app:
        ids = call_in_transaction(app, 50)
    assert lost_ids(caplog) == []
    with client_app(temporal_address) as app:
        assert started(app, ids) == set(ids)


def test_a_commit_waits_while_the_background_is_full(app, caplog, monkeypatch):
    from pyramid_temporal_compat.enlist import dispatcher

    may_start = asyncio.Event()

    async def held_back(client, message, now=None):
        await may_start.wait()

    monkeypatch.setattr(dispatcher, "start", held_back)
    monkeypatch.setattr(dispatcher, "MOST_IN_BACKGROUND", 2)
    busy = dispatcher.Dispatcher(app.temporal, timeout=60, wait=False)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for message in messages(app, 2):
            busy.after_commit([message])
        third = pool.submit(busy.after_commit, messages(app, 1))
        wait_until(lambda: "commits have to wait" in caplog.text)
        assert not third.done()
        app.temporal._loop.call_soon_threadsafe(may_start.set)
        third.result(30)


def test_closing_logs_messages_that_could_not_be_sent(caplog):
    with silent_server() as address, client_app(address, dispatch="background", dispatch_timeout=TIMEOUT) as app:
        ids = call_in_transaction(app, 20)
        assert lost_ids(caplog) == []
    assert sorted(lost_ids(caplog)) == sorted(ids)


def test_closing_cuts_off_a_batch_that_would_take_longer_and_logs_the_rest(app, caplog, monkeypatch):
    from pyramid_temporal_compat.enlist import dispatcher

    async def only_the_first(client, message, now=None):
        if message.argsrepr != "(0,)":
            await asyncio.Event().wait()

    monkeypatch.setattr(dispatcher, "start", only_the_first)
    sent = messages(app, 3)
    slow = dispatcher.Dispatcher(app.temporal, timeout=60, wait=False)
    monkeypatch.setattr(dispatcher, "GRACE", -59.5)  # closing waits for the timeout and the grace together
    slow.after_commit(sent)
    app.close()
    assert lost_ids(caplog) == [sent[1].id, sent[2].id]
    assert "was closed before its turn came" in caplog.text


def test_a_call_that_waits_while_the_connection_is_closed_gets_an_error():
    with silent_server() as address, client_app(address) as app, concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: app.temporal.call(lambda client: client.count_workflows(""), 30))
        connection = app.temporal
        wait_until(lambda: any(lock.locked() for lock in connection._connecting.values()))
        connection.close()
        with pytest.raises(OperationalError, match="was closed while it was in use"):
            asked.result(10)


def test_a_closed_app_connects_again(app):
    first = app.send_task("buy", (1,)).id
    thread = app.temporal._thread
    app.close()
    assert thread is not None
    assert not thread.is_alive()
    second = app.send_task("buy", (2,)).id
    assert started(app, [first, second]) == {first, second}


def test_many_threads_may_close_and_call_at_once(app, caplog):
    def work(number):
        if number % 10 == 0:
            app.close()
        return call_in_transaction(app)[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, range(60)))
    assert lost_ids(caplog) == []
    assert started(app, ids) == set(ids)


def test_the_wait_is_at_most_half_a_second_longer_than_the_timeout():
    assert GRACE <= 0.5


def test_logging_is_quiet_when_all_is_well(app, caplog):
    with caplog.at_level(logging.WARNING):
        call_in_transaction(app, 3)
    assert caplog.records == []
