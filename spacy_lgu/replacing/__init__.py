"""Files and folders that are replaced as a whole or stay as they were, whatever ends the process.

What is written fills a hidden folder beside its place first, `.NAME.partial-PID-...`, and is on
the disk before one rename puts it where the earlier one was. Several processes may save to one
place: the last to finish wins, and what a killed one left is removed by the next.
"""

from .files import FileContent, replace_file, replace_files
from .folders import (
    finish_folder,
    finish_subfolders,
    finished_folder,
    finished_subfolders,
    read_folder,
    replace_folder,
)
from .full import explaining_full_disk

__all__ = [
    "FileContent",
    "explaining_full_disk",
    "finish_folder",
    "finish_subfolders",
    "finished_folder",
    "finished_subfolders",
    "read_folder",
    "replace_file",
    "replace_files",
    "replace_folder",
]
