"""Column type for text."""

import sqlalchemy
from sqlalchemy import Dialect
from sqlalchemy.types import TypeDecorator


class Text(TypeDecorator[str]):
    """Text of any length. NUL, which Postgres can't store, is replaced by U+FFFD."""

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")
