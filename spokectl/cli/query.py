"""`--query`: the part of an answer that a script wants, picked by a JMESPath expression (https://jmespath.org).

It is applied to `data`, not to the whole envelope: what else stands in there, a shell has as exit code and stderr.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

import click

from spokectl.errors import Failed, UsageError
from spokectl.printable import printable, quoted
from spokectl.result import dumps, plain

_SHOWN_CHARACTERS = 200


class Query:
    """A compiled expression. UsageError (`bad_query`) for one that can give nothing, whatever it is asked of."""

    def __init__(self, expression: str) -> None:
        import jmespath
        from jmespath.exceptions import JMESPathError

        self.expression = expression
        try:
            self._compiled = jmespath.compile(expression)
            _check_functions(self._compiled.parsed)
        except (JMESPathError, RecursionError) as error:
            raise UsageError(
                "bad_query",
                f"--query: {quoted(expression, _SHOWN_CHARACTERS)} is no JMESPath expression: {_reason(error)}",
                actions=["spokectl help query"],
            ) from None

    def line(self, data: Any, *, as_json: bool) -> str:
        """What the expression finds in the data: JSON on one line, but a text bare unless `as_json`.

        Failed (`query_failed`) where the data is of another form than the expression needs.
        """
        from jmespath.exceptions import JMESPathError

        try:
            found = self._compiled.search(plain(data))
        except (JMESPathError, RecursionError) as error:
            shown = quoted(self.expression, _SHOWN_CHARACTERS)
            raise Failed("query_failed", f"--query: {shown} does not fit the answer: {_reason(error)}") from None
        if as_json or not isinstance(found, str):
            return dumps(found)
        return printable(found) if sys.stdout.isatty() else found


class QueryType(click.ParamType[Query]):
    name = "expression"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Query:  # noqa: ARG002 - click's
        return value if isinstance(value, Query) else Query(str(value))


def _check_functions(tree: Any) -> None:
    """The library looks a function up only when it gets there, which is after the command has done its work."""
    from jmespath.exceptions import ArityError, UnknownFunctionError
    from jmespath.functions import Functions

    for name, arguments in _calls(tree):
        known = Functions.FUNCTION_TABLE.get(name)
        if known is None:
            raise UnknownFunctionError(f"Unknown function: {name}()")
        signature = known["signature"]
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if arguments < len(signature) or (arguments > len(signature) and not variadic):
            raise ArityError(len(signature), arguments, name)


def _calls(tree: Any) -> Iterator[tuple[str, int]]:
    """Every function that is called in the tree, with the number of its arguments."""
    if not isinstance(tree, dict):
        return
    if tree["type"] == "function_expression":
        yield tree["value"], len(tree["children"])
    for child in tree["children"]:
        yield from _calls(child)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    first = str(error).splitlines()[0].rstrip(":")
    # The library says again that it is an expression, and behind the reason repeats the whole of it.
    return printable(re.sub(r"^(Invalid|Bad) jmespath expression: |, for expression$", "", first, flags=re.IGNORECASE))
