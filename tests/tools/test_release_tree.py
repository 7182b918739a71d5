"""The release tree: what `make` leaves, and that a user's configuration survives the next `make`."""
import importlib.util
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'release.py'
MAKE_CERTS = TOOL.with_name('make-certs.sh')


def load_tool():
    spec = importlib.util.spec_from_file_location('release', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Project:
    """A build directory and an etc/ of its own, laid out by the tool on request."""

    def __init__(self, folder):
        self.build = folder / 'build'
        self.etc = folder / 'etc'
        self.tree = folder / 'rel'
        self.folder = folder
        (self.build / 'meson-info').mkdir(parents=True)
        (self.etc / 'plugins').mkdir(parents=True)
        self.ship('emqx.conf', 'node.name = emqx@127.0.0.1\n')
        self.program('emqx', 'first build')
        self.targets([('emqx', 'executable', True), ('router_bench', 'executable', False)])

    def ship(self, name, text):
        (self.etc / name).write_text(text)

    def program(self, name, text):
        (self.build / name).write_text(text)

    def targets(self, rows):
        info = [{'type': kind, 'installed': installed, 'filename': [str(self.build / name)]}
                for name, kind, installed in rows]
        (self.build / 'meson-info' / 'intro-targets.json').write_text(json.dumps(info))

    def make(self, *arguments):
        where = arguments or ('--tree', str(self.tree))
        return load_tool().main(['--build', str(self.build), '--etc', str(self.etc), *where])

    def config(self, name='emqx.conf'):
        return self.tree / 'etc' / name


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_a_first_make_lays_out_the_whole_tree(project):
    project.make()
    for folder in ('bin', 'lib', 'etc/plugins', 'etc/certs', 'data', 'log'):
        assert (project.tree / folder).is_dir(), folder
    assert project.config().read_text() == 'node.name = emqx@127.0.0.1\n'


def test_installed_programs_are_executable_and_others_are_left_out(project):
    project.make()
    assert os.access(project.tree / 'bin' / 'emqx', os.X_OK)
    assert [path.name for path in (project.tree / 'bin').iterdir()] == ['emqx']


def test_a_program_is_replaced_in_one_step(project):
    project.make()
    with open(project.tree / 'bin' / 'emqx', encoding='utf-8') as running:
        project.program('emqx', 'second build')
        project.make()
        assert running.read() == 'first build'
    assert (project.tree / 'bin' / 'emqx').read_text() == 'second build'


def test_a_changed_config_file_stays_and_the_shipped_one_goes_beside_it(project, capsys):
    project.make()
    project.config().write_text('node.name = mine@10.0.0.1\n')
    project.ship('emqx.conf', 'node.name = emqx@127.0.0.1\nlog.to = both\n')
    project.make()
    assert project.config().read_text() == 'node.name = mine@10.0.0.1\n'
    assert project.config('emqx.conf.new').read_text() == 'node.name = emqx@127.0.0.1\nlog.to = both\n'
    assert 'emqx.conf.new' in capsys.readouterr().out


def test_a_changed_config_file_stays_when_the_shipped_one_is_the_same_as_before(project, capsys):
    project.make()
    project.config().write_text('node.name = mine@10.0.0.1\n')
    project.make()
    project.make()
    assert project.config().read_text() == 'node.name = mine@10.0.0.1\n'
    assert project.config('emqx.conf.new').exists()
    assert 'emqx.conf.new' in capsys.readouterr().out


def test_an_unchanged_config_file_follows_the_shipped_one(project):
    project.make()
    project.ship('emqx.conf', 'node.name = emqx@127.0.0.1\nlog.to = both\n')
    project.make()
    assert project.config().read_text() == 'node.name = emqx@127.0.0.1\nlog.to = both\n'
    assert not project.config('emqx.conf.new').exists()


def test_taking_over_the_new_file_ends_the_reminder(project, capsys):
    project.make()
    project.config().write_text('mine\n')
    project.make()
    os.replace(project.config('emqx.conf.new'), project.config())
    capsys.readouterr()
    project.make()
    assert not project.config('emqx.conf.new').exists()
    assert capsys.readouterr().out == ''


def test_a_file_from_before_the_record_is_taken_for_the_users(project):
    project.config().parent.mkdir(parents=True)
    project.config().write_text('from somewhere else\n')
    project.make()
    assert project.config().read_text() == 'from somewhere else\n'
    assert project.config('emqx.conf.new').exists()


def test_a_link_of_the_users_is_not_followed(project, tmp_path):
    project.make()
    elsewhere = tmp_path / 'emqx.conf'
    elsewhere.write_text('node.name = emqx@127.0.0.1\n')
    project.config().unlink()
    project.config().symlink_to(elsewhere)
    project.ship('emqx.conf', 'changed\n')
    project.make()
    assert project.config().is_symlink()
    assert elsewhere.read_text() == 'node.name = emqx@127.0.0.1\n'


def test_a_file_not_shipped_any_more_goes_only_if_nobody_changed_it(project):
    for name in ('old.conf', 'older.conf'):
        project.ship(f'plugins/{name}', 'x = 1\n')
    project.make()
    project.config('plugins/older.conf').write_text('x = 2\n')
    for name in ('old.conf', 'older.conf'):
        (project.etc / 'plugins' / name).unlink()
    project.make()
    assert not project.config('plugins/old.conf').exists()
    assert project.config('plugins/older.conf').read_text() == 'x = 2\n'


def test_data_and_log_are_never_touched(project):
    project.make()
    (project.tree / 'data' / 'loaded_plugins').write_text('some_plugin\n')
    project.make()
    assert (project.tree / 'data' / 'loaded_plugins').read_text() == 'some_plugin\n'


def test_a_missing_program_fails_by_name(project):
    project.targets([('emqx_ctl', 'executable', True)])
    with pytest.raises(SystemExit, match='emqx_ctl has not been built'):
        project.make()


def test_install_puts_each_kind_into_its_system_folder(project, tmp_path):
    destination = tmp_path / 'package'
    project.make('--install', '--destdir', str(destination), '--prefix', '/usr')
    assert (destination / 'usr/bin/emqx').exists()
    assert (destination / 'etc/emqx/emqx.conf').exists()
    assert (destination / 'var/lib/emqx').is_dir()
    assert (destination / 'var/log/emqx').is_dir()


def test_an_installed_config_file_names_the_systems_folders(project, tmp_path):
    destination = tmp_path / 'package'
    project.ship('emqx.conf', 'node.data_dir = data\nlog.dir = log\nacl_file = etc/acl.conf\n## log = nothing here\n'
                 '# crash = log/crash.dump\nlog.to = both\nlog.file = emqx.log\nx = database\n')
    project.make('--install', '--destdir', str(destination))
    assert (destination / 'etc/emqx/emqx.conf').read_text() == (
        'node.data_dir = /var/lib/emqx\nlog.dir = /var/log/emqx\nacl_file = /etc/emqx/acl.conf\n## log = nothing here\n'
        '# crash = /var/log/emqx/crash.dump\nlog.to = both\nlog.file = emqx.log\nx = database\n')


CERTIFICATES = {'cacert.pem', 'cert.pem', 'key.pem', 'client-cert.pem', 'client-key.pem'}


def names(folder):
    return {path.name for path in folder.iterdir()}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_first_make_makes_certificates_and_the_next_leaves_them(project):
    project.make()
    certs = project.config('certs')
    assert names(certs) == CERTIFICATES
    before = {path.name: path.read_bytes() for path in certs.iterdir()}
    project.make()
    assert {path.name: path.read_bytes() for path in certs.iterdir()} == before


def test_two_trees_have_different_keys(project, tmp_path):
    project.make()
    project.make('--tree', str(tmp_path / 'other'))
    for name in CERTIFICATES:
        assert project.config(f'certs/{name}').read_bytes() != (tmp_path / 'other/etc/certs' / name).read_bytes()


def test_only_the_owner_reads_keys(project):
    project.ship('psk.txt', '# nothing\n')
    project.make()
    assert {name for name in CERTIFICATES if mode(project.config(f'certs/{name}')) == 0o600} == {'key.pem', 'client-key.pem'}
    assert mode(project.config('psk.txt')) == 0o600
    assert mode(project.config()) == 0o644


def test_the_certificates_come_from_the_ca_and_name_this_machine(project):
    project.make()
    certs = project.config('certs')
    verify = ['openssl', 'verify', '-x509_strict', '-CAfile', str(certs / 'cacert.pem')]
    for name in ('localhost', os.uname().nodename):
        subprocess.run([*verify, '-purpose', 'sslserver', '-verify_hostname', name, str(certs / 'cert.pem')], check=True)
    for address in ('127.0.0.1', '::1'):
        subprocess.run([*verify, '-purpose', 'sslserver', '-verify_ip', address, str(certs / 'cert.pem')], check=True)
    subprocess.run([*verify, '-purpose', 'sslclient', str(certs / 'client-cert.pem')], check=True)
    for name in ('cacert.pem', 'cert.pem', 'client-cert.pem'):
        shown = subprocess.run(['openssl', 'x509', '-in', str(certs / name), '-noout', '-subject', '-issuer', '-nameopt', 'sep_multiline'],
                               check=True, capture_output=True, text=True).stdout
        assert shown.count('O=emqc trial certificates, not for production') == 2


@pytest.mark.parametrize('theirs', sorted(CERTIFICATES))
def test_a_certificate_of_the_users_keeps_all_others_away(project, theirs):
    certs = project.config('certs')
    certs.mkdir(parents=True)
    (certs / theirs).write_text('mine\n')
    project.make()
    subprocess.run([str(MAKE_CERTS), str(certs)], check=True)
    assert names(certs) == {theirs}
    assert (certs / theirs).read_text() == 'mine\n'


def test_rsa_keys_on_request_and_in_a_folder_with_a_blank(tmp_path):
    certs = tmp_path / 'two words'
    subprocess.run([str(MAKE_CERTS), '--rsa', 'two words'], check=True, cwd=tmp_path)
    assert names(certs) == CERTIFICATES
    shown = subprocess.run(['openssl', 'pkey', '-in', str(certs / 'key.pem'), '-noout', '-text'], check=True,
                           capture_output=True, text=True).stdout
    assert 'Private-Key: (2048 bit' in shown


def test_a_failure_leaves_no_half_made_certificates(tmp_path):
    fake = tmp_path / 'bin' / 'openssl'
    fake.parent.mkdir()
    # The third certificate fails.
    fake.write_text('#!/bin/sh\ncase "$*" in *client-cert.pem*) echo no >&2; exit 1 ;; esac\nPATH=${PATH#*:} exec openssl "$@"\n')
    fake.chmod(0o755)
    environment = {**os.environ, 'PATH': f'{fake.parent}:{os.environ["PATH"]}'}
    result = subprocess.run([str(MAKE_CERTS), str(tmp_path / 'certs')], env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == 'no\nmake-certs: openssl x509 failed\n'
    assert names(tmp_path / 'certs') == set()


def test_a_package_holds_no_keys_but_the_script_that_makes_them(project, tmp_path, capsys):
    destination = tmp_path / 'package'
    project.make('--install', '--destdir', str(destination))
    assert names(destination / 'etc/emqx/certs') == set()
    assert '/usr/lib/emqx/make-certs.sh /etc/emqx/certs' in capsys.readouterr().out
    subprocess.run([str(destination / 'usr/lib/emqx/make-certs.sh'), str(destination / 'etc/emqx/certs')], check=True)
    assert names(destination / 'etc/emqx/certs') == CERTIFICATES
