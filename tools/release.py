#!/usr/bin/python3
"""Lays out what was built: the release tree `_rel/emqx/`, or an installation under a prefix.

    tools/release.py --build build/release --tree _rel/emqx
    tools/release.py --build build/release --install --destdir DIR --prefix /usr

Programs and modules are what Meson was told to install (its own list is read, nothing is named here). They are
replaced in one step, so a broker that runs from the tree goes on with its old file.

Configuration belongs to the user. For each shipped file the hash of its last shipped version is kept in
`etc/.shipped` (`sha256sum -c` reads it):

    the user's file is        what happens
    absent                    the shipped file is put there
    the last shipped version  it is brought up to date
    anything else             it stays; the shipped version goes beside it as NAME.new, and that is said

etc/certs gets certificates for trying out (tools/make-certs.sh) if it has none yet. Into a package (--destdir) they do not go:
everybody who has the package would have their keys. The script is installed with the modules, for whoever sets up the system.
"""
import argparse
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RECORD = '.shipped'
SOURCE_ROOT = Path(__file__).resolve().parent.parent
MAKE_CERTS = SOURCE_ROOT / 'tools' / 'make-certs.sh'
PLUGIN_HEADER = SOURCE_ROOT / 'include' / 'emqc' / 'plugin.h'
PLUGIN_TEMPLATE = SOURCE_ROOT / 'plugins' / 'emqc_plugin_template'
TEMPLATE_FILES = ('Makefile', '*.c', '*.conf')  # what was built there stays behind
KEY_FILES = ('psk.txt', 'plugins/*.conf')  # what the user writes into them is for the broker's eyes alone


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def replace_file(content, target, mode):
    """Copies in one step: readers and running programs see the old file or the new one, never half of one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix='.' + target.name + '.')
    try:
        with os.fdopen(handle, 'wb') as out:
            out.write(content)
        os.chmod(name, mode)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def built_files(build):
    """What Meson would install: (programs, modules)."""
    with open(build / 'meson-info' / 'intro-targets.json', encoding='utf-8') as info:
        targets = json.load(info)
    kinds = {'executable': [], 'shared module': []}
    for target in targets:
        if target['installed'] and target['type'] in kinds:
            kinds[target['type']] += [Path(name) for name in target['filename']]
    return kinds['executable'], kinds['shared module']


def install_binaries(files, folder, mode):
    for source in files:
        target = folder / source.name
        if not source.exists():
            raise SystemExit(f'release: {source} has not been built')
        content = source.read_bytes()
        if not target.exists() or target.read_bytes() != content:
            replace_file(content, target, mode)


def read_record(path):
    if not path.exists():
        return {}
    lines = path.read_text(encoding='utf-8').splitlines()
    return {name: digest for digest, name in (line.split('  ', 1) for line in lines if line)}


def write_record(path, record):
    lines = [f'{digest}  {name}\n' for name, digest in sorted(record.items())]
    path.write_text(''.join(lines), encoding='utf-8')


def config_mode(name):
    return 0o600 if any(fnmatch.fnmatch(name, pattern) for pattern in KEY_FILES) else 0o644


def install_config_file(content, target, last_shipped, mode, say):
    new_digest = sha256(content)
    beside = target.with_name(target.name + '.new')

    if not target.exists() and not target.is_symlink():
        if last_shipped is not None:
            say(f'{target} was missing and is back with its shipped content')
        replace_file(content, target, mode)
        return new_digest
    # A link was made by the user: what it points to is the user's too.
    current = None if target.is_symlink() else sha256(target.read_bytes())
    if current in (new_digest, last_shipped) and current is not None:
        if current != new_digest:
            replace_file(content, target, mode)
            say(f'{target} brought up to date (it was as shipped)')
        beside.unlink(missing_ok=True)
        return new_digest
    if not beside.exists() or sha256(beside.read_bytes()) != new_digest:
        replace_file(content, beside, mode)
    say(f'{target} was changed by you and stays; the shipped version is in {beside.name}')
    return new_digest


def install_config(shipped, etc, say):
    """`shipped`: name relative to etc/ -> content."""
    etc.mkdir(parents=True, exist_ok=True)
    record_path = etc / RECORD
    record = read_record(record_path)
    new_record = {}
    for name, content in sorted(shipped.items()):
        new_record[name] = install_config_file(content, etc / name, record.get(name), config_mode(name), say)
    for name in sorted(set(record) - set(shipped)):
        dropped = etc / name
        if dropped.is_file() and not dropped.is_symlink() and sha256(dropped.read_bytes()) == record[name]:
            dropped.unlink()
            say(f'{dropped} is not shipped any more and was removed (it was as shipped)')
    if new_record != record:
        write_record(record_path, new_record)


def shipped_config(folder):
    if not folder.is_dir():
        return {}
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*')
            if path.is_file() and not path.name.startswith('.')}


def make_certificates(folder):
    """Once: what is there is the user's."""
    if any(folder.glob('*.pem')):
        return
    # Its line comes after ours in a pipe, too.
    sys.stdout.flush()
    if subprocess.run([str(MAKE_CERTS), str(folder)], check=False).returncode != 0:
        raise SystemExit(f'release: no certificates for trying out could be made in {folder}')


