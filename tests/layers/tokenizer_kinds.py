"""Small tokenizers of every kind that decoders come with; and two to read literal values from."""

from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ..conftest import TEXTS, make_tokenizer

# Not part of the project: tested where a checkout of shared models lies beside it.
LLAMA_2 = Path(__file__).parents[3] / "shared" / "models" / "llama2_tokenizer"

# Each is one word to a byte-level tokenizer, and several tokens to spaCy.
JOINED = ['").', "(", "don", "%,", "你好", "东京大学", "東京都に住む"]


def byte_tokenizer(
    *, bos: bool = True, eos: bool = False, merge: tuple[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """One subtoken per byte, but for a pair of bytes to merge; a space is the subtoken Ġ."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {string: i for i, string in enumerate(["<s>", "</s>", *alphabet])}
    if merge is not None:
        vocab["".join(merge)] = len(vocab)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[] if merge is None else [merge]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _wrap(backend, bos=bos, eos=eos)


def word_tokenizer(*, bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """One subtoken per word; white space is swallowed. The words are w0, w1 ... w199."""
    words = ["<s>", "</s>", "<unk>", *(f"w{i}" for i in range(200))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(backend, bos=bos, eos=eos)


def bpe_tokenizer(*, bos: bool = True, eos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as in Llama 3, Qwen, Phi and GPT-NeoX."""
    return _wrap(make_tokenizer(bos=False).backend_tokenizer, bos=bos, eos=eos)


def metaspace_tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """BPE as sentencepiece makes it: ▁ for spaces, unknown characters as bytes, normalized."""
    alphabet = sorted({c for text in TEXTS[:2] for c in text.lower()} - {" "})
    pieces = ["<s>", "</s>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *alphabet]
    merges = [("▁", letter) for letter in "anit"] + [("▁t", "h"), ("▁th", "e"), ("e", "r")]
    vocab = {piece: i for i, piece in enumerate([*pieces, *(a + b for a, b in merges)])}
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return _wrap(backend, bos=bos)


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """sentencepiece's Unigram model, white space collapsed, unknown characters as <unk>."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Replace(" +", " ")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120,
        special_tokens=["<s>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS[:2], trainer)
    return _wrap(backend, bos=True)


def swallowing_tokenizer() -> PreTrainedTokenizerFast:
    """No special tokens at all; white space and every character outside a-z vanish."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def joining_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a subtoken for each string of JOINED, also after a space."""
    return _wrap(_train_byte_level([*JOINED, *(f" {word}" for word in JOINED)]), bos=True)


def trimming_tokenizer() -> PreTrainedTokenizerFast:
    """As in GPT-2 and Llama 3: offsets without the space before a word, a space before the text."""
    backend = _train_byte_level([*TEXTS, *JOINED])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    # 4.53 sets the splitting rule by its own option, 5 leaves it as it is.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", add_prefix_space=True
    )


def prepending_tokenizer() -> PreTrainedTokenizerFast:
    """As in Llama 2: ▁ before the text is the normalizer's work, and words are not told apart."""
    merges = [
        ("▁", "("),
        ('"', ")"),
        ('")', "."),
        ("d", "o"),
        ("do", "n"),
        ("▁", "don"),
        (".", "▁"),
    ]
    alphabet = ["▁", *'()".,donta']
    pieces = ["<s>", "</s>", "<unk>", *(f"<0x{i:02X}>" for i in range(256)), *alphabet]
    vocab = {piece: i for i, piece in enumerate([*pieces, *(a + b for a, b in merges)])}
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return _wrap(backend, bos=True)


def folding_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece: lower case, no accents, no control characters, unknown words as [UNK]."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=True)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = ["<s>", "</s>", "[UNK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=specials, show_progress=False
    )
    backend.train_from_iterator([*TEXTS[:2], *JOINED], trainer)
    return _wrap(backend, bos=True, eos=True, unk="[UNK]")


def filtering_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram as in XGLM: control and zero-width characters vanish, the rest is composed (NFKC)."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([*TEXTS[:2], *JOINED * 5], trainer)
    return _wrap(backend, bos=False, eos=True, unk="<unk>")


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One subtoken per character, unknown ones among them."""
    vocab = {string: i for i, string in enumerate(["<s>", "</s>", "<unk>", *"ab w1e."])}
    backend = Tokenizer(models.WordLevel(vocab, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(?m)."), "isolated")
    return _wrap(backend, bos=True, unk="<unk>")


def llama_2_tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(str(LLAMA_2))


def _train_byte_level(texts: list[str]) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _wrap(
    backend: Tokenizer, *, bos: bool, eos: bool = False, unk: str | None = None
) -> PreTrainedTokenizerFast:
    template = ["<s>"] * bos + ["$A"] + ["</s>"] * eos
    if len(template) > 1:
        backend.post_processor = processors.TemplateProcessing(
            single=template, pair=None, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token=unk
    )
