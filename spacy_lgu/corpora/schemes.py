"""Tag schemes: which tag sequences are valid in each, and the spans they stand for.

With two adjacent PER spans, of three tokens and of one, after one token outside:

    iob2      O B-PER I-PER I-PER B-PER    every span begins with B-
    iob1      O I-PER I-PER I-PER B-PER    B- only where a span follows another of its label (see
                                           find_needless for those elsewhere)
    iobes     O B-PER I-PER E-PER S-PER    the last token has E-, a single one S-; also BIOES
    bilou     O B-PER I-PER L-PER U-PER    the same with other letters, also called BILUO
    bmes      O B-PER M-PER E-PER S-PER    the same with other letters, also called BMESO, BMOES
    bmewo     O B-PER M-PER E-PER W-PER    the same with other letters
    brackets  * (PER* *     *)    (PER)    spans open and close, and may nest (see brackets.py)
    io        O I-PER I-PER I-PER I-PER    cannot tell the two apart, and reads them as one span
    bare      O PER   PER   PER   PER      the same without prefix

Sources: Ramshaw & Marcus 1995 (IOB1), Tjong Kim Sang & Veenstra 1999 (IOB2), Ratinov & Roth 2009
(BILOU), Carreras & Marquez 2005 (brackets).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..inputs import cut
from .brackets import Fault, parse_brackets
from .records import LabeledSpan

SCHEMES = ("iob2", "iob1", "iobes", "bilou", "bmes", "bmewo", "brackets", "io", "bare")
_SYNONYMS = {"bioes": "iobes", "biluo": "bilou", "bmeso": "bmes", "bmoes": "bmes"}
# Of schemes that mark the last token: first, inside, last, single.
_FOUR = {"iobes": "BIES", "bilou": "BILU", "bmes": "BMES", "bmewo": "BMEW"}
_PREFIXES = {"iob2": "BI", "iob1": "BI", **_FOUR, "io": "I", "bare": ""}
_DETECTED = ("iob2", "iob1", *_FOUR, "brackets")
PREFIXES = "BIESLUMW"


def check_scheme(scheme: str) -> str:
    """The scheme's own name: lower case, synonyms resolved. Raises ValueError if unknown."""
    name = scheme.lower()
    name = _SYNONYMS.get(name, name)
    if name not in SCHEMES:
        raise ValueError(
            f"Expected one of the tag schemes {', '.join(SCHEMES)} (or {', '.join(_SYNONYMS)}), "
            f"but got {scheme!r}."
        )
    return name


def find_fault(tags: Sequence[str], scheme: str) -> Fault | None:
    """The first tag of a sentence that is not valid in a scheme.

    tags (Sequence[str]): One tag per token.
    scheme (str): A member of SCHEMES.
    RETURNS (Fault | None): None if the whole sentence is valid.
    """
    if scheme == "brackets":
        return parse_brackets(tags).fault
    previous = "O"
    for place, tag in enumerate(tags):
        message = _find_fault_after(previous, tag, scheme)
        if message:
            return Fault(place, cut(message))
        previous = tag
    if scheme in _FOUR and previous[0] in _FOUR[scheme][:2]:
        return Fault(len(tags) - 1, f"the sentence ends inside the span of {cut(previous)}")
    return None


def find_needless(tags: Sequence[str]) -> list[int]:
    """Places of B- that in IOB1 could be I-, since no span of the same label precedes.

    They can be read in one way only, and CoNLL-2003 has two of them.

    tags (Sequence[str]): The tags of a sentence, valid in IOB1.
    RETURNS (list[int]): Places in the sentence.
    """
    labels = [split_tag(tag)[1] for tag in tags]
    pairs = pairwise(["", *labels])
    return [
        place
        for place, (tag, (before, label)) in enumerate(zip(tags, pairs, strict=True))
        if tag[:2] == "B-" and before != label
    ]


