"""The topics of `spokectl help`: what belongs to no single command."""

from typing import NamedTuple

from spokectl.errors import ExitCode


class Topic(NamedTuple):
    summary: str
    text: str


class Meaning(NamedTuple):
    """What an exit code says, and what a script does then."""

    meaning: str
    advice: str


EXIT_CODES: dict[ExitCode, Meaning] = {
    ExitCode.OK: Meaning("done; skipped drills are listed, not failed", "go on"),
    ExitCode.FAILED: Meaning(
        "it was tried and failed; or the registry said no, or does not answer",
        "read `error.code` of --json; try again only when `error.retryable` is true",
    ),
    ExitCode.USAGE: Meaning(
        "a wrong command line, or a value that is bad; nothing was done", "mend the script: it will never succeed as it is"
    ),
    ExitCode.CONFIRMATION_REQUIRED: Meaning(
        "a question has to be answered, and nobody could or the answer was no; nothing was done",
        "name the flag that the message names, such as --yes, if you mean it",
    ),
    ExitCode.NOT_FOUND: Meaning(
        "the stack is not running, or what was named does not exist",
        "`spokectl up`, or create it; often an answer, no error",
    ),
    ExitCode.REFUSED: Meaning(
        "refused before anything was changed: a precondition, a lock and who holds it, the wrong runtime, a taken port",
        "do what stands under `error.actions`, then the same again; `locked`: wait for the other operation",
    ),
    ExitCode.OUTCOME_UNKNOWN: Meaning(
        "the deadline passed, or it was broken off; what was asked may still happen",
        "look (`spokectl status`), then the same command again: it goes on from what it finds",
    ),
    ExitCode.DEGRADED: Meaning(
        "the stack is up, but not everything is well; the data is there", "read what is not well; `spokectl up` repairs"
    ),
    ExitCode.OBJECTIVE_MISSED: Meaning("a drill was carried out and missed its objective", "`spokectl drill show`"),
    ExitCode.INCOMPLETE: Meaning(
        "done, but something is left to do by hand, such as a node that is not back",
        "do not repeat it; do what stands under `error.actions`",
    ),
    ExitCode.INTERRUPTED: Meaning("Ctrl-C", "look (`spokectl status`); the next command goes on or puts back"),
    ExitCode.NOBODY_READS: Meaning("nobody reads the output any more, as before `| head`", "nothing"),
}


def exit_codes_text() -> str:
    lines = ["A script acts on the exit code; the numbers never change.", ""]
    for code, (meaning, advice) in EXIT_CODES.items():
        lines += [f"  {code.value:>3}  {meaning}", f"       -> {advice}"]
    return "\n".join(
        [
            *lines,
            "",
            "`exec` and `shell` end as the program that they run. With --json its reason is beside it, in `error`.",
            "",
            "  spokectl up --json > up.json || case $? in",
            "    10) echo 'up, but look:'; jq -r .error.message up.json ;;",
            "    *)  exit 1 ;;",
            "  esac",
        ]
    )


_JSON = """\
With --json stdout is one line, whatever happens: the envelope. All its keys are always there.

  {"schema_version": 1,
   "command":  "status",
   "status":   "ok" | "partial" (done, but look at it: exit 10, 11, 12) | "error",
   "data":     what the command gives; null after an error,
   "warnings": ["..."],
   "error":    null | {"code", "message", "retryable", "details", "actions"}}

`error.code` and the names of keys never change their meaning; messages may. `actions` are commands to type, most likely
first. Numbers have their unit in their name (_bytes, _s), times are RFC 3339 in UTC.

`logs`, `events` and `status --watch` are one JSON object a line. `exec` and `shell` have no --json.

  spokectl status --json | jq -r '.data.services[] | select(.health != "healthy") | .service'"""

_QUERY = """\
--query EXPR prints what a JMESPath expression (https://jmespath.org) finds in `data` of the envelope; of a stream, in each
line. A text is printed bare, everything else as JSON on one line; --json beside it keeps the quotes of a text.

  spokectl status --query "services[?role=='primary'].service | [0]"
  spokectl status --query "services[?health!='healthy'].service"
  spokectl modules list --query 'join(`"\\n"`, [].name)'
  spokectl events -f --query "[time, what]"

A wrong expression is a usage error (2), found before anything is done. Errors are lines on stderr, and stdout is empty then.
The keys are those that --json shows."""

_ENVIRONMENT = """\
A flag comes before its variable.

  SPOKECTL_STACK         the stack to work on (--stack)
  SPOKECTL_FILE          the stack file (--file)
  SPOKECTL_RUNTIME       docker, local or auto, for the first `up` of a stack (--runtime)
  SPOKECTL_URL           a registry other than the stack's own, for `modules` and `versions` (--url)
  SPOKECTL_STATE_DIR     where stacks' state is kept
  SPOKECTL_BINARIES      path: the local runtime takes its servers from PATH, not from Python packages
  SPOKECTL_OTELCOL       the `otelcol` program of the local runtime's collector
  SPOKECTL_NO_INPUT      not empty: nothing is asked; a question is exit 3 and names the flag that answers it (--no-input)
  SPOKECTL_COMPLETE_WITHIN_S  how long Tab waits for names, in seconds; 0.8 without it
  SPOKECTL_DEBUG         not empty: a defect of spokectl shows its traceback
  NO_COLOR               not empty: no colour. FORCE_COLOR: colour also off a terminal, where something moves
  TERM=dumb              no colour, and nothing that moves
  DOCKER_HOST            the Docker engine to use

SPOKE_... variables belong to the stack: they fill the ${...} of its file, and come before `spokectl config set`."""

TOPICS: dict[str, Topic] = {
    "exit-codes": Topic("Each exit code, what it means, and what a script does then", exit_codes_text()),
    "json": Topic("The envelope of --json", _JSON),
    "query": Topic("--query: a part of an answer by a JMESPath expression", _QUERY),
    "environment": Topic("The variables that spokectl reads", _ENVIRONMENT),
}
