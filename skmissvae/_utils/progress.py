"""Progress of long computations: bars of rich in terminals and notebooks, otherwise log lines."""

from __future__ import annotations

import importlib.util
import logging
import math
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

_LOG = logging.getLogger("skmissvae")

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_REFRESHES = 0.5  # of bars; drawing them takes milliseconds
_SECONDS_BEFORE_ROWS = 3.0  # of a computation on rows, which is often short


def log_progress(text: str, *values: object) -> None:
    """Log progress, or write it to stderr if the log does not record it."""
    if _is_logged():
        _LOG.info(text, *values)
    else:
        with suppress(Exception):  # stderr may be None, closed, or a terminal that is closed
            sys.stderr.write(f"{text % values}\n")
            sys.stderr.flush()


def _is_logged() -> bool:
    return _LOG.hasHandlers() and _LOG.isEnabledFor(logging.INFO)


#: Quantities of a unit by name, the most important first.
Detail = dict[str, float]


class Task:
    """A computation of a known number of units, such as epochs or rows.

    Parameters
    ----------
    total : int
        Number of units.
    show : callable or None
        Shows the task, and is called whenever units are finished; None shows no task.
    """

    def __init__(self, total: int = 0, show: Callable[[Task], None] | None = None) -> None:
        self.n_done, self.total, self.show = 0, total, show
        self.detail: Callable[[], Detail] | None = None  # of the last unit
        self.is_over = False
        now = time.perf_counter()
        # units and time before the task, and before the units of the last extension
        self._start, self._extension, self._n_extended = now, (0, now), 0

    def advance(self, n: int = 1, detail: Callable[[], Detail] | None = None) -> None:
        """Report n finished units; ``detail`` returns quantities of the last one."""
        if self.show is not None:
            self.n_done, self.detail = min(self.n_done + n, self.total), detail
            self.show(self)

    def extend(self, n: int) -> None:
        """Add the next n units, which may take longer than the others."""
        if self.show is not None:
            self.total, self._n_extended = self.total + n, n
            self._extension = self.n_done, time.perf_counter()

    def _seconds_left(self) -> float:
        """Return the expected time until the end; NaN if it is unknown."""
        n_before, start = self._extension
        now, n = time.perf_counter(), self.n_done - n_before
        n_left = max(self._n_extended - n, 0)
        if not n or self.is_over:
            return math.nan
        per_unit = (now - self._start) / self.n_done
        return (now - start) / n * n_left + per_unit * (self.total - self.n_done - n_left)

    def texts(self) -> list[str]:
        """Return the time that is left, if it is known, and the quantities of the last unit."""
        detail, seconds = {} if self.detail is None else self.detail(), self._seconds_left()
        left = [f"{_duration(seconds)} left"] if seconds > 0 else []
        return left + [f"{name} {value:.4g}" for name, value in detail.items()]


#: A task that is not shown.
SILENT_TASK = Task()


class Progress(NamedTuple):
    """Shows the computations of an estimator, without an additional thread."""

    name: str = ""  # of the estimator
    verbose: int = 0
    has_bars: bool = True  # if they are possible

    @contextmanager
    def task(self, unit: str, total: int, *, of_rows: bool = False) -> Iterator[Task]:
        """Show a task within the block; afterwards a line with its last detail remains.

        Parameters
        ----------
        unit : str
            What is counted.
        total : int
            Number of units.
        of_rows : bool
            Whether units are rows: a task that is not shown in the first seconds, and has no line
            for every unit.
        """
        if not self.verbose or not total:
            yield SILENT_TASK
            return
        title = f"{self.name}, {unit}"
        first_time = time.perf_counter() + (_SECONDS_BEFORE_ROWS if of_rows else 0.0)
        console = _bar_console() if self.verbose == 1 and self.has_bars else None
        lines = _Lines(title, first_time, every_unit=self.verbose > 1 and not of_rows)
        task = Task(total, lines.show)
        with nullcontext() if console is None else _BARS.bar(title, task, console, first_time):
            yield task
        task.is_over = True
        if task.detail is not None and task.n_done != lines.n_logged:
            lines.log(task)


#: Progress that is not shown.
SILENT = Progress()


def progress_of(estimator: Any) -> Progress:
    """Return the progress of an estimator with the parameter ``verbose``.

    An estimator with callbacks of other packages has no bars: scikit-learn's ``ProgressBar`` draws
    in the same lines of the terminal.
    """
    callbacks = getattr(estimator, "_skl_callbacks", [])
    has_bars = all(type(callback).__module__.split(".")[0] == "skmissvae" for callback in callbacks)
    return Progress(type(estimator).__name__, estimator.verbose, has_bars)


