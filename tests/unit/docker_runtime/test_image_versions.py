"""What an image says of the version of its program is what was built into it."""

import re
from pathlib import Path

IMAGES = Path(__file__).parents[3] / "stack" / "images"
_LABEL = re.compile(r"FROM base AS (\S+)\nLABEL org\.opencontainers\.image\.version=(\S+)")


def test_the_labels_name_the_versions_that_the_build_takes() -> None:
    labels = dict(_LABEL.findall((IMAGES / "Dockerfile").read_text()))
    assert labels.keys() == {"minio", "otel-collector"}
    assert f'cmd.ReleaseTag={labels["minio"]}"' in (IMAGES / "build-go.sh").read_text()
    assert f"\n  version: {labels['otel-collector']}\n" in (IMAGES / "otelcol.yaml").read_text()
