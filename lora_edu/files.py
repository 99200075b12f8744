"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path | str, content: bytes | str) -> bool:
    """Write ``content`` to ``path`` in one step; return whether anything changed.

    The content goes to a temporary file in the same folder, which then takes the place of
    ``path`` (``os.replace`` is atomic there). A reader, or a crash, sees the old file or the new
    one. A file that holds the same bytes already is left alone, its time of change as well.

    Parameters
    ----------
    path : path
        Its folder is created when missing.
    content : bytes or str
        A string is written as UTF-8, its line ends as they are.

    Raises
    ------
    OSError
        The folder cannot be written; ``path`` is as it was, and no temporary file stays behind.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True
