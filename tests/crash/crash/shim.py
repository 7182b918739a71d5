"""The test's end of shim/shim.c."""

from __future__ import annotations

import enum
import errno
import mmap
import os
import struct
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SIZE = 4096


class Call(enum.IntFlag):
    WRITE = 1
    SYNC = 2
    CREATE = 4
    RENAME = 8
    UNLINK = 16
    TRUNCATE = 32
    ALLOCATE = 64
    READ = 128


class When(enum.IntEnum):
    NEVER = 0
    BEFORE = 1
    AFTER = 2
    HALF = 3  # of a write; before anything else


# What fails, and how, when a disk is ...
TROUBLES = {
    "full": (errno.ENOSPC, Call.WRITE | Call.CREATE | Call.ALLOCATE),
    "broken": (errno.EIO, Call.WRITE | Call.SYNC | Call.CREATE | Call.RENAME | Call.TRUNCATE | Call.ALLOCATE),
    "read-only": (
        errno.EROFS,
        Call.WRITE | Call.CREATE | Call.RENAME | Call.UNLINK | Call.TRUNCATE | Call.ALLOCATE,
    ),
    "unsyncable": (errno.EIO, Call.SYNC),
}


def find_library() -> Path:
    """EMQC_CRASH_SHIM, or the newest one that Meson built."""
    named = os.environ.get("EMQC_CRASH_SHIM")
    found = [Path(named)] if named else list(REPOSITORY.glob("build/*/tests/crash/shim/libcrashshim.so"))
    assert found, "libcrashshim.so is missing: `make ninja-asan` builds it, or EMQC_CRASH_SHIM names it"
    return max(found, key=lambda path: path.stat().st_mtime)


class Shim:
    """One broker's shim: its control block, log and trash lie in `home`, on the file system of `directory`."""

    def __init__(self, home: Path, directory: Path):
        self.home, self.directory = home, directory
        self.trash = home / "trash"
        self.log = home / "log"
        self.trash.mkdir(parents=True)
        path = home / "control"
        path.write_bytes(bytes(SIZE))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), SIZE)

    def environment(self, log: bool = False) -> dict[str, str]:
        """For the broker. With `log` every call is written down, for a power cut."""
        found = {
            "LD_PRELOAD": str(find_library()),
            "EMQC_SHIM_DIR": str(self.directory),
            "EMQC_SHIM_CONTROL": str(self.home / "control"),
            "EMQC_SHIM_TRASH": str(self.trash),
        }
        if log:
            found["EMQC_SHIM_LOG"] = str(self.log)
        return found

    def _get(self, form: str, offset: int) -> int:
        return struct.unpack_from(form, self.map, offset)[0]

    def _set(self, form: str, offset: int, value: int):
        struct.pack_into(form, self.map, offset, value)

    @property
    def calls(self) -> int:
        """Calls so far that changed files."""
        return self._get("<Q", 0)

    def arm(self, ahead: int, when: When):
        """The process ends at the call `ahead` calls from now, 1 being the next."""
        self._set("<I", 16, When.NEVER)
        self._set("<I", 36, 0)
        self._set("<I", 44, 0)
        self._set("<Q", 8, self.calls + ahead)
        self._set("<I", 16, when)

    def disarm(self) -> bool:
        """True: a thread was at that call already, so the process ends all the same, or has ended."""
        self._set("<I", 16, When.NEVER)
        deadline = time.monotonic() + 10
        while self._get("<I", 40) and not self._get("<I", 44):
            assert time.monotonic() < deadline, "a thread is stuck in the shim"
            time.sleep(0)
        return self._get("<I", 44) != 0

    def killed_at(self) -> str:
        """The call at which the process ended; "": it did not."""
        call = self._get("<I", 36)
        return Call(call).name.lower() if call else ""

    def fail(self, trouble: str):
        """From now on calls fail as TROUBLES says."""
        number, mask = TROUBLES[trouble]
        self._set("<I", 24, mask)
        self._set("<I", 32, trouble == "full")
        self._set("<I", 20, number)

    def recover(self):
        self._set("<I", 20, 0)
        self._set("<I", 32, 0)

    def delay_syncs(self, seconds: float):
        """Each fsync takes that much longer."""
        self._set("<I", 28, int(seconds * 1e6))

    def pause_wakers(self, seconds: float):
        """A thread that has woken another sleeps up to that long, one time in four: so threads fall apart that else move together. Below 1 s."""
        self._set("<I", 48, int(seconds * 1e6))
