"""Layers as a picture."""

from spacy_lgu.inspection.drawing import ASCII, UNICODE, choose_strokes, draw_layers
from spacy_lgu.unmasking import LayerKind


def test_groups_and_what_their_layers_see():
    assert "\n".join(draw_layers("ccb", [LayerKind.ATTENTION] * 7, strokes=UNICODE, width=80)) == (
        "┌─────┬─────┬─────┐\n"
        "│ 0-2 │ 3-4 │ 5-6 │\n"
        "│  c  │  c  │  b  │\n"
        "└─────┴─────┴─────┘\n"
        "\n"
        "c causal           b bidirectional\n"
        "  ■ · · ·            ■ ■ ■ ■\n"
        "  ■ ■ · ·            ■ ■ ■ ■\n"
        "  ■ ■ ■ ·            ■ ■ ■ ■\n"
        "  ■ ■ ■ ■            ■ ■ ■ ■"
    )


def test_groups_that_do_not_fit_go_into_another_row():
    lines = draw_layers("cbb", [LayerKind.ATTENTION] * 3, strokes=ASCII, width=9)
    assert lines[:8] == [
        "+---+---+",
        "| 0 | 1 |",
        "| c | b |",
        "+---+---+",
        "+---+",
        "| 2 |",
        "| b |",
        "+---+",
    ]
    assert "  x . . ." in lines[10]


def test_characters_that_the_output_has():
    assert choose_strokes("utf-8") is UNICODE
    assert choose_strokes("ascii") is ASCII
    assert choose_strokes("latin-1") is ASCII
    assert choose_strokes(None) is ASCII
    assert choose_strokes("no such") is ASCII


def test_layers_that_no_pattern_opens_stand_below_the_groups():
    kinds = [*[LayerKind.RECURRENT] * 3, LayerKind.ATTENTION] * 2
    lines = draw_layers("cb", kinds, strokes=UNICODE, width=80)
    assert lines[:6] == [
        "┌─────┬─────┐",
        "│ 0-3 │ 4-7 │",
        "│  c  │  b  │",
        "└─────┴─────┘",
        "layers 0-2, 4-6 recurrent (always causal)",
        "",
    ]
