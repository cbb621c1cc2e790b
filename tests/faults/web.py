"""The web process: `python -m tests.faults.web app.ini PORT`."""

from __future__ import annotations

import logging
import sys

import waitress
from pyramid.scripts.common import get_config_loader

THREADS = 8


def main(ini: str, port: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    app = get_config_loader(ini).get_wsgi_app()
    print("serving", flush=True)
    waitress.serve(app, host="127.0.0.1", port=int(port), threads=THREADS, _quiet=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
