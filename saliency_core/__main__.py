"""`python -m saliency_core`."""

from saliency_core.cli import main

main()
