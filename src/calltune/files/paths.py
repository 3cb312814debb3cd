"""Where a name that came from outside may lead: into the folder that it is meant for, and nowhere else."""

import lzma
import tarfile
import zlib
from pathlib import Path

from calltune.errors import RunFolderError


def inside(folder: Path, name: str) -> Path:
    """The path of `name` below a folder; neither the folder nor the path need be there.

    A name may hold slashes. Links that are there already are followed, so that none leads out.

    Raises:
        RunFolderError: the name is empty, absolute, climbs with `..`, holds a NUL, or a link on its way leads outside.
    """
    parts = Path(name).parts
    if not parts or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise RunFolderError(f"{folder}: the name {name[:200]!r} does not lead into this folder")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RunFolderError(f"{folder}: the name {name[:200]!r} leads out of this folder through a link")
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar file, compressed or not, into a folder; what is in it may not lead out of the folder.

    Raises:
        RunFolderError: it is no whole archive, or one of its members would be written, or would lead, outside.
    """
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise RunFolderError(
            f"{archive}: its member {error.tarinfo.name[:200]!r} does not lead into this folder"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError):
        raise RunFolderError(f"{archive}: is no whole archive") from None
    except OSError as error:
        raise RunFolderError(f"{archive}: cannot be unpacked: {error.strerror or error}") from None
