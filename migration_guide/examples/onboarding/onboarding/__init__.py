"""A site whose new users get a welcome, and a second mail a day later."""

import os
from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router

ENVIRONMENT = {"DATABASE_URL": "sqlalchemy.url", "MAIL_SENDER": "onboarding.sender"}
"""Variables that win over the ini. The `TEMPORAL_*` variables are read by pyramid_temporal_compat itself."""


def main(global_config: dict[str, str], **settings: Any) -> Router:
    settings.update({key: os.environ[name] for name, key in ENVIRONMENT.items() if name in os.environ})
    with Configurator(settings=settings) as config:
        config.include(".models")
        config.add_route("users", "/users")
        config.add_route("user", "/users/{id:\\d+}")
        config.add_route("batches", "/batches")
        config.scan()
        return config.make_wsgi_app()
