"""`python -m pyramid_temporal_compat.cli`: the command line, in the Python that runs this module."""

from . import main

main()
