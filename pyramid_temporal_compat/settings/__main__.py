"""`python -m pyramid_temporal_compat.settings [PAGE]`: print the tables of settings, or refresh them in PAGE."""

import sys
from pathlib import Path

from .page import refreshed, tables

if len(sys.argv) > 1:
    page = Path(sys.argv[1])
    page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
else:
    sys.stdout.write(tables())
