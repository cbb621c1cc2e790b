"""`activity.defn`: which functions it marks, what it passes on, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import temporalio.activity
from temporalio.common import RawValue

from pyramid_temporal_compat import ActivityContext, activity
from pyramid_temporal_compat.native.activity import definition_of
from pyramid_temporal_compat.native.binding import bound_activities, bound_activity


def temporal_definition(fn: Any) -> Any:
    return fn.__temporal_activity_definition


def test_the_name_is_the_functions_or_the_one_that_is_given() -> None:
    @activity.defn
    def plain_name(context: ActivityContext) -> None: ...

    @activity.defn()
    async def with_parentheses(context: ActivityContext) -> None: ...

    @activity.defn(name="another.name")
    def another(context: ActivityContext) -> None: ...

    bound = bound_activities(None, [plain_name, with_parentheses, another])
    assert [temporal_definition(fn).name for fn in bound] == ["plain_name", "with_parentheses", "another.name"]
    assert [temporal_definition(fn).is_async for fn in bound] == [False, True, False]


def test_a_bound_activity_has_the_types_of_the_arguments_without_the_context() -> None:
    @activity.defn
    def priced(context: ActivityContext, item: int, currency: str = "EUR") -> float:
        return 1.0

    found = temporal_definition(bound_activity(None, priced))
    assert found.arg_types == [int, str]
    assert found.ret_type is float


def test_workflow_code_may_name_the_activity_by_its_function() -> None:
    @activity.defn(name="named")
    def named(context: ActivityContext, item: int) -> float:
        return 1.0

    assert temporalio.activity._Definition.get_name_and_result_type(named) == ("named", float)


def test_no_thread_cancel_exception_passes_on() -> None:
    @activity.defn(no_thread_cancel_exception=True)
    def uninterrupted(context: ActivityContext) -> None: ...

    assert temporal_definition(bound_activity(None, uninterrupted)).no_thread_cancel_exception


def test_a_function_without_a_context_is_temporalios_own() -> None:
    @activity.defn(name="mine")
    def plain(item: int) -> None: ...

    @activity.defn(dynamic=True)
    def dynamic(payloads: Sequence[RawValue]) -> None: ...

    @activity.defn
    def nothing() -> None: ...

    for fn in (plain, dynamic, nothing):
        assert definition_of(fn) is None
        assert bound_activity(None, fn) is fn
    assert temporal_definition(plain).name == "mine"
    assert temporal_definition(dynamic).name is None


def test_a_dynamic_context_activity_is_refused() -> None:
    with pytest.raises(TypeError, match="'anything' takes an ActivityContext and can't be dynamic"):

        @activity.defn(dynamic=True)
        def anything(context: ActivityContext, payloads: Sequence[RawValue]) -> None: ...


def test_a_context_without_its_annotation_is_refused() -> None:
    with pytest.raises(TypeError, match="'forgot': does its parameter `context` get an ActivityContext"):

        @activity.defn
        def forgot(context, item: int) -> None: ...  # type: ignore[no-untyped-def]


def test_every_public_name_of_temporalios_module_is_there() -> None:
    public = {
        name
        for name, value in vars(temporalio.activity).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == "temporalio.activity"
    }
    assert public - set(dir(activity)) == set()
    assert public | {"ActivityContext", "logger"} == set(activity.__all__)


def test_the_original_function_can_be_called_by_a_test() -> None:
    @activity.defn
    async def doubled(context: ActivityContext, item: int) -> int:
        return 2 * item

    assert asyncio.run(doubled(ActivityContext(None), 21)) == 42
