"""The files of an adapter, as peft writes them, and the refusal of one that can't be served."""

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def refusal(name: str, what: str) -> Failure:
    """Return the failure that says why an adapter is not served, and what to do."""
    return Failure(Reason.ADAPTER_INVALID, f'adapter "{name}" can\'t be served: {what}')
