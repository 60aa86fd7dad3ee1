"""Leaving the world, and an estimator that fails, as they were."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_OURS = {"skmissvae", "sklearn", "joblib"}


_SEEDED = threading.RLock()


_LOG = logging.getLogger("skmissvae")


def _renew() -> None:
    """Make a new lock: a child has that of a thread which it has not."""
    global _SEEDED
    _SEEDED = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


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


def user_stacklevel() -> int:
    """Return the ``stacklevel`` at which a warning of the caller names the user's own line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    return level


def log_progress(text: str, *values: object) -> None:
    """Log what a user has asked to be told: on stderr where nobody has set logging up."""
    if _LOG.hasHandlers():
        _LOG.info(text, *values)
    else:
        record = _LOG.makeRecord(_LOG.name, logging.INFO, "", 0, text, values, None)
        logging.StreamHandler().handle(record)


class SeededGenerators:
    """Makes torch's global generators a stream of one's own, for a while or several.

    Start values and dropout come from them. All threads share them: one at a time has them, for as
    long as a block lasts, and finds them where its last block left them. Afterwards they are what
    they were before.

    Parameters
    ----------
    seed : int
        Where the stream starts.
    device : torch.device
        Whose generator it is beside the host's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._reached: list[Tensor] = []

    @contextmanager
    def block(self) -> Iterator[None]:
        """Draw from the stream within the block."""
        there = self._device.type == "cuda"
        with _SEEDED, torch.random.fork_rng([self._device] if there else []):
            if self._reached:
                torch.set_rng_state(self._reached[0])
                if there:
                    torch.cuda.set_rng_state(self._reached[1], self._device)
            else:
                torch.default_generator.manual_seed(self._seed)
                if there:
                    with torch.cuda.device(self._device):
                        torch.cuda.manual_seed(self._seed)
            try:
                yield
            finally:
                self._reached = [torch.get_rng_state()]
                if there:
                    self._reached.append(torch.cuda.get_rng_state(self._device))


def full_precision(device: torch.device) -> torch.autocast:
    """Let numbers be as precise as they are written, whatever the user's autocast says."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Compute without gradients, and with numbers as precise as they are written."""
    with torch.inference_mode(), full_precision(device):
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
