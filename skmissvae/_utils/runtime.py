"""Global state: random generators, precision, and attributes after an error."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .compat import default_device
from .matmul import separate_rows

_OURS = {"skmissvae", "sklearn", "joblib"}


_GENERATORS_LOCK = threading.RLock()


_CPU = torch.device("cpu")


class _SinglePrecision:
    """float32 as torch's default data type, within blocks of all threads.

    The first block sets it, and the last one to end restores the user's.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._blocks: set[object] = set()  # that have begun
        self._before = torch.float32

    @contextmanager
    def block(self) -> Iterator[None]:
        """Use float32 within the block."""
        block = object()
        try:  # Ctrl-C may come before the block begins
            with self.lock:
                if not self._blocks:
                    self._before = torch.get_default_dtype()
                self._blocks.add(block)
                torch.set_default_dtype(torch.float32)
            yield
        finally:
            try:
                self._end(block)
            except KeyboardInterrupt:  # in the midst of it
                self._end(block)
                raise

    def _end(self, block: object) -> None:
        """Restore the user's data type if no other block runs; may be repeated."""
        with self.lock:
            if self._blocks == {block}:
                torch.set_default_dtype(self._before)
            self._blocks.discard(block)


_SINGLE_PRECISION = _SinglePrecision()


def _renew_locks() -> None:
    """Replace locks, which in a forked process may be held by a thread that does not exist."""
    global _GENERATORS_LOCK
    _GENERATORS_LOCK = threading.RLock()
    _SINGLE_PRECISION.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


@contextmanager
def unchanged_on_error(estimator: object) -> Iterator[None]:
    """Restore all attributes if the block raises, except those of a running callback."""
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
    """Return the ``stacklevel`` with which a warning of the caller shows the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    return level


class SeededGenerators:
    """Seeded state of torch's global generators, within blocks.

    Initial values and dropout are drawn from the global generators, which all threads share. A
    block holds a lock, continues from the state at the end of the previous block, and restores
    the state before it.

    Parameters
    ----------
    seed : int
        Seed of the first block.
    device : torch.device
        Device whose generator is seeded in addition to that of the CPU.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        #: States of the generators after the last block; empty before the first.
        self.states: list[Tensor] = []

    def restore(self, states: list[Tensor]) -> None:
        """Continue from the ``states`` of generators of the same devices."""
        devices = [_CPU, self._device] if self._device.type == "cuda" else [_CPU]
        for device, state in zip(devices, states, strict=True) if states else []:
            torch.Generator(device).set_state(state)  # raises if it is invalid
        self.states = states

    @contextmanager
    def block(self) -> Iterator[None]:
        """Draw from the stream within the block."""
        on_gpu = self._device.type == "cuda"
        with _GENERATORS_LOCK, torch.random.fork_rng([self._device] if on_gpu else []):
            if self.states:
                torch.set_rng_state(self.states[0])
                if on_gpu:
                    torch.cuda.set_rng_state(self.states[1], self._device)
            else:
                torch.default_generator.manual_seed(self._seed)
                if on_gpu:
                    with torch.cuda.device(self._device):
                        torch.cuda.manual_seed(self._seed)
            try:
                yield
            finally:
                self.states = [torch.get_rng_state()]
                if on_gpu:
                    self.states.append(torch.cuda.get_rng_state(self._device))


def full_precision(device: torch.device) -> torch.autocast:
    """Disable the user's autocast."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Use torch's own defaults, and one product for all rows.

    They are float32, the CPU, gradients, and no inference mode.
    """
    # a device context slows all functions of torch
    on_cpu = nullcontext() if default_device() == _CPU else _CPU
    precision, gradients = _SINGLE_PRECISION.block(), torch.enable_grad()
    # rows may still be separate after an interrupt
    with precision, on_cpu, torch.inference_mode(False), gradients, separate_rows(False):
        yield


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Compute without gradients and the user's autocast and defaults, with each row separately."""
    with torch_defaults(), torch.inference_mode(), full_precision(device), separate_rows(True):
        yield


def convert(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Apply a function to all values of a type in nested dicts, lists and tuples."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {key: convert(item, kind, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(convert(item, kind, function) for item in value)
    return value
