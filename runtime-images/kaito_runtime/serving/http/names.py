"""The names by which requests choose what answers: the base, an adapter, or what is served by default."""

from collections.abc import Sequence

from kaito_runtime.serving.engine import BASE, AdapterNotFoundError, ChatEngine

DEFAULT = "default"
"""What is served where a request names nothing: the base with all adapters together."""


def served_names(engine: ChatEngine) -> Sequence[str]:
    """Return every name that a request can write, the default first."""
    return [DEFAULT, engine.model().name, *(each.name for each in engine.adapters())]


def adapter_of(engine: ChatEngine, name: str | None, field: str) -> str | None:
    """Return the adapter that a name means; raises AdapterNotFoundError with all names.

    An adapter that is called as the base or the default is still found.
    """
    if name is None or name in {each.name for each in engine.adapters()}:
        return name
    if name == DEFAULT:
        return None
    if name in (BASE, engine.model().name):
        return BASE
    known = ", ".join(f'"{each}"' for each in served_names(engine))
    raise AdapterNotFoundError(f"must be one of {known}; not found: {_short(name)}", field)


def label_of(adapter: str | None) -> str:
    """Return how metrics name an adapter: `default` for all together, `none` for the base alone."""
    return DEFAULT if adapter is None else adapter or "none"


def _short(name: str) -> str:
    return f'"{name}"' if len(name) <= 80 else f'"{name[:80]}..."'
