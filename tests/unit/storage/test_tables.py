"""The records that stores give are the tables' rows."""

from dataclasses import fields

import pytest
from sqlalchemy import Table

from service.storage.checkpoints import Checkpoint
from service.storage.job_record import Job
from service.storage.logs import LogLine
from service.storage.tables import checkpoints, jobs, log_lines

RECORDS = {Job: jobs, Checkpoint: checkpoints, LogLine: log_lines}


@pytest.mark.parametrize(("record", "table"), RECORDS.items(), ids=[each.name for each in RECORDS.values()])
def test_a_record_has_the_columns_of_its_table_in_their_order(record: type, table: Table) -> None:
    """A row becomes a record by position, so the fields of the one are the columns of the other."""
    assert [field.name for field in fields(record)] == [column.name for column in table.c]
