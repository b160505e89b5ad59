"""`python -m edgeslm` is the command `edgeslm`."""

from edgeslm.cli import main

main()
