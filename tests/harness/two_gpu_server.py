"""The model server on a node that seems to have two GPUs: it starts a process for the second; both compute on
the CPU."""

from __future__ import annotations

import torch

from kaito_runtime import serve
from kaito_runtime.pod import termination

if __name__ == "__main__":
    torch.cuda.device_count = lambda: 2
    termination.run(serve.main)
