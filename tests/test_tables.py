"""Tables in the terminal: aligned for every script, and nothing in them steers the terminal."""

import wcwidth

from ser_lib._cli.tables import column_widths, format_row, print_table

ROWS = [("file", "emotion", "confidence"), ("声.wav", "happy", "100.0%"), ("e\u0301😀.wav", "sad", "9.0%")]


def test_columns_are_as_wide_as_their_widest_cell():
    assert column_widths(ROWS) == [7, 7, 10]


def test_numbers_end_in_one_column_and_words_begin_in_one():
    lines = [format_row(row, column_widths(ROWS), n_left=2) for row in ROWS]
    assert {wcwidth.wcswidth(line) for line in lines} == {28}
    assert [wcwidth.wcswidth(line[: line.index(row[1])]) for line, row in zip(lines, ROWS, strict=True)] == [9, 9, 9]


def test_codes_are_shown_as_escapes_and_do_not_move_the_columns(capsys):
    print_table([("run", "state"), ("a\x1b[2Jb", "done"), ("longer than that", "")])
    assert capsys.readouterr().out == "run               state\na\\x1b[2Jb         done\nlonger than that\n"
