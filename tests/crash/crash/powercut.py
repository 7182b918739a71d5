"""What a power cut leaves of a directory, from the shim's log and the files themselves.

The model is POSIX at its word: of a file, what an fsync or fdatasync covered; of a directory, the names as of its last fsync. What
happened since may be there as well, in part: `Left.STRICT` leaves none of it; `Left.SOME` keeps, for each directory, some of the changes of names
since, the first ones, and for each file some of the bytes since; `Left.ZEROS` the same with zeros in place of those bytes, as
journaling file systems leave them.

Files grow, as RocksDB's do, or have a few bytes in place changed (`patch`, of which any number of the last ones may be missing). A large
write into what was synced is not modelled: an error of the test.
"""

from __future__ import annotations

import enum
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path


class Left(enum.Enum):
    STRICT = "strict"
    SOME = "some"
    ZEROS = "zeros"


class Unmodelled(AssertionError):
    """The log has what this model does not cover."""


@dataclass
class File:
    size: int = 0
    synced: int = 0
    patches: list[tuple[int, bytes]] = field(default_factory=list)  # not synced: offset, what was there before


@dataclass
class Directory:
    """Names to inodes. `changes`: (name, inode or None) since the last sync."""

    synced: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[str, int | None]] = field(default_factory=list)

    def names(self, count: int) -> dict[str, int]:
        """After the first `count` changes."""
        found = dict(self.synced)
        for name, inode in self.changes[:count]:
            if inode is None:
                found.pop(name, None)
            else:
                found[name] = inode
        return found


