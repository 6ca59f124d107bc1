"""`python -m fullcircle.cli` is `fullcircle`."""

from fullcircle.cli import main

main()
