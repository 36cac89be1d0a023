"""From a forward text to Python's syntax tree, within bounds: the method or its body, as one pastes it."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from service.architectures.text.errors import Refused, Spot

MOST_BRACKETS = 20  # open at one place: the parser's time may double with each
MOST_NODES = 5_000
MOST_LEVELS = 60
_BODY = "Give the body of `forward`, or the whole method from `def forward(self, …):` on."


@dataclass(frozen=True)
class Text:
    """A forward text, and where its lines stood before their common indentation was taken off."""

    lines: tuple[str, ...]
    indents: tuple[int, ...]

    @classmethod
    def aligned(cls, source: str) -> "Text":
        """Take off the indentation of the first line of code, and what the others have in common."""
        lines = re.split(r"\r\n?|\n", source.expandtabs())  # where Python ends a line
        code = [
            number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")
        ]
        depth = [len(line) - len(line.lstrip()) for line in lines]
        first = code[0] if code else 0
        # A body pasted from its first word on: the first line alone has lost its indentation.
        rest = min((depth[number] for number in code[1:]), default=0)
        header = bool(code) and lines[first].lstrip().startswith(("def ", "async ", "@", "class "))
        common = min([depth[first] if code else 0, rest]) if header or len(code) < 2 else rest
        indents = [min(depth[n], depth[first] if n <= first else common) for n in range(len(lines))]
        return cls(tuple(line[cut:] for line, cut in zip(lines, indents, strict=True)), tuple(indents))

    def spot(self, node: ast.AST) -> Spot:
        """Where a node stands in the text as it was sent."""
        start, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", None) or 1
        first, last = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None) or 0
        # ast counts bytes, people count characters.
        rows = [line.encode() for line in self.lines[start - 1 : end]]
        if not rows:
            return Spot(start, first + 1, "")
        column = len(rows[0][:first].decode(errors="replace"))
        rows[-1] = rows[-1][:last]
        rows[0] = rows[0][first:]
        return Spot(start, column + self._indent(start) + 1, b"\n".join(rows).decode(errors="replace"))

    def at(self, line: int, column: int) -> Spot:
        """A place from which the rest of the line is shown; both count from 1."""
        shown = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return Spot(line, max(column, 1) + self._indent(line), shown[max(column - 1, 0) :] or shown)

    def _indent(self, line: int) -> int:
        return self.indents[line - 1] if 0 < line <= len(self.indents) else 0


@dataclass(frozen=True)
class Method:
    """What was sent: the statements, and the names of the arguments if there was a `def` line."""

    text: Text
    statements: list[ast.stmt]
    arguments: tuple[str, ...] | None


def parse(source: str) -> Method:
    """Read a forward text.

    Raises:
        Refused: when it is not Python, is too large, or is more than one method.
    """
    text = Text.aligned(source)
    _check_brackets(text)
    body = _parsed(text)
    _check_size(body, text)
    statements = body.body
    if not statements:
        raise Refused(text.at(1, 1), f"There is no statement. {_BODY}")
    if isinstance(statements[0], ast.FunctionDef) and len(statements) == 1:
        return Method(text, statements[0].body, _arguments(statements[0], text))
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            raise Refused(text.spot(statement), _BODY)
    return Method(text, statements, None)


def _check_brackets(text: Text) -> None:
    depth = 0
    for number, line in enumerate(text.lines, 1):
        for found in re.finditer(r"[(\[{)\]}]", line):
            depth = depth + 1 if found.group() in "([{" else max(depth - 1, 0)
            if depth > MOST_BRACKETS:
                detail = f"Brackets are nested more than {MOST_BRACKETS} deep: give parts names of their own."
                raise Refused(text.at(number, found.start() + 1), detail)


def _parsed(text: Text) -> ast.Module:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd literals, which are refused later
            return ast.parse("\n".join(text.lines))
    except SyntaxError as error:
        spot = text.at(error.lineno or 1, error.offset or 1)
        raise Refused(spot, f"This is not Python: {error.msg}.") from None
    except (ValueError, MemoryError, RecursionError):
        raise Refused(
            text.at(1, 1), "This can't be read: it is nested too deep, or holds null bytes."
        ) from None


def _check_size(tree: ast.AST, text: Text) -> None:
    """Bound the tree before anything walks it recursively."""
    level, nodes = [tree], 0
    for _ in range(MOST_LEVELS):
        nodes += len(level)
        if nodes > MOST_NODES:
            raise Refused(text.at(1, 1), f"The text is too long: more than {MOST_NODES} terms.")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    deepest = next(_placed(level), tree)
    raise Refused(text.spot(deepest), "This is nested too deep: give parts of it names of their own.")


def _placed(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in nodes if hasattr(node, "lineno"))


def _arguments(function: ast.FunctionDef, text: Text) -> tuple[str, ...]:
    """The names between the brackets of the `def` line; annotations are passed over."""
    given = function.args
    if function.decorator_list:
        raise Refused(text.spot(function.decorator_list[0]), "Leave decorators out.")
    if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs or given.defaults:
        raise Refused(
            text.at(function.lineno, 1), "`forward` takes plain names: `def forward(self, input):`."
        )
    names = [argument.arg for argument in given.args]
    if names[:1] != ["self"] or len(names) == 1:
        raise Refused(text.at(function.lineno, 1), "`forward` takes `self` and at least one input.")
    return tuple(names[1:])
