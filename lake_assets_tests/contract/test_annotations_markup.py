"""PAGE XML, ALTO and hOCR: each line, word and region once, and nothing read but the file."""

import pytest

from lake_assets.errors import UnreadableSource
from lake_assets.intake.annotations import AnnotationFormat, read_annotations
from lake_assets_tests.contract.annotation_samples import ALTO, HOCR, PAGE_XML
from lake_assets_tests.contract.annotations_harness import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_lines_and_words_of_page_xml_follow_the_reading_order(folder):
    result = folder.read("p.xml", PAGE_XML, "ocr")
    assert result.column("annotation_id") == ["l1", "w1", "l2", "l3"]
    assert result.column("text") == ["Hei & ß", "Hei", "first", "second"]
    assert result.column("level") == ["line", "word", "line", "line"]
    # Region r2 comes first and has two lines.
    assert result.column("reading_order") == [2, 0, 0, 1]
    assert result.column("confidence") == [0.75, 0.9, None, None]
    assert set(result.column("image")) == {"0.jpeg"}
    assert result.boxes[0] == (10, 10, 50, 20)


def test_regions_of_page_xml_have_their_type_and_place(folder):
    result = folder.read("p.xml", PAGE_XML, "layout")
    assert result.column("label") == ["heading", "TextRegion", "ImageRegion"]
    assert result.column("element") == ["TextRegion", "TextRegion", "ImageRegion"]
    assert result.column("reading_order") == [1, 0, None]
    assert result.column("confidence") == [0.5, None, None]
    assert result.boxes[0] == (195, 385, 513, 795)


def test_without_a_reading_order_no_place_is_known(folder):
    begin, end = PAGE_XML.index("<ReadingOrder>"), PAGE_XML.index("</ReadingOrder>")
    content = PAGE_XML[:begin] + PAGE_XML[end + len("</ReadingOrder>") :]
    assert folder.read("p.xml", content, "ocr").column("reading_order") == [None] * 4


def test_what_an_unordered_group_holds_has_no_place(folder):
    content = PAGE_XML.replace("OrderedGroup", "UnorderedGroup")
    assert folder.read("p.xml", content, "layout").column("reading_order") == [None] * 3


def test_groups_inside_groups_are_ordered(folder):
    order = (
        '<OrderedGroup id="g"><OrderedGroupIndexed id="h" index="5">'
        '<RegionRefIndexed index="0" regionRef="r1"/></OrderedGroupIndexed>'
        '<RegionRefIndexed index="3" regionRef="r3"/></OrderedGroup>'
    )
    begin, end = PAGE_XML.index("<OrderedGroup"), PAGE_XML.index("</ReadingOrder>")
    content = PAGE_XML[:begin] + order + PAGE_XML[end:]
    assert folder.read("p.xml", content, "layout").column("reading_order") == [1, None, 0]
    assert folder.read("p.xml", content, "ocr").column("reading_order") == [0, 0, None, None]


def test_points_of_2009_are_elements(folder):
    points = "".join(f'<Point x="{x}" y="{y}"/>' for x, y in ((10, 10), (50, 10), (50, 20)))
    content = PAGE_XML.replace(
        '<Coords points="10,10 50,10 50,20 10,20"/>', f"<Coords>{points}</Coords>"
    )
    assert folder.read("p.xml", content, "ocr").polygons[0] == [(10, 10), (50, 10), (50, 20)]


def test_regions_inside_regions_keep_their_own_outline_and_lines(folder):
    inner = '<TextRegion id="r4"><Coords points="1,1 2,1 2,2"/></TextRegion>'
    content = PAGE_XML.replace('<TextLine id="l2">', f'{inner}<TextLine id="l2">')
    regions = folder.read("p.xml", content, "layout")
    assert regions.column("annotation_id") == ["r1", "r4", "r2", "r3"]
    assert regions.boxes[1:3] == [(1, 1, 2, 2), (0, 0, 9, 9)]
    assert folder.read("p.xml", content, "ocr").column("reading_order") == [2, 0, 0, 1]


@pytest.mark.parametrize(
    ("old", "new", "rule", "path"),
    [
        ("10,10 50,10 50,20 10,20", "10,10 50,10", "polygon_has_three_points", "Coords"),
        ("10,10 50,10 50,20 10,20", "", "polygon_has_three_points", "Coords"),
        ("10,10 50,10 50,20 10,20", "10,10 50,x 50,20", "coordinates_are_numbers", "Coords"),
        ("10,10 50,10 50,20 10,20", "10 10 50 10", "coordinates_are_numbers", "Coords"),
        ('conf="0.75"', 'conf="75"', "confidence_is_a_share", "TextEquiv.conf"),
        ('conf="0.75"', 'conf="high"', "coordinates_are_numbers", "TextEquiv.conf"),
        (
            'TextEquiv index="1"',
            'TextEquiv index="b"',
            "coordinates_are_numbers",
            "TextEquiv.index",
        ),
    ],
)
def test_a_broken_line_of_page_xml_is_rejected_alone(folder, old, new, rule, path):
    result = folder.read("p.xml", PAGE_XML.replace(old, new, 1), "ocr")
    assert result.rules == [(0, rule, f"TextLine[l1].{path}")]
    assert result.column("annotation_id") == ["w1", "l2", "l3"]
    assert '"l1"' in result.rejected[0].row_json


