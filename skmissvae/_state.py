"""Leaving the world, and an estimator that fails, as they were."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_OURS = {"skmissvae", "sklearn", "joblib"}
_SEEDED = threading.RLock()
_LOG = logging.getLogger("skmissvae")


@contextmanager
def unchanged_on_error(estimator: object) -> Iterator[None]:
    """Put all attributes back if the block raises, but those of a running callback."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        attributes = vars(estimator)
        running = {k: v for k, v in attributes.items() if k.startswith(("_callback", "_skl"))}
        attributes.clear()
        attributes.update(before | running)
        raise


def users_level() -> int:
    """Return the ``stacklevel`` at which a warning of the caller names the user's own line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    return level


def tell(text: str, *values: object) -> None:
    """Log what a user has asked to be told: on stderr where nobody has set logging up."""
    if _LOG.hasHandlers():
        _LOG.info(text, *values)
    else:
        record = _LOG.makeRecord(_LOG.name, logging.INFO, "", 0, text, values, None)
        logging.StreamHandler().handle(record)


@contextmanager
def local_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for start values and dropout, and put them back.

    All threads share these: one at a time has them.
    """
    devices = [device] if device.type == "cuda" else []
    with _SEEDED, torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def own_precision(device: torch.device) -> torch.autocast:
    """Let numbers be as precise as they are written, whatever the user's autocast says."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Compute without gradients, and with numbers as precise as they are written."""
    with torch.inference_mode(), own_precision(device):
        yield


def convert(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Apply a function to all values of a kind within nested dicts and lists."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {key: convert(item, kind, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(convert(item, kind, function) for item in value)
    return value
