"""Check that text files end with one newline and that no line ends with white space.

python scripts/check_text.py FILE...
"""

import sys
from pathlib import Path


def find_faults(text: str) -> list[str]:
    """What is wrong with a text.

    text (str): Content of a file.
    RETURNS (list[str]): One line for each fault, which begins with the line's number.
    """
    lines = text.split("\n")
    faults = [
        f"{number}: white space at the end"
        for number, line in enumerate(lines, 1)
        if line != line.rstrip()
    ]
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        faults.append(f"{len(lines)}: expected one newline at the end of the file")
    return faults


def main(paths: list[str]) -> int:
    """Print the faults of files. RETURNS (int): 1 if there are some."""
    faults = [
        f"{path}:{fault}" for path in paths for fault in find_faults(Path(path).read_text("utf8"))
    ]
    for fault in faults:
        print(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
