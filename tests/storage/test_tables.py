"""The records that stores give are the tables' rows."""

from dataclasses import fields

from service.storage.job_record import Job
from service.storage.tables import jobs


def test_a_job_has_the_columns_of_its_table_in_their_order() -> None:
    """A row becomes a job by position, so the fields of the one are the columns of the other."""
    assert [field.name for field in fields(Job)] == [column.name for column in jobs.c]
