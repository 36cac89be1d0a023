"""Parsing of a forward text into Python's syntax tree, within bounds.

A client may send the body of `forward` or the whole method, with any indentation.
"""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from service.architectures.text.errors import GrammarError, SourceLocation

# Python's parser backtracks at open brackets: its time may double with each level.
MAX_BRACKETS = 20
MAX_NODES = 5_000
BYTE_ORDER_MARK = "\ufeff"  # that some editors write at the beginning of a file
MAX_CLASS_NODES = 50_000  # of the text of classes
# Translation, evaluation and printing recurse by level; Python's default stack allows about 1,000 frames.
MAX_LEVELS = 60
_EXPECTED = "Send the body of `forward`, or the whole method starting with `def forward(self, …):`."


@dataclass(frozen=True)
class Text:
    """A forward text without its common indentation.

    Attributes:
        lines: The lines as they are parsed.
        indents: Number of columns that were removed from each line.
    """

    lines: tuple[str, ...]
    indents: tuple[int, ...]

    @classmethod
    def dedented(cls, source: str) -> "Text":
        """Remove the indentation of the first line of code, and the common indentation of the others."""
        lines = re.split(r"\r\n?|\n", source.expandtabs())  # the line ends of Python
        code = [
            number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")
        ]
        depth = [len(line) - len(line.lstrip()) for line in lines]
        first = code[0] if code else 0
        rest = min((depth[number] for number in code[1:]), default=0)
        # A body copied from its first word on has lost the indentation of its first line, so that the other
        # lines have a common indentation of their own. Below a header the others must stay indented.
        has_header = bool(code) and lines[first].lstrip().startswith(("def ", "async ", "@", "class "))
        common = min([depth[first] if code else 0, rest]) if has_header or len(code) < 2 else rest
        indents = [min(depth[n], depth[first] if n <= first else common) for n in range(len(lines))]
        return cls(tuple(line[cut:] for line, cut in zip(lines, indents, strict=True)), tuple(indents))

    def location_of(self, node: ast.AST) -> SourceLocation:
        """Return the location of a syntax node in the text as it was sent."""
        start, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", None) or 1
        first, last = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None) or 0
        # Offsets of `ast` count UTF-8 bytes; a column counts characters.
        rows = [line.encode() for line in self.lines[start - 1 : end]]
        if not rows:
            return SourceLocation(start, first + 1, "")
        column = len(rows[0][:first].decode(errors="replace"))
        rows[-1] = rows[-1][:last]
        rows[0] = rows[0][first:]
        text = b"\n".join(rows).decode(errors="replace")
        return SourceLocation(start, column + self._indent(start) + 1, text)

    def location_at(self, line: int, column: int) -> SourceLocation:
        """Return the location of a position, with the rest of its line.

        Args:
            line: Line number, from 1.
            column: Column in the dedented line, from 1.
        """
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return SourceLocation(line, max(column, 1) + self._indent(line), text[max(column - 1, 0) :] or text)

    def _indent(self, line: int) -> int:
        return self.indents[line - 1] if 0 < line <= len(self.indents) else 0


@dataclass(frozen=True)
class Method:
    """A parsed forward text.

    Attributes:
        text: The text.
        statements: Statements of the body.
        arguments: Names of the arguments of the `def` line, without `self`; None without a `def` line.
        optional: Those of the arguments that have a default.
        errors: Errors in the `def` line that leave the names known.
    """

    text: Text
    statements: list[ast.stmt]
    arguments: tuple[str, ...] | None
    optional: tuple[str, ...] = ()
    errors: tuple[GrammarError, ...] = ()


def parse(source: str) -> Method:
    """Parse a forward text.

    Args:
        source: The text as it was sent.

    Raises:
        GrammarError: If the text is not Python, is too large, or is more than one method.
    """
    text = Text.dedented(source)
    _check_brackets(text)
    tree = _parse_tree(text)
    _check_size(tree, text)
    statements = tree.body
    if not statements:
        raise GrammarError(text.location_at(1, 1), f"The text has no statement. {_EXPECTED}")
    if len(statements) == 1 and isinstance(statements[0], ast.FunctionDef):
        function = statements[0]
        optional = tuple(_optional(function.args))
        errors = tuple(_argument_errors(function.args, optional, text))
        names = tuple(argument.arg for argument in optional)
        return Method(text, function.body, _arguments(function, text), names, errors)
    for statement in statements:
        is_method = isinstance(statement, ast.FunctionDef) and statement.name == "forward"
        if is_method or isinstance(statement, ast.AsyncFunctionDef | ast.ClassDef):
            raise GrammarError(text.location_of(statement), _EXPECTED)
    return Method(text, statements, None)


