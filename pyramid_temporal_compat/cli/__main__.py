"""`python -m pyramid_temporal_compat.cli`: the command line, for a Python that is not the one of the script."""

from . import main

main()
