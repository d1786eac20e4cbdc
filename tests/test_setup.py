"""./do makes the environment from the lock alone, whatever an index offers by now."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: a project that installs itself editable without any build package
_PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "toy"
version = "1"
"""
_BACKEND = """\
import zipfile


def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/toy-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy-1.dist-info/METADATA",
                       "Metadata-Version: 2.1\\nName: toy\\nVersion: 1\\n")
        wheel.writestr("toy-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: toy\\n"
                       "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("toy-1.dist-info/RECORD", "")
    return "toy-1-py3-none-any.whl"
"""


def _wheel(folder: Path, name: str, version: str, *needs: str) -> str:
    """Put a wheel of nothing into the folder; returns its line in a lock."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    place = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {need}\n" for need in needs)
    extra = "Provides-Extra: more\n" if name == "measure" else ""
    with zipfile.ZipFile(path, "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extra}{needed}"
        wheel.writestr(f"{place}/METADATA", metadata)
        wheel.writestr(
            f"{place}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{place}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


@pytest.mark.slow
@pytest.mark.sockets
def test_a_newer_release_on_the_index_is_not_noticed(tmp_path: Path) -> None:
    """`plugin` asks for measure[more]; the lock has measure 1, the index offers measure 2 too."""
    tree, index = tmp_path / "tree", tmp_path / "index"
    tree.mkdir()
    index.mkdir()
    lock = _wheel(index, "measure", "1") + _wheel(index, "plugin", "1", "measure[more]>=1")
    _wheel(index, "measure", "2")
    shutil.copy(ROOT / "do", tree / "do")
    (tree / "pyproject.toml").write_text(_PROJECT)
    (tree / "backend.py").write_text(_BACKEND)
    (tree / "requirements.txt").write_text(lock)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHON": os.environ.get("PYTHON", ""),
    }

    made = subprocess.run(
        [tree / "do", "setup"], env=environ, capture_output=True, text=True, check=False
    )

    assert made.returncode == 0, made.stderr
    listed = subprocess.run(
        [tree / ".venv" / "bin" / "python", "-m", "pip", "list", "--format=freeze"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"measure==1", "plugin==1"} <= set(listed.stdout.split())
