"""The processes of a group: exchanges of values, and errors that reach all of them.

All processes make the same exchanges in the same order. A process that raises an error takes part
in the next exchange with the error in place of its value. So the others raise an error instead of
waiting, and the group can be used again. Errors inside an exchange, such as too little memory for
it, and those after which a GPU cannot be used are the exception: the others can wait until the
timeout of the group.
"""

import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.distributed as dist

from .._utils.quoting import shortened


class ProcessError(RuntimeError):
    """Error of another process of the group, or of the communication with it."""


def is_distributed() -> bool:
    """Return whether there is a process group of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first_process() -> bool:
    """Return whether this is the first process of a group, or the only one."""
    return not is_distributed() or dist.get_rank() == 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Complete the block before Ctrl-C raises, or this process would miss an exchange."""
    interrupts: list[Any] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main else None
    if callable(handler):
        signal.signal(signal.SIGINT, lambda *arguments: interrupts.append(arguments))
    try:
        yield
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
    if callable(handler) and interrupts:
        handler(*interrupts[0])


@contextmanager
def exchange() -> Iterator[None]:
    """Complete the block before Ctrl-C raises.

    Errors of the communication become a ProcessError.
    """
    with uninterrupted():
        try:
            yield
        except ProcessError:
            raise
        except RuntimeError as error:
            # gloo has no class of errors; its messages begin with the path of its source code
            if not isinstance(error, dist.DistError) and "gloo" not in str(error):
                raise
            raise ProcessError(
                "The communication with the other processes of the group failed; one of them may "
                f"have ended. {shortened(str(error), 300)}"
            ) from error


def gather(value: Any) -> list[Any]:
    """Return the values of all processes; raise ProcessError if one of them raises an error."""
    outcomes = _all_gather((None, value))
    for rank, (error, _) in enumerate(outcomes):
        if error is not None:
            raise ProcessError(
                f"Process {rank} of the group raised an error, so the others stop: {error}"
            )
    return [value for _, value in outcomes]


def from_first_process(value: Any) -> Any:
    """Return the value of the first process; without a process group, the value itself."""
    if not is_distributed():
        return value
    data: list[Any] = [pickle.dumps(value) if is_first_process() else None]
    with exchange():
        gather(None)
        dist.broadcast_object_list(data)
    return value if is_first_process() else pickle.loads(data[0])


@contextmanager
def joint_errors() -> Iterator[None]:
    """Raise an error in all processes of the group if the block raises one in any of them.

    Exception: Ctrl-C during the last exchange raises in this process only; the fits of the others
    are complete.
    """
    try:
        yield
    except BaseException as error:
        with uninterrupted():
            if is_distributed() and not _is_joint(error):
                kind_and_text = filter(None, [type(error).__name__, str(error)])
                with suppress(Exception):  # the error itself is raised
                    _all_gather((shortened(": ".join(kind_and_text), 300), None))
        raise
    if is_distributed():
        gather(None)


def _is_joint(error: BaseException | None) -> bool:
    """Return whether all processes raise an error, which Ctrl-C may have replaced."""
    while error is not None and not isinstance(error, ProcessError):
        error = error.__context__
    return error is not None


def _all_gather(value: Any) -> list[Any]:
    values: list[Any] = [None] * dist.get_world_size()
    data = pickle.dumps(value)  # not in the exchange: an error of a value reaches the others
    with exchange():
        dist.all_gather_object(values, data)
    return [pickle.loads(data) for data in values]
