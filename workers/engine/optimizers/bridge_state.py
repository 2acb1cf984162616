"""An optimizer object's memory as tensors, numbers, lists and dictionaries, so that a checkpoint can be read without running code.

torch's own `load_state_dict` casts floating-point state to the parameter's format and moves it to its device; here both are kept.
"""

from collections import deque
from enum import Enum
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

OURS = "pytorch_optimizer."
"""Objects of this package may stand in a state; nothing else is ever made from a checkpoint."""


def encode(value: Any) -> Any:
    """What `torch.load(weights_only=True)` can read.

    Raises:
        TypeError: of something that cannot be kept.
    """
    if value is None or isinstance(value, bool | str | torch.dtype) or type(value) in (int, float):
        return value
    if isinstance(value, Tensor):
        return {"tensor": value.detach(), "device": value.device.type}
    if type(value) in (tuple, torch.Size):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, deque):
        return {"deque": [encode(item) for item in value], "longest": value.maxlen}
    if isinstance(value, dict):
        return {"entries": [[encode(key), encode(item)] for key, item in value.items()]}
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    if isinstance(value, Enum) and name.startswith(OURS):
        return {"choice": name, "value": value.value}
    if hasattr(value, "__dict__") and name.startswith(OURS):
        return {"object": name, "attributes": encode(vars(value))}
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def decode(value: Any, device: torch.device) -> Any:
    """What was encoded; tensors on `device`, unless they were on the CPU."""
    if isinstance(value, list):
        return [decode(item, device) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return value["tensor"].to("cpu" if value["device"] == "cpu" else device).clone()
    if "tuple" in value:
        return tuple(decode(item, device) for item in value["tuple"])
    if "deque" in value:
        return deque((decode(item, device) for item in value["deque"]), maxlen=value["longest"])
    if "entries" in value:
        return {decode(key, device): decode(item, device) for key, item in value["entries"]}
    cls = _class(value.get("choice") or value["object"])
    if "choice" in value:
        return cls(value["value"])
    made = cls.__new__(cls)
    vars(made).update(decode(value["attributes"], device))
    return made


def _class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module.startswith(OURS):
        raise TypeError(f"a checkpoint of ours holds nothing of {module}")
    return getattr(import_module(module), attribute)