def test_a_reading_order_with_a_broken_index_is_refused(folder):
    path = folder.write("p.xml", PAGE_XML.replace('index="1" regionRef', 'index="b" regionRef'))
    with pytest.raises(UnreadableSource, match="index 'b' in its ReadingOrder"):
        list(read_annotations(path, "p.xml", "ocr"))


def test_lines_and_strings_of_alto_are_lines_and_words(folder):
    result = folder.read("a.xml", ALTO, "ocr")
    assert result.column("text") == ["Hello wor-", "Hello", "wor"]
    assert result.column("level") == ["line", "word", "word"]
    assert result.column("reading_order") == [0, 0, 1]
    assert result.column("confidence") == [None, 0.96, None]
    assert result.column("image") == ["scan.png"] * 3
    assert result.boxes[1] == (36, 92, 56, 116.5)
    assert result.records[2]["subs_content"] == "world"


def test_blocks_of_alto_have_their_tag_or_type(folder):
    result = folder.read("a.xml", ALTO, "layout")
    assert result.column("label") == ["Main", "photo"]
    assert result.column("element") == ["TextBlock", "Illustration"]
    assert result.boxes == [(36, 90, 536, 190), (1, 2, 4, 6)]
    assert result.column("reading_order") == [0, 1]


@pytest.mark.parametrize(
    ("unit", "told"), [("mm10", "mm10"), ("inch1200", "inch1200"), ("", "none")]
)
def test_alto_in_another_unit_is_rejected_with_the_unit(folder, unit, told):
    result = folder.read("a.xml", ALTO.replace("pixel", unit), "ocr")
    assert [rule for _, rule, _ in result.rules] == ["coordinates_are_in_pixels"] * 3
    assert {row.actual for row in result.rejected} == {told}


@pytest.mark.parametrize(
    ("old", "new", "rule", "path"),
    [
        ('WIDTH="20"', 'WIDTH="-20"', "box_has_an_area", "String[s1]"),
        ('WIDTH="20" ', "", "coordinates_are_numbers", "String[s1].WIDTH"),
        ('WC="0.96"', 'WC="NaN"', "coordinates_are_numbers", "String[s1].WC"),
    ],
)
def test_a_broken_string_of_alto_is_rejected_alone(folder, old, new, rule, path):
    result = folder.read("a.xml", ALTO.replace(old, new, 1), "ocr")
    assert (result.rules, result.column("annotation_id")) == ([(1, rule, path)], ["l1", "s2"])


def test_alto_that_says_another_order_has_no_places(folder):
    content = ALTO.replace(
        "<Layout>", '<ReadingOrder><OrderedGroup ID="g"/></ReadingOrder><Layout>'
    )
    assert folder.read("a.xml", content, "ocr").column("reading_order") == [None] * 3
    follows = ALTO.replace('ID="b1"', 'ID="b1" IDNEXT="i1"')
    assert folder.read("a.xml", follows, "layout").column("reading_order") == [0, 1]
    jumps = ALTO.replace('ID="b1"', 'ID="b1" IDNEXT="i9"')
    assert folder.read("a.xml", jumps, "layout").column("reading_order") == [0, None]


def test_strings_without_spaces_between_are_words_all_the_same(folder):
    content = ALTO.replace('<SP WIDTH="8" VPOS="92" HPOS="56"/>', "")
    assert folder.read("a.xml", content, "ocr").column("text")[0] == "Hello wor-"


def test_words_and_lines_of_hocr_have_their_box_and_confidence(folder):
    result = folder.read("h.hocr", HOCR, "ocr")
    assert result.column("text") == ["This", "is <a>", "This is <a>", "Top"]
    assert result.column("level") == ["word", "word", "line", "line"]
    assert result.column("confidence") == [0.95, 0.965, None, None]
    assert result.column("reading_order") == [0, 1, 0, 0]
    assert result.column("page_num") == [1, 1, 1, 2]
    assert result.column("image") == ["in; put.tif"] * 3 + ["h"]
    assert result.boxes[0] == (36, 92, 96, 116)


def test_hocr_may_leave_out_ends_and_write_void_elements(folder):
    content = (
        '<div class="ocr_page" title="bbox 0 0 9 9"><p>'
        '<span class="ocr_line other" title="bbox 0 0 9 9">a<br>b<br/>c<i>d</span></div>'
    )
    assert folder.read("h.html", content, "ocr").column("text") == ["abcd"]


