"""What a transformer component writes on each Doc: subtokens, vectors and their alignment.

The names of classes, attributes and serialized fields are those of spacy-transformers, whose users
read them. Where it is installed, its own classes are used instead: see stock.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import numpy
import srsly
from spacy.tokens import Doc
from thinc.api import xp2torch
from thinc.types import Floats2d, FloatsXd, Ints1d, Ints2d, Ragged

_KEY = "__transformerdata__"  # of a serialized Doc, as spacy-transformers writes it


class ModelOutput(dict[str, Any]):
    """Arrays by name in order, read as items, as attributes or by position."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"There is no output {name!r}: expected one of {[*self]}.")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """RETURNS (tuple): The arrays in order."""
        return tuple(self.values())


@dataclass
class WordpieceBatch:
    """Subtokens of some sequences.

    strings (list[list[str]]): Of each sequence, as text.
    input_ids (Ints2d): Their ids. Shape: (sequences, subtokens).
    attention_mask (Floats2d): 1 for subtokens, 0 for padding. Shape: (sequences, subtokens).
    lengths (list[int]): Of each sequence, without padding.
    token_type_ids (Ints2d | None): Of encoders. Shape: (sequences, subtokens).
    """

    strings: list[list[str]]
    input_ids: Ints2d
    attention_mask: Floats2d
    lengths: list[int]
    token_type_ids: Ints2d | None

    @classmethod
    def empty(cls, *, xp: ModuleType = numpy) -> "WordpieceBatch":
        """RETURNS (WordpieceBatch): No sequence."""
        return cls.zeros([], xp=xp)

    @classmethod
    def zeros(cls, lengths: list[int], *, xp: ModuleType = numpy) -> "WordpieceBatch":
        """Sequences of empty subtokens.

        lengths (list[int]): Of each sequence; shorter ones are padded.
        xp (ModuleType): numpy or cupy.
        RETURNS (WordpieceBatch): Ids are 0.
        """
        shape = (len(lengths), max(lengths, default=0))
        columns = xp.arange(shape[1])
        return cls(
            strings=[[""] * length for length in lengths],
            input_ids=xp.zeros(shape, dtype="int32"),
            # (1, subtokens) < (sequences, 1)
            attention_mask=(columns < xp.array(lengths).reshape(-1, 1)).astype("float32"),
            lengths=lengths,
            token_type_ids=None,
        )

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, index: int | slice) -> "WordpieceBatch":
        rows = slice(index, index + 1 or None) if isinstance(index, int) else index
        types = self.token_type_ids
        return WordpieceBatch(
            strings=self.strings[rows],
            input_ids=self.input_ids[rows],
            attention_mask=self.attention_mask[rows],
            lengths=self.lengths[rows],
            token_type_ids=None if types is None else types[rows],
        )

    def to_hf_dict(self) -> dict[str, Any]:
        """RETURNS (dict): What a tokenizer of transformers returns, arrays as torch tensors."""
        found = {
            "input_ids": xp2torch(self.input_ids),
            "attention_mask": xp2torch(self.attention_mask),
            "input_texts": self.strings,
        }
        if self.token_type_ids is not None:
            found["token_type_ids"] = xp2torch(self.token_type_ids)
        return found

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): The fields by name."""
        return dict(vars(self))

    def from_dict(self, message: dict[str, Any]) -> "WordpieceBatch":
        """Take the fields of another one.

        message (dict): From to_dict.
        RETURNS (WordpieceBatch): Itself.
        """
        for name in vars(self):
            setattr(self, name, message[name])
        return self


