"""Messages that a real Celery wrote, made into what this package starts. No server is needed for it."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.message.body import read_body
from pyramid_temporal_compat.message.celery_call import AWAITED
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import ChordNode, GroupNode
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.migrate.carried import BrokerCall, CantCarry, Rules, describe, unit_of
from pyramid_temporal_compat.payload.serializers import unregister
from tests.security.test_signing import write_pair

ACCEPTED = ["json", "pickle", "yaml", "msgpack"]
LATER = dt.datetime(2031, 5, 6, 7, 8, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_pair(tmp_path_factory.mktemp("keys"), "producer")


@pytest.fixture(scope="module")
def written(keys: tuple[str, str]) -> dict[str, Any]:
    script = Path(__file__).with_name("celery_messages.py")
    done = subprocess.run([sys.executable, script, *keys], capture_output=True, text=True, timeout=120)
    if "No module named 'celery'" in done.stderr:  # this process may have our stand-in for it
        pytest.skip("Celery is not installed")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shop(**conf: Any) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update({"accept_content": ACCEPTED, **conf})
    for name in ("add", "note", "total"):
        app.task(lambda *args: None, name=f"shop.{name}")
    app.finalize()
    return app


@pytest.fixture(scope="module")
def app() -> Celery:
    return shop()


def taken(envelope: Any) -> dict[str, Any]:
    raw = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    return {"tag": "t", "queue": "carried", "size": len(raw), "envelope": base64.b64encode(raw).decode()}


def carried(app: Celery, envelope: Any, **rules: Any) -> Any:
    return unit_of(app, BrokerCall.read(taken(envelope)), Rules(**rules))


def arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    body = read_body(message, ACCEPTED)
    return list(body["args"]), dict(body["kwargs"])


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("plain", [1, 2], {"z": 3}),
        ("pickle", [[1], "ä"], {}),
        ("yaml", [[1], "ä"], {}),
        ("msgpack", [[1], "ä"], {}),
        ("pickled set", [{1, 2}], {}),
        ("gzip", ["x" * 2000], {}),
        ("bzip2", ["x" * 2000], {}),
        ("lzma", ["x" * 2000], {}),
        ("member of group", [1, 2], {}),
        ("protocol 1", [1, 2], {"z": 3}),
    ],
)
def test_message_keeps_its_id_and_its_arguments(
    app: Celery, written: dict[str, Any], name: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    unit = carried(app, written[name])
    message = unit.messages[0]
    assert (message.task, message.id, message.queue) == (
        "shop.add",
        written[name]["properties"]["correlation_id"],
        "carried",
    )
    assert unit.id == message.id
    assert arguments(message) == (args, kwargs)


def test_message_keeps_its_options(app: Celery, written: dict[str, Any]) -> None:
    message = carried(app, written["options"])
    assert (message.eta, message.expires, message.retries) == (LATER, LATER, 2)
    assert (message.time_limit, message.soft_time_limit, message.shadow) == (30, 20, "adding")
    assert (message.root_id, message.parent_id, message.ignore_result) == ("the-root", "parent", True)
    assert dict(message.headers) == {"tenant": "x"}
    assert message.properties == {"app_id": "till"}
    assert message.origin == written["options"]["headers"]["origin"]


def test_group_and_stamps_of_a_message_are_kept(app: Celery, written: dict[str, Any]) -> None:
    member = carried(app, written["member of group"])
    assert (member.group, member.group_index) == (written["member of group"]["headers"]["group"], 0)
    assert carried(app, written["stamped"]).headers == {"stamped_headers": ["order"], "stamps": {"order": 7}}


def test_message_that_has_expired_is_carried_to_end_revoked(app: Celery, written: dict[str, Any]) -> None:
    assert carried(app, written["expired"]).expires < dt.datetime.now(dt.timezone.utc)


def test_priority_of_redis_keeps_its_order(app: Celery, written: dict[str, Any]) -> None:
    """In Redis 0 goes first, and a message without a priority has 0."""
    found = []
    for priority in (0, 3, 6, 9):
        envelope = copy.deepcopy(written["plain"])
        envelope["properties"]["priority"] = priority
        found.append(carried(app, envelope).priority)
    assert found == [None, 2, 1, 0]


def test_priority_of_rabbitmq_stays(app: Celery, written: dict[str, Any]) -> None:
    envelope = written["plain"]
    body = {"body": envelope["body"], "content_type": "application/json", "content_encoding": "utf-8"}
    message = {"tag": "1", "queue": "q", "size": 1, "headers": envelope["headers"], "properties": {"priority": 7}}
    assert unit_of(app, BrokerCall.read({**message, **body}), Rules()).priority == 7


def test_links_and_errbacks_are_part_of_the_workflow(app: Celery, written: dict[str, Any]) -> None:
    unit = carried(app, written["links"])
    [links] = unit.root.links
    assert [leaf.message.task for leaf in links.leaves()] == ["shop.note", "shop.note"]
    assert [errback.message.task for errback in unit.root.errbacks] == ["shop.total"]
    assert carried(app, written["protocol 1"]).root.links[0].message.task == "shop.note"


def test_chain_is_one_workflow_under_the_id_of_its_result(app: Celery, written: dict[str, Any]) -> None:
    unit = carried(app, written["chain"], queues={"old": "new"})
    head, middle, last = unit.messages
    assert unit.id == last.id == "last"
    assert head.id == written["chain"]["properties"]["correlation_id"]
    assert [each.root_id for each in (head, middle, last)] == [head.id] * 3
    assert [head.queue, middle.queue] == ["carried", "new"]


@pytest.mark.parametrize(("name", "kind"), [("chain to group", GroupNode), ("chain to chord", ChordNode)])
def test_later_step_may_be_a_group_or_a_chord(app: Celery, written: dict[str, Any], name: str, kind: type) -> None:
    unit = carried(app, written[name])
    assert isinstance(unit, Tree)
    assert isinstance(unit.root.steps[-1], kind)


def test_map_and_chunks_are_carried(app: Celery, written: dict[str, Any]) -> None:
    assert carried(app, written["map"]).task == "celery.map"
    assert carried(app, written["chunks"]).task == "celery.starmap"


def test_same_message_always_has_the_same_workflow(app: Celery, written: dict[str, Any]) -> None:
    """So a second delivery starts nothing."""
    without_ids = json.loads(base64.b64decode(written["chain"]["body"]))
    for step in without_ids[2]["chain"]:
        del step["options"]["task_id"]
    bare = {**written["chain"], "body": base64.b64encode(json.dumps(without_ids).encode()).decode()}
    can_go = [
        name for name in written if "chord" not in name and name.split()[0] not in ("unknown", "signed", "cleanup")
    ]
    for envelope in [bare, written["chain to chord"], *(written[name] for name in can_go)]:
        assert carried(app, envelope).id == carried(app, envelope).id


@pytest.mark.parametrize(
    "name", ["member of chord", "chain in chord", "chain to group in chord", "chord unlock", "protocol 1 in chord"]
)
def test_member_of_a_chord_stays(app: Celery, written: dict[str, Any], name: str) -> None:
    with pytest.raises(CantCarry, match="in the header of a chord"):
        carried(app, written[name])


def test_message_for_whose_result_a_workflow_waits_stays(app: Celery, written: dict[str, Any]) -> None:
    # Its id is a workflow's already: carried, it would count as a duplicate, and nobody would run it.
    envelope = copy.deepcopy(written["plain"])
    envelope["headers"][AWAITED] = True
    with pytest.raises(CantCarry, match="worker --to-celery"):
        carried(app, envelope)


@pytest.mark.parametrize("name", ["unknown", "unknown step", "unknown link"])
def test_task_that_the_application_does_not_know_stays_unless_asked_for(
    app: Celery, written: dict[str, Any], name: str
) -> None:
    with pytest.raises(CantCarry, match=r"knows no task 'shop.gone'; --unknown"):
        carried(app, written[name])
    assert carried(app, written[name], unknown=True).id


def test_work_on_celerys_result_backend_stays(app: Celery, written: dict[str, Any]) -> None:
    with pytest.raises(CantCarry, match="result backend"):
        carried(app, written["cleanup"], unknown=True)


def test_content_that_is_not_accepted_stays(written: dict[str, Any]) -> None:
    for name in ("pickle", "yaml", "msgpack"):
        with pytest.raises(CantCarry, match=r"can't be read: refused to read"):
            carried(shop(accept_content=["json"]), written[name])


def test_signed_message_is_checked(written: dict[str, Any], keys: tuple[str, str]) -> None:
    key, certificate = keys
    security = {"security_key": key, "security_certificate": certificate, "security_cert_store": certificate}
    app = shop(task_serializer="auth", accept_content=["auth"], **security)
    app.setup_security()
    try:
        message = carried(app, written["signed"])
        assert message.serializer == "auth"
        assert read_body(message, ["auth"])["args"] == [1, 2]
        forged = base64.b64decode(base64.b64decode(written["signed"]["body"])).replace(b"[1, 2]", b"[1, 9]")
        body = base64.b64encode(base64.b64encode(forged)).decode()
        with pytest.raises(CantCarry, match="can't be read"):
            carried(app, {**written["signed"], "body": body})
        with pytest.raises(CantCarry, match="refused to read application/json"):
            carried(app, written["plain"])
    finally:
        unregister("auth")


def hostile(envelope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield messages that no Celery writes."""

    def changed(**changes: Any) -> Any:
        return {**envelope, **changes}

    def with_headers(**headers: Any) -> Any:
        return changed(headers={**envelope["headers"], **headers})

    def with_body(*body: Any) -> Any:
        return changed(body=base64.b64encode(json.dumps(body).encode()).decode())

    deep: Any = {"task": "shop.add"}
    for _ in range(300):
        deep = {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [deep]}}
    yield "no JSON", b"\xff{"
    yield "a list", []
    yield "no body", {"headers": {}}
    yield "a number as body", changed(body=1)
    yield "no base64", changed(body="%")
    yield "headers that are a list", changed(headers=[1])
    yield "properties that are a text", changed(properties="x")
    yield "a task that is a number", with_headers(task=1)
    yield "an id that is a list", with_headers(id=[])
    yield "an id with a line break", with_headers(id="a\nb")
    yield "an eta that is no time", with_headers(eta="soon")
    yield "an eta in the year 9999", with_headers(eta="9999-12-31T23:59:59+00:00")
    yield "retries that are a text", with_headers(retries="x")
    yield "negative retries", with_headers(retries=-1)
    yield "time limits that are texts", with_headers(timelimit=["a", "b"])
    yield "a soft limit above the hard one", with_headers(timelimit=[1, 2])
    yield "an unknown compression", with_headers(compression="rot13")
    yield "compressed no bytes", with_headers(compression="application/x-gzip")
    yield "a group that is a dict", with_headers(group={"a": 1})
    yield "an unknown content type", changed(**{"content-type": "text/html"})
    yield "arguments that are a text", with_body("x", {}, {})
    yield "named arguments that are a list", with_body([], [], {})
    yield "an embed that is a list", with_body([], {}, [])
    yield "two parts", with_body([], {})
    yield "a chain that is a dict", with_body([], {}, {"chain": {"a": 1}})
    yield "a step that is a number", with_body([], {}, {"chain": [1]})
    yield "a step without a task", with_body([], {}, {"chain": [{}]})
    yield "a step of an unknown kind", with_body([], {}, {"chain": [{"task": "shop.add", "subtask_type": "x"}]})
    yield "a chord without a body", with_body([], {}, {"chain": [{"task": "c", "subtask_type": "chord"}]})
    yield "options that are a list", with_body([], {}, {"callbacks": [{"task": "shop.add", "options": [1]}]})
    yield "an unknown option", with_body([], {}, {"callbacks": [{"task": "shop.add", "options": {"x": 1}}]})
    yield "300 levels", with_body([], {}, {"chain": [deep]})
    yield "100,000 levels", changed(body=base64.b64encode(b"[" * 100_000).decode())
    yield "three megabytes", with_body(["x" * 3_000_000], {}, {})
    yield "three million values", with_body([[0] * 3_000_000], {}, {})


def test_hostile_message_stays_with_a_reason(app: Celery, written: dict[str, Any]) -> None:
    from pyramid_temporal_compat.migrate.bridge import reason_to_keep

    for name, envelope in hostile(written["plain"]):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # the bridge keeps a message for any error
            carried(app, envelope)
        reason = reason_to_keep(caught.value)
        assert reason, name
        assert "\n" not in describe(taken(envelope))


def test_message_that_is_too_large_to_read_stays() -> None:
    huge = {"tag": "t", "queue": "items", "size": 600_000_000}
    with pytest.raises(CantCarry, match="600,000,000 bytes"):
        BrokerCall.read(huge)
    assert describe(huge) == "a message of 600000000 bytes of queue items"
