import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from service.runtime.hidden_packages import hidden_packages


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package that is not imported yet."""
    name = "fitserve_hidden"
    (tmp_path / f"{name}.py").touch()
    metadata = tmp_path / f"{name}-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_hidden(package: str) -> None:
    """A hidden package has neither modules nor metadata; others are found."""
    with hidden_packages(package):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(package)
        with pytest.raises(PackageNotFoundError):
            version(package)
        assert version("pytest") == pytest.__version__


def test_found_afterwards(package: str) -> None:
    """After the block, the package is found."""
    with hidden_packages(package):
        pass
    assert importlib.import_module(package).__name__ == package
    assert version(package) == "1.0"
