"""What goes to S3 before a job: one code archive and folders of data, each under a key made of its content.

What is there already is not sent again, and no channel ever holds a file of another version: a channel takes every
object below its prefix.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import calltune
from calltune.files.hashes import file_sha256, value_sha256
from calltune.launch.sagemaker.aws import Aws, plainly
from calltune.runtime.terminal import ProgressBar

PACKAGE = Path(calltune.__file__).parent
_OURS = Path(__file__).parent
_SUFFIXES = {".py", ".json", ".jinja", ".txt"}


def code_archive(config: dict[str, Any], requirements: Sequence[str], package: Path = PACKAGE) -> bytes:
    """A tar.gz of the package's source, the entry point, the resolved run file and the pins.

    Equal input gives equal bytes.
    """
    files = {
        f"{package.name}/{path.relative_to(package)}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    }
    files["container.py"] = (_OURS / "container.py").read_bytes()
    files["config.json"] = json.dumps(config, indent=2, sort_keys=True, allow_nan=False).encode()
    files["requirements.txt"] = "".join(f"{line}\n" for line in requirements).encode()
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def pins(mlflow: bool) -> list[str]:
    """What the jobs install beside the image's torch, with exact versions; the tracking plug-in where it is used."""
    lines = (_OURS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and (mlflow or "mlflow" not in line)]


def folder_files(place: Path) -> dict[str, Path]:
    """The files of a folder by their relative names, or the one file that `place` is."""
    if place.is_file():
        return {place.name: place}
    return {str(path.relative_to(place)): path for path in sorted(place.rglob("*")) if path.is_file()}


def content_sha256(place: Path) -> str:
    """The hash of a folder's names and bytes, in hex."""
    return value_sha256({name: file_sha256(path) for name, path in folder_files(place).items()})


def upload_archive(aws: Aws, bucket: str, key: str, content: bytes) -> None:
    """Put the archive, once.

    Raises:
        CalltuneError: S3 said no.
    """
    with plainly(f"s3://{bucket}/{key}"):
        if not _is_there(aws, bucket, key):
            aws.s3.put_object(Bucket=bucket, Key=key, Body=content)


def upload_folder(aws: Aws, bucket: str, prefix: str, place: Path) -> None:
    """Put a folder's files below a prefix; those that are there are left.

    Raises:
        CalltuneError: S3 said no.
    """
    files = folder_files(place)
    with plainly(f"s3://{bucket}/{prefix}"), ProgressBar(f"uploading {place.name}", len(files)) as bar:
        for name, path in files.items():
            if not _is_there(aws, bucket, f"{prefix}{name}"):
                aws.s3.upload_file(str(path), bucket, f"{prefix}{name}")
            bar.advance(1, name)


def _is_there(aws: Aws, bucket: str, key: str) -> bool:
    found = aws.s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
    return any(item["Key"] == key for item in found)
