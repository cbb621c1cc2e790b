"""Runs `python -m pyramid_temporal_compat.as_celery PROGRAM …`, which `program.py` describes."""

import sys

from .program import main

if __name__ == "__main__":
    main(sys.argv[1:])
