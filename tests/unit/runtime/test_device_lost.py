"""After an error that the device does not survive, the program ends and says so."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Never

import pytest

from kaito_contract.reasons import Reason
from kaito_runtime import serve
from kaito_runtime.pod import device, termination
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.start import StartLedger

from tests.harness.echo_engine import EchoEngine
from tests.harness.server_process import server_process
from tests.unit.runtime.conftest import FailureOf


class AcceleratorError(RuntimeError):
    """Named as torch's, which has no public constructor in all releases."""


LOST = [
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: misaligned address"),
    RuntimeError("CUDA error: the launch timed out and was terminated"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: uncorrectable NVLink error detected during the execution"),
    RuntimeError("CUDA error: unknown error"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("NVML: GPU is lost"),
    RuntimeError("NVRM: Xid (PCI:0001:00:00): 79, GPU has fallen off the bus."),
    RuntimeError("No CUDA-capable device is detected"),
    AcceleratorError("CUDA error: device-side assert triggered"),
    AcceleratorError("CUDA error: a word of a driver of tomorrow"),
]
SURVIVED = [
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    AcceleratorError("CUDA error: out of memory"),
    AcceleratorError("CUDA error: invalid argument"),
    AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`"),
    RuntimeError("shape '[2, 3]' is invalid for input of size 5"),
    RuntimeError("no Xidentifier"),
    ValueError("the row says: device-side assert triggered"),  # quotes the data
    KeyError("unspecified launch failure"),
]


@pytest.mark.parametrize("error", LOST, ids=str)
def test_words_after_which_the_device_is_lost(error: BaseException) -> None:
    assert device.is_lost(error)


@pytest.mark.parametrize("error", SURVIVED, ids=str)
def test_words_that_the_device_survives(error: BaseException) -> None:
    assert not device.is_lost(error)


def test_an_error_that_followed_from_a_lost_device_is_one_too() -> None:
    try:
        try:
            raise LOST[0]
        except RuntimeError:
            raise KeyError("step") from None
    except KeyError as error:
        failure = termination.unexpected(error)
    assert failure.reason is Reason.DEVICE_LOST
    assert "RuntimeError: CUDA error: device-side assert triggered)" in failure.message


@pytest.mark.runtime
def test_a_device_that_is_lost_while_loading_is_not_blamed_on_the_weights(
    weights: Path, monkeypatch: pytest.MonkeyPatch, failure_of: FailureOf
) -> None:
    from transformers import AutoModelForCausalLM

    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import load

    def lose(*_: object, **__: object) -> Never:
        raise LOST[1]

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lose)
    placement = load.choose_placement("float32")
    failure = failure_of(load.load_base, weights, placement, QuantizationConfig())
    assert failure.reason is Reason.DEVICE_LOST


@pytest.mark.parametrize("reason", [Reason.DEVICE_LOST, Reason.INTERNAL_ERROR])
def test_a_server_whose_engine_ends_by_itself_ends_with_its_reason(reason: Reason) -> None:
    engine = EchoEngine()

    def load(_start: StartLedger) -> EchoEngine:
        threading.Timer(0.01, engine.ended.set_result, [Failure(reason, "x")]).start()
        return engine

    failure = asyncio.run(serve.serve(load, "127.0.0.1", 0, ServerState("text-generation")))
    assert failure
    assert failure.reason is reason


@pytest.mark.runtime
def test_the_server_tells_its_clients_and_ends_with_code_1_and_its_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with server_process(tmp_path, "tests.harness.scripted_server", str(port)) as (process, _):

        def chat(prompt: str) -> http.client.HTTPResponse:
            body = json.dumps({"prompt": prompt, "generate_kwargs": {"max_new_tokens": 2}})
            url = f"http://127.0.0.1:{port}/chat"
            answer: http.client.HTTPResponse = urllib.request.urlopen(
                url, body.encode(), timeout=20
            )
            return answer

        assert json.loads(chat("Where").read()) == {"Result": "Whereaa"}
        with pytest.raises(urllib.error.HTTPError) as refused:
            chat("<compute Assert>")
        assert refused.value.code == 503
        assert refused.value.headers["Retry-After"] == "1"
        refused.value.close()
        assert process.wait(timeout=20) == 1
        message = json.loads((tmp_path / "dev/termination-log").read_text())
        assert message["reason"] == "DeviceLost"
        assert "device-side assert triggered" in message["message"]