@dataclass
class TransformerData:
    """A Doc's share of what a transformer returned; the extension attribute doc._.trf_data.

    wordpieces (WordpieceBatch): Its subtokens.
    model_output (ModelOutput): last_hidden_state of shape (1, subtokens, width); empty for a Doc
        without tokens.
    align (Ragged): For each token in turn, the subtokens it consists of.
    """

    wordpieces: WordpieceBatch
    model_output: ModelOutput
    align: Ragged

    @classmethod
    def empty(cls) -> "TransformerData":
        """RETURNS (TransformerData): That of a Doc without tokens."""
        return cls(WordpieceBatch.empty(), ModelOutput(), make_ragged([], []))

    @classmethod
    def zeros(cls, length: int, width: int, *, xp: ModuleType = numpy) -> "TransformerData":
        """Zeros, one subtoken per token.

        length (int): Tokens of the Doc.
        width (int): Of a vector.
        xp (ModuleType): numpy or cupy.
        RETURNS (TransformerData): As of a Doc of this length.
        """
        output = ModelOutput(last_hidden_state=xp.zeros((1, length, width), dtype="float32"))
        align = make_ragged(numpy.arange(length), numpy.ones(length))
        return cls(WordpieceBatch.zeros([length], xp=xp), output, align)

    @property
    def tensors(self) -> tuple[FloatsXd, ...]:
        """RETURNS (tuple[FloatsXd]): The arrays of the output in order."""
        return self.model_output.to_tuple()

    @property
    def tokens(self) -> dict[str, Any]:
        """RETURNS (dict): The subtokens as a tokenizer of transformers returns them."""
        return self.wordpieces.to_hf_dict()

    @property
    def width(self) -> int:
        """RETURNS (int): Of a vector. Raises ValueError for a Doc without tokens."""
        if "last_hidden_state" not in self.model_output:
            raise ValueError("A Doc without tokens has no vectors, and so no width.")
        return self.model_output.last_hidden_state.shape[-1]

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): What msgpack can write."""
        return {
            "wordpieces": self.wordpieces.to_dict(),
            "model_output": dict(self.model_output),
            "align": [self.align.dataXd, self.align.lengths],
        }

    def from_dict(self, message: dict[str, Any]) -> "TransformerData":
        """Take what another one holds.

        message (dict): From to_dict.
        RETURNS (TransformerData): Itself.
        """
        self.wordpieces = WordpieceBatch.empty().from_dict(message["wordpieces"])
        self.model_output = ModelOutput(message["model_output"])
        self.align = Ragged(*message["align"])
        return self

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Serialized with msgpack."""
        return srsly.msgpack_dumps(self.to_dict())

    def from_bytes(self, byte_string: bytes) -> "TransformerData":
        """Take what another one holds.

        byte_string (bytes): From to_bytes.
        RETURNS (TransformerData): Itself.
        """
        return self.from_dict(srsly.msgpack_loads(byte_string))


def check_tokens(docs: Sequence[Doc]) -> None:
    """Check that Docs have the tokens for which their vectors were made.

    docs (Sequence[Doc]): Docs; those without vectors do not count.
    RETURNS (None): Raises ValueError for the first that has others.
    """
    for doc in docs:
        data = doc._.trf_data
        if data is not None and len(data.align.lengths) != len(doc):
            raise ValueError(
                f"The Doc {doc.text[:60]!r} has {len(doc)} tokens, but vectors of "
                f"{len(data.align.lengths)}: it was retokenized (merge_entities, for instance) "
                "after the transformer. Put the pipe that retokenizes before the transformer, or "
                "after all pipes that listen to it."
            )


def make_ragged(data: Any, lengths: Any) -> Ragged:
    """An alignment.

    data (Sequence[int]): For each token in turn, its subtokens. Shape: (alignments,).
    lengths (Sequence[int]): Subtokens of each token. Shape: (tokens,).
    RETURNS (Ragged): Of 32-bit integers on the CPU.
    """
    arrays = (numpy.asarray(values, dtype="int32") for values in (data, lengths))
    return Ragged(*(cast(Ints1d, array) for array in arrays))


def encode(value: Any, chain: Any = None) -> Any:
    """How Docs are serialized with their TransformerData: an encoder of srsly's msgpack.

    value (Any): What is to be written.
    chain (Callable | None): The next encoder.
    RETURNS (Any): What msgpack can write, if it is a TransformerData.
    """
    if isinstance(value, TransformerData):
        return {_KEY: value.to_dict()}
    return value if chain is None else chain(value)


def decode(value: Any, chain: Any = None) -> Any:
    """The way back from encode.

    value (Any): A dict that was read.
    chain (Callable | None): The next decoder.
    RETURNS (Any): A TransformerData, if it is one.
    """
    if _KEY in value:
        return TransformerData.empty().from_dict(value[_KEY])
    return value if chain is None else chain(value)
