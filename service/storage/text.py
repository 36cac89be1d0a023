"""Text as both databases hold it."""

import sqlalchemy
from sqlalchemy import Dialect
from sqlalchemy.types import TypeDecorator


class Text(TypeDecorator[str]):
    """Text of any length. Postgres has no NUL in it: U+FFFD, the replacement character, stands for one."""

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text without NUL, to be stored or looked for."""
        return value if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")
