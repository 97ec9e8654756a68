"""Tests for `../diccoser_jax/page.py`; `report_test.py` opens a whole page."""

import pytest

from diccoser_jax import page


def test_a_table_is_written_twice():
    table = page.Table(("name", "score"), [("a|b", "0.5"), ("<c>", "1.25")])
    assert page.to_markdown("some *title*", [page.Heading("Part"), table]) == (
        "# some \\*title\\*\n\n## Part\n\n"
        "| name | score |\n| --- | ---: |\n| a\\|b | 0.5 |\n| \\<c> | 1.25 |\n"
    )
    text = page.to_html("some *title*", [page.Heading("Part"), table])
    assert "<title>some *title*</title>" in text
    assert '<h2 id="part">Part</h2>' in text
    assert '<a href="#part">Part</a>' in text
    assert '<th scope="row">&lt;c&gt;</th><td class="number">1.25</td>' in text


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        *[("0.61", True), ("0.61 ± 0.05", True), ("0.5 to -0.7", True), ("12%", True)],
        *[("\u2013", True), ("", True), ("1 h 30 min", True), ("1,000", True)],
        *[("0 samples", False), ("3: a, b", False), ("0, seed 1", False)],
    ],
)
def test_numbers_stand_on_the_right(cell, number):
    table = page.Table(("1", "2", "3"), [("7", cell, "7"), ("7", "7", "7")])
    assert page._numeric_columns(table) == [False, number, True]


def test_pictures_are_found_where_they_are_folded_away():
    picture = page.Picture("a", b"", "alt", "caption")
    details = page.Details("more", [page.Text("text"), picture])
    assert list(page.pictures([page.Text("text"), details, picture])) == [picture] * 2


def test_notes_of_a_score_follow_its_value():
    scores = page.Scores([("UA", "0.6", ["0.1, chance", "0.5 to 0.7"])])
    assert "| **UA** | **0.6** | 0.1, chance; 0.5 to 0.7 |" in page.to_markdown(
        "", [scores]
    )
    assert (
        "<dt>UA</dt><dd>0.6</dd><dd>0.1, chance</dd><dd>0.5 to 0.7</dd>"
        in page.to_html("", [scores])
    )
