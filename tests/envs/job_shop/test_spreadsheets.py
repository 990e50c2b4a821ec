"""Tables as spreadsheets write them: read where they mean one thing, else the cause is named
(issue 16, 17 and 19).
"""

from __future__ import annotations

import datetime

import pytest

from jaxsched.envs import job_shop
from jaxsched.envs.job_shop.orders import parse_orders
from jaxsched.host.errors import InstanceError
from jaxsched.host.table import Table, read_date, read_number, whole_number

HEADER = "job;step;machine;minutes;release;due;weight\n"


def parsed(text, encoding="utf-8", file="orders.csv"):
    content = text.encode(encoding)
    return parse_orders(content, file)


def fault(text, encoding="utf-8"):
    with pytest.raises(InstanceError) as error:
        parsed(text, encoding)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("orders.csv:")


# ------------------------------------------------------------------- the table, row 19


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_separators_line_ends_and_encodings(separator, end, encoding):
    rows = [
        "job;step;machine;minutes",
        "Größe 5;10;Säge;35",
        '"Ü;x";20;"Ö ""2""";5',
        ";;;",
        "",
        " ; ; ; ",
    ]
    found = parsed(end.join(rows).replace(";", separator) + end, encoding)
    assert found.jobs == ("Größe 5", f"Ü{separator}x")
    assert found.machines == ("Säge", 'Ö "2"')
    assert found.lists.jobs == [[(0, 35)], [(1, 5)]]
    note = "read as Windows-1252, since it is not UTF-8"
    assert found.notes == ((note,) if encoding == "cp1252" else ())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_with_its_mark(encoding):
    mark = "\ufeff".encode(encoding)
    found = parse_orders(
        mark + "job\tstep\tmachine\tminutes\nÄ\t1\tm\t5\n".encode(encoding), "a.txt"
    )
    assert found.jobs == ("Ä",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "job,step,machine,minutes\nA,1,m,5\n".encode("utf-16-le"),
            "a.csv:1:2: not a text file (save it as UTF-8)",
        ),
        (
            b"job,step,machine,minutes\nGr\xc3\xb6\xdfe,1,m,5\n",
            "a.csv:2:5: not a text file (save it as UTF-8)",
        ),
        (
            b"job,step,machine,minutes\nA,1,\x89PNG,5\n",
            "a.csv:2:5: not a text file (save it as UTF-8)",
        ),
    ],
)
def test_what_is_no_text_is_named(content, message):
    with pytest.raises(InstanceError) as error:
        parse_orders(content, "a.csv")
    assert str(error.value) == message


@pytest.mark.parametrize(
    "header",
    [
        "Job;STEP; Machine ;Minutes;Release;Due;Weight",
        '"job";"step";"machine";"minutes";"release date";"Due_Date";"weight"',
        "sep=;\njob;step;machine;minutes;RELEASE-DATE;due  date;weight",
        "\n;;\njob;step;machine;minutes;release;due;weight"[1:].replace(";;\n", "\n"),
    ],
)
def test_headers(header):
    found = parsed(header + "\nA;1;m;5;2026-11-23;2026-11-24;2\n")
    assert (found.lists.release, found.lists.due, found.lists.weight) == ([0], [24 * 60], [2])


