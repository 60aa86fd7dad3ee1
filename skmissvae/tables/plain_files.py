"""Files of plain values: JSON and arrays in the format of safetensors, with their SHA-256."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .._utils.files import replaced_file

#: Errors of the content of a file that is damaged or was written by another program.
INVALID = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError),
    *(AssertionError, RecursionError, SafetensorError),
)


def write_plain_file(
    path: str | os.PathLike[str], kind: str, content: Any, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write JSON and arrays; the file at the path is replaced when the new one is complete.

    Parameters
    ----------
    path : str or path-like
        The file.
    kind : str
        What the file is, as in ``read_plain_file``.
    content : object
        Values that JSON has.
    arrays : mapping of str to ndarray
        The arrays.
    """
    text = json.dumps(content)
    header = {kind: text, "sha256": digest(text, arrays)}
    data = safetensors.numpy.save(dict(arrays), header)
    with replaced_file(path) as file:
        file.write(data)


def read_plain_file(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parsed JSON and the arrays of a file, after a check of its SHA-256.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If its content is damaged or of another kind; the message is the reason.
    """
    Path(path).open("rb").close()  # errors of the system name the file
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in list(file.keys())}
        text = header[kind]
        is_intact = digest(text, arrays) == header["sha256"]
        content = json.loads(text)
    except (*INVALID, OSError) as error:
        raise ValueError(str(error)) from error
    if not is_intact:
        raise ValueError("its SHA-256 differs from that of its content")
    return content, arrays


def digest(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of the text and of names, types, shapes and bytes of the arrays."""
    result = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        result.update(f"{name} {array.dtype.str} {array.shape}".encode())
        result.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return result.hexdigest()
