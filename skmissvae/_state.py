"""Leaving the world, and an estimator that fails, as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


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


@contextmanager
def local_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for start values and dropout, and put them back."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
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
