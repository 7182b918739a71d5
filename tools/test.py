#!/usr/bin/python3
"""Runs the tests of this project: `tools/test.py all | quick | PHASE...` (see `make help`).

`all` goes through every phase below, also after one has failed, so that one run shows all that is wrong. Each
phase writes its output to build/test/PHASE.log; what failed is shown at the end. The closing line counts test
cases: of the unit tests, of the integration tests, and one for each build, fuzz target and check.

Environment: FUZZ_SECONDS (per fuzz target, 4), CRASH_KILLS (per test of the crash suite, 20), TEST_JOBS (parallel
integration tests, three times the cores).
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / 'build' / 'test'
PYTHON = '/usr/bin/python3' if Path('/usr/bin/python3').exists() else sys.executable
FUZZ_SECONDS = int(os.environ.get('FUZZ_SECONDS', '4'))
CRASH_KILLS = os.environ.get('CRASH_KILLS', '20')
JOBS = os.environ.get('TEST_JOBS', str(3 * (os.cpu_count() or 1)))
TAIL_LINES = 60  # of a failed phase's log
PHASE_TIMEOUT_S = 1500

SANITIZER_ENVIRONMENT = {
    # A leak is a failure, and a report ends the process with a code that no test expects.
    'ASAN_OPTIONS': 'detect_leaks=1:abort_on_error=0:exitcode=99:strict_string_checks=1:detect_stack_use_after_return=1'
                    # GCC 12's record of dynamic TLS holds wrong addresses once an object was closed, and the leak check dies of them.
                    ':intercept_tls_get_addr=0',
    'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1',
    # RocksDB comes without the sanitizer's instrumentation: what it does under its own locks would be reported.
    'TSAN_OPTIONS': 'halt_on_error=0:exitcode=99:second_deadlock_stack=1:ignore_noninstrumented_modules=1',
}


class Count:
    """Test cases of one phase."""

    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        skipped = f', {self.skipped} skipped' if self.skipped else ''
        return f'{self.passed} passed, {self.failed} failed{skipped}'


def run_logged(command, log, environment=None):
    """Runs a command with its output in `log`. True: it ended with 0, in time."""
    variables = {**os.environ, **SANITIZER_ENVIRONMENT, **(environment or {})}
    # Make's own variables would reach every make below with options that are not meant for it.
    for name in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS'):
        variables.pop(name, None)
    with open(log, 'ab') as out:
        out.write(f'$ {" ".join(map(str, command))}\n'.encode())
        out.flush()
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return process.wait(timeout=PHASE_TIMEOUT_S) == 0
        except subprocess.TimeoutExpired:
            out.write(f'\nnot finished after {PHASE_TIMEOUT_S} s\n'.encode())
            return False
        finally:
            # Also after ^C: the command's session holds whatever it started.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def make(target, log):
    """One build counts as one case."""
    return Count(1, 0) if run_logged(['make', '--no-print-directory', target], log) else Count(0, 1)


def count_unit_tests(build):
    """From what the test programs printed: cmocka counts its cases; a program that died is one failure more."""
    total = Count()
    with open(build / 'meson-logs' / 'testlog.json', encoding='utf-8') as lines:
        for line in lines:
            program = json.loads(line)
            text = program.get('stdout', '') + program.get('stderr', '')
            passed = sum(int(number) for number in re.findall(r'\[  PASSED  \] (\d+) test', text))
            failed = sum(int(number) for number in re.findall(r'\[  FAILED  \] (\d+) test', text))
            skipped = sum(int(number) for number in re.findall(r'\[  SKIPPED \] (\d+) test', text))
            succeeded = program['result'] in ('OK', 'EXPECTEDFAIL')
            if succeeded and passed + skipped == 0:
                passed = 1  # a program without cmocka's summary is a case of its own
            if not succeeded and failed == 0:
                failed = 1
            total.add(Count(passed, failed, skipped))
    return total


def unit_tests(name, log, environment=None):
    build = ROOT / 'build' / name
    testlog = build / 'meson-logs' / 'testlog.json'
    testlog.unlink(missing_ok=True)
    finished = run_logged(['meson', 'test', '-C', str(build), '--no-rebuild', '--print-errorlogs',
                           '--timeout-multiplier', '3'], log, environment)
    if not testlog.exists():
        return Count(0, 1)
    total = count_unit_tests(build)
    if not finished and total.failed == 0:
        total.failed = 1
    return total


def pytest(folder, log, arguments=(), environment=None):
    if not (ROOT / folder).is_dir():
        return Count()
    report = log.with_suffix('.xml')
    report.unlink(missing_ok=True)
    succeeded = run_logged([PYTHON, '-m', 'pytest', folder, '-q', '-p', 'no:cacheprovider', f'--junitxml={report}',
                            *arguments], log, {'PYTHONDONTWRITEBYTECODE': '1', **(environment or {})})
    if not report.exists():
        return Count(0, 1)
    total = Count()
    for suite in ElementTree.parse(report).getroot().iter('testsuite'):
        broken = int(suite.get('failures', 0)) + int(suite.get('errors', 0))
        skipped = int(suite.get('skipped', 0))
        total.add(Count(int(suite.get('tests', 0)) - broken - skipped, broken, skipped))
    if not succeeded and total.failed == 0:
        total.failed = 1
    return total


def integration_tests(tree, log, arguments=(), environment=None):
    """Against the programs of the release tree `tree`."""
    return pytest('tests/integration', log, ['-n', JOBS, *arguments],
                  {'EMQX_HOME': str(ROOT / tree), **(environment or {})})


def hostile_tests(tree, log, arguments=()):
    """Two at a time: each has its own broker, attacker and witness."""
    return pytest('tests/hostile', log, ['-n', '2', *arguments], {'EMQX_HOME': str(ROOT / tree)})


# ---- Phases: each takes its log file and returns what it counted.

def phase_release(log):
    """Release build and its tree"""
    return make('release', log)


def phase_integration(log):
    """Integration tests, release build"""
    return integration_tests('_rel/emqx', log)


def phase_hostile(log):
    """Hostile traffic, release build"""
    return hostile_tests('_rel/emqx', log)


def phase_crash(log):
    """Crash suite: kills, power cuts, failing disks, release build"""
    total = make('ninja-asan', log)  # has the shim
    if total.failed == 0:
        total.add(pytest('tests/crash', log, ['-n', '2'],
                         {'EMQX_HOME': str(ROOT / '_rel/emqx'), 'EMQC_CRASH_KILLS': CRASH_KILLS}))
    return total


def phase_asan_hostile(log):
    """ASan and UBSan: hostile traffic, a lighter selection"""
    return hostile_tests('build/asan/emqx', log, ['-m', 'light'])


def phase_asan(log):
    """ASan and UBSan: build, unit tests"""
    total = make('release-asan', log)
    if total.failed == 0:
        total.add(unit_tests('asan', log))
    return total


def phase_asan_integration(log):
    """ASan and UBSan: integration tests"""
    # The release build has run them with each value of `durability`.
    return integration_tests('build/asan/emqx', log, environment={'EMQC_TEST_DURABILITY': 'fsync'})


def phase_tsan(log):
    """ThreadSanitizer: build, unit tests, thread tests"""
    total = make('release-tsan', log)
    if total.failed == 0:
        suppressions = ROOT / 'tests' / 'tsan.supp'
        options = SANITIZER_ENVIRONMENT['TSAN_OPTIONS']
        if suppressions.exists():
            options += f':suppressions={suppressions}'
        total.add(unit_tests('tsan', log, {'TSAN_OPTIONS': options}))
        total.add(integration_tests('build/tsan/emqx', log, ['-m', 'quick or threads'], {'TSAN_OPTIONS': options}))
    return total


def fuzz_targets():
    """The programs that Meson made from fuzz/."""
    info = ROOT / 'build' / 'fuzz' / 'meson-info' / 'intro-targets.json'
    with open(info, encoding='utf-8') as text:
        targets = json.load(text)
    return [Path(target['filename'][0]) for target in targets
            if target['type'] == 'executable' and Path(target['defined_in']).parent.name == 'fuzz']


def fuzz(target):
    """(nothing was found in the time given, log). What the fuzzer learns is kept for the next run."""
    seeds = ROOT / 'fuzz' / 'seeds' / target.name
    corpus = ROOT / 'build' / 'fuzz' / 'corpus' / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    # An input that breaks something is left beside the corpus, as TARGET-crash-HASH.
    command = [str(target), f'-max_total_time={FUZZ_SECONDS}', '-timeout=5', '-rss_limit_mb=1024',
               '-print_final_stats=1', '-verbosity=1', f'-artifact_prefix={corpus}-', str(corpus)]
    if seeds.is_dir():
        command.append(str(seeds))
    log = LOGS / f'fuzz-{target.name}.log'
    log.unlink(missing_ok=True)
    return run_logged(command, log), log


def phase_fuzz(log):
    """Fuzz targets, each for a bounded time"""
    total = make('ninja-fuzz', log)
    if total.failed:
        return total
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for clean, target_log in pool.map(fuzz, fuzz_targets()):
            total.add(Count(1, 0) if clean else Count(0, 1))
            with open(log, 'ab') as out:
                out.write(target_log.read_bytes())
    return total


def phase_tidy(log):
    """Layers, layout, generated files, clang-tidy"""
    made = make('ninja-fuzz', log)  # its list of compile commands is clang's
    if made.failed:
        return made
    return Count(1, 0) if run_logged([PYTHON, 'tools/tidy.py'], log) else Count(0, 1)


def phase_tools(log):
    """Tests of the tools"""
    return pytest('tests/tools', log)


def phase_quick(log):
    """Unit tests and quick integration tests"""
    total = make('release', log)
    total.add(make('ninja-asan', log))
    if total.failed == 0:
        total.add(unit_tests('asan', log))
        total.add(integration_tests('_rel/emqx', log, ['-m', 'quick']))
    return total


# The integration tests of the commands use a program that only the builds with unit tests have: asan comes first.
ALL = [phase_release, phase_asan, phase_integration, phase_asan_integration, phase_hostile, phase_asan_hostile, phase_crash,
       phase_tsan, phase_fuzz, phase_tools, phase_tidy]
PLANS = {
    'all': ALL,
    'quick': [phase_quick, phase_tools],
    **{phase.__name__.removeprefix('phase_').replace('_', '-'): [phase] for phase in ALL},
}


def main(arguments):
    if not arguments or any(name not in PLANS for name in arguments):
        print(__doc__)
        print('Phases:', *(name for name in PLANS if PLANS[name][0] in ALL and len(PLANS[name]) == 1))
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    total = Count()
    failed_logs = []
    for phase in [phase for name in arguments for phase in PLANS[name]]:
        log = LOGS / (phase.__name__.removeprefix('phase_') + '.log')
        log.unlink(missing_ok=True)
        print(f'{phase.__doc__} ...', flush=True)
        started = time.monotonic()
        count = phase(log)
        print(f'    {count} ({time.monotonic() - started:.0f} s)', flush=True)
        total.add(count)
        if count.failed:
            failed_logs.append(log)
    for log in failed_logs:
        lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
        print(f'\n---- the end of {log.relative_to(ROOT)}:')
        print('\n'.join(lines[-TAIL_LINES:]))
    print(total)
    # A run without a single test has shown nothing.
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
