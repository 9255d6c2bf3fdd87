"""One small file of each format of annotations, as the tools that write them do."""

from __future__ import annotations

import json

SROIE_BOXES = "72,25,326,25,326,64,72,64,TAN WOON YANN\n50,82,440,82,440,121,50,121,NO.3, JALAN\n"

SROIE_KEYS = json.dumps({"company": "BOOK TA .K", "date": "25/12/2018", "total": "9.00"}, indent=4)

FUNSD = json.dumps(
    {
        "form": [
            {
                "box": [84, 109, 136, 119],
                "text": "COMPOUND",
                "label": "question",
                "words": [{"box": [84, 109, 136, 119], "text": "COMPOUND"}],
                "linking": [[0, 37]],
                "id": 0,
            },
            {
                "box": [85, 110, 145, 130],
                "text": "a b",
                "label": "answer",
                "words": [
                    {"box": [85, 110, 100, 120], "text": "a"},
                    {"box": [110, 110, 145, 130], "text": "b"},
                ],
                "linking": [[0, 37], [37, 38]],
                "id": 37,
            },
        ]
    }
)

COCO_OBJECT = {
    "info": {"year": 2017},
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 2,
            "bbox": [10, 20, 30, 40],
            "segmentation": [[10, 20, 40, 20, 40, 60, 10, 60]],
            "area": 1200,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 1,
            "bbox": [1.5, 2.5, 3, 4],
            "segmentation": {"counts": [272, 2], "size": [10, 20]},
            "iscrowd": 1,
        },
    ],
    "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 200}],
    "categories": [{"id": 1, "name": "text"}, {"id": 2, "name": "table"}],
}
COCO = json.dumps(COCO_OBJECT)

COCO_RESULTS = json.dumps(
    [
        {
            "image_id": 42,
            "category_id": 18,
            "bbox": [258.15, 41.29, 348.26, 243.78],
            "score": 0.236,
        },
        {
            "image_id": "a.jpg",
            "category_id": 2,
            "bbox": [10, 20, 30, 40],
            "score": 1,
            "segmentation": {"size": [10, 20], "counts": "l`d31n"},
        },
    ]
)

XFUND = json.dumps(
    {
        "lang": "zh",
        "version": "0.1",
        "split": "val",
        "documents": [
            {
                "id": "zh_val_0",
                "uid": "0ac15750a098682aa02b51555f7c49ff",
                "document": [
                    {
                        "box": [410, 541, 535, 590],
                        "text": "姓名",
                        "label": "question",
                        "words": [
                            {"box": [413, 541, 447, 587], "text": "姓"},
                            {"box": [451, 541, 485, 587], "text": "名"},
                        ],
                        "linking": [[0, 1]],
                        "id": 0,
                    },
                    {
                        "box": [600, 541, 700, 590],
                        "text": "王",
                        "label": "answer",
                        "words": [{"box": [600, 541, 700, 590], "text": "王"}],
                        "linking": [[0, 1]],
                        "id": 1,
                    },
                ],
                "img": {"fname": "zh_val_0.jpg", "width": 2480, "height": 3508},
            },
            {
                "id": "zh_val_1",
                "document": [
                    {
                        "box": [1, 2, 3, 4],
                        "text": "x",
                        "label": "other",
                        "words": [],
                        "linking": [],
                        "id": 0,
                    }
                ],
                "img": {"fname": "zh_val_1.jpg", "width": 2480, "height": 3508},
            },
        ],
    },
    ensure_ascii=False,
)

PAGE_XML = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
  <Metadata><Creator>x</Creator></Metadata>
  <Page imageFilename="0.jpeg" imageWidth="750" imageHeight="1141">
    <Border><Coords points="0,0 1,0 1,1"/></Border>
    <ReadingOrder>
      <OrderedGroup id="ro"><RegionRefIndexed index="1" regionRef="r1"/>
        <RegionRefIndexed index="0" regionRef="r2"/></OrderedGroup>
    </ReadingOrder>
    <TextRegion id="r1" type="heading">
      <Coords points="195,385 195,795 513,795 513,385" conf="0.5"/>
      <TextLine id="l1">
        <Coords points="10,10 50,10 50,20 10,20"/>
        <Word id="w1"><Coords points="10,10 30,10 30,20"/>
          <TextEquiv conf="0.9"><Unicode>Hei</Unicode></TextEquiv></Word>
        <TextEquiv index="1"><Unicode>other</Unicode></TextEquiv>
        <TextEquiv index="0" conf="0.75"><Unicode>Hei &amp; ß</Unicode></TextEquiv>
      </TextLine>
    </TextRegion>
    <TextRegion id="r2">
      <Coords points="0,0 0,9 9,9 9,0"/>
      <TextLine id="l2"><Coords points="1,1 5,1 5,2"/>
        <TextEquiv><Unicode>first</Unicode></TextEquiv></TextLine>
      <TextLine id="l3"><Coords points="1,3 5,3 5,4"/>
        <TextEquiv><Unicode>second</Unicode></TextEquiv></TextLine>
    </TextRegion>
    <ImageRegion id="r3"><Coords points="0,0 0,9 9,9 9,0"/></ImageRegion>
  </Page>
