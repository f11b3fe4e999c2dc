"""What the collector's entry script renders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

SCRIPT = Path(__file__).parents[3] / "stack" / "services" / "collector" / "run"


def run(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": path,
        "SPOKE_NODE": "otel-collector",
        "SPOKE_RUN_DIR": str(folder / "run"),
        "SPOKE_LISTEN_ADDRESS": "127.0.0.1",
        "SPOKE_OTEL_GRPC_PORT": "4317",
        "SPOKE_OTEL_HTTP_PORT": "4318",
        "SPOKE_OTEL_METRICS_PORT": "8889",
        "SPOKE_OTEL_HEALTH_PORT": "13133",
    }
    return subprocess.run([SCRIPT, "otelcol"], env=environment, capture_output=True, text=True, timeout=30)


def test_the_configuration_listens_where_the_stack_file_says_and_prefixes_metrics(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    stand_in = tools / "otelcol"
    stand_in.write_text('#!/bin/sh\n[ "$1" = --config ] && exec cat "$2"\n')
    stand_in.chmod(0o755)
    answer = run(tmp_path, f"{tools}:/usr/bin:/bin")
    assert answer.returncode == 0, answer.stderr
    configuration = yaml.safe_load(answer.stdout)
    protocols = configuration["receivers"]["otlp"]["protocols"]
    assert protocols == {"grpc": {"endpoint": "127.0.0.1:4317"}, "http": {"endpoint": "127.0.0.1:4318"}}
    assert configuration["exporters"]["prometheus"]["endpoint"] == "127.0.0.1:8889"
    assert configuration["exporters"]["prometheus"]["namespace"] == "spoke"
    assert configuration["extensions"]["health_check"]["endpoint"] == "127.0.0.1:13133"
    for pipeline in configuration["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(configuration[part])


def test_without_a_collector_the_status_is_127_and_the_line_says_what_to_do(tmp_path: Path) -> None:
    answer = run(tmp_path, "/usr/bin:/bin")
    assert answer.returncode == 127
    assert len(answer.stderr.splitlines()) == 1
    assert "install otelcol" in answer.stderr
