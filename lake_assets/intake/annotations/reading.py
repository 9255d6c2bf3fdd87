"""Reading files of annotations: which reader takes which format, and what it yields in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lake_assets.contracts.record_types import RecordType, record_type
from lake_assets.errors import UnsupportedFormat
from lake_assets.intake.annotations import (
    alto,
    coco,
    funsd,
    hocr,
    jsonl,
    paddleocr,
    page_xml,
    sroie,
    tesseract,
    xfund,
)
from lake_assets.intake.annotations.formats import annotation_format
from lake_assets.intake.annotations.model import (
    AnnotationFile,
    AnnotationFormat,
    Annotations,
    Piece,
    blocks_of,
)

_Reader = Callable[[AnnotationFile], Iterator[Piece]]
_READERS: dict[AnnotationFormat, dict[str, _Reader]] = {
    # By format and record type.
    AnnotationFormat.SROIE_BOXES: {"ocr": sroie.read_boxes},
    AnnotationFormat.SROIE_KEYS: {"kie": sroie.read_keys},
    AnnotationFormat.FUNSD: {"ocr": funsd.read_words, "kie": funsd.read_entities},
    AnnotationFormat.XFUND: {"ocr": xfund.read_words, "kie": xfund.read_entities},
    AnnotationFormat.COCO: {"layout": coco.read_coco},
    AnnotationFormat.COCO_RESULTS: {"layout": coco.read_results},
    AnnotationFormat.PAGE_XML: {"ocr": page_xml.read_text, "layout": page_xml.read_regions},
    AnnotationFormat.ALTO: {"ocr": alto.read_text, "layout": alto.read_blocks},
    AnnotationFormat.HOCR: {"ocr": hocr.read_hocr},
    AnnotationFormat.PADDLEOCR_LABELS: {"ocr": paddleocr.read_labels},
    AnnotationFormat.PADDLEOCR_RESULTS: {"ocr": paddleocr.read_results},
    AnnotationFormat.TESSERACT_TSV: {"ocr": tesseract.read_tsv},
    AnnotationFormat.JSONL: dict.fromkeys(("ocr", "kie", "vqa", "layout"), jsonl.read_jsonl),
}


def read_annotations(
    path: Path, name: str, record_type_name: str, format: AnnotationFormat | None = None
) -> Iterator[Annotations]:
    """Yield every annotation of a file once, as a record or rejected, in blocks of at most 5,000.

    Args:
        path: An existing file, perhaps compressed (``.gz``, ``.zst``).
        name: As staged: for messages and rejected rows, and for the image, if the content names
            none (``boxes/000.csv`` is about the image ``000``).
        record_type_name: ``ocr``, ``kie``, ``vqa`` or ``layout``.
        format: Its format; None: found out.

    Raises:
        ValueError: There is no such record type.
        UnsupportedFormat: The file has no format that holds such annotations.
        UnreadableSource: It is not of its format as a whole: cut short, not valid, or unsafe. Some
            blocks may have come out before; they must not be kept, because the mended file will
            bring them again.
    """
    kind = record_type(record_type_name)
    form = format or annotation_format(path, kind.name, name=name)
    reader = _READERS[form].get(kind.name) if form else None
    if form is None or reader is None:
        raise _unsupported(name, kind, form)
    file = AnnotationFile(path=path, name=name, kind=kind, format=form)
    yield from blocks_of(reader(file), name)


def formats_of(kind: RecordType) -> tuple[AnnotationFormat, ...]:
    """Return the formats that hold annotations of a record type."""
    return tuple(form for form, readers in _READERS.items() if kind.name in readers)


def _unsupported(name: str, kind: RecordType, form: AnnotationFormat | None) -> UnsupportedFormat:
    known = ", ".join(formats_of(kind))
    what = f"is {form}, which holds no" if form else "has none of the known forms of"
    return UnsupportedFormat(
        f"{name} {what} {kind.name} records. Deliver one of {known}, or a table with the "
        f"columns {', '.join(kind.columns)}.",
        file=name,
    )
