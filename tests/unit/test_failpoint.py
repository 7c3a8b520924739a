"""Failpoints: a wrong setting is refused at start, and the right one kills at the right time."""

import os
import signal
import subprocess
import sys

import pytest

from bridge.resilience import failpoint

PROGRAM = """
from bridge.resilience.failpoint import reach
for number in range(3):
    reach("other")
    reach("here")
    print(number, flush=True)
"""


def run(setting: str) -> subprocess.CompletedProcess[str]:
    """Three passes by two failpoints."""
    environment = {**os.environ, "BRIDGE_FAILPOINT": setting}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("setting", ["here", "here:", "here:crash", "here:crash@", "here:crash@0", "here:crash@-1",
                                     "here:crash@x", "here:sleep@1", "a:crash@1,here"])  # fmt: skip
def test_a_setting_of_another_form_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="is not of the form name:crash@count"):
        failpoint._parse(setting)


def test_several_points_can_be_set() -> None:
    assert failpoint._parse("a.b:crash@3,c:crash@1,") == {"a.b": 3, "c": 1}
    assert failpoint._parse("") == {}


def test_the_process_dies_the_given_time_it_gets_there() -> None:
    """By SIGKILL: nothing is flushed, closed or handled."""
    done = run("here:crash@2")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n")


def test_a_point_that_is_not_set_is_passed_by() -> None:
    done = run("elsewhere:crash@1")
    assert (done.returncode, done.stdout) == (0, "0\n1\n2\n")
