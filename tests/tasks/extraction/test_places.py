"""An extraction from a document says where on its pages each value stands."""

import pytest

from edgeslm.documents.document import Box, Document, Page, Word
from edgeslm.errors import ArgumentError, InputError
from edgeslm.results import PageBox
from tests.helpers.scripted import extractor_for

TEXT = "shop nook\ntotal 9.50"
SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": "string"}},
    "required": ["total"],
    "additionalProperties": False,
}


def document() -> Document:
    words, at = [], 0
    for top, row in ((10.0, "shop nook"), (30.0, "total 9.50")):
        for place, word in enumerate(row.split()):
            start = TEXT.index(word, at)
            box = Box(100.0 * place, top, 100.0 * place + 80, top + 12)
            words.append(Word(word, 1, box, start, start + len(word)))
            at = start + len(word)
    pages = (Page(1, 200.0, 100.0, "px", "text layer"),)
    return Document(TEXT, "picture", pages, tuple(words))


def test_a_field_has_the_boxes_of_its_words():
    extract, _ = extractor_for('{"total":"9.50"}', SCHEMA)
    field = extract(document()).fields["$.total"]
    assert field.span == (16, 20)
    assert field.boxes == (PageBox(1, 100.0, 30.0, 180.0, 42.0),)
    assert field.to_dict()["boxes"] == [{"page": 1, "box": [100.0, 30.0, 180.0, 42.0]}]


def test_a_document_is_answered_as_its_text_is():
    extract, _ = extractor_for('{"total":"9.50"}', SCHEMA)
    from_text, from_document = extract(TEXT), extract(document())
    assert from_text.json == from_document.json
    assert not from_text.fields["$.total"].boxes
    assert "boxes" not in from_text.fields["$.total"].to_dict()


def test_a_value_that_stands_nowhere_and_a_document_without_pages_have_no_boxes():
    extract, _ = extractor_for('{"total":"7.77"}', SCHEMA)
    assert extract(document(), grounded=False).fields["$.total"].boxes == ()
    extract, _ = extractor_for('{"total":"9.50"}', SCHEMA)
    assert extract(Document(TEXT, "text")).fields["$.total"].boxes == ()


def test_documents_and_texts_may_mix_in_a_map():
    extract, _ = extractor_for('{"total":"9.50"}', SCHEMA)
    first, second, third = extract.map([TEXT, document(), TEXT], width=1)
    boxes = [answer.fields["$.total"].boxes for answer in (first, second, third)]
    assert [len(own) for own in boxes] == [0, 1, 0]


def test_an_empty_document_is_an_empty_text():
    extract, _ = extractor_for('{"total":"9.50"}', SCHEMA)
    with pytest.raises(InputError, match="empty"):
        extract(Document("", "text"))


def test_a_map_takes_no_single_document():
    extract, _ = extractor_for('{"total":"9.50"}', SCHEMA)
    with pytest.raises(ArgumentError, match="map takes many"):
        extract.map(document())
