"""Artifacts in a folder."""

from pathlib import Path

import pytest

from service import errors
from service.storage.artifacts import Artifacts


def test_an_artifact_comes_back(tmp_path: Path) -> None:
    """Bytes and files come back as they were put, under the prefix they were put under."""
    artifacts = Artifacts(tmp_path / "new" / "folder", tmp_path / "cache")
    file = tmp_path / "file"
    file.write_bytes(b"of a file")
    names = artifacts.put("checkpoints/job_1", b"bytes"), artifacts.put("datasets", file)
    assert [artifacts.get(name) for name in names] == [b"bytes", b"of a file"]
    assert names[0].startswith("checkpoints/job_1/")


def test_every_name_is_fresh(tmp_path: Path) -> None:
    """Two artifacts of equal content have names of their own."""
    artifacts = Artifacts(tmp_path / "artifacts", tmp_path / "cache")
    assert artifacts.put("datasets", b"x") != artifacts.put("datasets", b"x")


def test_a_deleted_artifact_is_gone(tmp_path: Path) -> None:
    """A deleted artifact is not there; deleting it again is no error."""
    artifacts = Artifacts(tmp_path / "artifacts", tmp_path / "cache")
    name = artifacts.put("datasets", b"x")
    artifacts.delete(name)
    artifacts.delete(name)
    with pytest.raises(FileNotFoundError):
        artifacts.get(name)


def test_a_folder_that_takes_nothing_is_unavailable(tmp_path: Path) -> None:
    """A folder that can't be written to is found by a ping, and an artifact is refused."""
    artifacts = Artifacts(tmp_path / "folder", tmp_path / "cache")
    artifacts.ping()
    (tmp_path / "folder" / "ping").unlink()
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").write_text("a file is in the way")
    with pytest.raises(errors.Unavailable):
        artifacts.ping()
    with pytest.raises(errors.Unavailable):
        artifacts.put("datasets", b"x")


def test_a_file_is_moved_into_a_folder(tmp_path: Path) -> None:
    """A file becomes the artifact: it isn't copied, and is read where it lies."""
    artifacts = Artifacts(tmp_path / "artifacts", tmp_path / "cache")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    inode = file.stat().st_ino
    path = artifacts.path(artifacts.put("datasets", file))
    assert not file.exists()
    assert (path.read_bytes(), path.stat().st_ino) == (b"content", inode)


def test_an_object_is_downloaded_once(tmp_path: Path) -> None:
    """An artifact of an object store is read from a cache, and gone from it when it is deleted."""
    artifacts = Artifacts("memory:///", tmp_path)
    name = artifacts.put("datasets", b"content")
    path = artifacts.path(name)
    assert path.read_bytes() == b"content"
    assert artifacts.path(name).stat().st_ino == path.stat().st_ino
    assert list(tmp_path.rglob("*.*")) == []
    artifacts.delete(name)
    assert not path.exists()
