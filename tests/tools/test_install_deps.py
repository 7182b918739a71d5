"""The package installer with stand-ins for the system's commands: when it calls apt, and what it says when it cannot."""
import os
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'install-deps.sh'
BASICS = ('sh', 'sed', 'grep', 'dirname', 'printf', 'env')


class System:
    """A PATH with stand-ins only; what they were called with is written down."""

    def __init__(self, folder):
        self.bin = folder / 'bin'
        self.calls = folder / 'calls'
        self.bin.mkdir()
        self.calls.write_text('')
        for name in BASICS:
            real = next(Path(place) / name for place in ('/bin', '/usr/bin') if (Path(place) / name).exists())
            (self.bin / name).symlink_to(real)
        self.stand_in('id', 'echo 0')
        self.stand_in('apt-get', f'echo "apt-get $*" >>{self.calls}')
        self.installed('')

    def stand_in(self, name, script):
        path = self.bin / name
        path.write_text(f'#!/bin/sh\n{script}\n')
        path.chmod(0o755)

    def installed(self, pattern):
        """dpkg-query knows the packages that match this pattern of `case`."""
        self.stand_in('dpkg-query', 'shift 3; for name in "$@"; do case $name in\n'
                      f'{pattern or "nothing"}) echo "installed $name" ;;\n*) echo "no packages found" >&2 ;; esac; done')

    def run(self, *arguments):
        return subprocess.run([str(self.bin / 'sh'), str(TOOL), *arguments], env={'PATH': str(self.bin)},
                              capture_output=True, text=True, check=False, cwd='/')

    def apt_calls(self):
        return self.calls.read_text().splitlines()


@pytest.fixture
def system(tmp_path):
    return System(tmp_path)


def test_apt_is_not_called_when_everything_is_there(system):
    system.installed('*')
    result = system.run('build')
    assert (result.returncode, result.stderr) == (0, '')
    assert system.apt_calls() == []


def test_only_what_is_missing_is_installed_after_one_update(system):
    system.installed('[!ml]*|libc*|libs*')
    assert system.run('build').returncode == 0
    calls = system.apt_calls()
    assert len(calls) == 2
    assert calls[0].endswith('update')
    assert 'install -y --no-install-recommends meson libuv1-dev liburcu-dev libjemalloc-dev libxxhash-dev' in calls[1]


def test_a_check_names_what_is_missing_and_installs_nothing(system):
    system.installed('[!m]*')
    result = system.run('--check', 'build')
    assert result.returncode == 1
    assert 'missing: meson' in result.stderr
    assert system.apt_calls() == []


def test_a_user_without_sudo_is_told_what_root_has_to_do(system):
    system.stand_in('id', 'echo 1000')
    system.installed('[!m]*')
    result = system.run('build')
    assert result.returncode == 1
    assert 'apt-get install --no-install-recommends meson' in result.stderr
    assert system.apt_calls() == []


def test_a_user_with_sudo_uses_it(system):
    system.stand_in('id', 'echo 1000')
    system.stand_in('sudo', f'echo "sudo $*" >>{system.calls}; exec "$@"')
    system.installed('[!m]*')
    assert system.run('build').returncode == 0
    assert [call.split()[0] for call in system.apt_calls()] == ['sudo', 'apt-get'] * 2


def test_a_failing_installation_fails_with_the_names(system):
    system.stand_in('apt-get', 'exit 100')
    system.installed('[!m]*')
    result = system.run('build')
    assert result.returncode == 1
    assert 'could not install: meson' in result.stderr


def test_a_system_without_dpkg_is_left_to_its_owner(system):
    os.unlink(system.bin / 'dpkg-query')
    result = system.run('build')
    assert result.returncode == 0
    assert 'not Debian' in result.stderr
    assert system.apt_calls() == []


def test_an_unknown_group_is_refused(system):
    result = system.run('everything')
    assert result.returncode == 1
    assert "'everything'" in result.stderr
