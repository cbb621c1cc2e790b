"""A fired task under Sentry's integration. `python -m tests.schedules.under_sentry ADDRESS` prints its check-ins."""

import json
import sys
import uuid

import pyramid_temporal_compat

pyramid_temporal_compat.install_as_celery()

import celery  # noqa: E402
import sentry_sdk  # noqa: E402
from celery.schedules import crontab  # noqa: E402
from sentry_sdk.integrations.celery import CeleryIntegration  # noqa: E402
from sentry_sdk.transport import Transport  # noqa: E402


class Printed(Transport):
    def capture_envelope(self, envelope):  # type: ignore[no-untyped-def]
        for item in envelope.items:
            if item.type == "check_in":
                print(item.get_bytes().decode(), flush=True)


sentry_sdk.init("http://key@localhost/1", transport=Printed, integrations=[CeleryIntegration(monitor_beat_tasks=True)])

from tests.schedules.parts import synchronise, trigger  # noqa: E402
from tests.worker.shop import WorkerThread  # noqa: E402

if __name__ == "__main__":
    name = f"sentry-{uuid.uuid4().hex[:8]}"
    app = celery.Celery(name, **{"ptemporal.address": sys.argv[1]})
    app.conf.task_default_queue = name
    app.task(name="add")(lambda x, y: x + y)
    app.conf.beat_schedule = {"nightly": {"task": "add", "schedule": crontab(hour=3, minute=0), "args": (1, 2)}}
    synchronise(app)
    with WorkerThread(app, name):
        print(json.dumps({"result": app.AsyncResult(trigger(app, "nightly")).get(timeout=60)}), flush=True)
    app.conf["beat_schedule"].clear()
    synchronise(app)
    app.close()
