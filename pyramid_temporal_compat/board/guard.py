"""Decides who may use the board: permissions, tokens against forged forms, and the headers of each answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pyramid.csrf import CookieCSRFStoragePolicy, LegacySessionCSRFStoragePolicy, check_csrf_origin
from pyramid.httpexceptions import HTTPBadRequest, HTTPForbidden
from pyramid.interfaces import ICSRFStoragePolicy, ISecurityPolicy, ISessionFactory
from pyramid.request import Request
from pyramid.response import Response

View = Callable[[Any, Request], Response]

VIEW, CONTROL = "ptemporal.view", "ptemporal.control"
"""The permissions. An application grants them as it grants its own."""
TOKEN = "csrf_token"
"""The field of each form that holds the token."""
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def may(request: Request, permission: str) -> bool:
    """Return whether the application grants the permission.

    Without a security policy, Pyramid allows everything. The board denies everything then.
    """
    if request.registry.queryUtility(ISecurityPolicy) is None:
        return False
    return bool(request.has_permission(permission))


def guarded(permission: str, view: View) -> View:
    """Return a view that only people with the permission reach, and whose answers have the board's headers.

    The application's own view for forbidden requests answers everybody else, for example with its login.
    """

    @functools.wraps(view)
    def checked(context: Any, request: Request) -> Response:
        refuse_unreadable(request)
        if not may(request, permission):
            raise HTTPForbidden(
                f"The board needs the permission {permission}, and the application does not grant it to you."
            )
        if request.method == "POST":
            refuse_forged(request)
        response = view(context, request)
        response.headers.update(HEADERS)
        return response

    return checked


def refuse_unreadable(request: Request) -> None:
    """Raise if the query or the form is not UTF-8."""
    try:
        request.GET, request.POST  # noqa: B018  WebOb decodes them when they are asked for
    except UnicodeDecodeError:
        raise HTTPBadRequest("The address or the form is not UTF-8.") from None


def refuse_forged(request: Request) -> None:
    """Raise if the form does not come from a page of the board."""
    supplied = request.POST.get(TOKEN, "")
    # Tokens are ASCII. Pyramid before 2.1 raises an error for a text that is not Latin-1.
    is_token = isinstance(supplied, str) and bool(supplied) and supplied.isascii()
    good = is_token and token_storage(request).check_csrf_token(request, supplied)
    if not good or not check_csrf_origin(request, allow_no_origin=True, raises=False):
        raise HTTPBadRequest("The form is too old, or it was not sent from the board. Open the page again.")


def token_of(request: Request) -> str:
    """Return the token that forms carry."""
    return str(token_storage(request).get_csrf_token(request))


def token_storage(request: Request) -> Any:
    """Return the application's storage of tokens.

    Without sessions, an application has no storage. The board then keeps the token in a cookie.
    """
    storage = request.registry.queryUtility(ICSRFStoragePolicy)
    if isinstance(storage, LegacySessionCSRFStoragePolicy) and request.registry.queryUtility(ISessionFactory) is None:
        return CookieCSRFStoragePolicy(
            cookie_name="ptemporal_csrf", secure=request.scheme == "https", httponly=True, samesite="Strict"
        )
    return storage
