"""What happens to an item after the request that made it."""

from celery import shared_task

from .images import UnreadableImage, suggest
from .models import Item, Notification


@shared_task(bind=True)
def analyse_item(self, item_id):
    """Suggest a title and tags, or mark the item failed; tell the owner which, and remind of a suggestion later."""
    request = self.pyramid_request
    item = request.dbsession.get(Item, item_id)
    try:
        item.title, item.tags = suggest(item.image_name, item.image)
        item.status = "ready"
        remind_owner.apply_async((item.id,), countdown=float(request.registry.settings["gallery.reminder_seconds"]))
    except UnreadableImage as error:
        # Not raised further: an exception aborts the transaction, and the mark would go with it.
        item.status = "failed"
        item.error = str(error)
    notify_owner.delay(item.id)
    return {"status": item.status, "tags": item.tags}


@shared_task(bind=True)
def notify_owner(self, item_id):
    """Tell the owner how the analysis went."""
    item = self.pyramid_request.dbsession.get(Item, item_id)
    if item.status == "failed":
        text = f"We could not read your image: {item.error}"
    else:
        text = f"How about {item.title!r}, tagged {', '.join(item.tags)}?"
    item.notifications.append(Notification(recipient=item.owner, text=text))
    return text


@shared_task(bind=True)
def remind_owner(self, item_id):
    """Remind the owner of a suggestion that was not accepted meanwhile."""
    item = self.pyramid_request.dbsession.get(Item, item_id)
    if item.status != "ready":
        return None
    text = f"{item.title!r} still waits for your yes."
    item.notifications.append(Notification(recipient=item.owner, text=text))
    return text
