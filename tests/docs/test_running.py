import pytest

from .running import BlockError, check_output, run_page


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_blocks_run_in_order_and_share_names_and_files(tmp_path):
    page = """
```python
x = 1
```

```text title="data/a.txt"
some text
```

```bash
cat data/a.txt > b.txt
```

<!-- python
from pathlib import Path
y = Path("b.txt").read_text()
-->

```python
print(x, y)
```

```output
1 some ...
```

```python title="code.py"
raise ValueError("is not run")
```

<!-- not run: needs a GPU -->
```bash
nvidia-smi
python -m spacy train configs/lgu_mistral_ner.cfg --gpu-id 0
```
"""
    run_page("page.md", page)
    assert (tmp_path / "code.py").exists()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\nx = 1\nx / 0\n```", r"page.md:2: this block fails[^$]*ZeroDivisionError"),
        ("```python\nimport sys\nsys.exit(1)\n```", "page.md:2: this block fails"),
        ("```bash\nls nothing.txt\necho done\n```", "It ends with 2, after:"),
        ("```bash\necho a\n```\n```output\nb\n```", "This line is not in what was printed:\nb"),
        ("```json\n{a: 1}\n```", "page.md:2: this block fails[^$]*Expecting property name"),
        ("```jsonl\n{}\n\n{]\n```", "page.md:2: this block fails"),
        ("```yaml\na: [1\n```", "page.md:2: this block fails"),
        ("```toml\na = \n```", "page.md:2: this block fails"),
        ("```xml\n<a><b></a>\n```", "page.md:2: this block fails"),
        ('```python title="a.py"\nif:\n```', "page.md:2: this block fails"),
        ("<!-- not run: a GPU -->\n```bash\nmake nothing\n```", "there is no target 'nothing'"),
        (
            "<!-- not run: a GPU -->\n```python\nfrom spacy_lgu.unmasking import (\n  parse)\n```",
            "spacy_lgu.unmasking has no parse",
        ),
    ],
)
def test_blocks_that_fail(page, message):
    with pytest.raises(BlockError, match=message):
        run_page("page.md", page)


def test_output_is_compared_line_by_line():
    printed = "one\n\x1b[32mtwo   words\x1b[0m\nthree 1.234\n"
    check_output("one\n...\nthree ...\n", printed)
    check_output("two words\n", printed)
    with pytest.raises(BlockError, match="not in what was printed:\none"):
        check_output("two words\none\n", printed)
    with pytest.raises(BlockError, match="not in what was printed:\ntwo"):
        check_output("two\n", printed)
