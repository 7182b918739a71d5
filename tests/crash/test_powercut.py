"""The shim and the model of a power cut, with a small program (Python itself) that writes files under the shim."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from crash.powercut import Disk, Left, PowerCut, Unmodelled
from crash.shim import Shim, When

WRITER = r"""
import os, sys
def put(name, data, flags=os.O_WRONLY | os.O_CREAT | os.O_APPEND):
    fd = os.open(os.path.join(sys.argv[1], name), flags, 0o600)
    os.write(fd, data)
    return fd
def sync(path=""):
    fd = os.open(os.path.join(sys.argv[1], path), os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
def path(name):
    return os.path.join(sys.argv[1], name)
"""


class Bench:
    """A directory, its shim, and programs that run under it."""

    def __init__(self, home):
        self.data = home / "data"
        self.data.mkdir()
        (self.data / "old").write_bytes(b"was here")
        self.shim = Shim(home / "shim", self.data)
        self.power = PowerCut(self.data, self.shim.trash, self.shim.log)

    def run(self, program: str) -> int:
        environment = {**os.environ, **self.shim.environment(log=True)}
        return subprocess.run(
            [sys.executable, "-c", WRITER + program, str(self.data)], env=environment, timeout=30, check=False
        ).returncode

    def cut(self, left=Left.STRICT, seed=1) -> dict[str, bytes]:
        self.power.cut(left, random.Random(seed))
        return {path.name: path.read_bytes() for path in sorted(self.data.rglob("*")) if path.is_file()}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_what_was_not_synced_is_gone(bench):
    assert bench.run("put('new', b'abc')") == 0
    assert bench.cut() == {"old": b"was here"}


def test_a_synced_file_without_its_name_is_gone(bench):
    assert bench.run("os.fsync(put('new', b'abc'))") == 0
    assert bench.cut() == {"old": b"was here"}


def test_a_synced_file_with_its_name_stays_as_long_as_it_was_synced(bench):
    assert bench.run("fd = put('new', b'abc'); os.fdatasync(fd); os.write(fd, b'def'); sync()") == 0
    assert bench.cut() == {"new": b"abc", "old": b"was here"}


def test_appended_bytes_count_from_where_the_file_was(bench):
    assert bench.run("fd = put('old', b', still'); os.fsync(fd); os.write(fd, b', lost')") == 0
    assert bench.cut() == {"old": b"was here, still"}


def test_a_rename_that_was_not_synced_is_undone_and_the_file_replaced_is_back(bench):
    program = "os.fsync(put('tmp', b'new')); sync(); os.rename(path('tmp'), path('old'))"
    assert bench.run(program) == 0
    assert bench.cut() == {"old": b"was here", "tmp": b"new"}


def test_a_rename_that_was_synced_stays(bench):
    program = "os.fsync(put('tmp', b'new')); os.rename(path('tmp'), path('old')); sync()"
    assert bench.run(program) == 0
    assert bench.cut() == {"old": b"new"}


def test_a_file_unlinked_without_a_sync_is_back(bench):
    assert bench.run("os.unlink(path('old'))") == 0
    assert bench.cut() == {"old": b"was here"}


def test_a_file_unlinked_for_good_is_gone(bench):
    assert bench.run("os.unlink(path('old')); sync()") == 0
    assert bench.cut() == {}


def test_folders_need_the_sync_of_what_is_above_them(bench):
    program = "os.mkdir(path('a')); os.fsync(put('a/file', b'x')); sync('a')"
    assert bench.run(program) == 0
    assert bench.cut() == {"old": b"was here"}
    assert bench.run(program + "; sync()") == 0
    assert bench.cut() == {"file": b"x", "old": b"was here"}


def test_some_of_what_was_not_synced_may_stay(bench):
    lengths = set()
    for seed in range(40):
        bench.run("fd = put(f'f%d', b'abc'); os.fsync(fd); sync(); os.write(fd, b'defgh')" % seed)
        lengths.add(bench.cut(Left.SOME, seed)[f"f{seed}"])
    assert lengths <= {b"abcdefgh"[:length] for length in range(3, 9)}
    assert len(lengths) > 2


def test_unsynced_bytes_may_be_zeros(bench):
    bench.run("fd = put('f', b'abc'); os.fsync(fd); sync(); os.write(fd, b'x' * 1000)")
    found = bench.cut(Left.ZEROS)["f"]
    assert found == b"abc" + bytes(len(found) - 3) and len(found) > 3


def test_a_file_emptied_and_written_anew_needs_its_sync(bench):
    assert bench.run("put('old', b'new', os.O_WRONLY | os.O_TRUNC)") == 0
    assert bench.cut() == {"old": b""}


def test_several_lives_between_two_power_cuts_add_up(bench):
    bench.run("put('f', b'abc'); sync()")
    bench.run("fd = put('f', b'def'); os.fsync(fd)")
    bench.run("put('f', b'ghi')")
    assert bench.cut()["f"] == b"abcdef"


def test_bytes_changed_in_place_need_a_sync_too(bench):
    bench.run("fd = put('old', b'WAS', os.O_WRONLY); os.fsync(fd); os.pwrite(fd, b'H', 4); os.pwrite(fd, b'X', 4)")
    found = {bench.cut(left, seed)["old"] for left in Left for seed in (1, 2, 3)}
    assert found == {b"WAS here"}  # the first cut decides


def test_bytes_changed_in_place_and_beyond_the_end(bench):
    bench.run("fd = put('old', b'Was Here, now', os.O_WRONLY)")
    assert bench.cut() == {"old": b"was here"}
    bench.run("fd = put('old', b'Was Here, now', os.O_WRONLY); os.fsync(fd)")
    assert bench.cut() == {"old": b"Was Here, now"}


@pytest.mark.parametrize("seed", range(5))
def test_some_of_the_bytes_changed_in_place_may_stay(bench, seed):
    bench.run("fd = os.open(path('old'), os.O_WRONLY); os.pwrite(fd, b'W', 0); os.pwrite(fd, b'H', 4)")
    assert bench.cut(Left.SOME, seed)["old"] in {b"was here", b"Was here", b"Was Here"}


def test_a_write_into_what_was_synced_is_not_modelled(bench):
    bench.run("os.fsync(put('f', bytes(100))); sync()")
    bench.run("fd = put('f', b'X' * 100, os.O_WRONLY)")
    with pytest.raises(Unmodelled):
        bench.cut()


@pytest.mark.parametrize(
    ("when", "ahead", "left"),
    [
        (When.BEFORE, 1, None),  # the file is not made
        (When.AFTER, 1, b""),
        (When.BEFORE, 2, b""),
        (When.HALF, 2, b"abc"),
        (When.AFTER, 2, b"abcdef"),
    ],
)
def test_the_process_ends_at_the_call_that_was_asked_for(bench, when, ahead, left):
    bench.shim.arm(ahead, when)
    assert bench.run("put('f', b'abcdef')") == -signal.SIGKILL
    assert bench.shim.killed_at() == ("create" if ahead == 1 else "write")
    path = bench.data / "f"
    assert (path.read_bytes() if path.exists() else None) == left


def test_calls_elsewhere_are_neither_counted_nor_ended(bench, tmp_path):
    bench.shim.arm(1, When.BEFORE)
    assert bench.run(f"fd = os.open({str(tmp_path / 'other')!r}, os.O_WRONLY | os.O_CREAT); os.write(fd, b'x')") == 0
    assert bench.shim.calls == 0


@pytest.mark.parametrize(("trouble", "number"), [("full", "ENOSPC"), ("broken", "EIO"), ("read-only", "EROFS")])
def test_calls_fail_on_demand_and_work_again(bench, trouble, number):
    program = f"""
import errno
try:
    put('f', b'abc')
except OSError as error:
    assert error.errno == errno.{number}, error
else:
    raise SystemExit('it worked')
"""
    bench.shim.fail(trouble)
    assert bench.run(program) == 0
    bench.shim.recover()
    assert bench.run("put('f', b'abc')") == 0


def test_a_full_disk_has_no_free_space(bench):
    bench.shim.fail("full")
    assert bench.run("assert os.statvfs(sys.argv[1]).f_bavail == 0") == 0
    bench.shim.recover()
    assert bench.run("assert os.statvfs(sys.argv[1]).f_bavail > 0") == 0


def test_overlapping_syncs_of_a_folder_cover_what_was_before_each(tmp_path):
    disk = Disk(tmp_path)
    inode = os.lstat(tmp_path).st_ino
    disk.replay(
        [
            f"create\t1000001\t{tmp_path}/a",
            f"begin\tone\t{inode}",
            f"create\t1000002\t{tmp_path}/b",
            f"begin\ttwo\t{inode}",
            f"create\t1000003\t{tmp_path}/c",
            "end\ttwo",
            "end\tone",
        ]
    )
    directory = disk.directories[str(tmp_path)]
    assert set(directory.synced) == {"a", "b"}
    assert directory.changes == [("c", 1000003)]
