"""`python -m edgeslm` is the command `edgeslm`."""

from edgeslm.cli.main import main

if __name__ == "__main__":
    main()
