"""Records of stores against the columns of tables."""

from dataclasses import fields

import pytest
from sqlalchemy import Table

from service.storage.checkpoints import Checkpoint
from service.storage.job_record import Job
from service.storage.logs import LogLine
from service.storage.tables import checkpoints, jobs, log_lines

RECORDS = {Job: jobs, Checkpoint: checkpoints, LogLine: log_lines}


@pytest.mark.parametrize(("record", "table"), RECORDS.items(), ids=[each.name for each in RECORDS.values()])
def test_a_record_has_the_columns_of_its_table_in_order(record: type, table: Table) -> None:
    """The fields of a record are the columns of its table, in order, since rows are read by position."""
    assert [field.name for field in fields(record)] == [column.name for column in table.c]
