"""What `./do` installs: the lock, whatever a package index has to offer besides."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checks.lock import problems
from tests.checks.tree import ROOT

#: a project that builds itself: what `pip install --editable` asks a build backend for
_BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "project-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        info = "project-1.0.dist-info"
        metadata = "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def put_wheel(index: Path, name: str, version: str, *requires: str) -> str:
    """Offer a release in the index; the line that locks it."""
    path = index / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    wanted = "".join(f"Requires-Dist: {entry}\n" for entry in requires)
    with ZipFile(path, "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", f"{metadata}Provides-Extra: toml\n{wanted}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def set_up(folder: Path, index: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """Run `./do setup` on a project with this lock, on a machine with this index alone."""
    folder.mkdir()
    shutil.copy(ROOT / "do", folder)
    (folder / "backend.py").write_text(_BACKEND)
    (folder / "pyproject.toml").write_text(_PROJECT)
    (folder / "requirements.txt").write_text(lock)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env |= {
        "HOME": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PYTHON": sys.executable,
    }
    return subprocess.run(
        [folder / "do", "setup"], env=env, check=False, capture_output=True, text=True, timeout=110
    )


@pytest.mark.slow
@pytest.mark.sockets
def test_a_release_published_later_is_not_noticed(tmp_path: Path) -> None:
    """Giver 2.0 is out, and asker asks for giver[toml]: pip 23 would look for it, and stop."""
    index = tmp_path / "index"
    index.mkdir()
    lock = put_wheel(index, "giver", "1.0") + put_wheel(index, "asker", "1.0", "giver[toml]>=1.0")
    put_wheel(index, "giver", "2.0")

    done = set_up(tmp_path / "project", index, lock)

    assert done.returncode == 0, done.stderr
    (giver,) = (tmp_path / "project").glob(".venv*/lib/*/site-packages/giver-*.dist-info")
    assert giver.name == "giver-1.0.dist-info"


@pytest.mark.slow
@pytest.mark.sockets
def test_a_lock_that_lacks_a_package_is_refused(tmp_path: Path) -> None:
    """Asker is locked without the giver that it needs: said at set-up, not at the first import."""
    index = tmp_path / "index"
    index.mkdir()
    lock = put_wheel(index, "asker", "1.0", "giver>=1.0")

    done = set_up(tmp_path / "project", index, lock)

    assert done.returncode == 2
    assert "the lock is not complete: asker 1.0 requires giver" in done.stderr


def test_every_install_of_a_lock_takes_the_lock_alone(tmp_path: Path) -> None:
    """A single forgotten --no-deps in .ci/run let a later release break the set-up."""
    for name in ("do", ".ci/run", "pyproject.toml", "requirements.txt", "requirements-run.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert problems(tmp_path) == []

    script = tmp_path / ".ci/run"
    script.write_text(
        script.read_text().replace("install --no-deps --require", "install --require")
    )

    assert problems(tmp_path) == [
        ".ci/run: `pip install -r` without --no-deps --require-hashes: later releases matter"
    ]


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-run.txt"])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_is_complete_on_every_python(version: str, lock: str) -> None:
    """What a locked package asks for there, by its own markers, is locked there too."""
    here = {"python_version": version, "python_full_version": f"{version}.0", "extra": ""}
    lines = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    pins = [Requirement(line.split(" --hash")[0]) for line in lines if line[0] != "#"]
    locked = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(here)
    }

    lacking = [
        f"{name}: {wanted}"
        for name in locked
        for wanted in map(Requirement, distribution(name).requires or ())
        if wanted.marker is None or wanted.marker.evaluate(here)
        if not wanted.specifier.contains(locked.get(canonicalize_name(wanted.name), "0"))
        or canonicalize_name(wanted.name) not in locked
    ]

    assert lacking == []
