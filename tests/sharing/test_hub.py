"""A pipeline travels over a hub on this machine; all that a push or pull says is asked there."""

import json
import shutil

import huggingface_hub.utils
import pytest
import srsly
from huggingface_hub import constants, file_download

from spacy_lgu.sharing import hub
from spacy_lgu.sharing.card import END

from ..cli.conftest import failure, run
from ..conftest import make_nlp
from . import hub_server
from .conftest import COMMIT, NAME, contents, outputs, save_nlp
from .hub_server import TOKEN, HubServer, Repository

# The hub's client itself sends large files in a form that httpx calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "tester/my_ner"
# As `lgu evaluate --output` writes it, in percent.
OF_EVALUATE = {
    "threshold": None, "f1": 50.0, "precision": 40.0, "recall": 60.0, "labels": {"PER": [1, 2, 3]},
    "tokens_per_second": 100.0,
}  # fmt: skip
SAFE = "transformer/base/model.safetensors"


@pytest.fixture
def online(hub_cache, monkeypatch):
    """A hub that the client asks, and an account."""
    server = HubServer()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    reset()
    yield server
    reset()
    server.close()


def reset() -> None:
    """A new session: 0.x decides when it makes one whether it is offline."""
    for name in ("close_session", "reset_sessions"):  # of 1.x and later, and of 0.x
        if hasattr(huggingface_hub.utils, name):
            getattr(huggingface_hub.utils, name)()


@pytest.fixture
def described(bundled):
    """A pipeline with scores, a licence and sources."""
    file = bundled / "meta.json"
    meta = json.loads(file.read_text())
    meta["performance"] = {"ents_f": 0.75, "ents_p": 0.5, "ner_loss": 12.0, "ents_per_type": {}}
    meta["license"], meta["sources"] = "MIT", [{"name": "Four Sentences", "author": "us"}]
    file.write_text(json.dumps(meta))
    return bundled


def one_line(text: str) -> str:
    return " ".join(text.split())


def header_of(repository: Repository, revision: str = "main") -> dict:
    card = repository.files(revision)["README.md"].decode()
    return srsly.yaml_loads(card.split("---\n")[1])


def test_push_and_pull(online, described, tmp_path):
    (described / "notes.txt").write_text("mine")
    expected, sent = outputs(described), contents(described)
    printed = one_line(run("lgu", "push", described, REPO, "--private"))
    assert "Not sent, since no save wrote it: notes.txt" in printed
    assert f"bytes {SAFE}" in printed
    repository = online.repositories[REPO]
    assert repository.private
    del sent["notes.txt"]
    arrived = dict(repository.files())
    del arrived[".gitattributes"]
    card = arrived.pop("README.md").decode()
    assert arrived == sent
    assert "PUT /large/" in " ".join(online.requests)
    assert "layers 2-3   b  <-->  the whole text\nlayers 0-1   c  <--   the past alone" in card
    assert "Four Sentences (us)" in card
    assert str(tmp_path) not in card
    header = header_of(repository)
    assert (header["license"], header["language"], header["library_name"]) == ("mit", "en", "spacy")
    assert "base_model" not in header
    (result,) = header["model-index"][0]["results"]
    assert [(m["name"], m["type"], m["value"]) for m in result["metrics"]] == [
        ("ents_f", "f1", 0.75),
        ("ents_p", "precision", 0.5),
    ]
    shutil.rmtree(described)
    printed = one_line(run("lgu", "pull", REPO, tmp_path / "pulled"))
    commit = repository.branches["main"]
    assert f"is {REPO} at commit {commit}, and all files are what was saved" in printed
    assert f'nlp = spacy.load("{tmp_path / "pulled"}")' in printed
    assert outputs(tmp_path / "pulled") == expected


def test_a_base_by_reference_travels_as_its_name(online, referring, tmp_path):
    run("lgu", "push", referring, REPO)
    repository = online.repositories[REPO]
    assert header_of(repository)["base_model"] == [NAME]
    assert f"[{NAME}](https://huggingface.co/{NAME}) at `{COMMIT[:12]}`" in card_of(repository)
    printed = one_line(run("lgu", "pull", REPO, tmp_path / "pulled"))
    assert f"Its base decoder {NAME} at {COMMIT} is downloaded when" in printed


def card_of(repository: Repository, revision: str = "main") -> str:
    return repository.files(revision)["README.md"].decode()


