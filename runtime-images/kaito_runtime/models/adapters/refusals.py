"""Why an adapter is not served: each sentence names the true reason, and what to do."""

from collections.abc import Sequence

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure


def refusal(name: str, what: str) -> Failure:
    """Return the failure of an adapter."""
    return Failure(Reason.ADAPTER_INVALID, f'adapter "{name}" can\'t be served: {what}')


def listed(names: Sequence[str]) -> str:
    """Return the first name, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f'"{names[0]}"{more}'


def fits_no_layer(name: str, unknown: Sequence[str]) -> Failure:
    """Return the failure for tensors of layers that the base does not have."""
    return refusal(
        name,
        f"its file has tensors of {listed(unknown)}, which fit no layer; was it tuned on another base "
        "model?",
    )


def lacks(name: str, what: str) -> Failure:
    """Return the failure for tensors that the configuration names and the file does not have."""
    return refusal(name, f"its file lacks {what}; push it again, or tune again")


def unexpected(name: str, what: str) -> Failure:
    """Return the failure for tensors that the configuration does not name."""
    return refusal(name, f"its file has {what}; push it again, or tune again")


def other_shape(name: str, what: str, found: Sequence[int], wanted: Sequence[int]) -> Failure:
    """Return the failure for a tensor of another shape than the base and the configuration ask for."""
    return refusal(
        name,
        f"its {what} is {list(found)}, and this base and its own configuration need {list(wanted)}; "
        "was it tuned on another base model?",
    )


def other_vocabulary(name: str, module: str, found: int, wanted: int) -> Failure:
    """Return the failure for an embedding of another length."""
    return refusal(
        name,
        f'its "{module}" has {found} rows, and that of the base {wanted}: it was tuned on another base '
        "model, or after tokens were added to the vocabulary; serve it on the base with those tokens",
    )


def unsupported_layer(name: str, module: str, kind: str) -> Failure:
    """Return the failure for a layer whose change is not built here."""
    return refusal(
        name,
        f'it changes "{module}", which is {kind}: only linear layers, embeddings and normalisations that '
        "see every token can differ from row to row; tune without it",
    )


def base_was_changed(name: str, module: str, init: str, why: str) -> Failure:
    """Return the failure for an initialisation that changed more than can be known here."""
    return refusal(
        name,
        f'its training began by taking a part out of the weights of "{module}" ({init}), and {why}',
    )


def without_effect(name: str, dtype: str) -> Failure:
    """Return the failure for an update that is lost in the rounding of a number type."""
    return refusal(
        name,
        f"its update is not zero, and yet changes no answer: it is too small for {dtype}; tune for longer "
        "or with a higher learning rate",
    )
