"""What decides what a run writes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FORMATS = ("jsonl", "jsonl.gz", "jsonl.xz", "jsonl.zst", "parquet", "spacy")


@dataclass(frozen=True)
class Settings:
    """What decides what is written: a run that goes on has the same.

    format (str): One of FORMATS.
    text_field (str): Field with the text.
    ents_field, spans_field (str): Fields for entities and span groups. Raises ValueError unless all
        three differ.
    replace (bool): Whether fields of these names may be replaced.
    shard_size (int): Records of a shard, at least 1.
    also (tuple[str, ...]): Names of further pipelines: the fields for what they find.
    """

    format: str = "jsonl"
    text_field: str = "text"
    ents_field: str = "ents"
    spans_field: str = "spans"
    replace: bool = False
    shard_size: int = 1000
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"Expected --format to be one of {', '.join(FORMATS)}, but got "
                             f"{self.format!r}.")  # fmt: skip
        names = (self.text_field, self.ents_field, self.spans_field, *self.also)
        taken = {*names, "record"} if self.format == "parquet" else {*names}
        if len(taken) < len(names) + (self.format == "parquet"):
            raise ValueError(
                "Expected different names for text, entities and span groups"
                f"{', and further pipelines' if self.also else ''}"
                f"{', and none to be record' if self.format == 'parquet' else ''}, but got "
                f"{', '.join(names)}."
            )
        if self.also and self.format == "spacy":
            raise ValueError(
                f"A Doc holds the annotations of one pipeline, not those of {', '.join(self.also)} "
                "as well: expected another --format than spacy, or no --also."
            )
        if self.shard_size < 1:
            raise ValueError(f"Expected at least 1 record in a shard, but got {self.shard_size}.")

    @property
    def new_fields(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): Fields that no record may have. A Doc has none."""
        return () if self.replace or self.format == "spacy" else self.written_fields

    @property
    def written_fields(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): Fields that a record gets, unless it becomes a Doc."""
        return (self.ents_field, self.spans_field, *self.also)

    def as_options(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The settings as values for JSON, without further pipelines: of
        these, a manifest says more than the name."""
        values = asdict(self)
        del values["also"]
        return values


def clashes(fields: Sequence[str], settings: Settings) -> list[str]:
    """RETURNS (list[str]): Fields of a JSON record that the output would overwrite."""
    is_kept = settings.format.startswith("jsonl")
    return [name for name in settings.new_fields if is_kept and name in fields]