def test_other_columns_are_ignored_and_named():
    text = "customer,job,step,machine,minutes,Bemerkung,\nX,A,1,m,5,eilig,\nY,A,2,m,6,,\n"
    found = parsed(text)
    assert found.lists.jobs == [[(0, 5), (0, 6)]]
    assert found.notes == ("columns ignored: 'customer', 'Bemerkung'",)
    # of the same name, twice: they are ignored anyway
    assert parsed("x,x,job,step,machine,minutes\n1,2,A,1,m,5\n").notes == (
        "columns ignored: 'x', 'x'",
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("job;step;machine;minute", "1:18: unknown column 'minute'; did you mean minutes?"),
        (
            "job;step;machine;minutes;relase",
            "1:26: unknown column 'relase'; did you mean release?",
        ),
        (
            "job;step;machine;minutes;due (local)",
            "1:26: unknown column 'due (local)'; did you mean due?",
        ),
        ("job;step;machine;minutes;Weigth", "1:26: unknown column 'Weigth'; did you mean weight?"),
        ("job;step;machine;Dauer", "1:23: no column minutes in the header; it has 'Dauer'"),
        (
            "Auftrag;step;machine;Dauer",
            "1:27: no column job, minutes in the header; it has 'Auftrag', 'Dauer'",
        ),
        (
            "job;step;machine;minutes;due;due date",
            "1:30: column due date, also called due, is given twice",
        ),
        ("job;step;machine;minutes;;", None),
    ],
)
def test_no_column_that_may_be_meant_is_ignored(header, message):
    text = header + "\nA;1;m;5" + ";" * (header.count(";") - 3) + "\n"
    if message is None:
        assert parsed(text).lists.jobs == [[(0, 5)]]
    else:
        assert fault(text) == message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A,1,m,10,5", "2:10: more cells than the 4 of the header: a decimal comma needs quotes "
         "around its cell, or semicolons between"),
        ("A,1,m,10,x", "2:10: more cells than the 4 of the header"),
        ("A,1,m", "2:6: 3 cells, but the header has 4"),
        ('A,1,"m', "2:5: a cell in quotes does not end: quote whole cells, on one line"),
        ("A,1,m,10,,", None),
        ('A,1,m,"10,0"', None),
        ('"A",1,m,10,"",', None),
    ],
)  # fmt: skip
def test_cells_that_are_too_many(row, message):
    text = f"job,step,machine,minutes\n{row}\n"
    if message is None:
        assert parsed(text).lists.jobs == [[(0, 10)]]
    else:
        assert fault(text) == message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A,1,m,10,5,2026-11-23,", "2:12: due '2026-11-23': dates and minutes are mixed, see release "
         "'5' in line 2 (minutes '10,5'? a decimal comma needs quotes around its cell)"),
        ("A,1,m,10,5,,2026-11-23", "2:13: weight '2026-11-23' is not an integer in digits 0-9"),
        ("A,1,m,10,5,2026-11-23,,", "2:24: more cells than the 7 of the header: a decimal comma needs "
         "quotes around its cell, or semicolons between"),
    ],
)  # fmt: skip
def test_a_decimal_comma_among_commas(row, message):
    """Row 17: the half of a duration 10,5 was reported as a release date."""
    assert fault(HEADER.replace(";", ",") + row + "\n") == message


def test_a_cell_below_no_name():
    text = "job;step;machine;minutes;\nA;1;m;5;x\n"
    assert fault(text) == "2:9: 'x' stands in a column that has no name in the header"


# ------------------------------------------------------------------- numbers, rows 17 and 19


@pytest.mark.parametrize(
    ("cell", "minutes"),
    [
        ("35", 35), ("035", 35), ("35.0", 35), ("35,0", 35), ("35,00", 35), ("0,000", 0), ("1 200", 1200),
        ("1\u00a0200", 1200), ("1\u202f200,0", 1200), ("1'200", 1200), ("1.200,0", 1200), ("1,200.0", 1200),
        ("1.234.567", 1_234_567), ("35 min", 35), ("35min.", 35), ("35 Minutes", 35), ("2 h", 120),
        ("1.5 h", 90), ("1,5h", 90), ("0.25 hours", 15), ("1:30:00", 90), ("08:00:00.000", 480), ('"35"', 35),
    ],
)  # fmt: skip
def test_durations(cell, minutes):
    assert parsed(f"{HEADER}A;1;m;{cell};;;\n").lists.jobs == [[(0, minutes)]]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("10.5", "minutes '10.5' is not a whole number of minutes"),
        ("10,5", "minutes '10,5' is not a whole number of minutes"),
        ("0.33 h", "minutes '0.33 h' is not a whole number of minutes"),
        ("1:30:20", "minutes '1:30:20' is not a whole number of minutes"),
        ("8:00", "minutes '8:00' may be hours and minutes or minutes and seconds: give minutes"),
        ("1.234", "minutes '1.234' may be 1234 or 1.234: leave out the separator of thousands"),
        ("35,000", "minutes '35,000' may be 35000 or 35: leave out the separator of thousands"),
        ("35 s", "minutes '35 s' is not an integer in digits 0-9"),
        ("1E+03", "minutes '1E+03' is not an integer in digits 0-9"),
        ("-5.0", "minutes '-5.0' is negative"),
        ("-5 min", "minutes '-5 min' is not an integer in digits 0-9"),
        ("1.2.3", "minutes '1.2.3' is not an integer in digits 0-9"),
        ("12 345 678 901", "minutes '12 345 678 901' has more than 10 digits"),
        ("\u0665", "minutes '\u0665' is not an integer in digits 0-9"),
        ("nan", "minutes 'nan' is not an integer in digits 0-9"),
    ],
)
def test_durations_that_are_refused(cell, message):
    """Row 17: it is the duration that is wrong, whatever stands beside it."""
    assert fault(f"{HEADER}A;1;m;{cell};2026-11-23;2026-11-24;\n") == f"2:7: {message}"


