#!/usr/bin/python3
"""Checks what a compiler does not, and reports sizes: `make tidy`.

    tools/tidy.py [--root DIR] [layers] [format] [generated] [sizes] [clang-tidy]      (no name: all of them)

layers      A folder of src/ includes only itself and what stands below it in src/LAYERS. Includes are written from
            the root of src/; a header named *_internal.h stays inside its folder; a plugin sees emqc/plugin.h and plugins/lib only.
format      clang-format leaves every file as it is.
generated   The files that are made from the key tables are what the tables say (`make generate`).
sizes       Prints how large files, functions and structs are and names those to look at again. Never fails.
clang-tidy  .clang-tidy has nothing to say. What it found clean is not looked at again until the file, one of its
            headers or the settings change (build/tidy/).
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
CLANG_TIDY_TIMEOUT_S = 180  # per file


def source_files(root, *folders):
    """The C files below these folders, without what is built."""
    found = []
    for folder in folders:
        found += [path for path in (root / folder).rglob('*.[ch]') if path.is_file()]
    return sorted(found)


# ---- Layers

class Layers:
    """The order of src/LAYERS. An entry names a folder, or one module of a folder: NAME.c, NAME.h and NAME_*."""

    def __init__(self, src):
        lines = (src / 'LAYERS').read_text(encoding='utf-8').splitlines()
        names = [name for name in (line.split('#', 1)[0].strip() for line in lines) if name]
        self.order = {name: index for index, name in enumerate(names)}
        self.modules = {name for name in names if not (src / name).is_dir()}

    def find(self, path):
        """The entry that a path (relative to src/) belongs to: its module, or the nearest folder above it."""
        words = str(path.with_suffix('')).split('_')
        for count in range(len(words), 0, -1):
            module = '_'.join(words[:count])
            if module in self.modules:
                return module
        for folder in path.parents:
            if str(folder) in self.order:
                return str(folder)
        return None

    def points_up(self, from_entry, to_entry):
        return self.order[to_entry] < self.order[from_entry]


def check_include(layers, src, path, included):
    """One include of a file; `path` is relative to src/. Returns what is wrong, or None."""
    target = Path(included)
    if not (src / target).is_file():
        return f'"{included}" is not a path from the root of src/'
    if target.name.endswith('_internal.h') and target.parent != path.parent:
        return f'"{included}" is internal to {target.parent}/'
    entry, target_entry = layers.find(path), layers.find(target)
    if target_entry is None:
        return f'"{included}": {target.parent} is not in src/LAYERS'
    if layers.points_up(entry, target_entry):
        return f'"{included}" points up: {entry} stands below {target_entry} in src/LAYERS'
    return None


def check_layers(root):
    src = root / 'src'
    layers = Layers(src)
    problems = []
    for file in source_files(root, 'src'):
        path = file.relative_to(src)
        text = file.read_text(encoding='utf-8')
        if layers.find(path) is None:
            problems.append(f'{file}: {path.parent} is not in src/LAYERS')
            continue
        for match in INCLUDE.finditer(text):
            problem = check_include(layers, src, path, match.group(1))
            if problem:
                line = text.count('\n', 0, match.start(1)) + 1
                problems.append(f'{file}:{line}: {problem}')
    for file in source_files(root, 'plugins'):
        text = file.read_text(encoding='utf-8')
        for match in INCLUDE.finditer(text):
            of_lib = match.group(1).startswith('lib/') and (root / 'plugins' / match.group(1)).is_file()
            if match.group(1) != 'emqc/plugin.h' and not of_lib and not (file.parent / match.group(1)).is_file():
                line = text.count('\n', 0, match.start(1)) + 1
                problems.append(f'{file}:{line}: "{match.group(1)}": a plugin sees emqc/plugin.h, plugins/lib and its own headers')
    return problems


# ---- Format

def check_format(root):
    files = source_files(root, 'src', 'include', 'plugins', 'tests', 'fuzz', 'bench', 'tools')
    if not files:
        return []
    result = subprocess.run(['clang-format', '--dry-run', '-Werror', *files], cwd=root, capture_output=True, text=True,
                            check=False)
    if result.returncode == 0:
        return []
    wrong = sorted(set(re.findall(r'^(\S+?):\d+:\d+: error: ', result.stderr, re.MULTILINE)))
    return [f'{name}: not laid out as .clang-format says (`make format`)' for name in wrong] or [result.stderr.strip()]


# ---- Generated files

def check_generated(root):
    if not (root / 'tools' / 'confgen.c').exists():
        return []
    program = root / 'build' / 'fuzz' / 'src' / 'conf' / 'confgen'
    if not program.exists():
        return [f'{program} is missing: `make ninja-fuzz` builds it']
    with tempfile.TemporaryDirectory() as folder:
        for name in ('etc', 'docs'):
            (Path(folder) / name).mkdir()
        subprocess.run([program, folder], check=True)
        made = [path for path in Path(folder).rglob('*') if path.is_file()]
        stale = [path.relative_to(folder) for path in made
                 if not (root / path.relative_to(folder)).exists()
                 or path.read_bytes() != (root / path.relative_to(folder)).read_bytes()]
    return [f'{name} is not what the key tables say (`make generate`)' for name in sorted(stale)]


# ---- Sizes

def without_comments_and_strings(text):
    """The same text with comments and the inside of literals blanked; lines keep their numbers."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)

    def blank(match):
        token = match.group(0)
        if token[0] in '"\'':
            return token[0] * 2
        return '\n' * token.count('\n')
    return pattern.sub(blank, text)


