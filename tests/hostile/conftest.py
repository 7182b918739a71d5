"""The hostile-traffic tests share the helpers of the integration tests."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]


def pytest_configure(config):
    # 10,000 connections need as many descriptors here and as many in the broker, which inherits the limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config.addinivalue_line("markers", "light: also for a sanitizer build")
    config.addinivalue_line("markers", "everywhere: an attack on a transport that it is worth running on by default")
