"""The options of all formats by name, as the command line explains them. Defaults in [brackets].

A reader has a keyword of the same name for each option that its format has.
"""

from typing import NamedTuple

from .schemes import SCHEMES


class Option(NamedTuple):
    """An option.

    help (str): What it says, and for which formats.
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
    "token_column": Option("conll: column of the tokens [0]", int),
    "misc_key": Option("conllu: name of the tags in MISC [name or NE]"),
    "subtokens": Option(
        "conllu: merge words such as 2-3, widening spans, or split them [merge, but spans that end "
        "inside one are an error]"
    ),
    "scheme": Option(f"Tag scheme: {', '.join(SCHEMES)} [detected, except io and bare]"),
    "outside": Option("conll, conllu, token-jsonl: tag of tokens outside, such as _ [O]"),
    "layer": Option("webanno-tsv: layer to read [the only one]"),
    "feature": Option("webanno-tsv: feature with the labels [the only one]"),
    "comment": Option("conll: leave out lines that begin with this"),
    "text_field": Option("JSON: name of the text [text; label-studio: the only one]"),
    "tokens_field": Option("token-jsonl: name of the tokens [tokens]"),
    "spans_field": Option("*-jsonl: name of the spans [spans]"),
    "start_field": Option("*-jsonl: name of a span's start [start]"),
    "end_field": Option("*-jsonl: name of a span's end, exclusive [end]"),
    "label_field": Option("*-jsonl: name of a span's label [label]"),
    "span_text_field": Option("*-jsonl: name of a span's text, which is checked [text]"),
    "ends": Option("*-jsonl: end of a span, exclusive or inclusive [exclusive]"),
    "offsets": Option("JSON: spans in codepoints, utf16 (JavaScript) or bytes [codepoints]"),
    "document_field": Option("token-jsonl: field that is equal in sentences of a document [none]"),
    "label": Option(
        "*-jsonl: label of all spans, which may then be token numbers; conll, conllu, webanno-tsv "
        "and --tags-field: label of spans without one"
    ),
    "tags_field": Option("token-jsonl: name of one tag per token, instead of spans"),
    "tag_names": Option("token-jsonl: names of tags that are numbers: O,B-PER,I-PER,..."),
    "spaces_field": Option(
        "token-jsonl: name of what follows each token [spaces, space_after or ws, if there]"
    ),
    "from_name": Option("label-studio: only labels of this name [all]"),
    "discontinuous": Option("brat: spans of several fragments: error, cover or drop [error]"),
    "misaligned": Option(
        "Spans that begin or end inside a token or with white space: error, split (the token), "
        "expand, contract, drop [error]"
    ),
    "lang": Option("Language: its tokenizer, for gold tokens its spaces [en]"),
    "spaces": Option("After gold tokens: all or none [as the file says, else the language]"),
}
