"""How many tokens share a subtoken with another one before such subtokens are split. For that,
corpora get the spaces of running text.

    python benchmarks/shared_subtokens.py join corpus/wnut17/dev.spacy joined/wnut17/dev.spacy
    python benchmarks/shared_subtokens.py count joined/wnut17/dev.spacy assets/decoder

Most corpora put a space between all tokens, so that no subtoken belongs to two. `join` removes the
spaces that a text does not have, around punctuation and before n't and 's.
"""

from pathlib import Path
from typing import Annotated

import numpy
import spacy
import typer
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc, DocBin, Span
from transformers import AutoTokenizer

from spacy_lgu.layers.alignment import encode_docs

# fmt: off
NO_SPACE_BEFORE = {
    ".", ",", ";", ":", "!", "?", ")", "]", "}", "%", "’", "”", "...", "…", "..", "''",
    "'s", "'re", "'ve", "'ll", "'d", "'m", "n't",
}
NO_SPACE_BEHIND = {"(", "[", "{", "$", "£", "#", "@", "“", "‘", "``"}
# fmt: on
app = typer.Typer(pretty_exceptions_enable=False, help=__doc__)


def find_spaces(words: list[str]) -> list[bool]:
    """Whether a text has a space after each word. Straight quotes open and close in turns; a single
    one has spaces around it, unless it is the apostrophe of a plural.
    """
    # Place 0 is before the text.
    spaces = [True] * (len(words) + 1)
    opened = set()
    for i, word in enumerate(words):
        if word in opened or (word == "'" and word not in words[i + 1 :]):
            spaces[i] = False
            opened.discard(word)
        elif word in ('"', "'") and word in words[i + 1 :]:
            spaces[i + 1] = False
            opened.add(word)
        elif word.lower().replace("’", "'") in NO_SPACE_BEFORE or word in NO_SPACE_BEFORE:
            spaces[i] = False
        elif word in NO_SPACE_BEHIND:
            spaces[i + 1] = False
    return spaces[1:]


@app.command()
def join(
    source: Annotated[Path, typer.Argument(help=".spacy, a space between all tokens")],
    target: Annotated[Path, typer.Argument(help=".spacy")],
) -> None:
    """Remove spaces between tokens; entities and doc.spans are kept."""
    vocab = spacy.blank("en").vocab
    joined = DocBin()
    for doc in DocBin().from_disk(source).get_docs(vocab):
        words = [token.text for token in doc]
        new = Doc(vocab, words, find_spaces(words))
        if doc.has_annotation("ENT_IOB"):
            new.set_ents([Span(new, e.start, e.end, e.label) for e in doc.ents], default="outside")
        for key, group in doc.spans.items():
            new.spans[key] = [Span(new, span.start, span.end, span.label) for span in group]
        joined.add(new)
    target.parent.mkdir(parents=True, exist_ok=True)
    joined.to_disk(target)


@app.command()
def count(
    file: Annotated[Path, typer.Argument(help=".spacy")],
    tokenizers: Annotated[list[str], typer.Argument(help="Folders, or names on the hub")],
) -> None:
    """Count for each tokenizer."""
    docs = [doc for doc in DocBin().from_disk(file).get_docs(spacy.blank("en").vocab) if len(doc)]
    is_word = ~numpy.concatenate([doc.to_array(IS_SPACE).astype("bool") for doc in docs])
    print("| tokenizer | tokens | of them sharing | subtokens | after splitting |")
    print("|---|---|---|---|---|")
    for name in tokenizers:
        tokenizer = AutoTokenizer.from_pretrained(name)
        shared, split = (
            encode_docs(
                docs, [[doc[:]] for doc in docs], tokenizer,
                window=10**9, stride=None, causal=False, split=is_split,
            )
            for is_split in (False, True)
        )  # fmt: skip
        token = numpy.repeat(numpy.arange(len(is_word)), shared.token_lengths)
        owners = numpy.bincount(shared.indices[is_word[token]], minlength=len(shared.ids))
        sharing = numpy.unique(token[is_word[token] & (owners[shared.indices] > 1)])
        print(
            f"| {name} | {len(is_word):,} | {len(sharing) / len(is_word):.2%} "
            f"| {len(shared.ids):,} | {len(split.ids) / len(shared.ids) - 1:+.2%} |"
        )


if __name__ == "__main__":
    app()