class Disk:
    """`root` as it is now is taken to be on disk; then replay() the log of what was done to it."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[int, File] = {}
        self.directories: dict[str, Directory] = {}
        self.inode_of_directory: dict[int, str] = {}
        self._begun: dict[str, tuple] = {}
        for path, folders, names in os.walk(root):
            self._directory(path)
            for name in folders:
                self.directories[path].synced[name] = os.lstat(os.path.join(path, name)).st_ino
            for name in names:
                status = os.lstat(os.path.join(path, name))
                self.files[status.st_ino] = File(status.st_size, status.st_size)
                self.directories[path].synced[name] = status.st_ino

    def _directory(self, path: str) -> Directory:
        self.inode_of_directory[os.lstat(path).st_ino] = path
        return self.directories.setdefault(path, Directory())

    # --- the log

    def replay(self, lines):
        for line in lines:
            kind, *fields = line.rstrip("\n").split("\t")
            getattr(self, f"_{kind}")(*fields)

    def _change(self, path: str, inode: int | None):
        folder, name = os.path.split(path)
        self.directories.setdefault(folder, Directory()).changes.append((name, inode))

    def _create(self, inode, path):
        self.files[int(inode)] = File()
        self._change(path, int(inode))

    def _write(self, inode, offset, length):
        file = self.files.setdefault(int(inode), File())
        if int(offset) < file.synced:
            raise Unmodelled(f"write at {offset} of inode {inode}, of which {file.synced} bytes are synced")
        file.size = max(file.size, int(offset) + int(length))

    def _patch(self, inode, offset, before, _after):
        self.files[int(inode)].patches.append((int(offset), bytes.fromhex(before)))

    def _trunc(self, inode, length):
        file = self.files.setdefault(int(inode), File())
        if int(length) == 0:
            file.synced = 0  # written anew without care for the old content, as a PID file: taken to be gone
            file.patches.clear()
        if int(length) < file.synced:
            raise Unmodelled(f"inode {inode} cut to {length} bytes, of which {file.synced} are synced")
        file.size = int(length)

    def _mkdir(self, inode, path):
        self.inode_of_directory[int(inode)] = path
        self.directories.setdefault(path, Directory())
        self._change(path, int(inode))

    def _rename(self, old, new, inode):
        self._change(old, None)
        self._change(new, int(inode))

    def _unlink(self, path, _inode):
        self._change(path, None)

    def _begin(self, token, inode):
        path = self.inode_of_directory.get(int(inode))
        if path is not None:
            self._begun[token] = (path, len(self.directories[path].changes), 0)
        else:
            file = self.files.setdefault(int(inode), File())
            self._begun[token] = (file, file.size, len(file.patches))

    def _end(self, token):
        what, extent, patches = self._begun.pop(token)
        # A sync that began earlier and ends later covers less: what it covers is synced already.
        if isinstance(what, File):
            what.synced = max(what.synced, extent)
            del what.patches[:patches]
            taken = patches
        else:
            directory = self.directories[what]
            directory.synced = directory.names(extent)
            del directory.changes[:extent]
            taken = extent
        for key, (other, count, more) in self._begun.items():
            if isinstance(what, File) and other is what:
                self._begun[key] = (other, count, max(0, more - taken))
            elif not isinstance(what, File) and other == what:
                self._begun[key] = (other, max(0, count - taken), more)

    # --- what is left

    def leave(self, target: Path, trash: Path, left: Left, chance: random.Random):
        """Builds in `target`, which must not exist, what is left."""
        sources = {}
        for folder in (self.root, trash):
            for path, _, names in os.walk(folder):
                for name in names:
                    full = os.path.join(path, name)
                    sources[os.lstat(full).st_ino] = full
        self._leave_directory(str(self.root), target, sources, left, chance)

    def _leave_directory(self, path: str, target: Path, sources, left: Left, chance: random.Random):
        target.mkdir()
        directory = self.directories[path]
        kept = 0 if left is Left.STRICT else chance.randint(0, len(directory.changes))
        for name, inode in sorted(directory.names(kept).items()):
            folder = self.inode_of_directory.get(inode)
            if folder is not None:
                self._leave_directory(folder, target / name, sources, left, chance)
            elif inode in self.files:
                self._leave_file(self.files[inode], sources.get(inode), target / name, left, chance)

    def _leave_file(self, file: File, source: str | None, target: Path, left: Left, chance: random.Random):
        if source is None:
            raise Unmodelled(f"{target.name} is not kept anywhere")
        whole = bytearray(Path(source).read_bytes())
        undone = len(file.patches) if left is Left.STRICT else chance.randint(0, len(file.patches))
        for offset, before in reversed(file.patches[len(file.patches) - undone :]):
            whole[offset : offset + len(before)] = before
        whole = bytes(whole)
        data = whole[: file.synced]
        if len(data) < file.synced:
            raise Unmodelled(f"{target.name} has {len(data)} bytes, {file.synced} were synced")
        if left is not Left.STRICT and file.size > file.synced:
            more = chance.randint(0, file.size - file.synced)
            tail = whole[file.synced : file.synced + more]
            data += bytes(len(tail)) if left is Left.ZEROS else tail
        target.write_bytes(data)


class PowerCut:
    """Cuts the power of a broker that was killed: its directory becomes what is left, and its log begins anew."""

    def __init__(self, directory: Path, trash: Path, log: Path):
        self.directory, self.trash, self.log = directory, trash, log
        self.disk = Disk(directory)
        self.cuts = 0

    def cut(self, left: Left, chance: random.Random):
        if self.log.exists():
            with open(self.log, encoding="utf-8") as lines:
                self.disk.replay(lines)
        before = self.directory.with_name(f"{self.directory.name}.before")
        after = self.directory.with_name(f"{self.directory.name}.after")
        self.disk.leave(after, self.trash, left, chance)
        shutil.rmtree(before, ignore_errors=True)
        self.directory.rename(before)  # stays, to be looked at when the test fails
        after.rename(self.directory)
        self.log.unlink(missing_ok=True)
        shutil.rmtree(self.trash)
        self.trash.mkdir()
        self.disk = Disk(self.directory)
        self.cuts += 1