def with_system_folders(content, sysconfdir, localstatedir):
    """A shipped file names its folders from the release tree's root; an installed one names the system's."""
    folders = {b'etc': f'{sysconfdir}/emqx', b'data': f'{localstatedir}/lib/emqx', b'log': f'{localstatedir}/log/emqx'}

    def replace(match):
        return match.group(1) + folders[match.group(2)].encode() + match.group(3)
    return re.sub(rb'^([ \t]*#*[ \t]*[\w.$-]+[ \t]*=[ \t]*)(etc|data|log)((?:/\S*)?[ \t]*\r?)$', replace, content,
                  flags=re.MULTILINE)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', type=Path, required=True, help='the Meson build directory')
    parser.add_argument('--etc', type=Path, default=SOURCE_ROOT / 'etc', help='the shipped configuration')
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument('--tree', type=Path, help='make or refresh the release tree here')
    where.add_argument('--install', action='store_true', help='install for the system')
    parser.add_argument('--destdir', default='', help='put before every installed path (for packages)')
    parser.add_argument('--prefix', default='/usr', help='programs go to PREFIX/bin (default /usr)')
    parser.add_argument('--sysconfdir', default='/etc')
    parser.add_argument('--localstatedir', default='/var')
    return parser.parse_args(arguments)


def layout(options):
    """The folder of each kind of file."""
    if options.tree:
        return {name: options.tree / name for name in ('bin', 'lib', 'include', 'etc', 'data', 'log')}

    def under(*parts):
        return Path(options.destdir + '/' + '/'.join(parts))
    return {'bin': under(options.prefix, 'bin'), 'lib': under(options.prefix, 'lib', 'emqx'), 'include': under(options.prefix, 'include'),
            'etc': under(options.sysconfdir, 'emqx'), 'data': under(options.localstatedir, 'lib', 'emqx'),
            'log': under(options.localstatedir, 'log', 'emqx')}


def main(arguments):
    options = parse_arguments(arguments)
    folders = layout(options)

    def say(text):
        print(f'release: {text}')
    try:
        programs, modules = built_files(options.build)
        for folder in [*folders.values(), folders['etc'] / 'plugins', folders['etc'] / 'certs']:
            folder.mkdir(parents=True, exist_ok=True)
        install_binaries(programs, folders['bin'], 0o755)
        install_binaries(modules, folders['lib'], 0o644)
        shipped = shipped_config(options.etc)
        if options.install:
            shipped = {name: with_system_folders(content, options.sysconfdir, options.localstatedir)
                       if name.endswith('.conf') else content for name, content in shipped.items()}
        install_config(shipped, folders['etc'], say)
        install_binaries([MAKE_CERTS], folders['lib'], 0o755)
        # For plugins of the user's own: the interface, and the folder that `emqx_ctl plugins new` copies.
        install_binaries([PLUGIN_HEADER], folders['include'] / 'emqc', 0o644)
        install_binaries([path for pattern in TEMPLATE_FILES for path in PLUGIN_TEMPLATE.glob(pattern)],
                         folders['lib'] / PLUGIN_TEMPLATE.name, 0o644)
        if options.destdir:
            certs = f'{options.sysconfdir}/emqx/certs'
            say(f'{certs} is left empty; on the system: {options.prefix}/lib/emqx/{MAKE_CERTS.name} {certs}')
        else:
            make_certificates(folders['etc'] / 'certs')
    except OSError as error:
        raise SystemExit(f'release: {error}') from error
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
