"""The adapters of an engine, by the names that requests use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kaito_runtime.models import load as memory
from kaito_runtime.models.adapters import LoadedAdapter, Verifier
from kaito_runtime.models.rendering import Rendering, common_rendering
from kaito_runtime.models.verification import Verification
from kaito_runtime.serving.engine import BASE, AdapterInfo, AdapterNotFoundError
from kaito_runtime.serving.engines.intake import Intake
from kaito_runtime.serving.engines.transformers.replica import Replica
from kaito_runtime.serving.sampling import RequestRefusedError

Prove = Callable[[Mapping[str, float]], None]
"""Computes one token with adapters; raises what the model raises."""


class NamedAdapters:
    """What requests can name; loaded and unloaded on the engine's thread, between two steps."""

    def __init__(
        self,
        verifier: Verifier | None,
        base: str,
        intake: Intake,
        prove: Prove,
        replica: Replica | None = None,
    ):
        """`base` is the name of the model without an adapter; `replica` loads where there is one."""
        self._verifier = verifier
        self._replica = replica
        self._base = base
        self._intake = intake
        self._prove = prove
        self._leaving: set[str] = set()

    def prove(self) -> None:
        """Compute a token with each; raises what the model raises."""
        for name in self._loaded():
            self._prove({name: 1.0})

    def infos(self) -> Sequence[AdapterInfo]:
        """Return what requests can name, in the order of the names."""
        loaded = self._loaded()
        proven = dict(self._verifier.verifications) if self._verifier else {}
        return [
            _info(loaded[name], proven.get(name))
            for name in sorted(loaded)
            if name not in self._leaving
        ]

    def weights(self, adapter: str | None) -> Mapping[str, float]:
        """Return the adapters of a request with their strengths; None asks for all together.

        Raises AdapterNotFoundError.
        """
        infos = {each.name: each for each in self.infos()}
        if adapter is None:
            return {name: each.strength for name, each in infos.items()}
        if adapter in infos:
            return {adapter: infos[adapter].strength}
        if adapter in (BASE, self._base):
            return {}
        names = ", ".join(f'"{name}"' for name in infos) or "none"
        raise AdapterNotFoundError(f'"{adapter[:80]}" not found; there are: {names}', "adapter")

    def rendering(self, adapter: str | None) -> Rendering:
        """Return how the rows of a request's adapters were rendered."""
        if adapter == BASE:
            return Rendering()
        return common_rendering(
            each.rendering for name, each in self._loaded().items() if adapter in (None, name)
        )

    def load(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        """Add one, of which a token has been computed; see ChatEngine."""
        verifier = self._verifier
        if verifier is None:
            raise RequestRefusedError("is not possible with this engine", "adapter")
        if name in (*self._loaded(), self._base):
            raise RequestRefusedError(f'"{name}" is loaded already; unload it first', "adapter")

        def add() -> AdapterInfo:
            with memory.device_faults(f'loading the adapter "{name}"'):
                loaded, verification = (
                    self._replica.add_adapter(name, folder, strength)
                    if self._replica
                    else verifier.add(name, folder, strength)
                )
                try:
                    self._prove({name: 1.0})
                except BaseException:
                    self._remove(name)
                    raise
            return _info(loaded, verification)

        added: AdapterInfo = self._intake.call(add)
        return added

    def unload(self, name: str) -> None:
        """Remove one, after the requests that use it; see ChatEngine."""
        verifier = self._verifier
        if verifier is None or name not in {each.name for each in self.infos()}:
            raise AdapterNotFoundError(f'"{name}" not found', "adapter")
        self._leaving.add(name)
        try:
            self._intake.wait_until_unused(name)
            self._intake.call(lambda: self._remove(name))
        finally:
            self._leaving.discard(name)

    def _remove(self, name: str) -> None:
        if self._replica:
            self._replica.remove_adapter(name)
        elif self._verifier:
            self._verifier.remove(name)

    def _loaded(self) -> Mapping[str, LoadedAdapter]:
        return dict(self._verifier.adapters.loaded) if self._verifier else {}


def _info(adapter: LoadedAdapter, verification: Verification | None) -> AdapterInfo:
    details = {
        "rank": adapter.rank,
        "kinds": list(adapter.kinds),
        "layers": adapter.layers,
        "bytes": adapter.bytes,
        "is_zero": adapter.is_zero,
        "rendering": str(adapter.rendering.form),
    }
    return AdapterInfo(adapter.name, adapter.strength, details, verification)
