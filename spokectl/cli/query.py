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

        self.expression = expression
        try:
            self._compiled = jmespath.compile(expression)
            _check(self._compiled.parsed)
        except Exception as error:  # noqa: BLE001 - the library has errors of its own, and lets Python's through
            raise UsageError(
                "bad_query",
                f"--query: {quoted(expression, _SHOWN_CHARACTERS)} is no JMESPath expression: {_reason(error)}",
                actions=["spokectl help query"],
            ) from None

    def line(self, data: Any, *, as_json: bool) -> str:
        """What the expression finds in the data: JSON on one line, but a text bare unless `as_json`.

        Failed (`query_failed`) where the data is of another form than the expression needs.
        """
        try:
            found = self._compiled.search(plain(data))
            if as_json or not isinstance(found, str):
                return dumps(found)
        except Exception as error:  # noqa: BLE001 - as above; what the command has done must not be lost by it
            shown = quoted(self.expression, _SHOWN_CHARACTERS)
            raise Failed("query_failed", f"--query: {shown} does not fit the answer: {_reason(error)}") from None
        return printable(found) if sys.stdout.isatty() else found


class QueryType(click.ParamType[Query]):
    name = "expression"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Query:  # noqa: ARG002 - click's
        return value if isinstance(value, Query) else Query(str(value))


def _check(tree: Any) -> None:
    """The library finds a wrong function or step only when it gets there, which is after the command has done its work."""
    for node in _nodes(tree):
        if node["type"] == "function_expression":
            _check_call(node["value"], len(node["children"]))
        elif node["type"] == "slice" and node["children"][2] == 0:
            raise ValueError("the step of a slice cannot be 0")


def _check_call(name: str, arguments: int) -> None:
    from jmespath.exceptions import ArityError, UnknownFunctionError
    from jmespath.functions import Functions

    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise UnknownFunctionError(f"Unknown function: {name}()")
    signature = known["signature"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if arguments < len(signature) or (arguments > len(signature) and not variadic):
        raise ArityError(len(signature), arguments, name)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of the tree; of a slice the children are numbers."""
    if isinstance(tree, dict):
        yield tree
        for child in tree["children"]:
            yield from _nodes(child)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    first = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
    # The library says again that it is an expression, and behind the reason repeats the whole of it.
    return printable(re.sub(r"^(Invalid|Bad) jmespath expression: |, for expression$", "", first, flags=re.IGNORECASE))
