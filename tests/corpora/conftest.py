"""How the tests of all readers read."""

from pathlib import Path


def read_file(reader, path: Path, content: str, **options) -> tuple[list, list]:
    """The texts of a file with this content, and the notes."""
    path.write_bytes(content.encode())
    notes = []
    return list(reader(path, report=notes.append, **options)), notes
