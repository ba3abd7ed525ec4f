"""Pipelines that come, go and are replaced while they are used."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spacy_lgu.serving import pipelines as pipelines_module
from spacy_lgu.serving.naming import Source, find_pipelines, parse_pipelines
from spacy_lgu.serving.pipelines import Pipelines
from spacy_lgu.serving.service import NoPipelineError

from ..conftest import make_decoder, make_nlp
from .conftest import GO_ON, annotate, listen, make_rules, open_service, wait_until


@pytest.fixture
def own(folder, tmp_path):
    """A folder of pipelines to be changed."""
    return shutil.copytree(folder, tmp_path / "own")


# Names


def test_names_of_pipelines(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list(parse_pipelines([str(folder / "rules"), "x=people", "./tags/"])) == [
        "rules", "x", "tags",
    ]  # fmt: skip
    shutil.copytree(folder / "rules", folder.parent / "a=b", dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"gives 'a=b'\. Name it: my-name=PATH"):
        parse_pipelines([str(folder.parent / "a=b")])


def test_names_that_cannot_be(folder):
    with pytest.raises(ValueError, match=r"Two pipelines are named 'x': .*rules and .*tags"):
        parse_pipelines([f"x={folder / 'rules'}", f"x={folder / 'tags'}"])
    with pytest.raises(ValueError, match=r"There is no pipeline 'none': neither a folder with"):
        parse_pipelines(["none"])
    for name in ("", "a b", "../x", "a\n", "é", "x" * 101):
        with pytest.raises(ValueError, match=r"Expected a name of letters, digits"):
            parse_pipelines([f"{name}={folder / 'rules'}"])


def test_pipelines_of_a_folder(own):
    (own / "empty").mkdir()
    (own / "notes.txt").write_text("no pipeline")
    shutil.copytree(own / "rules", own / ".hidden")
    assert list(find_pipelines(own, {})) == ["people", "rules", "tags"]
    with pytest.raises(ValueError, match=r"Two pipelines are named 'rules': elsewhere and .*rules"):
        find_pipelines(own, {"rules": Source("elsewhere")})
    with pytest.raises(FileNotFoundError):
        find_pipelines(own / "none", {})


def test_a_path_without_a_pipeline_is_told_before_its_name(folder):
    with pytest.raises(ValueError, match=r"There is no pipeline '.*model-bets'"):
        parse_pipelines([str(folder / "model-bets")])


def test_the_earlier_pipeline_of_a_save_that_was_killed(own):
    (own / "tags").rename(own / ".tags.previous")
    found = find_pipelines(own, {})
    assert list(found) == ["people", "rules", "tags"]
    assert list(parse_pipelines([str(own / "tags")])) == ["tags"]
    pipelines = Pipelines()
    assert pipelines.update(found) == {}
    assert "tags" in pipelines.served


def test_a_folder_that_cannot_be_read_is_left_out(own, monkeypatch, caplog):
    """As lost+found, for users other than root."""
    (own / "lost+found").mkdir()
    is_file = Path.is_file

    def refuse(path):
        if "lost+found" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert list(find_pipelines(own, {})) == ["people", "rules", "tags"]
    assert "lost+found cannot be read" in caplog.text


# Loading


@pytest.mark.parametrize(
    "added", ['\n[nlp]\nlang = "en"\n', "\n[components]\n", "\n[nlp]\n[nlp]\n"]
)
def test_a_damaged_config_does_not_hinder_others(own, added):
    config = own / "tags" / "config.cfg"
    config.write_text(config.read_text() + added)
    pipelines = Pipelines()
    failures = pipelines.update(find_pipelines(own, {}))
    assert re.match(
        r"ValueError: .*tags/config\.cfg is damaged: .* already exists", failures["tags"]
    )
    assert list(pipelines.served) == ["people", "rules"]


def test_bases_have_a_fleet_each(own, tmp_path):
    other = make_nlp(make_decoder(tmp_path / "decoder", seed=3))
    other.to_disk(own / "other")
    pipelines = Pipelines()
    assert pipelines.update(find_pipelines(own, {})) == {}
    fleets = {name: served.fleet for name, served in pipelines.served.items()}
    assert list(fleets) == ["other", "people", "rules", "tags"]
    assert fleets["people"] is fleets["tags"]
    assert fleets["people"] is not fleets["other"]


def test_one_that_cannot_be_loaded_does_not_hinder_others(own):
    (own / "tags" / "meta.json").write_text("{")
    pipelines = Pipelines()
    failures = pipelines.update(find_pipelines(own, {}))
    assert list(failures) == ["tags"]
    assert "meta.json' is damaged" in failures["tags"]
    assert list(pipelines.served) == ["people", "rules"]


def test_what_is_as_it_was_is_not_loaded_again(own, monkeypatch):
    pipelines = Pipelines()
    pipelines.update(find_pipelines(own, {}))
    before = dict(pipelines.served)
    monkeypatch.setattr(pipelines_module, "open_pipeline", None)
    assert pipelines.update(find_pipelines(own, {})) == {}
    assert pipelines.served == before


def test_the_name_of_a_pipeline_is_needed_where_there_are_several(own):
    with open_service(own) as service:
        with pytest.raises(NoPipelineError, match=r"Those served: people, rules, tags\."):
            service.find(None)
        service.update(find_pipelines(None, {"rules": Source.read(own / "rules")}))
        assert service.find(None).name == "rules"
        service.update({})
        with pytest.raises(NoPipelineError, match=r"Those served: none\."):
            service.find(None)


# While it serves


def label_of(response) -> str:
    return response.json()["docs"][0]["ents"][0]["label"]


def test_a_new_version_takes_over_and_the_old_one_finishes(own):
    with open_service(own) as service, listen(service) as client, ThreadPoolExecutor(2) as pool:
        old = service.find("rules")
        GO_ON.clear()
        first = pool.submit(annotate, client, text="wait for Rome")
        wait_until(lambda: service._worker.busy_for and not service._queue.sizes()[0])
        second = pool.submit(annotate, client, text="Rome")
        wait_until(lambda: service._queue.sizes()[0])
        make_rules("CITY").to_disk(own / "rules")
        shutil.rmtree(own / "tags")
        assert service.update(find_pipelines(own, {})) == {}
        third = pool.submit(annotate, client, text="Rome")
        GO_ON.set()
        assert [label_of(one.result()) for one in (first, second, third)] == ["LOC", "LOC", "CITY"]
        assert annotate(client, "tags", text="a").status_code == 404
        wait_until(lambda: old.seat not in old.fleet)
        assert list(service.pipelines.served) == ["people", "rules"]
        assert len(service.find("people").fleet) == 2


def test_a_request_for_what_is_gone_may_be_sent_again(own):
    with open_service(own) as service, listen(service) as client:
        served = service.find("rules")
        served.fleet.remove(served.seat)
        response = annotate(client, text="Rome")
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "replaced"
        assert response.headers["retry-after"] == "1"


def test_pipelines_are_replaced_under_load(own):
    """Every request is answered, by one version or the other."""
    with open_service(own) as service, listen(service) as client, ThreadPoolExecutor(4) as pool:
        answers = []
        for turn in range(4):
            answers += [pool.submit(annotate, client, name, texts=["Rome", "Ann"])
                        for name in ("rules", "people") * 10]  # fmt: skip
            make_rules(f"L{turn}").to_disk(own / "rules")
            assert service.update(find_pipelines(own, {})) == {}
        assert {answer.result().status_code for answer in answers} <= {200, 503}
        assert sum(answer.result().status_code == 200 for answer in answers) > 70
        assert label_of(annotate(client, text="Rome")) == "L3"


def test_words_of_texts_are_forgotten(own):
    with open_service(own) as service, listen(service) as client:
        strings = service.find("rules").nlp.vocab.strings
        annotate(client, text="Rome")
        before = len(strings)
        annotate(client, texts=[f"word{i}" for i in range(300)])
        assert len(strings) == before