def test_what_a_person_wrote_stays(online, described):
    mine = "---\nlicense: other\ntags:\n- mine\nmodel-index: []\n---\n# Mine\n\nRead *this*.\n"
    repository = online.repositories[REPO] = Repository()
    first = repository.commit("main", {"README.md": mine.encode(), "picture.png": b"x"})
    run("lgu", "push", described, REPO)
    card, header = card_of(repository), header_of(repository)
    assert "---\n\n# Mine\n\nRead *this*.\n\n<!-- spacy-lgu" in card
    assert (header["license"], header["model-index"]) == ("other", [])
    assert header["tags"] == ["mine", "spacy", "token-classification", "spacy-lgu"]
    assert repository.files()["picture.png"] == b"x"
    # Our part is written anew; what stands around it, and other keys of the header, stay.
    changed = card.replace("## Load it", "## Mine in yours") + "\nMore of mine.\n"
    repository.commit("main", {**repository.files(first), "README.md": changed.encode()})
    scores = described.with_name("test.json")
    scores.write_text(json.dumps(OF_EVALUATE))
    run("lgu", "push", described, REPO, "--metrics", scores)
    card, header = card_of(repository), header_of(repository)
    assert "# Mine\n\nRead *this*." in card
    assert "More of mine." in card
    assert "## Load it" in card
    assert "Mine in yours" not in card
    assert "On test.\n" in card
    assert header["license"] == "other"
    assert [m["value"] for m in header["model-index"][0]["results"][0]["metrics"]] == [
        0.5,
        0.4,
        0.6,
    ]
    for broken, message in (
        (card.replace(END, ""), "but not '<!-- spacy-lgu: end -->'"),
        ("---\n- a\n---\nText", "is not YAML between two lines"),
        ("---\ntags: x\nText", "is not YAML between two lines"),
    ):
        repository.commit("main", {"README.md": broken.encode()})
        assert message in failure("lgu", "push", described, REPO)


def test_a_card_in_the_folder_is_the_first(online, bundled):
    (bundled / "README.md").write_text("# From the folder\n")
    (bundled / "LICENSE").write_text("Do what you like.")
    run("lgu", "push", bundled, REPO)
    assert "# From the folder\n\n<!-- spacy-lgu" in card_of(online.repositories[REPO])
    assert online.repositories[REPO].files()["LICENSE"] == b"Do what you like."


def test_files_of_an_earlier_push_go(online, bundled, referring, tmp_path):
    run("lgu", "push", bundled, REPO)
    assert SAFE in online.repositories[REPO].files()
    printed = one_line(run("lgu", "push", referring, REPO))
    assert f"Removed there, of an earlier push: transformer/base/config.json, {SAFE}" in printed
    assert SAFE not in online.repositories[REPO].files()
    run("lgu", "pull", REPO, tmp_path / "pulled")


def test_branches_and_proposals(online, bundled):
    run("lgu", "push", bundled, REPO, "--revision", "next", "--message", "Words")
    repository = online.repositories[REPO]
    assert set(repository.branches) == {"main", "next"}
    assert SAFE in repository.files("next")
    printed = one_line(run("lgu", "push", bundled, REPO, "--create-pr"))
    assert "/tester/my_ner/discussions/1" in printed
    assert list(repository.files("main")) == [".gitattributes"]
    pulled = bundled.with_name("pulled")
    run("lgu", "pull", REPO, pulled, "--revision", "next")
    assert (pulled / SAFE).is_file()
    assert "with the revision 'no'" in failure(
        "lgu", "pull", REPO, pulled, "--revision", "no", "-f"
    )


def test_dry_run(online, described):
    printed = run("lgu", "push", described, REPO, "--dry-run")
    assert "license: mit" in printed
    assert "This was a dry run: nothing was sent" in one_line(printed)
    assert online.requests == []


def test_a_pipeline_without_a_record_of_its_files(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder, component={"base_weights": "bundle"})
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path / "replaced")
    (tmp_path / "replaced" / "notes.txt").write_text("mine")
    printed = run("lgu", "push", tmp_path / "replaced", REPO, "--dry-run")
    names = [line.split()[-1] for line in printed.splitlines() if " bytes  " in line]
    vocab = [f"vocab/{name}" for name in ("key2row", "lookups.bin", "strings.json", "vectors")]
    own = ["config.cfg", "meta.json", "ner/cfg", "ner/model", "ner/moves", "tokenizer"]
    assert names == [*own, *vocab, "vocab/vectors.cfg"]
    assert "no save wrote it: notes.txt" in one_line(printed)


