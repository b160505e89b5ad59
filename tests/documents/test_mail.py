"""Mail files as text: headers, parts, encodings, attachments by name, and mails that mean harm."""

import time
from email.message import EmailMessage

import pytest

from edgeslm import read_document
from edgeslm.documents import mail
from edgeslm.documents.mail import is_mail, read_mail
from edgeslm.errors import DocumentError


@pytest.fixture
def message():
    message = EmailMessage()
    message["From"] = "Zoë Müller <zoe@example.org>"
    message["To"] = "bo@example.org"
    message["Date"] = "Tue, 03 Feb 2026 10:00:00 +0100"
    message["Subject"] = "Rechnung für Februar – 5 €"
    message["Message-ID"] = "<1@example.org>"
    message.set_content("Grüße,\r\nbitte zahlen Sie 12,50 €.\r\n")
    return message


HEAD = [
    "From: Zoë Müller <zoe@example.org>",
    "To: bo@example.org",
    "Date: Tue, 03 Feb 2026 10:00:00 +0100",
    "Subject: Rechnung für Februar – 5 €",
]


def test_headers_and_the_plain_text_are_the_text(message):
    document = read_document(message.as_bytes())
    assert document.kind == "mail"
    assert document.text.splitlines() == [*HEAD, "Grüße,", "bitte zahlen Sie 12,50 €."]
    assert (document.pages, document.words, document.boxes((0, 5))) == ((), (), [])


def test_plain_text_is_taken_rather_than_html(message):
    message.add_alternative("<p>Grüße,<p>nein", subtype="html")
    assert read_mail(message.as_bytes())[0].splitlines()[4:] == [
        "Grüße,", "bitte zahlen Sie 12,50 €."
    ]  # fmt: skip


def test_html_is_taken_where_the_plain_text_is_empty_or_missing(message):
    message.set_content("  \n")
    message.add_alternative("<p>Total<table><tr><td>Sum<td>5</table>", subtype="html")
    assert read_mail(message.as_bytes())[0].splitlines()[4:] == ["Total", "Sum  5"]
    message.clear_content()
    message.set_content("<p>Only</p>", subtype="html", charset="iso-8859-1")
    assert read_mail(message.as_bytes())[0].splitlines()[4:] == ["Only"]


def test_attachments_are_named_and_not_read(message):
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="Zoë 1.pdf")
    message.add_attachment("secret words", filename="note.txt")
    message.add_attachment(b"x", maintype="image", subtype="png")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inner words")
    message.add_attachment(inner)
    document = read_document(message.as_bytes())
    assert document.attachments == (
        "Zoë 1.pdf", "note.txt", "unnamed (image/png)", "unnamed (message/rfc822)"
    )  # fmt: skip
    assert document.text.splitlines()[4:] == ["Grüße,", "bitte zahlen Sie 12,50 €."]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Subject: =?utf-8?q?caf=C3=A9?= =?iso-8859-1?q?_=E9?=\n\nx", "Subject: café é\nx"),
        (b"Subject: folded\n  line\n\nx", "Subject: folded line\nx"),
        (b"Subject: =?no-such?b?w6k=?=\n\nx", "Subject: é\nx"),
        (b"Subject: =?utf-8?b?w6k?=\n\nx", "Subject: é\nx"),
        (b"Subject: raw \xc3\xa9\n\nx", "Subject: raw é\nx"),
        (b"Content-Type: text/plain; charset=cp1252\n\n5 \x80", "5 €"),
        (b"Content-Type: text/plain; charset=nothing\n\nZo\xeb", "Zoë"),
        (b"Content-Type: text/plain\n\n\x80", "€"),
        (
            b"Content-Transfer-Encoding: quoted-printable\n\n=43af=C3=\n=A9 =3D =zz",
            "Café = =zz",
        ),
        (b"Content-Transfer-Encoding: base64\n\nSGVs\r\nbG8=\r\n", "Hello"),
        (b"Content-Transfer-Encoding: base64\n\nSGVsbG8", "Hello"),
        (b"Content-Transfer-Encoding: base64\n\nSGVsb", "Hel"),
        (b"Subject: only", "Subject: only"),
        (b"From a@b Mon Jan 1\nSubject: mbox\n\nx", "Subject: mbox\nx"),
    ],
)
def test_encodings_are_undone(raw, text):
    assert read_mail(raw)[0] == text