</PcGts>
"""

ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#">
  <Description><MeasurementUnit>pixel</MeasurementUnit>
    <sourceImageInformation><fileName>scan.png</fileName></sourceImageInformation></Description>
  <Tags><OtherTag ID="BT1" LABEL="Main"/></Tags>
  <Layout><Page ID="p1" WIDTH="640" HEIGHT="480"><PrintSpace>
    <TextBlock ID="b1" TAGREFS="BT1" HPOS="36" VPOS="90" WIDTH="500" HEIGHT="100">
      <Shape><Polygon POINTS="36,90 536,90 536,190 36,190"/></Shape>
      <TextLine ID="l1" HPOS="36" VPOS="92" WIDTH="60" HEIGHT="32">
        <String ID="s1" CONTENT="Hello" HPOS="36" VPOS="92" WIDTH="20" HEIGHT="24.5" WC="0.96"/>
        <SP WIDTH="8" VPOS="92" HPOS="56"/>
        <String ID="s2" CONTENT="wor" SUBS_CONTENT="world" HPOS="64" VPOS="92" WIDTH="32"
          HEIGHT="24"/><HYP CONTENT="-"/>
      </TextLine>
    </TextBlock>
    <Illustration ID="i1" TYPE="photo" HPOS="1" VPOS="2" WIDTH="3" HEIGHT="4"/>
  </PrintSpace></Page></Layout>
</alto>
"""

HOCR = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
    "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" lang="en"><head><title></title>
<meta name='ocr-capabilities' content='ocr_page ocr_carea ocr_par ocr_line ocrx_word'/></head>
<body>
 <div class='ocr_page' id='page_1' title='image "in; put.tif"; bbox 0 0 640 480; ppageno 0'>
  <div class='ocr_carea' id='block_1_1' title="bbox 36 92 582 269"><p class='ocr_par'>
   <span class='ocr_line' id='line_1_1' title="bbox 36 92 582 122; baseline 0 -6">
    <span class='ocrx_word' id='word_1_1' title='bbox 36 92 96 116; x_wconf 95'>This</span>
    <span class='ocrx_word' id='word_1_2' title='bbox 109 92 129 116; x_wconf 96.5'><b>is</b>
      &lt;a&gt;</span>
   </span></p></div>
 </div>
 <div class='ocr_page' id='page_2' title='image "unknown"; bbox 0 0 640 480; ppageno 1'>
  <span class='ocr_header' id='line_2_1' title="bbox 1 2 3 4">Top</span></div>
</body></html>
"""

PADDLEOCR_LABELS = (
    'imgs/img_61.jpg\t[{"transcription": "MASA", "points": [[310, 104], [416, 141], [418, 216], '
    '[312, 179]], "difficult": false}, {"transcription": "###", "points": [[1, 1], [5, 1], [5, 4]'
    ', [1, 4]], "difficult": true}]\nimgs/empty.jpg\t[]\n'
)

PADDLEOCR_RESULTS = json.dumps(
    {
        "input_path": "in/general.png",
        "page_index": None,
        "dt_polys": [[[0, 0], [1, 0], [1, 1], [0, 1]]] * 3,
        "rec_texts": ["登机牌", "BOARDING"],
        "rec_scores": [0.98, 1.0],
        "rec_polys": [
            [[10, 20], [110, 20], [110, 50], [10, 50]],
            [[10, 60], [110, 60], [110, 90], [10, 90]],
        ],
        "rec_boxes": [[10, 20, 110, 50], [10, 60, 110, 90]],
    },
    indent=4,
    ensure_ascii=False,
)

PADDLEOCR_2 = json.dumps(
    [
        [[[[10.0, 20.0], [110.0, 20.0], [110.0, 50.0], [10.0, 50.0]], ["one", 0.5]]],
        None,
        [[[[10.0, 20.0], [110.0, 20.0], [110.0, 50.0], [10.0, 50.0]], ["two", 0.25]]],
    ]
)

TESSERACT_TSV = (
    "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"
    "1\t1\t0\t0\t0\t0\t0\t0\t640\t480\t-1\t\n"
    "4\t1\t1\t1\t1\t0\t36\t92\t544\t30\t-1\t\n"
    '5\t1\t1\t1\t1\t1\t36\t92\t60\t24\t96.25\t"This\n'
    "5\t1\t1\t1\t1\t2\t109\t92\t20\t24\t-1\tis, it\n"
    "5\t2\t1\t1\t1\t1\t9\t9\t2\t2\t0\t~\n"
)

JSONL = (
    '{"image": "a.jpg", "text": "x", "bbox": [1, 2, 3, 4], "lang": "ko", "deep": {"k": [1]}}\n'
    '{"image": "a.jpg", "text": "y", "points": [[0, 0], [2, 0], [2, 2]], "confidence": 0.5}\n'
)

SAMPLES = {
    # format: (name, content, record type, annotations in it)
    "sroie_boxes": ("000.csv", SROIE_BOXES, "ocr", 2),
    "sroie_keys": ("000.json", SROIE_KEYS, "kie", 3),
    "funsd-kie": ("f.json", FUNSD, "kie", 2),
    "funsd-ocr": ("f.json", FUNSD, "ocr", 3),
    "xfund-kie": ("zh.val.json", XFUND, "kie", 3),
    "xfund-ocr": ("zh.val.json", XFUND, "ocr", 3),
    "coco": ("instances.json", COCO, "layout", 2),
    "coco_results": ("detections.json", COCO_RESULTS, "layout", 2),
    "page_xml-ocr": ("p.xml", PAGE_XML, "ocr", 4),
    "page_xml-layout": ("p.xml", PAGE_XML, "layout", 3),
    "alto-ocr": ("a.xml", ALTO, "ocr", 3),
    "alto-layout": ("a.xml", ALTO, "layout", 2),
    "hocr": ("h.hocr", HOCR, "ocr", 4),
    "paddleocr_labels": ("Label.txt", PADDLEOCR_LABELS, "ocr", 2),
    "paddleocr_results": ("r.json", PADDLEOCR_RESULTS, "ocr", 2),
    "paddleocr_results-2": ("r2.json", PADDLEOCR_2, "ocr", 2),
    "tesseract_tsv": ("t.tsv", TESSERACT_TSV, "ocr", 3),
    "jsonl": ("j.jsonl", JSONL, "ocr", 2),
}