def count_parameters(signature):
    inside = signature[signature.find('(') + 1:signature.rfind(')')]
    if inside.strip() in ('', 'void'):
        return 0
    depth = commas = 0
    for character in inside:
        depth += {'(': 1, ')': -1}.get(character, 0)
        commas += character == ',' and depth == 0
    return commas + 1


def nesting_depth(body):
    """How deep statements lie inside others; `body` are the lines between a function's braces."""
    depth = deepest = 0
    for line in body:
        opened, closed = line.count('{'), line.count('}')
        stripped = line.strip()
        without_braces = re.match(r'(\} )?(if|else|for|while)\b', stripped) and not stripped.endswith('{')
        depth += min(0, opened - closed)
        deepest = max(deepest, depth + max(0, opened - closed) + (1 if without_braces else 0))
        depth += max(0, opened - closed)
    return deepest


def functions_of(text):
    """(name, first line, lines, nesting, parameters) of each function: the layout puts its braces in column 0."""
    lines = text.split('\n')
    start = None
    for index, line in enumerate(lines):
        if line == '{':
            first = index - 1
            while first > 0 and lines[first - 1].strip() and not re.search(r'[;}]$|^#', lines[first - 1].rstrip()):
                first -= 1
            signature = ' '.join(lines[first:index])
            start = first if signature.rstrip().endswith(')') else None
        elif line == '}' and start is not None:
            match = re.search(r'(\w+)\s*\(', signature)
            opening = lines.index('{', start)
            yield (match.group(1) if match else '?', start + 1, index - start + 1,
                   nesting_depth(lines[opening + 1:index]), count_parameters(signature))
            start = None


