"""An application under Sentry's own integration. `python watched.py` prints what Sentry would send."""

import json

import pyramid_temporal_compat

pyramid_temporal_compat.install_as_celery()

import celery  # noqa: E402
import sentry_sdk  # noqa: E402
from sentry_sdk.integrations.celery import CeleryIntegration  # noqa: E402
from sentry_sdk.transport import Transport  # noqa: E402


class Printed(Transport):
    def capture_envelope(self, envelope):  # type: ignore[no-untyped-def]
        for item in envelope.items:
            print(json.dumps({"type": item.type, **json.loads(item.get_bytes())}))


sentry_sdk.init("http://key@localhost/1", transport=Printed, integrations=[CeleryIntegration()], traces_sample_rate=1.0)
app = celery.Celery("shop")


@app.task(name="buy")
def buy(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} of them")
    return number


class Ledger(app.Task):
    name = "book"

    def __call__(self, number):  # type: ignore[no-untyped-def]
        return super().__call__(number)

    def run(self, number):  # type: ignore[no-untyped-def]
        raise KeyError(number)


book = app.register_task(Ledger())


if __name__ == "__main__":
    assert buy.apply((3,), throw=False).get() == 3
    assert buy.apply((-1,), throw=False).state == "FAILURE"
    assert book.apply((7,), throw=False).state == "FAILURE"
