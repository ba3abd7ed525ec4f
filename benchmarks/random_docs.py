"""Random documents through tiny random decoders: does each token have a vector of its own, and are
the vectors in a batch the same as alone?

    python benchmarks/random_docs.py
    python benchmarks/random_docs.py --n-docs 2000 --seed 1

Documents mix words, punctuation without spaces, white space, control characters, languages without
spaces and characters from all of Unicode, tokenized by spaCy or cut anywhere. They are run under
three patterns, in windows and as a whole, with tokenizers of four kinds. Counted are tokens that
share a subtoken with another token, white space apart, so that a pooling may give both one vector,
and documents whose vectors in a batch differ from those alone by more than --tolerance. The exit
status is 1 if there are any.
"""

import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Doc
from thinc.types import Ragged
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import MistralConfig, MistralModel, PreTrainedTokenizerFast

PATTERNS = ("cccc", "ccbb", "bbbb")
WINDOWS = (None, 16)
WIDTH = 32
TEXT = Path(__file__).parents[1] / "assets" / "corpus" / "ner" / "train.txt"
JOINED = ['").', "%,", "...", "!!", "don't", "($5)", "a/b", "東京都に住む", "你好，东京大学", "นก"]
ODD = " \t\n\u00a0\u3000\x00\x07\u200b\u200d\u0301\u00ad\ufeffﬁ½İẞ🦱👩"


def make_tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    """A tokenizer of each kind, trained on a little text."""
    texts = [*TEXT.read_text(encoding="utf8").splitlines(), *JOINED * 20]
    options: dict[str, Any] = {"vocab_size": 1000, "show_progress": False}
    options["special_tokens"] = ["<s>", "</s>", "<unk>"]
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level.train_from_iterator(texts, trainers.BpeTrainer(initial_alphabet=alphabet, **options))
    pieces = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    pieces.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    options["special_tokens"] = [*options["special_tokens"], *(f"<0x{i:02X}>" for i in range(256))]
    pieces.train_from_iterator(texts, trainers.BpeTrainer(**options))
    del options["special_tokens"][3:]
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.train_from_iterator(texts, trainers.UnigramTrainer(unk_token="<unk>", **options))
    words = Tokenizer(models.WordPiece(unk_token="<unk>"))
    words.normalizer = normalizers.BertNormalizer(strip_accents=True)
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.train_from_iterator(texts, trainers.WordPieceTrainer(**options))
    backends = {
        "byte-level BPE": byte_level,
        "BPE with byte fallback": pieces,
        "Unigram, NFKC": unigram,
        "WordPiece, lower case": words,
    }
    return {
        kind: PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        )
        for kind, backend in backends.items()
    }


def make_pipeline(
    tokenizer: PreTrainedTokenizerFast, pattern: str, window: int | None, seed: int
) -> Language:
    """A pipeline of a decoder with random weights alone."""
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=len(pattern),
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        sliding_window=None,
        initializer_range=0.2,
    )
    nlp = spacy.blank("en")
    with tempfile.TemporaryDirectory() as place:
        MistralModel(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
        model = {
            "@architectures": "spacy-lgu.LGUTransformer.v1",
            "name": place,
            "unmasking": pattern,
            "quantization": "none",
            "tuning": "frozen",
            "dtype": "float32",
            "window": window,
            "get_spans": {"@span_getters": "spacy-lgu.doc_spans.v1"},
        }
        nlp.add_pipe("lgu_transformer", name="transformer", config={"model": model})
        nlp.initialize()
    return nlp


class Documents:
    """Draws documents.

    nlp (Language): Gives them its tokenizer and vocab.
    seed (int): Equal seeds draw equal documents.
    """

    def __init__(self, nlp: Language, seed: int) -> None:
        self.random = random.Random(seed)
        self.nlp = nlp
        self.words = TEXT.read_text(encoding="utf8").split()

    def draw(self) -> Doc:
        """RETURNS (Doc): The next one."""
        pieces = [self._piece() for _ in range(self.random.randint(0, 30))]
        if self.random.random() < 0.5:
            glue = self.random.choice(["", " "])
            return self.nlp.make_doc(glue.join(pieces))
        words = [word for piece in pieces for word in self._cut(piece)]
        return Doc(self.nlp.vocab, words, [self.random.random() < 0.3 for _ in words])

    def _piece(self) -> str:
        kind = self.random.randrange(4)
        if kind == 0:
            return self.random.choice(self.words)
        if kind == 1:
            return self.random.choice(JOINED)
        if kind == 2:
            return "".join(self.random.choices(ODD, k=self.random.randint(1, 3)))
        points = [self.random.randrange(0x110000 - 0x800) for _ in range(3)]
        return "".join(chr(p if p < 0xD800 else p + 0x800) for p in points)  # no surrogates

    def _cut(self, piece: str) -> list[str]:
        words, start = [], 0
        while start < len(piece):
            length = self.random.randint(1, 4)
            words.append(piece[start : start + length])
            start += length
        return words


def count_without_own(doc: Doc, align: Ragged) -> tuple[int, int]:
    """Tokens that are not white space, and those of them that share a subtoken."""
    rows = numpy.split(align.dataXd.ravel(), align.lengths.cumsum())[:-1]
    words = [set(row.tolist()) for token, row in zip(doc, rows, strict=True) if not token.is_space]
    owners = Counter(row for word in words for row in word)
    return len(words), sum(any(owners[row] > 1 for row in word) for word in words)


def main(
    n_docs: Annotated[int, typer.Option(help="Over all decoders")] = 20_000,
    seed: int = 0,
    tolerance: Annotated[float, typer.Option(help="Largest difference of a number")] = 1e-4,
    batch_size: int = 64,
) -> None:
    """Run the documents."""
    torch.set_num_threads(1)
    tokenizers = make_tokenizers()
    cases = [(kind, p, w) for kind in tokenizers for p in PATTERNS for w in WINDOWS]
    totals: dict[str, Counter[str]] = {kind: Counter() for kind in tokenizers}
    shares = numpy.diff(numpy.linspace(0, n_docs, len(cases) + 1).astype(int))
    with tqdm(total=n_docs, unit="doc") as progress:
        for i, ((kind, pattern, window), share) in enumerate(zip(cases, shares, strict=True)):
            nlp = make_pipeline(tokenizers[kind], pattern, window, seed + i)
            documents = Documents(nlp, seed + i)
            docs = [documents.draw() for _ in range(share)]
            alone = [nlp(doc.copy()) for doc in docs]
            counts = totals[kind]
            for doc, single in zip(nlp.pipe(docs, batch_size=batch_size), alone, strict=True):
                n_tokens, n_without = count_without_own(doc, doc._.trf_data.align)
                counts.update(docs=1, tokens=n_tokens, without=n_without)
                if n_tokens:
                    X, Y = (d._.trf_data.model_output.last_hidden_state for d in (doc, single))
                    same = X.shape == Y.shape and abs(X - Y).max() <= tolerance
                    counts.update(different=int(not same))
                progress.update()
    print("| tokenizer | documents | tokens | without a vector of their own | batched differs |")
    print("|---|---|---|---|---|")
    totals["all"] = sum(totals.values(), Counter())
    for kind, found in totals.items():
        figures = [found[name] for name in ("docs", "tokens", "without", "different")]
        print(f"| {kind} | {' | '.join(f'{figure:,}' for figure in figures)} |")
    if totals["all"]["without"] or totals["all"]["different"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, help=__doc__)
    app.command()(main)
    app()
