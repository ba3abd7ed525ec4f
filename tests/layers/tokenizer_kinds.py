"""Small tokenizers of every kind that decoders come with; and two to read literal values from."""

from pathlib import Path

from tokenizers import (
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


def byte_tokenizer(*, bos: bool = True, eos: bool = False) -> PreTrainedTokenizerFast:
    """One subtoken per byte; a space is the subtoken Ġ."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {string: i for i, string in enumerate(["<s>", "</s>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
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


def llama_2_tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(str(LLAMA_2))


def _wrap(backend: Tokenizer, *, bos: bool, eos: bool = False) -> PreTrainedTokenizerFast:
    template = ["<s>"] * bos + ["$A"] + ["</s>"] * eos
    if len(template) > 1:
        backend.post_processor = processors.TemplateProcessing(
            single=template, pair=None, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token=None
    )
