"""The lab beside an engine that it shares nothing with but the API: it can ask no kernel, and the engine finds none of its files.

The lab's processes are in a mount namespace of their own (mount_namespaces(7)). There /proc and /sys are empty, and the checkout, the
lab's state and all that it generates are in a tmpfs that nobody else has. Python knows no affinity. psutil, which has other ways on
other systems, finds a /proc elsewhere. The engine is that of all tests.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.conftest import copy_checkout, leftovers, require
from tests.e2e.conftest import HERE, make_cli, observations
from tests.e2e.machines import DOCKER
from wsgilab import commands
from wsgilab.run.testbed import OWN_MACHINE
from wsgilab.system import cpus, host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

EXPERIMENT = """
name: laptop
blocks: 1
window_s: 1
reference: gunicorn-sync-4
workloads: {sleep: {ms: 20}}
cells: [{servers: [gunicorn-sync-4], workloads: [sleep], users: [8], connections: [close]}]
"""
LIKE_MACOS = """
import os, platform, runpy
import psutil
psutil.PROCFS_PATH = os.environ["HIDDEN"] + "/proc"
del os.sched_getaffinity, os.sched_setaffinity
platform.system = lambda: "Darwin"
runpy.run_path(os.environ["UNCHARTED"])
"""
"""What Python imports at its start: sitecustomize.py."""
PAGE = """
import json, os, urllib.request
port = json.load(open(os.environ["HIDDEN"] + "/state/up.json"))["port"]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open("http://127.0.0.1:%d/lab" % port).read().decode())
"""
SCRIPT = """
set -eu
mount --make-rprivate /
mount -t tmpfs hidden "$HIDDEN"
mkdir "$HIDDEN/proc"
mount --rbind /proc "$HIDDEN/proc"
cp -R "$VISIBLE/." "$HIDDEN"
mount -t tmpfs none /proc
mount -t tmpfs none /sys
cd "$HIDDEN/lab"
step() { name=$1; shift; echo "== $name"; code=0; "$@" 2>&1 || code=$?; echo "== $name ended with $code"; }
step doctor "$PYTHON" -m invoke lab.doctor
step run "$PYTHON" -m invoke lab.run --experiment "$HIDDEN/laptop.yaml"
step up "$PYTHON" -m invoke lab.up --servers gunicorn-sync-4 --no-backends --port 0
step page "$PYTHON" "$HIDDEN/page.py"
step down "$PYTHON" -m invoke lab.down
step clean "$PYTHON" -m invoke lab.clean
"""


class Step(NamedTuple):
    """A command of the script's that has ended."""

    code: int
    output: str


def images(project: Path) -> list[str]:
    """The names of those that a checkout has built."""
    checkout = hashlib.sha256(str(project).encode()).hexdigest()[:8]
    words = ["image", "ls", "--filter", f"label=wsgilab.checkout={checkout}", "--format", "{{.Repository}}:{{.Tag}}"]
    return subprocess.run([DOCKER, *words], check=True, capture_output=True, text=True).stdout.split()


def test_a_laptop_measures_on_the_machine_of_its_engine(tmp_path: Path) -> None:
    require("compose")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a mount namespace needs root, and unshare")
    visible, hidden = tmp_path / "visible", tmp_path / "hidden"
    hidden.mkdir()
    shutil.copy(commands.PROJECT / "tasks.py", copy_checkout(visible / "lab"))
    for name, text in (("laptop.yaml", EXPERIMENT), ("python/sitecustomize.py", LIKE_MACOS), ("page.py", PAGE)):
        (visible / name).parent.mkdir(exist_ok=True)
        (visible / name).write_text(text)
    cli = make_cli("compose", hidden / "state", tmp_path / "results")
    own = {"HIDDEN": str(hidden), "VISIBLE": str(visible), "PYTHON": sys.executable, "LAB_CATALOGUE": ""}
    own |= {"PYTHONPATH": f"{hidden}/python", "UNCHARTED": str(HERE / "uncharted" / "sitecustomize.py")}
    try:
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", SCRIPT],
            env={**os.environ, **cli.environment, **own},
            capture_output=True,
            text=True,
            timeout=560,
            check=False,
        )
        assert leftovers(cli.workspace) == []
        assert images(hidden / "lab") == []
    finally:
        cli("lab.down")
        for name in images(hidden / "lab"):
            subprocess.run([DOCKER, "image", "rm", name], check=True, capture_output=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    found = re.findall(r"^== (\w+)\n(.*?)^== \1 ended with (\d+)$", ended.stdout, re.MULTILINE | re.DOTALL)
    steps = {name: Step(int(code), output) for name, output, code in found}
    assert len(steps) == 6, ended.stdout
    assert not any(step.code for step in steps.values()), ended.stdout

    assert "ok  machine: the engine's own, where servers and users run: " in steps["doctor"].output
    assert re.search(r"^ok  cores: [0-9,-]+ usable", steps["doctor"].output, re.MULTILINE)
    assert "The engine has a machine of its own: " in steps["run"].output
    assert "gunicorn-sync-4" in steps["page"].output
    # The server, and the process that keeps it up.
    assert "Ended 2 processes or containers." in steps["down"].output

    run = yaml.safe_load((cli.latest / "run.yaml").read_text())
    assert cpus.parse(run["host"]["usable_cpus"]) >= host.usable_cpus()
    assert run["host"]["kernel"] == platform.release()
    assert OWN_MACHINE in run["notes"]
    assert "lanes" not in run or not run["lanes"]
    [observation] = [json.loads(line) for line in observations(cli.latest)]
    assert (observation["status"], observation["swarm"]["in_flight"]["peak"]) == ("measured", 4)
