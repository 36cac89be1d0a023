import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from service.datasets.prepare.workspace import Layout, SpillingWorkspace
from service.errors import Unavailable

LAYOUTS = [Layout((3, 2), torch.float32), Layout((3, 1), torch.int64)]


def test_the_sizes_of_all_tensors_count_together(tmp_path: Path) -> None:
    """Tensors of 48 bytes in total fit into 48 bytes of memory, and not into 47."""
    assert not SpillingWorkspace(tmp_path, 48).allocate(LAYOUTS).mapped
    assert SpillingWorkspace(tmp_path, 47).allocate(LAYOUTS).mapped


def test_mapped_tensors_are_written_and_read(tmp_path: Path) -> None:
    """Mapped tensors have the requested shape and dtype, also without elements."""
    allocation = SpillingWorkspace(tmp_path / "new", 0).allocate([*LAYOUTS, Layout((0, 2), torch.float32)])
    allocation.tensors[0][1:] = torch.ones(2, 2)
    assert allocation.tensors[0].tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    assert [tuple(tensor.shape) for tensor in allocation.tensors] == [(3, 2), (3, 1), (0, 2)]
    assert allocation.tensors[1].dtype == torch.int64


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    """Without enough disk space, the allocation raises `Unavailable`, so that the job can be retried."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(Unavailable, match="40000 bytes of training data can't be written"):
            SpillingWorkspace(tmp_path, 0).allocate([Layout((10_000,), torch.float32)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


KILLED_WHILE_RESERVING = """
import resource, signal, sys
from pathlib import Path
import torch
from service.datasets.prepare.workspace import Layout, SpillingWorkspace

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # a file beyond the limit ends the process
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
SpillingWorkspace(Path(sys.argv[1]), 0).allocate([Layout((10_000,), torch.float32)])
"""


def test_a_process_killed_during_allocation_leaves_no_file(tmp_path: Path) -> None:
    """The files have no name at any time, so a killed process leaves nothing in the folder."""
    command = [sys.executable, "-c", KILLED_WHILE_RESERVING, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGXFSZ
    assert [*tmp_path.iterdir()] == []
