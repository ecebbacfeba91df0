"""`python -m cruor` is the command `cruor`."""

from cruor.cli import main

main()