class _Lines:
    """Logs lines about a task: one for every unit, or at most one in some seconds."""

    def __init__(self, title: str, first_time: float, *, every_unit: bool) -> None:
        self._title, self._next_time = title, first_time
        self._interval = 0.0 if every_unit else _SECONDS_BETWEEN_LINES
        self.n_logged = 0  # units in the last line

    def show(self, task: Task) -> None:
        """Log a line if it is time."""
        if time.perf_counter() >= self._next_time:
            self.log(task)

    def log(self, task: Task) -> None:
        """Log a line."""
        text = ", ".join(task.texts())
        text = f": {text}" if text else ""
        log_progress("%s %d of %d%s", self._title, task.n_done, task.total, text)
        self.n_logged, self._next_time = task.n_done, time.perf_counter() + self._interval


def _duration(seconds: float) -> str:
    """Return a duration in hours, minutes or seconds."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{math.ceil(seconds)} s"


def _bar_console() -> Any:
    """Return a console of rich that shows bars, on stderr or in a notebook, or None."""
    # several processes would write over one another
    is_child = _BARS.is_forked or multiprocessing.parent_process() is not None
    if is_child or _is_logged():
        return None
    try:
        from rich.console import Console
        from rich.file_proxy import FileProxy
    except (ImportError, AttributeError):  # no rich, or an old version
        return None
    if isinstance(sys.stderr, FileProxy) and not _BARS.are_shown:
        return None  # another display of rich is shown, such as that of a callback
    console = Console(stderr=True)
    if console.is_jupyter:
        return console if importlib.util.find_spec("ipywidgets") is not None else None
    # environment variables make rich regard files as terminals
    is_terminal = _is_terminal(sys.stderr) and console.is_terminal
    return console if is_terminal and not console.is_dumb_terminal else None


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; it may be None, closed or without ``isatty``."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


_DRAWING_ERRORS = (Exception, SystemExit)  # rich exits if a pipe is broken


class _Bars:
    """The bars of the tasks of all threads, which share one display."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._display: Any = None
        self._next_refresh = 0.0
        self.is_forked = False  # from a process that may show bars

    def renew(self) -> None:
        """Forget the display of the parent process, and a lock that a thread of it may hold."""
        if self._display is not None:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                setattr(sys, name, getattr(stream, "rich_proxied_file", stream))
        self._lock, self._display, self.is_forked = threading.RLock(), None, True

    @property
    def are_shown(self) -> bool:
        """Whether there is a display."""
        return self._display is not None

    @contextmanager
    def bar(self, title: str, task: Task, console: Any, first_time: float) -> Iterator[None]:
        """Show a task by a bar within the block, from ``first_time`` on.

        If drawing fails, as on a terminal that is closed or with an old version of rich, the task
        is shown as before the block.
        """
        show_otherwise = task.show

        def show(task: Task) -> None:
            if self.is_forked or time.perf_counter() < first_time:
                return
            values = _bar_values(task)
            with self._lock:
                try:
                    self._draw(title, task, values, console)
                except _DRAWING_ERRORS:
                    task.show = show_otherwise
                    self._end()

        task.show = show
        try:
            show(task)
            yield
        finally:
            with self._lock:
                self._remove(task)

    def _draw(self, title: str, task: Task, values: dict[str, Any], console: Any) -> None:
        """Add or update the bar of a task, and begin the display if it is the first one."""
        if self._display is None:
            self._display = _new_display(console)
        identifiers, now = self._identifiers(task), time.perf_counter()
        if not identifiers:
            # a display draws from its start on; an interrupt there leaves a bar that is removed
            self._display.add_task(title, task=task, **values)
            self._display.start()
        else:
            self._display.update(*identifiers, **values)
            if now < self._next_refresh and task.n_done < task.total:
                return
            self._display.refresh()
        self._next_refresh = now + _SECONDS_BETWEEN_REFRESHES

    def _identifiers(self, task: Task) -> list[Any]:
        """Return the identifier of the bar of a task, if it has one."""
        return [bar.id for bar in self._display.tasks if bar.fields["task"] is task]

    def _remove(self, task: Task) -> None:
        """Remove the bar of a task, and end the display if it has no other."""
        if self._display is None:
            return
        for identifier in self._identifiers(task):
            self._display.remove_task(identifier)
        if not self._display.tasks:
            self._end()

    def _end(self) -> None:
        """End the display, which restores stdout and stderr."""
        display, self._display = self._display, None
        if display is not None:
            with suppress(*_DRAWING_ERRORS):
                display.stop()


_BARS = _Bars()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_BARS.renew)


def _bar_values(task: Task) -> dict[str, Any]:
    text = ", ".join(task.texts()[:2])  # the line has no space for all quantities
    return {"total": task.total, "completed": task.n_done, "text": text}


def _new_display(console: Any) -> Any:
    """Return a display of rich that is drawn on request, and removed at its end."""
    from rich import progress
    from rich.table import Column

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.MofNCompleteColumn(table_column=Column(no_wrap=True)),
        progress.BarColumn(None),  # as wide as there is space
        progress.TextColumn("{task.fields[text]}", markup=False),
        console=console,
        auto_refresh=False,  # a thread would compete with the computation
        transient=True,
        redirect_stdout=_is_terminal(sys.stdout),  # not if it is a file
    )
