"""What is sent and answered, as OpenAPI describes it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

from .rendering import MAX_DRAWN
from .settings import Limits


class AnnotateRequest(BaseModel):
    """Texts for a pipeline: one in `text`, or several in `texts`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pipeline: Annotated[
        str | None,
        Field(description="Its name. Not needed where there is one pipeline"),
    ] = None
    # Not optional but absent: null is a mistake.
    text: Annotated[str, Field(description="A text")] = None  # type: ignore[assignment]
    texts: Annotated[list[str], FailFast(), Field(description="Texts", min_length=1)] = None  # type: ignore[assignment]
    tokens: Annotated[bool, Field(description="Whether to answer with tokens")] = True
    html: Annotated[
        bool,
        Field(description=f"Whether to answer with displaCy's HTML: for {MAX_DRAWN:,} characters "
                          "of a request at most"),
    ] = False  # fmt: skip
    offsets: Annotated[
        Literal["codepoints", "utf16"],
        Field(
            description="What `start` and `end` count: code points, as Python does, or units of "
            "UTF-16, as JavaScript and Java do"
        ),
    ] = "codepoints"


class _Place(BaseModel):
    start: Annotated[int, Field(description="Its first character", ge=0)]
    end: Annotated[int, Field(description="The one after its last", ge=0)]


class SpanModel(_Place):
    """An entity, or a span of a group."""

    label: str
    score: Annotated[float, Field(description="A probability, where the pipeline gives one")] = None  # type: ignore[assignment]
    kb_id: str = ""
    id: str = ""


class TokenModel(_Place):
    """A token. Tags, lemmas, heads and so on are here under the names of Doc.to_json, where the
    pipeline writes them."""

    model_config = ConfigDict(extra="allow")

    text: str
    id: int


class HtmlModel(BaseModel):
    """displaCy's HTML, in which texts and labels are escaped."""

    ents: str
    spans: dict[str, str]


class DocModel(BaseModel):
    """A text's annotations. All positions are in the unit that `offsets` asked for."""

    model_config = ConfigDict(extra="forbid")

    ents: list[SpanModel]
    spans: Annotated[dict[str, list[SpanModel]], Field(description="Span groups by key")]
    tokens: list[TokenModel] = []
    sents: Annotated[list[_Place], Field(description="Sentences, if the pipeline finds any")] = []
    cats: Annotated[dict[str, float], Field(description="Categories, if it finds any")] = {}
    html: HtmlModel = None  # type: ignore[assignment]


class Fault(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: list[dict[str, Any]] = []


class Problem(BaseModel):
    """An answer that is none."""

    error: Fault


class AnnotateResponse(BaseModel):
    """The texts' annotations in their order."""

    pipeline: str
    docs: Annotated[
        list[DocModel | Problem],
        Field(description="A text that its pipeline failed on has `error` in its place"),
    ]


class PipelineModel(BaseModel):
    """A pipeline that is served."""

    name: str
    lang: str
    version: str
    pipes: list[str]
    labels: Annotated[dict[str, list[str]], Field(description="Labels by pipe")]
    runs: Annotated[str, Field(description="Whether it shares forward passes, or why not")]


class PipelinesResponse(BaseModel):
    """The pipelines that requests may name now."""

    pipelines: list[PipelineModel]


class Health(BaseModel):
    """Whether requests are taken."""

    status: Literal["live", "not live", "ready", "not ready"]
    reason: str = ""


def request_schema(limits: Limits) -> dict[str, Any]:
    """RETURNS (dict): JSON schema of AnnotateRequest within the limits of a service."""
    schema = AnnotateRequest.model_json_schema()
    places = schema["properties"]
    for name in ("text", "texts"):
        places[name].pop("default", None)
    places["text"]["maxLength"] = limits.max_characters
    places["texts"]["maxItems"] = limits.max_texts
    places["texts"]["items"]["maxLength"] = limits.max_characters
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["texts"]}]
    return schema
