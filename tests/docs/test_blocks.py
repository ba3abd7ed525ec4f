import pytest

from .blocks import ROOT, list_pages, read_blocks

PAGE = """Text
<!-- not run: needs a GPU -->
```bash
make demo
```

<!-- python
x = 1
-->

=== "A tab"

    ```python
    if x:
        print(x)
    ```

```output
1
```

```text title="train.conll"
Ann B-PER
```

<!-- test: --steps 2 -->

<!-- test: --seed 1 -->
````bash
ls
```
````
"""


def test_blocks_with_their_marks():
    found = [(b.line, b.language, b.text, b.title, b.not_run, b.tests) for b in read_blocks(PAGE)]
    assert found == [
        (4, "bash", "make demo\n", None, "needs a GPU", []),
        (8, "python", "x = 1\n", None, None, []),
        (14, "python", "if x:\n    print(x)\n", None, None, []),
        (19, "output", "1\n", None, None, []),
        (23, "text", "Ann B-PER\n", "train.conll", None, []),
        (30, "bash", "ls\n```\n", None, None, ["--steps 2", "--seed 1"]),
    ]
    fates = [block.fate for block in read_blocks(PAGE)]
    assert fates == ["not run", "run", "run", "checked", "shown", "run"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nls\n```", r"page.md:1: the language of a block is ''"),
        ("```console\nls\n```", "language of a block is 'console': expected one of python, bash"),
        ("\n```bash\nls", "page.md:2: this block is never closed"),
        ("<!-- not run: -->\n```bash\nls\n```", "page.md:1: expected a reason after 'not run:'"),
        ("<!-- not run -->\n```bash\nls\n```", "page.md:1: expected a mark such as"),
        (
            "<!-- not run: a GPU -->\nText\n```bash\nls\n```",
            "page.md:1: expected a code block below",
        ),
        (
            "<!-- not run: a GPU -->",
            "page.md:1: expected a code block below this mark, but the page",
        ),
    ],
)
def test_pages_with_a_fault(text, message):
    with pytest.raises(ValueError, match=message):
        read_blocks(text, "page.md")


@pytest.mark.parametrize("page", list_pages())
def test_every_block_of_a_page_has_a_fate(page):
    read_blocks((ROOT / page).read_text("utf8"), page)
