"""The adapters of an engine, by the names that requests use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kaito_runtime.models import load as memory
from kaito_runtime.models.adapters import LoadedAdapter, StackedAdapters
from kaito_runtime.models.rendering import Rendering, common_rendering
from kaito_runtime.serving.engine import BASE, AdapterInfo, AdapterNotFoundError
from kaito_runtime.serving.engines.intake import Intake
from kaito_runtime.serving.sampling import RequestRefusedError

Prove = Callable[[Mapping[str, float]], None]
"""Computes one token with adapters; raises what the model raises."""


class NamedAdapters:
    """What requests can name; loaded and unloaded on the engine's thread, between two steps."""

    def __init__(self, stacked: StackedAdapters | None, base: str, intake: Intake, prove: Prove):
        """`base` is the name of the model without an adapter."""
        self._stacked = stacked
        self._base = base
        self._intake = intake
        self._prove = prove
        self._leaving: set[str] = set()

    def prove(self) -> None:
        """Compute a token with each; raises what the model raises."""
        for name in self._stacked.names if self._stacked else ():
            self._prove({name: 1.0})

    def infos(self) -> Sequence[AdapterInfo]:
        """Return what requests can name, in the order of the names."""
        loaded = self._loaded()
        return [_info(loaded[name]) for name in sorted(loaded) if name not in self._leaving]

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
        stacked = self._stacked
        if stacked is None:
            raise RequestRefusedError("is not possible with this engine", "adapter")
        if name in (*stacked.names, self._base):
            raise RequestRefusedError(f'"{name}" is loaded already; unload it first', "adapter")

        def add() -> LoadedAdapter:
            with memory.device_faults(f'loading the adapter "{name}"'):
                loaded = stacked.add(name, folder, strength)
                try:
                    self._prove({name: 1.0})
                except BaseException:
                    stacked.remove(name)
                    raise
            return loaded

        return _info(self._intake.call(add))

    def unload(self, name: str) -> None:
        """Remove one, after the requests that use it; see ChatEngine."""
        stacked = self._stacked
        if stacked is None or name not in {each.name for each in self.infos()}:
            raise AdapterNotFoundError(f'"{name}" not found', "adapter")
        self._leaving.add(name)
        try:
            self._intake.wait_until_unused(name)
            self._intake.call(lambda: stacked.remove(name))
        finally:
            self._leaving.discard(name)

    def _loaded(self) -> Mapping[str, LoadedAdapter]:
        return dict(self._stacked.loaded) if self._stacked else {}


def _info(adapter: LoadedAdapter) -> AdapterInfo:
    details = {
        "rank": adapter.rank,
        "kinds": list(adapter.kinds),
        "layers": adapter.layers,
        "bytes": adapter.bytes,
        "is_zero": adapter.is_zero,
        "rendering": str(adapter.rendering.form),
    }
    return AdapterInfo(adapter.name, adapter.strength, details)
