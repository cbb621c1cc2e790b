"""How an item is processed, and how a batch of items is."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

from .activities import analyse_image, begin_item, finish_item, mark_image_failed, write_suggestion

STEP: dict[str, Any] = {
    "start_to_close_timeout": timedelta(minutes=5),
    "retry_policy": RetryPolicy(maximum_attempts=5),
}


@dataclass
class Progress:
    """How many images of an item there are, and what became of them."""

    images: int = 0
    ready: int = 0
    failed: int = 0


@workflow.defn
class ProcessItem:
    """Analyse the images of an item in parallel, write suggestions, mark failures, and tell the owner."""

    def __init__(self) -> None:
        self._progress = Progress()

    @workflow.run
    async def run(self, item_id: int) -> Progress:
        try:
            image_ids = await workflow.execute_activity(begin_item, item_id, **STEP)
            self._progress.images = len(image_ids)
            await asyncio.gather(*map(self._process_image, image_ids))
        except BaseException as error:
            # The item must not stay "processing", whether somebody cancels the workflow or a step fails for good.
            status = "cancelled" if is_cancelled_exception(error) else "failed"
            await asyncio.shield(workflow.execute_activity(finish_item, args=[item_id, status], **STEP))
            raise
        status = "ready" if self._progress.ready else "failed"
        await workflow.execute_activity(finish_item, args=[item_id, status], **STEP)
        return self._progress

    @workflow.query
    def progress(self) -> Progress:
        return self._progress

    async def _process_image(self, image_id: int) -> None:
        try:
            analysis = await workflow.execute_activity(analyse_image, image_id, **STEP)
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError):
                raise  # cancelled, or lost its worker too often
            await workflow.execute_activity(mark_image_failed, args=[image_id, error.cause.message], **STEP)
            self._progress.failed += 1
        else:
            await workflow.execute_activity(write_suggestion, args=[image_id, analysis], **STEP)
            self._progress.ready += 1


@workflow.defn
class ProcessItems:
    """Process a batch of items, a few at a time. Return the progress of each item.

    It is None if the item failed, or if another workflow processes the item already.
    """

    @workflow.run
    async def run(self, item_ids: list[int], at_a_time: int) -> dict[int, Progress | None]:
        turns = asyncio.Semaphore(at_a_time)

        async def process(item_id: int) -> Progress | None:
            async with turns:
                try:
                    return await workflow.execute_child_workflow(ProcessItem.run, item_id, id=workflow_id(item_id))
                except WorkflowAlreadyStartedError:
                    return None
                except ChildWorkflowError as error:
                    if is_cancelled_exception(error) and workflow.cancellation_reason() is not None:
                        raise  # the batch was cancelled, and not this item alone
                    return None

        return dict(zip(item_ids, await asyncio.gather(*map(process, item_ids)), strict=True))


def workflow_id(item_id: int) -> str:
    """Return the id of the workflow that processes the item: one at a time for each item."""
    return f"process-item-{item_id}"
