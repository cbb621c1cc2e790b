"""The web side: people sign up, and see how far their onboarding is."""

from typing import Any

from pyramid.httpexceptions import HTTPBadRequest, HTTPNotFound
from pyramid.request import Request
from pyramid.view import view_config

from .models import User
from .workflows import OnboardUser, OnboardUsers


@view_config(route_name="users", request_method="POST", renderer="json")
def sign_up(request: Request) -> dict[str, Any]:
    user = User(email=email_of(request.POST.get("email")))
    request.dbsession.add(user)
    request.dbsession.flush()
    handle = request.temporal.start_workflow(OnboardUser.run, user.id, id=f"onboarding-{user.id}")
    return {"user": user.id, "workflow": handle.id}  # pyramid_tm commits, then the workflow starts


@view_config(route_name="batches", request_method="POST", renderer="json")
def import_users(request: Request) -> dict[str, Any]:
    users = [User(email=email_of(email)) for email in request.POST.getall("email")]
    request.dbsession.add_all(users)
    request.dbsession.flush()
    ids = [user.id for user in users]
    handle = request.temporal.start_workflow(OnboardUsers.run, ids)
    return {"users": ids, "workflow": handle.id}


@view_config(route_name="user", request_method="GET", renderer="json")
def show_user(request: Request) -> User:
    user: User | None = request.dbsession.get(User, int(request.matchdict["id"]))
    if user is None:
        raise HTTPNotFound(f"There is no user {request.matchdict['id']}.")
    return user


def email_of(value: str | None) -> str:
    if not value:
        raise HTTPBadRequest("Send a form with the field email.")
    return value