def test_steps_and_weights_are_numbers_too():
    found = parsed(HEADER + "A;20,0;m;5;;;2.0\nA;10.0;n;6;;;2\n")
    assert (found.steps, found.lists.weight) == (((10, 20),), [2])
    assert fault(HEADER + "A;1;m;5;;;1,5\n") == "2:11: weight '1,5' is not an integer in digits 0-9"
    assert fault(HEADER + "A;1.5;m;5;;;\n") == "2:3: step '1.5' is not an integer in digits 0-9"


def test_numbers_of_any_country():
    assert read_number("1.234,5") == read_number("1,234.5") == read_number("1 234.5") is not None
    assert whole_number("-3,0", signed=True) == -3
    assert read_number("1,23,4") is None


# ------------------------------------------------------------------- dates, rows 17 and 19

EIGHT = datetime.datetime(2026, 12, 31, 8)


@pytest.mark.parametrize(
    "cell",
    [
        "2026-12-31T08:00", "2026-12-31 08:00", "2026-12-31T08:00:00", "2026-12-31T08:00:00.000",
        "2026-12-31 8:00:00,0",
        "31.12.2026 08:00", "31.12.2026, 8:00:00", "31/12/2026 08:00", "12/31/2026 8:00 AM",
        "12/31/2026, 8:00:00\u202fa.m.",
        "31-12-2026 08:00", "12-31-2026 8:00", "2026/12/31 08:00", "2026.12.31 08:00", '"31.12.2026  08:00"',
    ],
)  # fmt: skip
def test_dates(cell):
    found = parsed(f"{HEADER}A;1;m;5;{cell};01.01.2027 20:00;\n")
    assert found.origin == EIGHT
    assert found.lists.due == [36 * 60]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("31.12.26", "release '31.12.26' has no year of four digits"),
        ("12/31/26 8:00", "release '12/31/26 8:00' has no year of four digits"),
        ("31.11.2026", "release '31.11.2026' is not in the calendar as day, month, year"),
        ("12.31.2026", "release '12.31.2026' is not in the calendar as day, month, year"),
        ("13/13/2026", "release '13/13/2026' is not in the calendar as day, month, year"),
        (
            "31.12.2026 24:00",
            "release '31.12.2026 24:00' is not in the calendar as day, month, year",
        ),
        (
            "12/31/2026 13:00 PM",
            "release '12/31/2026 13:00 PM' is not in the calendar as month, day, year",
        ),
        ("31.12.2026 08:00:30", "release '31.12.2026 08:00:30' is not a whole minute"),
        ("2026-12-31T08:00:00.5", "release '2026-12-31T08:00:00.5' is not a whole minute"),
        (
            "31.12.2026 08:00 CET",
            "release '31.12.2026 08:00 CET' has a time zone: give local times without one",
        ),
        (
            "2026-12-31T08:00+01:00",
            "release '2026-12-31T08:00+01:00' has a time zone: give local times without one",
        ),
        ("08:00:00.000", "release '08:00:00.000' is a time without its date"),
        (
            "31. Dezember",
            "release '31. Dezember' is neither minutes nor a date such as 2026-11-23T08:00",
        ),
        ("46387.33", "release '46387.33' is not an integer in digits 0-9"),
        ("3.4.5", "release '3.4.5' has no year of four digits"),
    ],
)
def test_dates_that_are_refused(cell, message):
    assert fault(f"{HEADER}A;1;m;5;{cell};;\n") == f"2:9: {message}"


