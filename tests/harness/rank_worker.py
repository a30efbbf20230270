"""One of several processes that compute a model together; does what a test has written down for it."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaito_runtime.pod import torchrun

SECONDS = 120


def together(job: dict[str, Any], count: int = 2) -> Any:
    """Let so many processes do a job, and return what rank 0 made of it."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        result, port = Path(folder) / "result.pt", free_port()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.harness.rank_worker", repr(job), str(result)],
                env={
                    **os.environ,
                    **torchrun.on_one_node(rank, count, port),
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": ":".join(sys.path),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(count)
        ]
        try:
            said = [process.communicate(timeout=SECONDS)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        codes = [process.returncode for process in processes]
        assert codes == [0] * count, "\n".join(said)
        return torch.load(result)


def free_port() -> int:
    """Return a port at which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def main(job: dict[str, Any], result: Path) -> None:
    """Join the others and do the job."""
    import torch

    from kaito_runtime.models import load, ranks

    load.quiet()
    joined = ranks.join()
    made = {"logits": logits, "answers": answers}[job["do"]](job, joined)
    if joined.rank == 0:
        torch.save(made, result)


def loaded(weights: str, joined: Any) -> Any:
    """Return this process's part of a model."""
    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import load

    placement = load.choose_placement("float32", joined)
    return load.load_base(Path(weights), placement, QuantizationConfig())


def logits(job: dict[str, Any], joined: Any) -> Any:
    """Return the logits of some rows, for each adapter of each model beside another one."""
    import torch

    from kaito_runtime.models.adapters import StackedAdapters

    made = {}
    for architecture, model in job["models"].items():
        network = loaded(model["weights"], joined)
        adapters = StackedAdapters(network)
        adapters.add("other", Path(model["other"]))
        ids = torch.tensor([job["ids"]] * len(job["rows"]))
        for kind, folder in model["kinds"].items():
            adapters.add("it", Path(folder))
            with torch.inference_mode(), adapters.rows(job["rows"]):
                made[f"{architecture}: {kind}"] = network(input_ids=ids).logits
            adapters.remove("it")
    joined.leave()
    return made


def answers(job: dict[str, Any], joined: Any) -> Any:
    """Return the tokens of several requests that an engine answers at once, or why it refuses one."""
    from kaito_runtime.models import load
    from kaito_runtime.models.adapters import StackedAdapters, Verifier, provenance_of
    from kaito_runtime.serving.engine import Prompt
    from kaito_runtime.serving.engines.transformers.engine import EngineLimits, TransformersEngine
    from kaito_runtime.serving.engines.transformers.following import FollowingEngine
    from kaito_runtime.serving.engines.transformers.replica import Replica
    from kaito_runtime.serving.sampling import RequestRefusedError

    from tests.harness.engine_client import EngineClient

    weights, network = Path(job["weights"]), loaded(job["weights"], joined)
    tokenizer = load.load_tokenizer(weights)
    verifier = Verifier(StackedAdapters(network), provenance_of(weights, tokenizer), tokenizer)
    if joined.rank:
        follower = FollowingEngine(
            Replica(network, network.config.get_text_config().vocab_size, verifier, joined)
        )
        failure = follower.ended.result()
        assert failure is None, failure
        return None
    limits = EngineLimits(cache_bytes=job.get("cache_bytes"))
    engine = TransformersEngine(network, tokenizer, adapters=verifier, limits=limits, ranks=joined)
    client = EngineClient(engine, SECONDS)
    try:
        engine._prove()  # as after a step that has raised
        for name, folder in job["adapters"].items():
            client.engine.load_adapter(name, Path(folder), 1.0)
        waiting = [
            client.submit(Prompt(ids=tuple(ids)), adapter, logprobs=0, **settings)
            for ids, adapter, settings in job["requests"]
        ]
        found = [each.result(SECONDS).ids for each in waiting]
        refused: list[str] = []
        for ids, settings in job.get("refused", ()):
            try:
                client.ask(Prompt(ids=tuple(ids)), **settings)
            except RequestRefusedError as error:
                refused.append(str(error))
        for name in job["adapters"]:
            client.engine.unload_adapter(name)
        load_of_engine = client.engine.load()
        return {
            "tokens": found,
            "refused": refused,
            "preemptions": load_of_engine.preemptions,
            "prefix_tokens_found": load_of_engine.prefix_tokens_found,
        }
    finally:
        client.close()


def run(arguments: Sequence[str]) -> None:
    main(ast.literal_eval(arguments[0]), Path(arguments[1]))


if __name__ == "__main__":
    run(sys.argv[1:])
