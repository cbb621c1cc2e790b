"""The service, the workflows and the tasks, on a real server."""

import pytest
from items.activities import ACTIVITIES
from items.models import Item
from items.tasks import process_item_images
from items.workflows import ProcessItem, ProcessItems, Progress
from temporalio.client import WorkflowFailureError


@pytest.fixture
def committed_item(ptemporal_context, add_item):
    """Adds an item, commits, and returns the id. No transaction is open then, so a start leaves at once."""

    def add(**images):
        item_id = add_item(**images).id
        ptemporal_context.tm.commit()
        return item_id

    return add


def test_failed_image_is_marked_and_the_others_get_suggestions(service, worker, committed_item, ptemporal_context, png):
    item_id = committed_item(sea=png, torn=b"torn")
    service.process(item_id)
    assert service.wait(item_id, timeout=60) == Progress(images=2, ready=1, failed=1)
    assert service.progress(item_id) == Progress(images=2, ready=1, failed=1)
    assert service.status(item_id) == "COMPLETED"

    ptemporal_context.tm.begin()
    item = ptemporal_context.request.dbsession.get(Item, item_id)
    assert item.status == "ready"
    assert [image.status for image in item.images] == ["ready", "failed"]
    assert [each.text for each in item.notifications] == [f"Item {item_id} is ready: 1 of 2 images have a suggestion."]


def test_task_goes_on_working(service, worker, committed_item, png):
    item_id = committed_item(sea=png)
    result = process_item_images.delay(item_id)
    assert result.get(timeout=60) == f"process-item-{item_id}"
    assert service.wait(item_id, timeout=60).ready == 1


def test_cancelled_item_says_so(service, ptemporal_worker, committed_item, ptemporal_context, png):
    item_id = committed_item(sea=png)
    service.process(item_id)
    service.cancel(item_id)
    ptemporal_worker(task_queue="items", activities=ACTIVITIES, workflows=[ProcessItem])
    with pytest.raises(WorkflowFailureError):
        service.wait(item_id, timeout=60)
    assert service.status(item_id) == "CANCELED"

    ptemporal_context.tm.begin()
    assert ptemporal_context.request.dbsession.get(Item, item_id).status == "cancelled"


def test_item_that_fails_does_not_stop_the_batch(worker, committed_item, png):
    good, missing = committed_item(sea=png), 10**6
    batch = worker.execute(ProcessItems.run, [good, missing], 2)
    assert batch == {good: Progress(images=1, ready=1), missing: None}


def test_item_that_is_being_processed_does_not_stop_the_batch(service, ptemporal_worker, committed_item, png):
    item_id = committed_item(sea=png)
    service.process(item_id)  # waits on the queue `items`, which has no worker yet
    batch_worker = ptemporal_worker(activities=ACTIVITIES, workflows=[ProcessItems])
    assert batch_worker.execute(ProcessItems.run, [item_id], 1) == {item_id: None}
    service.cancel(item_id)