def detect_scheme(
    sentences: Iterable[tuple[Sequence[int | str], Sequence[str]]], where: str
) -> str:
    """The scheme of a file: the first in the order below in which all its tags are valid.

    1. iob2
    2. iob1, if at most one span in a hundred begins with a needless B-: more of them are an iob2
       with mistakes. A file without any B-, valid in io too, stands for the same spans in both.
    3. iobes, bilou, bmes, bmewo
    4. brackets

    Labels without prefix (bare) are not detected: any column would pass as such.

    sentences (Iterable[tuple[Sequence[int | str], Sequence[str]]]): Line numbers, or places in
        JSON, and tags of each.
    where (str): The file, for the message.
    RETURNS (str): A member of SCHEMES. Raises ValueError that names, for each scheme, the first
        line against it, if there is no such scheme.
    """
    faults: dict[str, str] = {}
    needless: list[int | str] = []
    n_spans = 0
    for lines, tags in sentences:
        for scheme in _DETECTED:
            if scheme not in faults and (fault := find_fault(tags, scheme)):
                faults[scheme] = f"{where}:{lines[fault.place]}: not {scheme}: {fault.message}"
        if "iob1" not in faults:
            needless += [lines[place] for place in find_needless(tags)]
            n_spans += len(decode_tags(tags))
    if "iob1" not in faults and len(needless) > n_spans / 100:
        faults["iob1"] = (
            f"{where}:{needless[0]}: not iob1: here, and in {len(needless) - 1} more of {n_spans} "
            "spans, B- does not follow a span of the same label"
        )
    for scheme in _DETECTED:
        if scheme not in faults:
            return scheme
    raise ValueError(
        f"{where}: the tags of this column are not valid in any scheme. First line against each:\n"
        + "\n".join(faults[scheme] for scheme in _DETECTED)
        + "\nCorrect these lines, choose another column with --column, or give --scheme, which is "
        "bare for labels without prefix."
    )


def decode_tags(tags: Sequence[str], scheme: str | None = None) -> list[LabeledSpan]:
    """The spans that a valid sequence of tags stands for.

    tags (Sequence[str]): One tag per token, without fault in its scheme.
    scheme (str | None): The scheme. None: any but brackets, which are all read in one way.
    RETURNS (list[LabeledSpan]): In tokens, from left to right, a span before those inside it.
    """
    if scheme == "brackets":
        return parse_brackets(tags).spans
    spans = []
    start, open_label = 0, ""  # empty: outside
    for place, tag in enumerate([*tags, "O"]):
        prefix, label = split_tag(tag)
        if prefix in ("B", "S", "U", "W") or label != open_label:
            if open_label:
                spans.append(LabeledSpan(start, place, open_label))
            start, open_label = place, label
    return spans


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and label; the prefix is empty if there is none, the label of O is empty."""
    if tag == "O":
        return "O", ""
    if len(tag) > 2 and tag[1] == "-" and tag[0] in PREFIXES:
        return tag[0], tag[2:]
    return "", tag


def _find_fault_after(previous: str, tag: str, scheme: str) -> str:
    """What is wrong with a tag after another; empty if nothing."""
    if tag == "O" and previous == "O":
        return ""
    (before, label_before), (prefix, label) = split_tag(previous), split_tag(tag)
    allowed = _PREFIXES[scheme]
    if not tag:
        return "the tag is empty"
    if scheme == "bare":
        return f"{tag} has a prefix" if prefix not in ("", "O") else ""
    if prefix != "O" and (not prefix or prefix not in allowed):
        return (
            f"{tag} is not O and does not begin with one of {', '.join(f'{p}-' for p in allowed)}"
        )
    is_inside = before in ("B", "I", "M") and label == label_before
    if scheme == "iob2" and prefix == "I" and not is_inside:
        return f"{tag} follows {previous}, but a span begins with B-{label}"
    if scheme in _FOUR:
        first, inside, last = tuple(_FOUR[scheme])[:3]
        if before in (first, inside) and not (is_inside and prefix in (inside, last)):
            return f"{tag} follows {previous}, but a span ends with {last}-{label_before}"
        if prefix in (inside, last) and not is_inside:
            return f"{tag} follows {previous}, but a span begins with B-{label}"
    return ""
