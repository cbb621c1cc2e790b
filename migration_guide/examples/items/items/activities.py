"""The steps that read and write. Each runs in a transaction of its own, and may run twice."""

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from pyramid_temporal_compat import ActivityContext, activity

from .images import Analysis, UnreadableImage, analyse
from .models import Image, Item, Notification


@activity.defn
def begin_item(context: ActivityContext, item_id: int) -> list[int]:
    """Mark the item as being processed, and return the ids of its images."""
    item = find_item(context, item_id)
    item.status = "processing"
    return [image.id for image in item.images]


@activity.defn
def analyse_image(context: ActivityContext, image_id: int) -> Analysis:
    """Look at the image. Write nothing: an image that can't be read makes this step fail."""
    image = context.request.dbsession.get_one(Image, image_id)
    try:
        return analyse(image.name, image.data)
    except UnreadableImage as error:
        # Benign: the workflow expects it, so that the log needs no traceback.
        raise ApplicationError(str(error), non_retryable=True, category=ApplicationErrorCategory.BENIGN) from None


@activity.defn
def write_suggestion(context: ActivityContext, image_id: int, analysis: Analysis) -> None:
    image = context.request.dbsession.get_one(Image, image_id)
    image.status = "ready"
    image.suggestion = f"{analysis.title} ({analysis.shape})"


@activity.defn
def mark_image_failed(context: ActivityContext, image_id: int, reason: str) -> None:
    image = context.request.dbsession.get_one(Image, image_id)
    image.status = "failed"
    image.error = reason


@activity.defn
def finish_item(context: ActivityContext, item_id: int, status: str) -> None:
    """Write how the processing ended, and tell the owner, both in one transaction."""
    item = find_item(context, item_id)
    if item.status == status:
        return  # an attempt before this one has committed
    item.status = status
    ready = sum(image.status == "ready" for image in item.images)
    text = f"Item {item.id} is {status}: {ready} of {len(item.images)} images have a suggestion."
    item.notifications.append(Notification(text=text))


def find_item(context: ActivityContext, item_id: int) -> Item:
    item: Item | None = context.request.dbsession.get(Item, item_id)
    if item is None:
        raise ApplicationError(f"there is no item {item_id}", non_retryable=True)
    return item


ACTIVITIES = [begin_item, analyse_image, write_suggestion, mark_image_failed, finish_item]
