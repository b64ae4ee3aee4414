"""The tensors of a generator's graph: the inputs for some options, and the check against the signature."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.errors import InputError, ModelFileError
from charrnn_runtime.sampling.draw import SamplingOptions

Reals = NDArray[np.floating]


def scalars(options: SamplingOptions, real: type[np.floating[Any]]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a graph for some options; top_k 0 and top_p 1 mean off.

    Raises:
        InputError: Some tokens are banned, for which graphs have no input.
    """
    if options.banned:
        raise InputError("generate: no token can be banned inside a graph; leave `banned` out, or drive the step")
    return {
        "temperature": np.array(options.temperature, real),
        "top_k": np.array(options.top_k or 0, np.int32),
        "top_p": np.array(options.top_p or 1, real),
    }


def check_tensors(
    received: Mapping[str, tuple[str, int]], expected: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    """Check the tensors of a graph, inputs and outputs together, against its signature.

    Args:
        received: Type and number of axes, by name.
        expected: The signature, from `charrnn_runtime.core.signature.generate_signature`.
        name: The name of the file in error messages.

    Raises:
        ModelFileError: A tensor is missing, is not in the signature, or has another type.
    """
    tensors = {**expected["inputs"], **expected["outputs"]}
    legal = {key: (tensor["dtype"], len(tensor["shape"])) for key, tensor in tensors.items()}
    for key in sorted({*legal, *received}):
        if legal.get(key) != received.get(key):
            raise ModelFileError(
                f"{name} holds no generator of charrnn's: expected {key} to be {_describe(legal.get(key))}, "
                f"received {_describe(received.get(key))}"
            )


def _describe(tensor: tuple[str, int] | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]} with {tensor[1]} axes"
