"""The settings name interceptors, plugins, a converter and a storage, for the client and for workers."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import Worker, connect, temporal
from pyramid_temporal_compat.current import latest_app, set_current_app
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from tests.enlist.application import Site, analyse
from tests.enlist.application import serving as serving_tasks
from tests.native import named_objects
from tests.native.client_parts import serving, unique
from tests.native.greeting import Greeting, Guest
from tests.parts import fresh_database

HERE = "tests.native.named_objects"


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@contextlib.contextmanager
def site_with(database: str, address: str, **settings: str) -> Iterator[Site]:
    before = latest_app()
    site = Site(database, address, **{f"ptemporal.{name}": value for name, value in settings.items()})
    named_objects.seen.clear()
    try:
        yield site
    finally:
        site.close()
        set_current_app(before)


def test_interceptors_act_on_starts_that_wait_for_a_commit_and_on_workers(database: str, temporal_address: str) -> None:
    names = f"{HERE}.ForBoth {HERE}:make_for_workers"
    with site_with(database, temporal_address, interceptors=names) as site:
        queue = unique("greetings")
        with serving(site.wsgi.registry, queue, [Greeting]):
            handle = site.visit(
                lambda request: request.temporal.start_workflow(Greeting.run, Guest("Ada"), task_queue=queue)
            )
            assert handle.result(timeout=30) == ["hello Ada"]
        assert asyncio.run(handle.describe().memo()) == {"intercepted": True}
        assert named_objects.seen.count("start of Greeting") == 1
        tasks = unique("tasks")
        with serving_tasks(site.app, tasks):
            assert analyse.apply_async(("x",), queue=tasks).get(timeout=30) == "x"
        assert {"worker of both", "worker only"} <= set(named_objects.seen)


def test_a_worker_of_ones_own_gets_the_interceptors_too(database: str, temporal_address: str) -> None:
    names = f"{HERE}.ForBoth {HERE}.ForWorkers"
    with site_with(database, temporal_address, interceptors=names) as site:

        async def make() -> tuple[Any, Any]:
            client = await connect(site.wsgi.registry)
            worker = Worker(client, site.wsgi.registry, task_queue=uuid.uuid4().hex, workflows=[Greeting])
            return client.config()["interceptors"], worker.config()["interceptors"]

        of_client, of_worker = asyncio.run(make())
        assert [type(each) for each in of_client[1:]] == [
            named_objects.ForBoth
        ]  # temporalio's worker takes it from there
        assert [type(each) for each in of_worker] == [named_objects.ForWorkers]


def test_the_named_plugin_acts_in_the_worker_of_tasks(database: str, temporal_address: str) -> None:
    with site_with(database, temporal_address, plugins=f"{HERE}:plugin") as site:
        tasks = unique("tasks")
        with serving_tasks(site.app, tasks):
            handle = temporal(site.wsgi.registry).start_workflow(Greeting.run, Guest("Ada"), task_queue=tasks)
            assert handle.result(timeout=30) == ["hello Ada"]
            assert analyse.apply_async(("x",), queue=tasks).get(timeout=30) == "x"


def test_the_named_converter_writes_and_reads_arguments(database: str, temporal_address: str) -> None:
    pytest.importorskip("pydantic", reason="pydantic is not installed")
    with site_with(database, temporal_address, payload_converter=f"{HERE}.converter") as site:
        queue, tasks = unique("greetings"), unique("tasks")
        name = uuid.uuid4()  # Temporal's own converter writes no UUID
        with serving(site.wsgi.registry, queue, [Greeting]), serving_tasks(site.app, tasks):
            handle = temporal(site.wsgi.registry).start_workflow("Greeting", {"name": name}, task_queue=queue)
            assert handle.result(timeout=30) == [f"hello {name}"]
            assert analyse.apply_async(("x",), queue=tasks).get(timeout=30) == "x"  # tasks have their own serialiser


def test_the_named_storage_keeps_large_payloads_of_workflows_and_tasks(database: str, temporal_address: str) -> None:
    with site_with(database, temporal_address, external_storage=f"{HERE}.storage") as site:
        queue, tasks = unique("greetings"), unique("tasks")
        with serving(site.wsgi.registry, queue, [Greeting]), serving_tasks(site.app, tasks):
            before = len(named_objects.kept)
            handle = temporal(site.wsgi.registry).start_workflow(Greeting.run, Guest("A" * 50_000), task_queue=queue)
            assert handle.result(timeout=30) == ["hello " + "A" * 50_000]
            assert len(named_objects.kept) == before + 2
            assert analyse.apply_async(("B" * 50_000,), queue=tasks).get(timeout=30) == "B" * 50_000
            assert len(named_objects.kept) > before + 2


@pytest.mark.parametrize(
    ("setting", "name", "takes"),
    [
        ("interceptors", "not_an_interceptor", "temporalio.client.Interceptor"),
        ("plugins", "ForWorkers", "temporalio.client.Plugin"),
        ("payload_converter", "ForBoth", "CompositePayloadConverter"),
        ("external_storage", "make_for_workers", "ExternalStorage"),
    ],
)
def test_an_object_of_another_kind_is_an_error_that_names_the_setting(
    database: str, temporal_address: str, setting: str, name: str, takes: str
) -> None:
    with (
        site_with(database, temporal_address, **{setting: f"{HERE}.{name}"}) as site,
        pytest.raises(ImproperlyConfigured, match=f"ptemporal.{setting}: '{HERE}.{name}' is .*{takes}"),
    ):
        temporal(site.wsgi.registry).start_workflow("Greeting")
