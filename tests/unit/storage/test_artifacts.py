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

Artifacts(pathlib.Path(sys.argv[1]), pathlib.Path("cache")).put("checkpoints/job_1", write)
"""


def store(location: str | Path, cache: Path) -> Artifacts:
    """Return artifacts with an identity."""
    artifacts = Artifacts(location, cache)
    artifacts.create()
    artifacts.identify("a database")
    return artifacts


def test_an_artifact_is_read_as_it_was_put(tmp_path: Path) -> None:
    """Bytes and files are read as they were put, and named with their prefix."""
    artifacts = store(tmp_path / "new" / "folder", tmp_path / "cache")
    file = tmp_path / "file"
    file.write_bytes(b"of a file")
    names = artifacts.put("checkpoints/job_1", b"bytes"), artifacts.put("datasets", file)
    assert [artifacts.get(name) for name in names] == [b"bytes", b"of a file"]
    assert names[0].startswith("checkpoints/job_1/")


@pytest.mark.parametrize("is_url", [False, True], ids=["folder", "object store"])
def test_an_artifact_is_copied(tmp_path: Path, is_url: bool) -> None:
    """A copy has the content also after the artifact is deleted; a missing artifact can't be copied."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    artifacts = store(f"file://{folder}" if is_url else folder, tmp_path / "cache")
    name = artifacts.put("parameters", b"content")
    artifacts.copy(name, tmp_path / "copy")
    artifacts.delete(name)
    assert (tmp_path / "copy").read_bytes() == b"content"
    with pytest.raises(errors.ArtifactNotFound):
        artifacts.copy(name, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_names_are_unique(tmp_path: Path) -> None:
    """Two artifacts of equal content have different names."""
    artifacts = store(tmp_path / "artifacts", tmp_path / "cache")
    assert artifacts.put("datasets", b"x") != artifacts.put("datasets", b"x")


def test_a_deleted_artifact_is_not_found(tmp_path: Path) -> None:
    """A deleted artifact is not found, and deleting it again is no error."""
    artifacts = store(tmp_path / "artifacts", tmp_path / "cache")
    name = artifacts.put("datasets", b"x")
    artifacts.delete(name)
    artifacts.delete(name)
    for read in (artifacts.get, artifacts.path):
        with pytest.raises(errors.ArtifactNotFound):
            read(name)


@pytest.mark.parametrize("location", ["folder", "memory:///"])
def test_an_artifact_deleted_before_it_is_open_is_not_found(location: str, tmp_path: Path) -> None:
    """Whenever it is deleted, its reader gets the same error."""
    artifacts = store(location if "://" in location else tmp_path / location, tmp_path / "cache")
    name = artifacts.put("datasets", b"x")
    assert artifacts.load(name, Path.read_bytes) == b"x"

    def read(path: Path) -> bytes:
        artifacts.delete(name)
        return path.read_bytes()

    with pytest.raises(errors.ArtifactNotFound):
        artifacts.load(name, read)


def test_discard_skips_artifacts_that_cannot_be_deleted(tmp_path: Path) -> None:
    """`discard` deletes all artifacts except those whose deletion fails."""
    artifacts = store(tmp_path / "artifacts", tmp_path / "cache")
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


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    """`ping` and `put` raise `Unavailable` if the folder cannot be written."""
    artifacts = store(tmp_path / "folder", tmp_path / "cache")
    artifacts.ping()
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    (tmp_path / "folder").write_text("a file is in the way")
    with pytest.raises(errors.Unavailable):
        artifacts.ping()
    with pytest.raises(errors.Unavailable, match=r"can't be written: Not a directory\.$"):
        artifacts.put("datasets", b"x")


def test_a_folder_that_was_moved_away_is_unavailable(tmp_path: Path) -> None:
    """No artifact is read, written or missing where the folder was, until it is back."""
    artifacts = store(tmp_path / "folder", tmp_path / "cache")
    name = artifacts.put("datasets", b"x")
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    for act in (artifacts.ping, lambda: artifacts.put("datasets", b"y"), lambda: artifacts.get(name)):
        with pytest.raises(errors.Unavailable):
            act()
    assert not (tmp_path / "folder").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "folder")
    artifacts.ping()
    assert artifacts.get(name) == b"x"