def multipart(body, boundary=b"b"):
    return b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\n\n' + body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"before\n--b\n\none\n--b\n\ntwo\n--b--\nafter", "one\ntwo"),
        (b"--b\r\n\r\none\r\n--b--", "one"),
        (b"--b\nContent-Type: text/html\n\n<p>cut off", "cut off"),
        (b"--b\n\n--bb is no edge\n--b-- \n--b\n\nno", "--bb is no edge"),
        (b"no part", "no part"),
    ],
)
def test_parts_are_told_apart(body, text):
    assert read_mail(multipart(body))[0] == text


def nested(depth):
    raw = b"Content-Type: text/plain\n\ninside\n"
    for level in range(depth):
        edge = b"e%d" % level
        raw = multipart(b"--" + edge + b"\n" + raw + b"\n--" + edge + b"--\n", edge)
    return b"Subject: s\n" + raw


def test_levels_and_parts_have_a_bound():
    assert read_mail(nested(10))[0].splitlines() == ["Subject: s", "inside"]
    for depth in (11, 3_000):
        with pytest.raises(DocumentError, match="more than 10 levels"):
            read_mail(nested(depth))
    with pytest.raises(DocumentError, match="1,000 parts"):
        read_mail(multipart(b"--b\n\nx\n" * 2_000))
    with pytest.raises(DocumentError, match="headers"):
        read_mail(b"Subject: x\n" + b"X-A: y\n" * 100_000)


@pytest.mark.parametrize(
    "piece",
    [
        b"--b\n",
        b"--b--",
        b"=",
        b"=\n",
        b"--b \t",
        b"\r\n",
        b"X: y\n",
        b" \n",
        b";",
        b'\\";',
        b"=?utf-8?q?a?= ",
    ],
)
def test_a_mail_that_repeats_itself_takes_time_in_proportion(piece):
    def seconds(size):
        start = time.process_time()
        for head in (
            b"Subject: ", b"Content-Transfer-Encoding: quoted-printable\n\n", b"\n\n",
            b'Content-Type: multipart/mixed; boundary="b"\n\n',
            b'Content-Type: text/plain; name="',
        ):  # fmt: skip
            try:
                is_mail(head + piece * (size // len(piece)), named=True)
                read_mail(head + piece * (size // len(piece)))
            except DocumentError:
                pass
        return time.process_time() - start

    assert seconds(1_000_000) < 40 * seconds(100_000) + 0.5


@pytest.mark.parametrize("piece", [b";", b'\\";', b'";'])
def test_the_parameters_of_a_header_have_a_bound(piece):
    start = time.process_time()
    read_mail(b'Content-Type: text/plain; name="' + piece * (200_000 // len(piece)) + b"\n\nx")
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("data", "named", "is_one"),
    [
        (b"From: a\nMessage-ID: <1>\n\nx", False, True),
        (b"Received: by x\n\tfor y\nSubject: z\r\n\r\nx", False, True),
        (b"From a Mon\nReturn-Path: <a>\nFrom: b\n\nx", False, True),
        (b"Date: today\nSubject: a note\n\nx", False, False),
        (b"Date: today\nSubject: a note\n\nx", True, True),
        (b"Total: 5\nDue: now\n\nFrom: a\nMessage-ID: b", False, False),
        (b"A note.\nFrom: a\nMessage-ID: b", False, False),
        (b"words", True, False),
        (b"", True, False),
    ],
)
def test_what_is_a_mail(data, named, is_one):
    assert is_mail(data, named=named) is is_one


def test_a_damaged_base64_never_raises():
    for length in range(9):
        head = {"Content-Transfer-Encoding": "base64"}
        part = mail.Message()
        for name, value in head.items():
            part[name] = value
        assert isinstance(mail._decoded(part, b"QUJD=QUJ"[:length]), bytes)
