"""Artifacts in a folder."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from service import errors
from service.storage.artifacts import Artifacts

WRITES_HALF = """
import pathlib, sys, time
from service.storage.artifacts import Artifacts

def write(path):
    path.write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)

Artifacts(sys.argv[1], pathlib.Path("cache")).put("checkpoints/job_1", write)
"""


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
    for read in (artifacts.get, artifacts.path):
        with pytest.raises(errors.ArtifactNotFound):
            read(name)


def test_what_cannot_be_discarded_is_left(tmp_path: Path) -> None:
    """The others go."""
    artifacts = Artifacts(tmp_path / "artifacts", tmp_path / "cache")
    first, *others = [artifacts.put("datasets", b"x") for _ in range(3)]
    artifacts.path(first).unlink()
    (tmp_path / "artifacts" / first).mkdir()
    with pytest.raises(errors.Unavailable):
        artifacts.delete(first)
    artifacts.discard([first, *others])
    assert artifacts.path(first).is_dir()
    for name in others:
        with pytest.raises(errors.ArtifactNotFound):
            artifacts.get(name)


def test_a_folder_that_takes_nothing_is_unavailable(tmp_path: Path) -> None:
    """A folder that can't be written to is found by a ping, and an artifact is refused."""
    artifacts = Artifacts(tmp_path / "folder", tmp_path / "cache")
    artifacts.ping()
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").write_text("a file is in the way")
    with pytest.raises(errors.Unavailable):
        artifacts.ping()
    with pytest.raises(errors.Unavailable):
        artifacts.put("datasets", b"x")


@pytest.mark.parametrize("in_the_way", ["a folder", "a loop of links"])
def test_what_cant_be_read_now_is_unavailable(tmp_path: Path, in_the_way: str) -> None:
    """An error of the disk is no missing artifact: it may pass."""
    artifacts = Artifacts(tmp_path / "artifacts", tmp_path / "cache")
    name = artifacts.put("datasets", b"x")
    path = artifacts.path(name)
    path.unlink()
    if in_the_way == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(errors.Unavailable):
        artifacts.get(name)


def test_what_a_killed_process_left_half_written_is_old_some_day(tmp_path: Path) -> None:
    """A process that was killed while it wrote leaves a file; it is found, with what else is old."""
    location = tmp_path / "artifacts"
    artifacts = Artifacts(location, tmp_path / "cache")
    whole = artifacts.put("checkpoints/job_1", b"whole")
    command = [sys.executable, "-c", WRITES_HALF, str(location)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    written = {str(path.relative_to(location)) for path in location.rglob("*") if path.is_file()}
    assert any(name.endswith(".partial") for name in written)
    found = {name for names in artifacts.old("checkpoints", timedelta(seconds=-1)) for name in names}
    assert found == written >= {whole}
    for name in found:
        artifacts.delete(name)
    artifacts.tidy("checkpoints", timedelta(hours=1))
    assert (location / "checkpoints" / "job_1").exists()  # somebody may be about to write there
    artifacts.tidy("checkpoints", timedelta(seconds=-1))
    assert list(location.iterdir()) == [location / "checkpoints"]
    assert list((location / "checkpoints").iterdir()) == []


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
    artifacts.tidy("datasets", timedelta(hours=1))
    assert path.exists()
    artifacts.tidy("datasets", timedelta(seconds=-1))  # it was needed longer ago than that
    assert not path.exists()
    assert artifacts.path(name).read_bytes() == b"content"
    artifacts.delete(name)
    assert not path.exists()


def test_what_is_written_to_a_file_first_lies_where_it_is_tidied(tmp_path: Path) -> None:
    """A process that is killed before the upload leaves its file under the prefix, not beside it."""
    artifacts, written = Artifacts("memory:///", tmp_path), list[Path]()

    def write(path: Path) -> None:
        written.append(path)
        path.write_bytes(b"content")

    name = artifacts.put("checkpoints/job_1", write)
    assert [path.parent for path in written] == [tmp_path / "checkpoints" / "job_1"]
    assert not any(path.exists() for path in written)
    assert artifacts.get(name) == b"content"


def test_an_object_store_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    """Nobody listens where the store is said to be: that is told, without what led to it."""
    artifacts = Artifacts("http://127.0.0.1:9/artifacts", tmp_path)
    with pytest.raises(errors.Unavailable, match=r"^The artifact can't be read: [^\n]+$"):
        artifacts.get("datasets/x")
