"""The log of a program: start-up, warnings and errors, on standard error; progress is printed."""

import logging
import sys

LOGGER = "kaito_runtime"


def start() -> None:
    """Write our own records, one line each; those of the libraries are theirs to switch on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
