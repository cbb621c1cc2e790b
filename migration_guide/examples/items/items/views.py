"""The web side: add items, look at them, follow and cancel their processing."""

from dataclasses import asdict
from typing import Any

from pyramid.httpexceptions import HTTPBadRequest, HTTPNotFound
from pyramid.request import Request
from pyramid.view import view_config

from pyramid_temporal_compat.exceptions import WorkflowNotFound

from .models import Image, Item
from .tasks import process_item_images


@view_config(route_name="items", request_method="POST", renderer="json")
def add_item(request: Request) -> dict[str, Any]:
    owner, uploads = request.POST.get("owner"), request.POST.getall("image")
    if not owner or not uploads or not all(hasattr(upload, "filename") for upload in uploads):
        raise HTTPBadRequest("Send a form with the fields owner (an address) and image (one file or more).")
    item = Item(owner=owner)
    item.images = [Image(name=upload.filename, data=upload.file.read()) for upload in uploads]
    request.dbsession.add(item)
    request.dbsession.flush()
    process_item_images.delay(item.id)  # as with Celery; a new caller would use request.item_service
    return {"item": item.id}


@view_config(route_name="batches", request_method="POST", renderer="json")
def process_batch(request: Request) -> dict[str, str]:
    return {"workflow": request.item_service.process_all([int(value) for value in request.POST.getall("item")])}


@view_config(route_name="item", request_method="GET", renderer="json")
def show_item(request: Request) -> Item:
    item: Item | None = request.dbsession.get(Item, int(request.matchdict["id"]))
    if item is None:
        raise HTTPNotFound(f"There is no item {request.matchdict['id']}.")
    return item


@view_config(route_name="processing", request_method="GET", renderer="json")
def show_processing(request: Request) -> dict[str, Any]:
    item_id = int(request.matchdict["id"])
    service = request.item_service
    return {"status": service.status(item_id), **asdict(service.progress(item_id))}


@view_config(route_name="processing", request_method="DELETE", renderer="json")
def cancel_processing(request: Request) -> dict[str, int]:
    item_id = int(request.matchdict["id"])
    request.item_service.cancel(item_id)
    return {"item": item_id}


@view_config(context=WorkflowNotFound, renderer="json")
def no_workflow(error: WorkflowNotFound, request: Request) -> dict[str, str]:
    request.response.status = 404
    return {"message": str(error)}