def structs_of(text):
    """(name, first line, members) of each struct defined at the outermost level."""
    for match in re.finditer(r'^(?:static |const )*struct (\w+) \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL):
        depth = members = 0
        for character in match.group(2):
            depth += {'{': 1, '}': -1}.get(character, 0)
            members += character in ';,' and depth == 0
        yield match.group(1), text.count('\n', 0, match.start()) + 1, members


class Measure:
    """One row of the report."""

    def __init__(self, name, usual, again):
        self.name, self.usual, self.again = name, usual, again
        self.values = []

    def add(self, value, where):
        self.values.append((value, where))

    def row(self):
        values = sorted(value for value, _ in self.values)
        if not values:
            return None
        over_usual = sum(value > self.usual for value in values)
        over_again = sum(value > self.again for value in values)
        return (self.name, len(values), values[len(values) // 2], values[len(values) * 95 // 100], values[-1],
                f'{over_usual} over {self.usual}', f'{over_again} over {self.again}')

    def to_look_at(self):
        return [(value, where) for value, where in sorted(self.values, key=lambda pair: (-pair[0], pair[1]))
                if value > self.again]


def measure_file(measures, path, raw):
    text = without_comments_and_strings(raw)
    measures['header' if path.suffix == '.h' else 'file'].add(raw.count('\n'), path)
    for name, line, length, nesting, parameters in functions_of(text):
        where = f'{path}:{line} {name}()'
        measures['function'].add(length, where)
        measures['nesting'].add(nesting, where)
        measures['parameters'].add(parameters, where)
    for name, line, members in structs_of(text):
        measures['struct'].add(members, f'{path}:{line} struct {name}')


def count_conditionals(raw):
    """#if lines, include guards aside."""
    found = re.findall(r'^\s*#\s*if\w*[^\n]*\n(?!#define \w+_H$)', raw, re.MULTILINE)
    return len(found)


def report_sizes(root):
    measures = {
        'file': Measure('.c file, lines', 400, 800), 'header': Measure('header, lines', 120, 250),
        'function': Measure('function, lines', 25, 60), 'nesting': Measure('nesting', 2, 4),
        'parameters': Measure('parameters', 4, 6), 'struct': Measure('struct members', 12, 30),
    }
    lines = conditionals = 0
    elsewhere = {}
    for file in source_files(root, 'src', 'include'):
        raw = file.read_text(encoding='utf-8')
        path = file.relative_to(root)
        measure_file(measures, path, raw)
        lines += raw.count('\n')
        count = count_conditionals(raw)
        conditionals += count
        if count and path.parts[1] not in ('base', 'net'):
            elsewhere[path] = count
    print(f'{"":16} {"count":>6} {"median":>6} {"95%":>5} {"max":>5}   {"usual":>13} {"look again":>13}')
    for measure in measures.values():
        row = measure.row()
        if row:
            print(f'{row[0]:16} {row[1]:6} {row[2]:6} {row[3]:5} {row[4]:5}   {row[5]:>13} {row[6]:>13}')
    print(f'{lines} lines, {conditionals} #if'
          + (f' ({sum(elsewhere.values())} outside base/ and net/)' if elsewhere else ''))
    for measure in measures.values():
        for value, where in measure.to_look_at():
            print(f'  look again: {where}: {measure.name.split(",")[0]} {value} (usual: {measure.usual})')
    for path, count in sorted(elsewhere.items()):
        print(f'  look again: {path}: {count} #if')
    return []


# ---- clang-tidy

def headers_by_object(build):
    """What each object file was made from, as Ninja recorded it."""
    result = subprocess.run(['ninja', '-C', str(build), '-t', 'deps'], capture_output=True, text=True, check=False)
    headers, current = {}, None
    for line in result.stdout.splitlines():
        if line.startswith('    '):
            headers[current].append(line.strip())
        elif ': #deps' in line:
            current = line.split(': #deps', 1)[0]
            headers[current] = []
    return headers


def fingerprint(root, build, command, headers):
    """Changes with whatever could change the verdict on this file; None when that is not known."""
    names = headers.get(command.get('output'))
    if not names:
        return None
    digest = hashlib.sha256((root / '.clang-tidy').read_bytes() + command['command'].encode())
    for name in names:
        path = (build / name).resolve()
        if path.is_relative_to(root):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def findings(root, build, text):
    """The errors alone, one line each with a path from the root; the notes that lead there come from running
    clang-tidy on the file by hand."""
    found = []
    for match in re.finditer(r'^(\S+?):(\d+):\d+: (?:error|warning): (.*)$', text, re.MULTILINE):
        path = (build / match.group(1)).resolve()
        name = path.relative_to(root) if path.is_relative_to(root) else path
        found.append(f'{name}:{match.group(2)}: {match.group(3).replace(",-warnings-as-errors]", "]")}')
    return found


def clang_tidy_file(root, build, file, mark):
    try:
        result = subprocess.run(['clang-tidy', '--quiet', '-p', str(build), str(file)], cwd=root, capture_output=True,
                                text=True, check=False, timeout=CLANG_TIDY_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [f'{file}: clang-tidy was not done after {CLANG_TIDY_TIMEOUT_S} s']
    if result.returncode != 0:
        return findings(root, build, result.stdout) or [f'{file}: {(result.stdout + result.stderr).strip()}']
    if mark is not None:
        mark.touch()
    return []


def check_clang_tidy(root):
    build = root / 'build' / 'fuzz'
    database = build / 'compile_commands.json'
    if not database.exists():
        return [f'{database} is missing: `make ninja-fuzz` writes it']
    marks = root / 'build' / 'tidy'
    marks.mkdir(parents=True, exist_ok=True)
    headers = headers_by_object(build)
    work, known = {}, set()
    for command in json.loads(database.read_text(encoding='utf-8')):
        file = (build / command['file']).resolve()
        digest = fingerprint(root, build, command, headers)
        mark = marks / digest if digest else None
        known.add(mark)
        if mark is None or not mark.exists():
            work[file] = mark
    for mark in marks.iterdir():
        if mark not in known:
            mark.unlink()
    print(f'clang-tidy: {len(work)} files to look at', flush=True)
    problems = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for found in pool.map(lambda item: clang_tidy_file(root, build, *item), sorted(work.items())):
            problems += [problem for problem in found if problem not in problems]
    if problems:
        print(f'(how it comes to these: clang-tidy -p {build.relative_to(root)} FILE)')
    return problems


CHECKS = {'layers': check_layers, 'format': check_format, 'generated': check_generated, 'sizes': report_sizes,
          'clang-tidy': check_clang_tidy}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument('checks', nargs='*', metavar='check', help=', '.join(CHECKS))
    options = parser.parse_args(arguments)
    unknown = set(options.checks) - set(CHECKS)
    if unknown:
        parser.error(f'unknown check: {", ".join(sorted(unknown))}')
    failed = False
    for name in options.checks or CHECKS:
        problems = CHECKS[name](options.root.resolve())
        for problem in problems:
            print(problem)
        print(f'{name}: {len(problems)} problems' if problems else f'{name}: fine', flush=True)
        failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
