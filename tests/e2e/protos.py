"""Every .proto file that two packages carry, sorted into modules the way a team would push them."""

import shutil
from collections import defaultdict
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

PACKAGES = ("googleapis-common-protos", "grpcio-tools")


def modules() -> dict[str, dict[str, Path]]:
    """Module name -> path inside the module -> file on disk: one module for each folder of each package."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for package in PACKAGES:
        short = package.split("-", maxsplit=1)[0]
        for file in distribution(package).files or []:
            if file.suffix != ".proto":
                continue
            inside = PurePosixPath(*[part for part in file.parts if part not in {"grpc_tools", "_proto"}])
            name = ".".join([short, *inside.parent.parts]).lower()
            found[name][str(inside)] = Path(str(file.locate()))
    return dict(found)


def lay_out(files: dict[str, Path], folder: Path) -> Path:
    """Copies the files of one module below `folder`, as `versions push` wants them."""
    for inside, source in files.items():
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.proto")}
