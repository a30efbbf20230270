"""torchrun's variables: which of several processes this one is. Needs no torch."""

import os
from collections.abc import Mapping

PORT = 29500
"""At which the processes meet; torchrun's default, and Kaito's."""


def rank() -> int:
    """Return the number of this process among all, 0 where it is alone."""
    return int(os.environ.get("RANK") or 0)


def size() -> int:
    """Return how many processes there are."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def local_rank() -> int:
    """Return the number of this process among those of its node, and so of its GPU."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def on_one_node(number: int, count: int, port: int = PORT) -> Mapping[str, str]:
    """Return the variables of one of several processes of this node, as torchrun sets them."""
    return {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
