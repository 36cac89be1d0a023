"""Hide packages that libraries import only because they are installed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from types import ModuleType

_ANY = DistributionFinder.Context()


class _Hiding(MetaPathFinder):
    """Finder that reports packages and their metadata as missing, before the finders after it are asked."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = frozenset(packages)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._packages:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None

    def find_distributions(self, context: DistributionFinder.Context = _ANY) -> Iterator[Distribution]:
        if context.name in self._packages:
            raise PackageNotFoundError(context.name)
        return iter(())


@contextmanager
def hidden_packages(*packages: str) -> Iterator[None]:
    """Let packages that are not imported yet look as if they were not installed.

    Args:
        *packages: Names of top-level packages, which are also those of their distributions.
    """
    finder = _Hiding(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
