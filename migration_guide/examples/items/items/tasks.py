"""The face that callers know from Celery. Each task hands its work to a workflow, and returns the workflow's id."""

from pyramid_temporal_compat import Task, shared_task


@shared_task(bind=True)
def process_item_images(self: Task, item_id: int) -> str:
    return str(self.pyramid_request.item_service.process(item_id))


@shared_task(bind=True)
def process_items(self: Task, item_ids: list[int]) -> str:
    return str(self.pyramid_request.item_service.process_all(item_ids))