def test_push_is_refused(online, bundled, decoder_folder, monkeypatch):
    assert "expected OWNER/NAME" in failure("lgu", "push", bundled, "my_ner")
    local = save_nlp(
        decoder_folder, bundled.with_name("local"), component={"base_weights": "reference"}
    )
    message = failure("lgu", "push", local, REPO)
    assert "has its base in the folder" in message
    assert "python -m spacy lgu bundle" in message
    patched = bundled / "ner" / "cfg"
    whole = patched.read_bytes()
    patched.write_text("{}")
    assert "../ner/cfg is missing or not what was" in failure("lgu", "push", bundled, REPO)
    patched.write_bytes(whole)
    online.repositories[REPO] = Repository()
    assert "and public: --private is for a new" in failure(
        "lgu", "push", bundled, REPO, "--private"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "refused what was asked about 'the account'" in failure("lgu", "push", bundled, REPO)
    monkeypatch.delenv("HF_TOKEN")
    assert "Nobody is logged in" in failure("lgu", "push", bundled, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "but HF_HUB_OFFLINE is set" in failure("lgu", "push", bundled, REPO)
    assert online.repositories[REPO].commits == {}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": b"{}"}, "holds no pipeline of spaCy: config.cfg, meta.json is missing"),
        ({"ner/weights.bin": b"x"}, "such as 'ner/weights.bin': nothing of it was fetched"),
        ({"ner/model.PKL": b"x"}, "such as 'ner/model.PKL': nothing of it was fetched"),
        ({"a/../../b": b"x"}, "has a file 'a/../../b', outside of itself"),
        ({"transformer/lgu.json": None}, "has no decoder of this package"),
        ({"ner/cfg": b"{}"}, "../ner/cfg is missing or not what was saved"),
    ],
)
def test_pull_is_refused(online, bundled, tmp_path, files, message):
    own = {} if "config.json" in files else {**contents(bundled), **files}
    own = {name: content for name, content in {**own, **files}.items() if content is not None}
    online.repositories[REPO] = Repository()
    online.repositories[REPO].commit("main", own)
    assert message in failure("lgu", "pull", REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pull_takes_a_pipeline_alone(online, bundled, tmp_path):
    run("lgu", "push", bundled, REPO)
    repository = online.repositories[REPO]
    more = {".gitattributes": b"x", "parts.py": b"raise ValueError", "picture.png": b"x"}
    repository.commit("main", {**repository.files(), **more})
    printed = one_line(run("lgu", "pull", REPO, tmp_path / "out"))
    assert "Not fetched, since no pipeline has them: .gitattributes, parts.py" in printed
    assert "nothing to compare with: picture.png" in printed
    assert not (tmp_path / "out" / "parts.py").exists()
    assert "Use --force to replace it" in failure("lgu", "pull", REPO, tmp_path / "out")


def test_the_hub_does_not_answer(online, tmp_path):
    assert "There is no repository 'a/b' that this account may see" in failure(
        "lgu", "pull", "a/b", tmp_path / "out"
    )
    assert "'a/gated' is gated: accept its licence" in failure(
        "lgu", "pull", "a/gated", tmp_path / "out"
    )
    assert "'a b/c' is not a valid name on the hub" in failure(
        "lgu", "pull", "a b/c", tmp_path / "out"
    )
    online.repositories["a/empty"] = Repository()
    assert "has no commit yet: it is empty" in failure("lgu", "pull", "a/empty", tmp_path / "out")
    online.close()
    reset()
    message = failure("lgu", "pull", "a/b", tmp_path / "out")
    assert "The Hugging Face hub did not answer about 'a/b'" in message


def test_an_upload_that_fails_commits_nothing(online, bundled, monkeypatch):
    def refuse(self, oid):
        self._send(400, {"error": "no"})

    monkeypatch.setattr(hub_server._Handler, "put_large", refuse)
    routes = [
        (pattern, refuse if "large" in pattern else answer)
        for pattern, answer in hub_server._ROUTES
    ]
    monkeypatch.setattr(hub_server, "_ROUTES", routes)
    message = failure("lgu", "push", bundled, REPO)
    assert f"Nothing was committed to '{REPO}'. Push again" in message


def test_a_file_that_is_gone(online, described, tmp_path, monkeypatch):
    run("lgu", "push", described, REPO)
    files = online.repositories[REPO].files()
    found = hub.find_commit(REPO, None)
    del files["ner/moves"]
    monkeypatch.setattr(hub, "find_commit", lambda *_: found)
    message = failure("lgu", "pull", REPO, tmp_path / "out")
    assert "The repository 'tester/my_ner' lacks a file" in message


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_branch_has_a_card_and_files_of_its_own(online, bundled, referring):
    run("lgu", "push", bundled, REPO, "--revision", "next")
    repository = online.repositories[REPO]
    files = repository.files("next")
    changed = files["README.md"] + b"\nMore of mine.\n"
    repository.commit("next", {**files, "README.md": changed})
    run("lgu", "push", referring, REPO, "--revision", "next")
    assert b"More of mine." in repository.files("next")["README.md"]
    assert SAFE not in repository.files("next")
