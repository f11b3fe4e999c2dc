"""NGINX, and the way to it: reloaded, stopped, killed, frozen, started too early; slow clients, slow and silent links."""

import time

from spokectl.clients.crowd import HalfRequests
from spokectl.drills.breaks import frozen, killed, one_backend_less, stopped
from spokectl.drills.catalog.restarts import back_by_itself
from spokectl.drills.drill import drill
from spokectl.drills.figures import API
from spokectl.drills.history import Clock
from spokectl.drills.stage import Stage
from spokectl.drills.ways import balancer_of
from spokectl.model import Kind

GROUP = "Load balancer"
_RELOADS = 3
_FROZEN_S = 5.0
_FIRST_WRITE_WITHIN_S = 5.0
_HALF_REQUESTS = 400
# NGINX gives a client 15 s for a head or a body, and a busy machine some more.
_ENDS_WITHIN_S = 45.0
_SLOW_S = 0.2


@drill(
    "nginx-reload",
    group=GROUP,
    breaks="NGINX takes over another list of Spokes by a reload, again and again, under load",
    holds="no request fails",
    objective={"rto": 2.0, "failed": 0},
    in_ci=True,
)
def reload_again(stage: Stage) -> None:
    (nginx,) = stage.names(Kind.LOAD_BALANCER)
    for _ in range(_RELOADS):
        with stage.broken(one_backend_less(nginx)):
            stage.go_on()
        stage.go_on()


@drill(
    "nginx-kill",
    group=GROUP,
    breaks="NGINX is killed and started again",
    holds="clients are let in again within seconds; what was under way is applied once or not at all",
    objective={"rto": 8.0},
)
def kill_nginx(stage: Stage) -> None:
    with stage.broken(killed(*stage.names(Kind.LOAD_BALANCER))):
        pass
    stage.go_on()


@drill(
    "nginx-stop",
    group=GROUP,
    breaks="NGINX is stopped in good order and started again",
    holds="clients are let in again within seconds; what was under way is applied once or not at all",
    objective={"rto": 8.0},
)
def stop_nginx(stage: Stage) -> None:
    with stage.broken(stopped(*stage.names(Kind.LOAD_BALANCER))):
        pass
    stage.go_on()


@drill(
    "nginx-freeze",
    group=GROUP,
    breaks=f"NGINX stands still for {_FROZEN_S:g} s with its connections open",
    holds="clients wait, no request fails, and none is applied twice",
    objective={"rto": _FROZEN_S + 3.0, "failed": 0},
)
def freeze_nginx(stage: Stage) -> None:
    with stage.broken(frozen(*stage.names(Kind.LOAD_BALANCER))):
        stage.hold(_FROZEN_S)
    stage.go_on()


@drill(
    "nginx-crash",
    group=GROUP,
    breaks="NGINX crashes, and nobody types anything",
    holds="the runtime starts it again by itself, and clients are let in again within seconds",
    objective={"rto": 10.0},
)
def crash_nginx(stage: Stage) -> None:
    for name in stage.names(Kind.LOAD_BALANCER):
        back_by_itself(stage, name)
    stage.go_on()


@drill(
    "nginx-first",
    group=GROUP,
    breaks="NGINX and all Spokes are killed, and NGINX is started before any Spoke is there",
    holds=f"when the first Spoke is ready clients are served within {_FIRST_WRITE_WITHIN_S:g} s",
)
def start_before_the_spokes(stage: Stage) -> None:
    dead = [stage.inject(killed(name)) for name in stage.names(Kind.SPOKE)]
    with stage.broken(killed(*stage.names(Kind.LOAD_BALANCER))):
        pass
    stage.hold(_FIRST_WRITE_WITHIN_S)
    stage.heal(dead[0])
    ready_s = time.time()
    stage.until(
        "a write goes through soon after the first Spoke is ready",
        lambda: None if stage.load.saw.snapshot.last_good_s.get(API, 0.0) > ready_s else "none is acknowledged yet",
        within_s=_FIRST_WRITE_WITHIN_S,
    )


@drill(
    "slow-clients",
    group=GROUP,
    breaks=f"{_HALF_REQUESTS} clients begin a request and never end it",
    holds="all others are served as before, and NGINX ends the slow ones within its time-out",
    objective={"rto": 2.0, "failed": 0},
)
def slow_clients(stage: Stage) -> None:
    with HalfRequests(balancer_of(stage.context.stack)) as crowd, stage.ours(f"{_HALF_REQUESTS} half requests"):
        crowd.begin(_HALF_REQUESTS)
        stage.expect(
            "slow clients are given some time", crowd.still_open() > 0, f"{crowd.still_open()} of {_HALF_REQUESTS} are open"
        )
        stage.go_on()

        def blocker() -> str | None:
            count = crowd.still_open()
            return f"{count} are still open" if count else None

        stage.until("NGINX has ended all slow requests", blocker, _ENDS_WITHIN_S)


@drill(
    "slow-link",
    group=GROUP,
    breaks=f"half of the clients reach NGINX over a link that takes {_SLOW_S * 1000:.0f} ms each way",
    holds="they are slower, the others are not, and no request fails",
    objective={"rto": 2.0, "failed": 0},
    linked=True,
)
def slow_link(stage: Stage) -> None:
    (link,) = stage.links
    with stage.ours(f"{_SLOW_S * 1000:.0f} ms each way for {', '.join(link.users)}"):
        link.slow(_SLOW_S)
        since_s = Clock().now_s()
        stage.go_on()
        until_s = Clock().now_s()
        link.slow(0.0)
    took = [
        each for each in stage.load.saw.requests if each.layer == API and since_s < each.began_s < each.ended_s < until_s
    ]
    over, beside = (
        min((each.ended_s - each.began_s for each in took if (each.client in link.users) == through), default=0.0)
        for through in (True, False)
    )
    # The fastest of each kind: other load makes a request slower, never faster.
    found = f"the fastest over the link took {over * 1000:.0f} ms, beside it {beside * 1000:.0f} ms"
    stage.expect("the link is slow, and only the link", over >= 2 * _SLOW_S > beside, found)


@drill(
    "half-open-link",
    group=GROUP,
    breaks="the link of half of the clients swallows everything without an error, then flows again; then again, and is cut",
    holds="the others are served; what was swallowed goes well late, and what was cut is applied once or not at all",
    # Only what is under way on the link when it is cut: a request of each client, and at most one that it makes at once.
    objective={"rto": 2.0, "failed": 4},
    linked=True,
)
def half_open_link(stage: Stage) -> None:
    (link,) = stage.links
    for sentence, end in (("flows again", link.flow), ("is cut", link.cut)):
        with stage.ours(f"the link of {', '.join(link.users)} swallows everything"):
            link.swallow()
            stage.go_on(but=link.users)
            stage.note(f"the link {sentence}")
            end()
        stage.go_on()
