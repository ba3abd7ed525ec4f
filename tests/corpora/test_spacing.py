import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.corpora.formats import read_docs
from spacy_lgu.corpora.records import TokenizedText
from spacy_lgu.corpora.spacing import choose_spaces, find_spaces


def text(words: list[str], spaces: list[bool] | None = None, line: int = 1) -> TokenizedText:
    return TokenizedText(f"a:{line}", words, [], "d", spaces=spaces)


def choose(*texts, given=None, lang="en"):
    notes = []
    return list(choose_spaces(texts, given=given, lang=lang, report=notes.append)), notes


CHINESE = "林 B-PER\n小 I-PER\n在 O\n\n上 B-LOC\n海 I-LOC\n"


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"lang": "zh"}, ["林小在", "上海"]),
        ({"lang": "zh", "sentences_per_doc": 2}, ["林小在上海"]),
        ({"lang": "zho"}, ["林小在", "上海"]),
        ({"lang": "ja"}, ["林小在", "上海"]),  # without the packages of its tokenizer
        ({"spaces": "none"}, ["林小在", "上海"]),
        ({"spaces": "all"}, ["林 小 在", "上 海"]),
        ({"spaces": "all", "lang": "zh", "sentences_per_doc": 2}, ["林 小 在 上 海"]),
    ],
)
def test_languages_without_spaces(tmp_path, options, texts):
    path = tmp_path / "a.conll"
    path.write_text(CHINESE, encoding="utf8")
    docs = list(read_docs([path], "conll", report=print, **options))
    assert [doc.text for doc in docs] == texts
    assert [ent.text.replace(" ", "") for doc in docs for ent in doc.ents] == ["林小", "上海"]


@pytest.mark.parametrize(
    "words", [["林", "小"], ["สม", "ชาย"], ["トム", "が"], ["iPhone", "手机很贵的呀呀"]]
)
def test_spaces_are_not_invented_in_silence(words):
    with pytest.raises(ValueError, match=r"a:1: .*without spaces.* Give --lang, for instance zh"):
        choose(text(words))


def test_a_text_of_another_script_is_reported():
    _, notes = choose(text(["An", "English", "text"]), text(["林", "小"], line=2))
    assert notes == [("text of a script without spaces joined by spaces", "a:2")]
    assert choose(text(["김", "서울"])) == ([text(["김", "서울"])], [])


def test_what_a_file_says_is_kept():
    known = text(["林", "iPhone", "SE"], [False, True])
    for lang in ("zh", "en"):
        assert choose(known, lang=lang) == ([known], [])
    assert choose(known, given="all")[0][0].spaces is None


def test_latin_words_are_not_joined_in_silence():
    _, notes = choose(text(["用", "iPhone", "SE", "N", "B", "A"]), lang="zh")
    assert notes == [("Latin words joined without a space", "a:1: 'iPhone' 'SE'")]


def test_tokens_with_spaces_of_their_own():
    words = ["Mira", " left", ". ", " "]
    with pytest.raises(ValueError, match=r"a:1: the token ' left' has spaces of its own"):
        choose(text(words))
    (chosen,), _ = choose(text(words), given="none")
    assert chosen.words == ["Mira", "left", ".", " "]
    assert chosen.spaces == [True, False, True, False]
    assert choose(text(words), given="all")[0][0].words == words
    assert choose(text(["New York", "\u00a0x"]))[0][0].words == ["New York", "\u00a0x"]


def test_choices():
    with pytest.raises(ValueError, match="Expected --spaces all or none, but got 'no'"):
        choose(given="no")


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("Mira left.", ["Mira", "left", "."], ([True, False], True)),
        (" Mira\n\nleft. ", ["Mira", "left", "."], ([True, False], False)),
        ("a  b", ["a", " ", "b"], ([False, True], True)),
        ("Mira left!", ["Mira", "left"], None),
        ("Mira left", ["Mira", "went"], None),
    ],
)
def test_spaces_of_a_text(text, words, found):
    assert find_spaces(text, words) == found


@given(st.lists(st.text("ab", min_size=1), min_size=1), st.data())
def test_spaces_are_found_again(words, data):
    n = len(words) - 1
    spaces = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    text = "".join(w + " " * s for w, s in zip(words, [*spaces, False], strict=True))
    found = find_spaces(text, words)
    assert found is not None
    assert found == (spaces, True)
