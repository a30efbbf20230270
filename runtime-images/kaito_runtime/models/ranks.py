"""The processes that compute one model together, each with a part of every layer (tensor parallel).

torchrun starts them, or the first of them does (`serving/followers.py`). Rank 0 decides, and says to the
others what to compute; all compute it, and none goes on without the others. What they say to each other goes
over gloo, what the model's layers exchange over NCCL, or gloo on CPUs.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from kaito_contract.reasons import Reason
from kaito_runtime.pod import torchrun
from kaito_runtime.pod.termination import Failure

STEP_SECONDS = 600
"""How long one rank waits for another inside a step: as long as the engine's watchdog."""
_FOR_EVER = timedelta(days=365)
"""A follower waits for its next command while nobody asks anything; a rank that ends is noticed at once."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that compute a model; alone, every method returns at once."""

    rank: int = 0
    size: int = 1
    commands: Any = None
    """torch's group for commands and agreements."""

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def tell(self, command: Any) -> None:
        """Say to all others what to do; rank 0 does, and what the others call has no effect."""
        if self.are_several and self.rank == 0:
            self._exchange([command])

    def receive(self) -> Any:
        """Wait for what rank 0 tells."""
        received: list[Any] = [None]
        self._exchange(received)
        return received[0]

    def gather(self, own: Any) -> list[Any]:
        """Return what each rank has, in their order; every rank calls it."""
        if not self.are_several:
            return [own]
        found: list[Any] = [None] * self.size
        try:
            distributed.all_gather_object(found, own, group=self.commands)
        except RuntimeError as error:
            raise lost(error) from None
        return found

    def leave(self) -> None:
        """End the group; what the others ask of it from now on fails."""
        if self.are_several:
            distributed.destroy_process_group()

    def _exchange(self, objects: list[Any]) -> None:
        try:
            distributed.broadcast_object_list(
                objects, src=0, group=self.commands, device=torch.device("cpu")
            )
        except RuntimeError as error:
            raise lost(error) from None


ALONE = Ranks()


def join() -> Ranks:
    """Meet the others at MASTER_ADDR and MASTER_PORT (torchrun's variables).

    Raises Failure where they do not come within ten minutes.
    """
    if torchrun.size() == 1:
        return ALONE
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(torchrun.local_rank())
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpus else "gloo", timeout=timedelta(seconds=STEP_SECONDS)
        )
        commands = distributed.new_group(backend="gloo", timeout=_FOR_EVER)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise Failure(
            Reason.PEER_LOST,
            f"the {torchrun.size()} processes of the model did not meet at {where} "
            f"({_first_line(error)}); each pod must reach that address",
        ) from None
    return Ranks(distributed.get_rank(), distributed.get_world_size(), commands)


def lost(error: BaseException) -> Failure:
    """Return the failure for processes that no longer compute together."""
    return Failure(
        Reason.PEER_LOST,
        f"the processes of the model no longer compute together ({_first_line(error)}); the one that "
        "failed first has the reason in its log",
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
