"""GermEval 2014: numbered tokens, outer and inner entities in IOB2, a source before each sentence.

    #    http://example.org/a    [2010-01-02]
    1    Erster      B-ORG    O
    2    FC          I-ORG    O
    3    Lindberg    I-ORG    B-LOC

Columns are separated by tabs.
"""

from collections.abc import Iterator
from pathlib import Path

from .conll import read_conll
from .records import ReportT, TokenizedText


def read_germeval(path: Path, *, report: ReportT) -> Iterator[TokenizedText]:
    """Read the entities of both columns of a file, which may overlap.

    path (Path): The file.
    report (ReportT): Called as read_conll does.
    RETURNS (Iterator[TokenizedText]): The sentences, those of each source a document. Raises
        ValueError with file and line for what is not valid.
    """
    return read_conll(
        path, report=report, column=(2, 3), token_column=1, scheme="iob2", comment="#\t"
    )