@pytest.mark.parametrize(
    ("old", "new", "rule", "path"),
    [
        ("bbox 36 92 96 116", "bbox 36 92 96", "boxes_have_four_numbers", "bbox"),
        ("bbox 36 92 96 116", "bbox 36 92 36 116", "box_has_an_area", "bbox"),
        ("bbox 36 92 96 116", "bbox a b c d", "coordinates_are_numbers", "bbox"),
        ("x_wconf 95", "x_wconf 950", "confidence_is_a_share", "x_wconf"),
        ("This", "\udcff", "line_is_valid_utf8", "text"),
    ],
)
def test_a_broken_word_of_hocr_is_rejected_alone(folder, old, new, rule, path):
    content = HOCR.replace(old, new, 1).encode("utf-8", "surrogateescape")
    result = folder.read("h.hocr", content, "ocr")
    assert result.rules[0] == (0, rule, path)
    assert "word_1_2" in result.column("annotation_id")


# Files that are refused, and what they must not do.

BOMB = "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(30)
)  # fmt: skip
ROOT = '<PcGts><Page imageFilename="{}"></Page></PcGts>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(f"<!DOCTYPE PcGts [{BOMB}]>{ROOT.format('&l29;')}", "entity l0", id="laughs"),
        pytest.param(
            f'<!DOCTYPE PcGts [<!ENTITY x SYSTEM "file:///etc/passwd">]>{ROOT.format("a")}',
            "entity x",
            id="another file",
        ),
        pytest.param(
            f'<!DOCTYPE PcGts [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]>{ROOT.format("a")}',
            "entity x",
            id="parameter entity",
        ),
        pytest.param(
            '<!DOCTYPE PcGts SYSTEM "http://127.0.0.1:9/x.dtd"><PcGts><Page>'
            "<TextRegion><TextLine><TextEquiv><Unicode>&x;</Unicode></TextEquiv></TextLine>"
            "</TextRegion></Page></PcGts>",
            "entity x",
            id="entity of an external dtd",
        ),
        pytest.param(PAGE_XML[:-20], "no element found|unclosed", id="cut short"),
        pytest.param(PAGE_XML + "<more/>", "junk after document", id="more after the root"),
        pytest.param(PAGE_XML.replace("PcGts", "Other"), "root is Other", id="another root"),
        pytest.param("", "no element found", id="empty"),
        pytest.param("<PcGts>" + "<a>" * 200, "nested more than 100", id="too deep"),
        pytest.param(PAGE_XML.replace("UTF-8", "x-none"), "unknown encoding", id="encoding"),
        pytest.param(
            PAGE_XML.replace("ß", "\udcdf"), "not well-formed", id="latin-1 said to be utf-8"
        ),
    ],
)
def test_xml_that_is_unsafe_or_broken_is_refused(folder, content, reason):
    path = folder.write("p.xml", content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UnreadableSource, match=reason) as caught:
        list(read_annotations(path, "d/p.xml", "ocr", AnnotationFormat.PAGE_XML))
    assert caught.value.context["file"] == "d/p.xml"


def test_a_dtd_that_is_not_needed_is_not_read(folder):
    content = PAGE_XML.replace(
        "<PcGts", '<!DOCTYPE PcGts SYSTEM "http://127.0.0.1:9/page.dtd">\n<PcGts', 1
    )
    assert len(folder.read("p.xml", content, "ocr").records) == 4


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_xml_is_read_in_the_encoding_that_it_says(folder, encoding):
    content = PAGE_XML.replace("UTF-8", encoding).encode(encoding)
    path = folder.write("p.xml", content)
    blocks = list(read_annotations(path, "p.xml", "ocr", AnnotationFormat.PAGE_XML))
    assert blocks[0].records[0]["text"] == "Hei & ß"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(HOCR[: HOCR.index("is</b>")], "cut short", id="cut short"),
        pytest.param("<p>ocr_page</p>", "no element of the class ocr_page", id="no page"),
        pytest.param("<div class='ocr_page'>" + "<div>" * 300, "nested", id="too deep"),
        pytest.param("<div class='ocr_page'><!--" + " " * 2**21, "1,048,576", id="endless comment"),
    ],
)
def test_hocr_that_is_broken_is_refused(folder, content, reason):
    path = folder.write("h.html", content)
    with pytest.raises(UnreadableSource, match=reason):
        list(read_annotations(path, "h.html", "ocr", AnnotationFormat.HOCR))


def test_an_entity_in_hocr_is_only_a_character(folder):
    content = HOCR.replace("This", "&eacute;&unknown;&#x41;")
    assert folder.read("h.hocr", content, "ocr").column("text")[0] == "é&unknown;A"
