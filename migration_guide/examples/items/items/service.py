"""The one place that knows how items are processed. Views, tasks and scripts use it, and name no workflow."""

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from temporalio.common import WorkflowIDConflictPolicy

from pyramid_temporal_compat import temporal
from pyramid_temporal_compat.native.request_temporal import Temporal
from pyramid_temporal_compat.native.workflow_handle import WorkflowHandle

from .workflows import ProcessItem, ProcessItems, Progress, workflow_id

ITEMS_AT_A_TIME = 4


class ItemService:
    """Starts, follows and cancels the processing of items."""

    def __init__(self, client: Temporal) -> None:
        """
        :param client: `request.temporal`; or `temporal(registry)`, outside of requests.
        """
        self._client = client

    def process(self, item_id: int) -> str:
        """Process the item after the commit; return the workflow's id. If it is being processed, let it go on."""
        handle = self._client.start_workflow(
            ProcessItem.run,
            item_id,
            id=workflow_id(item_id),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        return handle.id

    def process_all(self, item_ids: list[int]) -> str:
        """Process the items after the commit, a few at a time; return the workflow's id."""
        return self._client.start_workflow(ProcessItems.run, item_ids, ITEMS_AT_A_TIME).id

    def progress(self, item_id: int) -> Progress:
        """Ask the workflow how far it is, also after its end."""
        return self._handle(item_id).query(ProcessItem.progress)

    def status(self, item_id: int) -> str:
        """Return what the server says of the workflow: RUNNING, COMPLETED, FAILED, CANCELED, …"""
        status = self._handle(item_id).describe().status
        return status.name if status else "UNKNOWN"

    def wait(self, item_id: int, timeout: float) -> Progress:
        """Wait for the end of the processing."""
        return self._handle(item_id).result(timeout=timeout)

    def cancel(self, item_id: int) -> None:
        """Ask the workflow to end. It marks the item as cancelled."""
        self._handle(item_id).cancel()

    def _handle(self, item_id: int) -> WorkflowHandle[ProcessItem, Progress]:
        return self._client.get_workflow_handle_for(ProcessItem.run, workflow_id(item_id))


def item_service(registry: Any) -> ItemService:
    """Return the service for scripts."""
    return ItemService(temporal(registry))


def includeme(config: Configurator) -> None:
    def service(request: Request) -> ItemService:
        return ItemService(request.temporal)

    config.add_request_method(service, "item_service", reify=True)
