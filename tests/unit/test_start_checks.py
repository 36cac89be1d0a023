"""Folders that the user of a service can't write."""

import os
import stat
import sys
from pathlib import Path

import pytest

from service.settings import Settings
from service.start_checks import check_folders
from service.start_errors import ExitStatus, StartError

NOBODY = 65534
MAX_MESSAGE_BYTES = 4096


def refusal_of(data_dir: Path, user_id: int) -> str:
    """Check the folders as a user in another process; return the sentence of the refusal, if any."""
    settings = Settings(data_dir=data_dir)
    reader, writer = os.pipe()
    if os.fork() == 0:
        sentence = ""
        try:
            if os.getuid() != user_id:
                os.setgroups([])
                os.setgid(user_id)
                os.setuid(user_id)
            check_folders(settings)
        except StartError as error:
            sentence = str(error) if error.status == ExitStatus.STORE else repr(error)
        except BaseException as error:
            sentence = repr(error)
        os.write(writer, sentence.encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    with open(reader, "rb", buffering=0) as pipe:
        return pipe.read(MAX_MESSAGE_BYTES).decode()


@pytest.mark.skipif(sys.platform != "linux", reason="pytest's folders are elsewhere private to their user")
@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_write_access_is_named(tmp_path: Path, exists: bool) -> None:
    """One sentence names the folder, the setting and the remedy, and nothing is left in the folder."""
    user_id = NOBODY if os.getuid() == 0 else os.getuid()
    parent = tmp_path / "parent"
    parent.mkdir()
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):  # private folders of pytest
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    parent.chmod(0o555)
    try:
        sentence = refusal_of(parent if exists else parent / "data", user_id)
    finally:
        parent.chmod(0o755)
    assert f"The folder {parent}" in sentence
    assert "FITSERVE_DATA_DIR" in sentence
    assert "can't be written: permission denied. Choose another folder, or give this user write" in sentence
    assert [*parent.iterdir()] == []


def test_a_folder_with_write_access_is_created(tmp_path: Path) -> None:
    """The check leaves the folders that a service needs."""
    assert refusal_of(tmp_path / "data", os.getuid()) == ""
    assert (tmp_path / "data").is_dir()