def parse_module(source: str) -> tuple[Text, ast.Module]:
    """Parse the text of classes.

    Args:
        source: The text as it was sent.

    Returns:
        The text and its syntax tree, which Python would compile.

    Raises:
        GrammarError: If the text is not Python, or is too large.
    """
    text = Text.dedented(source.removeprefix(BYTE_ORDER_MARK))
    _check_brackets(text)
    tree = _parse_tree(text)
    _check_size(tree, text, MAX_CLASS_NODES)
    try:
        # Some rules, such as `return` in functions only, are checked by the compiler; nothing is executed.
        with warnings.catch_warnings(action="ignore"):
            compile(tree, "text", "exec", dont_inherit=True)
    except SyntaxError as error:
        location = text.location_at(error.lineno or 1, error.offset or 1)
        raise GrammarError(location, f"This is not valid Python: {error.msg}.") from None
    except (ValueError, MemoryError, RecursionError):
        raise GrammarError(text.location_at(1, 1), "The text is nested too deep.") from None
    return text, tree


def _check_brackets(text: Text) -> None:
    """Bound the nesting of brackets before the parser runs.

    Brackets in strings and comments count too, which at most refuses an unusual text.
    """
    depth = 0
    for number, line in enumerate(text.lines, 1):
        for bracket in re.finditer(r"[(\[{)\]}]", line):
            depth = depth + 1 if bracket.group() in "([{" else max(depth - 1, 0)
            if depth > MAX_BRACKETS:
                raise GrammarError(
                    text.location_at(number, bracket.start() + 1),
                    f"Brackets are nested more than {MAX_BRACKETS} deep; assign parts to names.",
                )


def _parse_tree(text: Text) -> ast.Module:
    try:
        # The parser warns of odd literals such as `1is`, which the grammar refuses.
        with warnings.catch_warnings(action="ignore"):
            return ast.parse("\n".join(text.lines))
    except SyntaxError as error:
        location = text.location_at(error.lineno or 1, error.offset or 1)
        raise GrammarError(location, f"This is not valid Python: {error.msg}.") from None
    except (ValueError, MemoryError, RecursionError):
        raise GrammarError(
            text.location_at(1, 1), "The text cannot be parsed: it is nested too deep, or has null bytes."
        ) from None


def _check_size(tree: ast.AST, text: Text, max_nodes: int = MAX_NODES) -> None:
    """Bound the tree level by level, without recursion: everything after this recurses over it."""
    level, nodes = [tree], 0
    for _ in range(MAX_LEVELS):
        nodes += len(level)
        if nodes > max_nodes:
            raise GrammarError(text.location_at(1, 1), f"The text is too long: more than {max_nodes} terms.")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    # Nodes such as operators and contexts have no location of their own.
    deepest = next((node for node in level if hasattr(node, "lineno")), tree)
    raise GrammarError(
        text.location_of(deepest),
        f"This is nested more than {MAX_LEVELS} levels deep; assign parts to names.",
    )


def _optional(arguments: ast.arguments) -> Iterator[ast.arg]:
    """Iterate over the arguments of a `def` line that have a default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from positional[len(positional) - len(arguments.defaults) :]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield argument


def _argument_errors(
    arguments: ast.arguments, optional: Iterable[ast.arg], text: Text
) -> Iterator[GrammarError]:
    """Iterate over the errors in a `def` line that leave the names of the inputs known."""
    for argument in optional:
        remedy = (
            f"Remove the default of `{argument.arg}`, or the argument: the data has each input of a "
            '`module`. A whole class (`"type": "class"`) may have defaults.'
        )
        yield GrammarError(text.location_of(argument), remedy)
    for star, variadic in (("*", arguments.vararg), ("**", arguments.kwarg)):
        if variadic is not None:
            remedy = f"Remove `{star}{variadic.arg}`; name each input, as in `def forward(self, x, mask):`."
            yield GrammarError(text.location_of(variadic), remedy)


def _arguments(function: ast.FunctionDef, text: Text) -> tuple[str, ...]:
    """Return the names of the arguments without `self`; annotations are ignored, not evaluated."""
    arguments = function.args
    if function.decorator_list:
        raise GrammarError(text.location_of(function.decorator_list[0]), "Remove the decorators.")
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    if names[:1] != ["self"] or len(names) == 1:
        raise GrammarError(
            text.location_at(function.lineno, 1),
            "`forward` needs the argument `self` and at least one input.",
        )
    for position, name in enumerate(names):
        if name in names[:position]:  # Python refuses it when it compiles, not when it parses
            raise GrammarError(
                text.location_at(function.lineno, 1), f"The argument `{name}` appears twice; give it once."
            )
    return tuple(names[1:])
