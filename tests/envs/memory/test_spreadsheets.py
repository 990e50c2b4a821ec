"""Lists of buffers as spreadsheets write them (issue 16, row 19)."""

from __future__ import annotations

import pytest

from jaxsched import cli
from jaxsched.envs import memory
from jaxsched.envs.memory.io import parse

ROWS = [("a", "0", "35", "4"), ("b", "2", "40", "1200")]


def table(separator, rows, header=("id", "lower", "upper", "size")):
    return "".join(separator.join(row) + "\n" for row in (header, *rows))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("number", ["35", "35.0", "35,0", "35,00", " 35 "])
def test_separators_and_decimals(separator, number):
    cell = f'"{number}"' if separator in number else number
    text = table(separator, [("a", "0", cell, "4"), ("b", "2", "40", '"1 200"')])
    buffers = parse(text.encode(), "x.csv")
    assert buffers.end.tolist() == [35, 40]
    assert buffers.size.tolist() == [4, 1200]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_umlauts(encoding):
    text = table(";", [("Größe", "0", "3", "4")], ("ID", "Lower", "UPPER", "Size")).replace(
        "\n", "\r\n"
    )
    assert parse(text.encode(encoding), "x.csv").ids == ("Größe",)


def test_other_columns_are_ignored_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    header = ("Größe", "id", "start", "end", "size", "layer")
    text = table(";", [("x", "a", "0", "3", "4", "l1"), ("", "b", "0", "3", "4", "")], header)
    (tmp_path / "x.csv").write_text("sep=;\n" + text, encoding="cp1252")
    buffers = memory.read_csv("x.csv")
    assert buffers.end.tolist() == [4, 4]  # a column `end` is inclusive
    notes = "read as Windows-1252, since it is not UTF-8", "columns ignored: 'Größe', 'layer'"
    assert buffers.notes == notes
    assert cli.main(["map", "x.csv", "--method", "xla"]) == 0
    out = capsys.readouterr().out
    assert all(note in out for note in notes)
