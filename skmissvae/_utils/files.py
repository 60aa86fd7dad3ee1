"""Files that are replaced when the new one is complete."""

import glob
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that replaces the one at a path when it is complete and on the disk.

    After an error, a full disk or the end of the process, the file at the path is the old one. New
    files of processes that ended are removed.
    """
    path = Path(path)
    prefix = f".{path.name}.{platform.node()}-"
    _remove_stale(path.parent, prefix)
    part = path.with_name(f"{prefix}{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove new files of processes of this machine that ended."""
    if os.name != "posix":  # elsewhere os.kill ends the process
        return
    for part in folder.glob(f"{glob.escape(prefix)}*.part"):
        pid = part.name.removeprefix(prefix).removesuffix(".part")
        if pid.isdecimal() and not _is_running(int(pid)):
            with suppress(OSError):
                part.unlink()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True