def test_another_folder_in_its_place_is_unavailable(tmp_path: Path) -> None:
    """An artifact is not missing if the folder is that of another database, or an empty one."""
    artifacts = store(tmp_path / "folder", tmp_path / "cache")
    artifacts.expect("a database")
    name = artifacts.put("datasets", b"x")
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    (tmp_path / "folder").mkdir()
    for act in (artifacts.ping, lambda: artifacts.get(name)):
        with pytest.raises(errors.Unavailable, match="was the folder moved"):
            act()


@pytest.mark.parametrize("obstacle", ["a folder", "a loop of links"])
def test_a_read_error_is_unavailable(tmp_path: Path, obstacle: str) -> None:
    """An I/O error raises `Unavailable`, since it may be temporary, and not `ArtifactNotFound`."""
    artifacts = store(tmp_path / "artifacts", tmp_path / "cache")
    name = artifacts.put("datasets", b"x")
    path = artifacts.path(name)
    path.unlink()
    if obstacle == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(errors.Unavailable):
        artifacts.get(name)


def test_a_partial_file_of_a_killed_process_is_found(tmp_path: Path) -> None:
    """A file that a killed process left partially written is listed with the old artifacts."""
    location = tmp_path / "artifacts"
    artifacts = store(location, tmp_path / "cache")
    whole = artifacts.put("checkpoints/job_1", b"whole")
    command = [sys.executable, "-c", WRITES_HALF, str(location)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    written = {str(path.relative_to(location)) for path in location.glob("*/**/*") if path.is_file()}
    assert any(name.endswith(".partial") for name in written)
    found = {name for names in artifacts.old("checkpoints", timedelta(seconds=-1)) for name in names}
    assert found == written >= {whole}
    for name in found:
        artifacts.delete(name)
    artifacts.tidy("checkpoints", timedelta(hours=1))
    assert (location / "checkpoints" / "job_1").exists()  # a process may be about to write into it
    artifacts.tidy("checkpoints", timedelta(seconds=-1))
    assert sorted(location.iterdir()) == [location / "checkpoints", location / "identity"]
    assert list((location / "checkpoints").iterdir()) == []


def test_a_file_is_moved_into_the_folder(tmp_path: Path) -> None:
    """A file is moved and not copied when it becomes an artifact."""
    artifacts = store(tmp_path / "artifacts", tmp_path / "cache")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    inode = file.stat().st_ino
    path = artifacts.path(artifacts.put("datasets", file))
    assert not file.exists()
    assert (path.read_bytes(), path.stat().st_ino) == (b"content", inode)


def test_an_object_is_downloaded_once(tmp_path: Path) -> None:
    """An artifact of an object store is cached until it is unused for long enough or deleted."""
    artifacts = store("memory:///", tmp_path)
    name = artifacts.put("datasets", b"content")
    path = artifacts.path(name)
    assert path.read_bytes() == b"content"
    assert artifacts.path(name).stat().st_ino == path.stat().st_ino
    assert list(tmp_path.rglob("*.*")) == []
    artifacts.tidy("datasets", timedelta(hours=1))
    assert path.exists()
    artifacts.tidy("datasets", timedelta(seconds=-1))  # last used longer ago than that
    assert not path.exists()
    assert artifacts.path(name).read_bytes() == b"content"
    artifacts.delete(name)
    assert not path.exists()


def test_a_file_awaiting_upload_has_the_prefix(tmp_path: Path) -> None:
    """A file is written under its prefix before the upload, so that `tidy` finds it if the process dies."""
    artifacts, written = store("memory:///", tmp_path), list[Path]()

    def write(path: Path) -> None:
        written.append(path)
        path.write_bytes(b"content")

    name = artifacts.put("checkpoints/job_1", write)
    assert [path.parent for path in written] == [tmp_path / "checkpoints" / "job_1"]
    assert not any(path.exists() for path in written)
    assert artifacts.get(name) == b"content"


def test_an_unreachable_object_store_is_reported_in_one_line(tmp_path: Path) -> None:
    """The error of an unreachable object store is one line without a chain of causes."""
    artifacts = Artifacts("http://127.0.0.1:9/artifacts", tmp_path)
    with pytest.raises(errors.Unavailable, match=r"^The artifact can't be read: [^\n]+$"):
        artifacts.get("datasets/x")
