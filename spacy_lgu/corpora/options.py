"""The options of all formats by name, as the command line tells of them. Defaults in [brackets].

A reader has a keyword of the same name for each option that its format has.
"""

from typing import NamedTuple

from .schemes import SCHEMES


class Option(NamedTuple):
    """An option.

    help (str): What it says, and to which formats.
    kind (type): Its type, where it is given.
    """

    help: str
    kind: type = str


OPTIONS = {
    "column": Option(
        "conll, conllu: column of the tags, from 0 or, backwards, -1; may be given again, for "
        "spans that overlap [conll: -1, conllu: in MISC]",
        list[int],
    ),
    "token_column": Option("conll: of the tokens [0]", int),
    "misc_key": Option("conllu: name of the tags in MISC [name or NE]"),
    "subtokens": Option(
        "conllu: merge words such as 2-3, widening spans, or split them [merge, but spans that end "
        "inside one are an error]"
    ),
    "scheme": Option(f"Of tags: {', '.join(SCHEMES)} [detected, but for io and bare]"),
    "outside": Option("conll, conllu, token-jsonl: tag of tokens outside, such as _ [O]"),
    "layer": Option("webanno-tsv: layer to read [the only one]"),
    "feature": Option("webanno-tsv: feature with the labels [the only one]"),
    "comment": Option("conll: leave out lines that begin with this"),
    "text_field": Option("JSON: name of the text [text; label-studio: the only one]"),
    "tokens_field": Option("token-jsonl: name [tokens]"),
    "spans_field": Option("*-jsonl: name [spans]"),
    "start_field": Option("*-jsonl: in a span [start]"),
    "end_field": Option("*-jsonl: in a span, exclusive [end]"),
    "label_field": Option("*-jsonl: in a span [label]"),
    "span_text_field": Option("*-jsonl: in a span, its text, which is checked [text]"),
    "ends": Option("*-jsonl: end of a span, exclusive or inclusive [exclusive]"),
    "offsets": Option("JSON: spans in codepoints, utf16 (JavaScript) or bytes [codepoints]"),
    "document_field": Option("token-jsonl: equal in sentences of a document [none]"),
    "label": Option(
        "*-jsonl: of all spans, which may be token numbers; conll, conllu, webanno-tsv and "
        "--tags-field: of spans without one"
    ),
    "tags_field": Option("token-jsonl: name of one tag per token, not of spans"),
    "tag_names": Option("token-jsonl: of tags that are numbers: O,B-PER,I-PER,..."),
    "spaces_field": Option(
        "token-jsonl: what follows each token [spaces, space_after or ws, if there]"
    ),
    "from_name": Option("label-studio: labels of this name alone [all]"),
    "discontinuous": Option("brat: error, cover or drop spans of fragments [error]"),
    "misaligned": Option(
        "Spans that do not begin and end with a token, or do with white space: error, split (the "
        "token), expand, contract, drop [error]"
    ),
    "lang": Option("Language: its tokenizer, for gold tokens its spaces [en]"),
    "spaces": Option("After gold tokens: all or none [as the file says, else the language]"),
}