def test_the_order_of_day_and_month_is_settled_by_any_date():
    for other, release in (("31/10/2026", 9), ("10/31/2026", 2)):
        found = parsed(f"{HEADER}A;1;m;5;02/09/2026;;\nB;1;m;5;;{other};\n")
        assert found.origin == datetime.datetime(2026, release, 11 - release)
        how = "day/month/year" if other.startswith("31") else "month/day/year"
        assert found.notes[1] == f"dates are read as {how}, because of due '{other}'"
    assert parsed(f"{HEADER}A;1;m;5;05/05/2026;;\n").origin == datetime.datetime(2026, 5, 5)
    assert parsed(f"{HEADER}A;1;m;5;02.09.2026;10/31/2026;\n").origin == datetime.datetime(
        2026, 9, 2
    )


def test_the_order_of_day_and_month_that_nothing_settles():
    unclear = (
        "02/09/2026' may be 2026-09-02 or 2026-02-09: write it like these, "
        "the order of day and month is not clear"
    )
    assert (
        fault(f"{HEADER}A;1;m;5;02/09/2026;;\nB;1;m;5;;31.12.2026;\n") == f"2:9: release '{unclear}"
    )
    mixed = f"{HEADER}A;1;m;5;02/09/2026;31/12/2026;\nB;1;m;5;;12/31/2026;\n"
    assert (
        fault(mixed)
        == "3:10: due '12/31/2026' has the month first, but due '31/12/2026' in line 2 the day"
    )


def test_minutes_of_dates():
    found = parsed(HEADER + "A;1;m;5;4.0;1 200;\nB;1;m;5;-3;-10,0;\n")
    assert (found.lists.release, found.lists.due) == ([4, 0], [1200, -10])


# ------------------------------------------------------------------- plans that come back


def test_a_plan_that_went_through_a_spreadsheet(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + "A;1;Säge;35;23.11.2026 08:00;;\nA;2;m;5;;;\n")
    orders = job_shop.read_orders(path)
    plan = (
        "Job;Step;Machine;Start;End;Remark\r\n"
        "A;1,0;Säge;23.11.2026 08:00:00;23.11.2026 08:35;x\r\nA;2;m;23.11.2026 08:40;23.11.2026 08:45;\r\n;;;;;\r\n"
    )
    (tmp_path / "PLAN.CSV").write_bytes(plan.encode("cp1252"))
    schedule = job_shop.read_schedule(tmp_path / "PLAN.CSV", orders.instance, orders=orders)
    assert schedule == job_shop.Schedule([[0, 40]], 45)
    (tmp_path / "p.csv").write_text(plan.replace("08:40", "08:40:30"))
    with pytest.raises(
        InstanceError, match=r"p\.csv:3:7: start '23.11.2026 08:40:30' is not a whole minute"
    ):
        job_shop.read_schedule(tmp_path / "p.csv", orders.instance, orders=orders)


def test_tables_of_other_families_name_every_column():
    """Only tables that say so ignore columns."""
    with pytest.raises(InstanceError, match="1:3: unknown column 'b'; known: a, c"):
        Table(b"a,b,c\n", "x.csv", ["a", "c"])
    row = next(iter(Table(b"a;c\n1,0;2\n", "x.csv", ["a", "c"]).rows()))
    assert (row.number("a"), row.number("c")) == (1, 2)
    assert read_date("tomorrow") is None
