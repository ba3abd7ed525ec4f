"""The pipes that can read a decoder's vectors: their sections of a config.

Values are those of the shipped configs where these have the head, else spaCy's own defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import sections, vectors


@dataclass(frozen=True, kw_only=True)
class Head:
    """A pipe that learns from a decoder's vectors.

    text (str): Its sections, without those of the listener.
    scores (Mapping[str, float | None]): Scores and their weights, as spaCy has them; None: of no
        weight, not in the table.
    after (tuple[str, ...]): Pipes that must stand before it, if they are in the pipeline.
    writes (str): Where its annotations go, if another head may write there too.
    on_documents (bool): Whether its texts are documents rather than sentences.
    listens (bool): Whether it reads the vectors of the transformer component.
    pooling (str): How the vectors of a token's subtokens become one.
    """

    text: str
    scores: Mapping[str, float | None]
    after: tuple[str, ...] = ()
    writes: str = ""
    on_documents: bool = False
    listens: bool = True
    pooling: str = "reduce_mean.v1"


_ENTITIES = {"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None}
_SPANS = {"spans_sc_f": 1.0, "spans_sc_p": 0.0, "spans_sc_r": 0.0}
_SENTENCES = {"sents_f": 1.0, "sents_p": 0.0, "sents_r": 0.0}
_CATEGORIES = {
    "cats_score": 1.0,
    **dict.fromkeys(
        (
            "cats_score_desc", "cats_micro_p", "cats_micro_r", "cats_micro_f", "cats_macro_p",
            "cats_macro_r", "cats_macro_f", "cats_macro_auc", "cats_f_per_type",
        )
    ),
}  # fmt: skip

_FINDERS, _LABELERS = ("span_finder",), ("ner", "sequence_labeler", "parser", "senter")

HEADS: Mapping[str, Head] = {
    "tagger": Head(
        text=sections.TAGGER,
        scores={
            "tag_acc": 1.0,
            "pos_acc": 0.0,
            **dict.fromkeys(("tag_micro_p", "tag_micro_r", "tag_micro_f")),
        },
    ),
    "morphologizer": Head(
        text=sections.MORPHOLOGIZER,
        scores={"pos_acc": 0.5, "morph_acc": 0.5, "morph_per_feat": None},
    ),
    "trainable_lemmatizer": Head(text=sections.LEMMATIZER, scores={"lemma_acc": 1.0}),
    "parser": Head(
        text=sections.PARSER,
        scores={
            "dep_uas": 0.5,
            "dep_las": 0.5,
            "dep_las_per_type": None,
            "sents_p": None,
            "sents_r": None,
            "sents_f": 0.0,
        },
    ),
    "senter": Head(text=sections.SENTER, scores=_SENTENCES),
    "ner": Head(text=sections.NER, scores=_ENTITIES, writes="doc.ents"),
    "sequence_labeler": Head(
        text=sections.SEQUENCE_LABELER,
        scores=_ENTITIES,
        writes="doc.ents",
        pooling="reduce_first.v1",
    ),
    "span_finder": Head(text=sections.SPAN_FINDER, scores=_SPANS),
    "spancat": Head(text=sections.SPANCAT, scores=_SPANS, after=_FINDERS, writes='doc.spans["sc"]'),
    "spancat_singlelabel": Head(
        text=sections.SPANCAT_SINGLELABEL, scores=_SPANS, after=_FINDERS, writes='doc.spans["sc"]'
    ),
    "textcat": Head(
        text=sections.TEXTCAT, scores=_CATEGORIES, writes="doc.cats", on_documents=True
    ),
    "textcat_multilabel": Head(
        text=sections.TEXTCAT_MULTILABEL, scores=_CATEGORIES, writes="doc.cats", on_documents=True
    ),
    "entity_linker": Head(
        text=sections.ENTITY_LINKER,
        scores={"nel_micro_f": 1.0, "nel_micro_r": None, "nel_micro_p": None},
        after=_LABELERS,
        listens=False,
    ),
}


def find_shared(heads: Sequence[str]) -> dict[str, list[str]]:
    """Heads that write to one place, by that place.

    heads (Sequence[str]): Names in HEADS.
    RETURNS (dict[str, list[str]]): In the order of the pipeline; places with one head left out.
    """
    found: dict[str, list[str]] = {}
    for name in heads:
        if place := HEADS[name].writes:
            found.setdefault(place, []).append(name)
    return {place: names for place, names in found.items() if len(names) > 1}


def head_text(name: str, *, heads: Sequence[str], ensemble: bool, quantization: str) -> str:
    """The sections of a head.

    name (str): Name in HEADS.
    heads (Sequence[str]): All heads of the pipeline, on which remarks and candidates depend.
    ensemble (bool): Whether a text categorizer reads a bag of words as well.
    quantization (str): Of a decoder of its own, for a head that does not listen.
    RETURNS (str): Sections, each after an empty line.
    """
    head = HEADS[name]
    text = head.text
    if name.startswith("textcat"):
        model = sections.TEXTCAT_ENSEMBLE if ensemble else sections.TEXTCAT_REDUCE
        exclusive = "true" if name == "textcat" else "false"
        text += model.format(name=name, exclusive=exclusive)
    if not head.listens:
        text += vectors.OWN_DECODER.format(name=name, quantization=quantization)
    else:
        why = vectors.PAPER_POOLING if head.pooling == "reduce_first.v1" else ""
        text += vectors.LISTENER.format(name=name, pooling=head.pooling, why=why)
    if name.startswith("spancat"):
        candidates = sections.FOUND_SPANS if "span_finder" in heads else sections.ALL_SPANS
        text += candidates.format(name=name)
    for place, others in find_shared(heads).items():
        if name in others[1:]:
            text = _REMARKS[place].format(name=name, other=others[0]) + text.lstrip("\n")
    return text


_REMARKS = {
    "doc.ents": """
# {other} writes doc.ents before it: its entities stay, and this pipe adds its own where there are
# none.
""",
    'doc.spans["sc"]': """
# {other} writes doc.spans["sc"] before it: its spans are replaced by those of this pipe, whose
# score alone is seen. To keep both, give one a spans_key of its own, here and in your data.
""",
    "doc.cats": """
# {other} writes doc.cats before it, too: the labels of both are in it, and both learn from all.
""",
}
