"""Room for new data: a quota over all records, and a floor of free disk space."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from service.errors import StorageFull
from service.settings import Settings
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.storage import open_storage


def test_the_quota_counts_datasets_and_checkpoints(tmp_path: Path) -> None:
    """What would exceed the quota is refused by the check and by the commit; a running job is not."""
    with open_storage(Settings(data_dir=tmp_path, max_stored_bytes=100)) as storage:
        storage.room.check(100)
        with pytest.raises(StorageFull, match="may store 100 bytes"):
            storage.room.check(101)
        storage.jobs.submit(OWNER, PlannedJob(new_job(), replace(new_dataset(), bytes=60)))
        claim = Claim.of(claimed(storage.claims))
        storage.claims.save_checkpoint(claim, NewCheckpoint(1, "checkpoints/a", 40))
        assert storage.room.bytes_left() == 0
        with pytest.raises(StorageFull):
            storage.room.check()
        storage.claims.save_checkpoint(claim, NewCheckpoint(2, "checkpoints/b", 40))
        new = replace(new_dataset(), digest="other", bytes=1)
        with pytest.raises(StorageFull):
            storage.datasets.add(OWNER, new)
        with pytest.raises(StorageFull):
            storage.jobs.submit(OWNER, PlannedJob(new_job(), new))
        assert len(storage.datasets.list(OWNER, 10)) == 1
        assert storage.datasets.add(OWNER, replace(new_dataset(), bytes=60))[1] is False  # equal content


def test_the_last_byte_of_the_quota_can_be_used(tmp_path: Path) -> None:
    """A dataset that fills the quota exactly is stored."""
    with open_storage(Settings(data_dir=tmp_path, max_stored_bytes=100)) as storage:
        assert storage.datasets.add(OWNER, replace(new_dataset(), bytes=100))[1]


def test_a_floor_of_the_disk_is_kept_free(tmp_path: Path) -> None:
    """New data is refused if it would leave less than the floor; the error names the setting."""
    free = psutil.disk_usage(str(tmp_path)).free
    with open_storage(Settings(data_dir=tmp_path, min_free_bytes=free // 2)) as storage:
        storage.room.check(free // 4)
        with pytest.raises(StorageFull, match="FITSERVE_MIN_FREE_BYTES"):
            storage.room.check(free)
    with open_storage(Settings(data_dir=tmp_path, min_free_bytes=2**60)) as storage:
        with pytest.raises(StorageFull):
            storage.room.check_disk()
        name = storage.artifacts.put("checkpoints/job", b"x")  # jobs that run may use what is kept for them
        assert storage.artifacts.get(name) == b"x"
