import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from service.datasets.prepare.workspace import Layout, MappedBeyond
from service.errors import Unavailable

LAYOUTS = [Layout((3, 2), torch.float32), Layout((3, 1), torch.int64)]


def test_the_sizes_of_all_tensors_count_together(tmp_path: Path) -> None:
    """48 bytes fit into 48 and not into 47."""
    assert not MappedBeyond(tmp_path, 48).allocate(LAYOUTS).to_gather
    assert MappedBeyond(tmp_path, 47).allocate(LAYOUTS).to_gather


def test_mapped_tensors_are_written_and_read(tmp_path: Path) -> None:
    """They have the shape and the type that was asked for, an empty one too."""
    space = MappedBeyond(tmp_path / "new", 0).allocate([*LAYOUTS, Layout((0, 2), torch.float32)])
    space.tensors[0][1:] = torch.ones(2, 2)
    assert space.tensors[0].tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    assert [tuple(tensor.shape) for tensor in space.tensors] == [(3, 2), (3, 1), (0, 2)]
    assert space.tensors[1].dtype == torch.int64


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """The job is not to blame, and waits."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(Unavailable, match="no room for 40000 bytes"):
            MappedBeyond(tmp_path, 0).allocate([Layout((10_000,), torch.float32)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


KILLED_WHILE_RESERVING = """
import resource, signal, sys
from pathlib import Path
import torch
from service.datasets.prepare.workspace import Layout, MappedBeyond

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # a file beyond the limit ends the process
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
MappedBeyond(Path(sys.argv[1]), 0).allocate([Layout((10_000,), torch.float32)])
"""


def test_a_process_that_is_killed_while_it_makes_room_leaves_nothing(tmp_path: Path) -> None:
    """Not even for a moment is there a file that would stay."""
    command = [sys.executable, "-c", KILLED_WHILE_RESERVING, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGXFSZ
    assert [*tmp_path.iterdir()] == []
