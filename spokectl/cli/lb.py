"""`lb`: the load balancer."""

from spokectl.cli.command import DEFAULT_TIMEOUT_S, Answer, Command, Timeout, current_call, noun
from spokectl.operations import lb
from spokectl.output import lb as output

app = noun("The load balancer: status, test, reload.")


@app.command("status", cls=Command)
def status() -> Answer:
    """Show NGINX's version, requests and connections, and every Spoke: whether NGINX uses it, and what became of its tries.

    \b
    Examples:
      spokectl lb status
      spokectl lb status --json | jq -r '.data.upstreams[] | select(.ready | not) | .service'

    TRIES and FAILED are NGINX's own counts since its start; a failed try went on to another Spoke. HEALTH CHECK is the
    Spoke's own answer now. Exit 10 when NGINX or a Spoke is not well, or one that is well is not in use.
    """
    call = current_call()
    return Answer(lb.status(call.stack, call.file), text=output.print_balancer)


@app.command("test", cls=Command)
def check_configuration(timeout: Timeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Have `nginx -t` read the configuration that a reload or a restart would load; nothing is changed.

    \b
    Example: spokectl lb test && spokectl lb reload

    Exit 1 with the file, the line and what stands there, when NGINX does not take it.
    """
    call = current_call()
    result = lb.test(call.stack, call.file, timeout)
    return Answer(result, text=None if call.quiet and result.error is None else output.print_test)


@app.command("reload", cls=Command)
def reload(timeout: Timeout = DEFAULT_TIMEOUT_S) -> Answer:
    """Load NGINX's configuration anew; no request fails: its workers end what they have, and new ones take their place.

    \b
    Examples:
      spokectl lb reload
      spokectl lb reload --json | jq .data.workers

    Tested first: a configuration that NGINX does not take is refused (5), and it goes on as it was. Returns when all workers
    from before have ended and a new one has answered; with requests that take long that is 30 seconds at most.
    """
    call = current_call()
    result = lb.reload(call.stack, call.file, timeout)
    return Answer(result, notes=output.reload_notes(result.data))
