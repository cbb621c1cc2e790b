"""The web side: a page for people, JSON for programs."""

from pathlib import Path

from pyramid.httpexceptions import HTTPBadRequest, HTTPConflict, HTTPNotFound
from pyramid.response import FileResponse, Response
from pyramid.view import view_config
from sqlalchemy import func, select

from pyramid_temporal_compat import AsyncResult

from .models import Item
from .tasks import analyse_item

IMAGE_TYPES = {".png": "image/png", ".gif": "image/gif"}


@view_config(route_name="page")
def page(request):
    return FileResponse(Path(__file__).with_name("page.html"), request, content_type="text/html")


@view_config(route_name="items", request_method="GET", renderer="json")
def list_items(request):
    return request.dbsession.scalars(select(Item).order_by(Item.id)).all()


@view_config(route_name="items", request_method="POST", renderer="json")
def create_item(request):
    owner, image = request.POST.get("owner"), request.POST.get("image")
    if not owner or not hasattr(image, "filename"):
        raise HTTPBadRequest("Send a form with the fields owner (an address) and image (a file).")

    item = Item(owner=owner, image_name=image.filename, image=image.file.read())
    request.dbsession.add(item)
    request.dbsession.flush()

    result = analyse_item.delay(item.id)
    item.task_id = result.id

    # Counted last, with the new item among them; raised, so that pyramid_tm aborts: no item, and no task.
    allowed = int(request.registry.settings["gallery.items_per_owner"])
    if request.dbsession.scalar(select(func.count()).where(Item.owner == owner)) > allowed:
        raise HTTPConflict(f"{owner} has {allowed} items already, and may have no more.")

    request.response.status = 201
    return item


@view_config(route_name="item", renderer="json")
def show_item(request):
    item = request.dbsession.get(Item, int(request.matchdict["id"]))
    if item is None:
        raise HTTPNotFound(f"There is no item {request.matchdict['id']}.")
    return item


@view_config(route_name="image")
def show_image(request):
    item = show_item(request)
    response = Response(
        item.image, content_type=IMAGE_TYPES.get(Path(item.image_name).suffix, "application/octet-stream")
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@view_config(route_name="accept", request_method="POST", renderer="json")
def accept_suggestion(request):
    item = show_item(request)
    if item.status != "ready":
        raise HTTPConflict(f"Item {item.id} is {item.status}: there is no suggestion to accept.")
    item.status = "accepted"
    return item


@view_config(route_name="task", renderer="json")
def show_task(request):
    result = AsyncResult(request.matchdict["id"])
    return {"id": result.id, "state": result.state, "result": result.result if result.successful() else None}
