"""How a column writes its tags, so that each is read as one of its scheme (see schemes.py).

    O B-PER          as they are
    o b-PER          also B_PER, B:PER, PER-B: read as B-PER if the whole column is written so
    O B              read with the label that is given for all
    _ PER, 0 B-PER   the tag of tokens outside must be given, since it could be a label

What could mean two things is an error.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..inputs import shorten
from .records import LabeledSpan, Note, ReportT
from .schemes import (
    PREFIXES,
    check_scheme,
    decode_tags,
    detect_scheme,
    find_fault,
    find_needless,
    split_tag,
)

# The tags of one column: for each sentence the lines, or places in JSON, and the tags there.
TagsT = Sequence[tuple[Sequence[int | str], Sequence[str]]]

# With Cyrillic and Greek letters that look like O.
_MARKERS = {"o", "\u043e", "\u03bf", "out", "outside", "none", "null", "nil", "na", "n/a", "nan"}
_ALONE = frozenset(PREFIXES)
_NUMBER = re.compile(r"-?[0-9]+")
_NO_WORD = re.compile(r"[\W_]*|-?0|-1|-100")
# Names with values, stacked or numbered annotations; of CoNLL-U and WebAnno TSV.
_MORE = re.compile(r".*=.*|.*\|.*|.*\[[0-9]+\]")
_ORDERS = (
    re.compile(rf"(?P<prefix>[{PREFIXES}])(?P<separator>[-_:/|.])(?P<label>.+)", re.IGNORECASE),
    re.compile(rf"(?P<label>.+)(?P<separator>[-_:/|.])(?P<prefix>[{PREFIXES}])", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class Notation:
    """How the tags of a column are read.

    where (str): The file, for messages.
    scheme (str): Their scheme, a member of SCHEMES.
    tags (dict[str, str]): For each tag of the column, what it is in that scheme.
    """

    where: str
    scheme: str
    tags: dict[str, str]

    def decode(
        self, lines: Sequence[int | str], tags: Sequence[str], report: ReportT
    ) -> list[LabeledSpan]:
        """The spans of a sentence.

        lines (Sequence[int | str]): The line of each token, or its place in JSON.
        tags (Sequence[str]): Its tag, as in the column.
        report (ReportT): Called for each needless B- of iob1.
        RETURNS (list[LabeledSpan]): In tokens. Raises ValueError with file and line for a tag
            that is not valid.
        """
        read = [self.tags[tag] for tag in tags]
        fault = find_fault(read, self.scheme)
        if fault is not None:
            raise ValueError(
                f"{self.where}:{lines[fault.place]}: not {self.scheme}: {fault.message}. Correct "
                "the tag, or give another --scheme, or --column (of JSON --tags-field)."
            )
        if self.scheme == "iob1":
            for place in find_needless(read):
                report(Note("needless B- of iob1 read as begin", f"{self.where}:{lines[place]}"))
        return decode_tags(read, self.scheme)


def find_notation(
    sentences: TagsT,
    where: str,
    *,
    report: ReportT,
    scheme: str | None = None,
    outside: str | None = None,
    label: str | None = None,
) -> Notation:
    """Find out how the tags of a column are written.

    sentences (TagsT): For each sentence the numbers of its lines, and its tags.
    where (str): The file, for messages.
    report (ReportT): Called with the scheme if it was detected, and for another notation.
    scheme (str | None): The scheme. None: detect it over the whole column.
    outside (str | None): The tag of tokens outside. None: O.
    label (str | None): Label of tags that are a prefix alone. None: there are none.
    RETURNS (Notation): How to read them. Raises ValueError with file and line for a tag that may
        mean something else than it would be read as.
    """
    if scheme is not None:
        scheme = check_scheme(scheme)
    places: dict[str, str] = {}  # where each tag occurs first
    for lines, tags in sentences:
        for line, tag in zip(lines, tags, strict=True):
            if tag not in places:
                places[tag] = f"{where}:{line}"
    if scheme == "bare":
        read = _read_bare(places, outside)
        if "O" not in read.values():
            report(Note("no tag for tokens outside: each has a label (or give --outside)", where))
    elif scheme == "brackets" or (
        scheme is None and all("*" in tag or "(" in tag for tag in places if tag != outside)
    ):
        read = {tag: "*" if tag == outside else tag for tag in places}
    else:
        read = _read_prefixed(places, outside, label)
        for tag in read:
            if read[tag] not in (tag, "O"):
                report(
                    Note("tag read as another", f"{where}: {shorten(tag)} -> {shorten(read[tag])}")
                )
    if scheme is None:
        translated = ((lines, [read[tag] for tag in tags]) for lines, tags in sentences)
        scheme = detect_scheme(translated, where)
        report(Note(f"tag scheme detected: {scheme}", where))
    return Notation(where, scheme, read)


def looks_outside(tag: str) -> bool:
    """Whether a tag looks like one of tokens outside: O in disguise, a known word, or no word."""
    return tag.lower() in _MARKERS or _NO_WORD.fullmatch(tag) is not None


def _read_bare(places: Mapping[str, str], outside: str | None) -> dict[str, str]:
    """O for tokens outside, all else a label. A tag that may not be one must be confirmed."""
    marker = "O" if outside is None else outside
    labels = [tag for tag in places if tag != marker]
    if outside is None:
        if labels and all(map(_NUMBER.fullmatch, labels)):
            raise ValueError(
                f"{places[labels[0]]}: the tag {labels[0]} and all others of the column are "
                "numbers. Write the names that they stand for; or give --outside 0 if they are "
                "labels, except 0."
            )
        for tag in labels:
            if looks_outside(tag):
                raise ValueError(
                    f"{places[tag]}: the tag {shorten(tag)} looks like a marker of tokens outside "
                    f"any span. Give --outside {shorten(tag)} if it is one, or --outside O if it "
                    "is a label."
                )
            if _MORE.fullmatch(tag):
                raise _no_tag(tag, places[tag])
        # O in any form is not a label here, so these are prefixes, with or without labels.
        prefixes = set(labels)
        if not prefixes <= _ALONE:
            prefixes = {prefix for prefix, _ in _find_spelling(labels).values()}
        if prefixes & {"B", "I"}:
            raise ValueError(
                f"{places[labels[0]]}: the tag {shorten(labels[0])} and all others of the column "
                f"look like prefixes ({', '.join(sorted(prefixes))}), not like bare labels. Leave "
                "--scheme out (and give --label NAME if they have no label), or give --outside O "
                "if they are labels."
            )
    elif outside != "O" and "O" in places:
        raise ValueError(
            f"{places['O']}: expected tokens outside to be marked with {shorten(outside)}, as "
            "given with --outside, but found O as well. Use one of them for all."
        )
    return {tag: "O" if tag == marker else tag for tag in places}


def _read_prefixed(
    places: Mapping[str, str], outside: str | None, label: str | None
) -> dict[str, str]:
    read = {tag: "O" for tag in places if tag in ("O", "o", outside)}
    for tag in places:
        if tag in read:
            continue
        if tag.upper() in _ALONE:
            if label is None:
                raise ValueError(
                    f"{places[tag]}: the tag {shorten(tag)} has no label. Give one for all with "
                    "--label NAME, or --scheme bare if it is a label."
                )
            read[tag] = f"{tag.upper()}-{label}"
        elif looks_outside(tag):
            raise ValueError(
                f"{places[tag]}: the tag {shorten(tag)} is not O. Give --outside {shorten(tag)} if "
                "it marks tokens outside any span, another --column, or --scheme bare for labels "
                "without prefix."
            )
    rest = [tag for tag in places if tag not in read]
    spelled = _find_spelling(rest)
    for tag in rest:
        if not split_tag(tag)[0] and _MORE.fullmatch(tag):
            raise _no_tag(tag, places[tag])
        read[tag] = "-".join(spelled[tag]) if tag in spelled else tag
    return read


def _no_tag(tag: str, place: str) -> ValueError:
    return ValueError(
        f"{place}: {shorten(tag)} looks like more than a tag. Give --format conllu for names with "
        "values (MISC), webanno-tsv for numbers in brackets, or another --column; or --scheme bare "
        "with --outside O if it is a label."
    )


def _find_spelling(tags: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Prefix and label of each tag, if all are written alike, but not B-LABEL; else nothing."""
    if all(split_tag(tag)[0] for tag in tags):
        return {}
    for order in _ORDERS:
        matches = [match for match in map(order.fullmatch, tags) if match is not None]
        if len(matches) == len(tags) and len({match["separator"] for match in matches}) == 1:
            return {match[0]: (match["prefix"].upper(), match["label"]) for match in matches}
    return {}
