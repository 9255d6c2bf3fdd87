"""The invented shops whose receipts the samples show. Any likeness to a real one is chance.

Plain ASCII throughout: the font that Pillow bundles has few other characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
"""Red, green, blue, each 0-255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something that a shop sells."""

    name: str
    price_cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A shop, what it sells, and how its receipts look."""

    folder: str
    """Sub-folder of a delivery that its receipts lie in."""
    company: str
    address: str
    phone: str
    farewell: str
    products: tuple[Product, ...]
    date_format: str
    header: Literal["centred", "left", "banner"]
    rule: Literal["dashes", "line", "double"]
    ink: Colour
    paper: Colour


def _products(listing: str) -> tuple[Product, ...]:
    """Products of a listing like ``Espresso 260; Flat white 420`` (prices in cents)."""
    pairs = (entry.strip().rpartition(" ") for entry in listing.split(";"))
    return tuple(Product(name=name, price_cents=int(price)) for name, _, price in pairs)


SHOPS = (
    Shop(
        folder="harbour_coffee",
        company="HARBOUR COFFEE",
        address="12 Quay Street, Port Ellery",
        phone="Tel 555 0142",
        farewell="Thank you, come again!",
        products=_products(
            "Espresso 260; Flat white 420; Cappuccino 410; Filter coffee 330; Oat latte 460;"
            "Hot chocolate 440; Earl Grey 300; Almond croissant 390; Banana bread 350;"
            "Cheese toastie 680; Granola bowl 790; House blend 250g 1150"
        ),
        date_format="%d/%m/%Y",
        header="centred",
        rule="dashes",
        ink=(52, 48, 60),
        paper=(250, 248, 242),
    ),
    Shop(
        folder="greenleaf_market",
        company="GREENLEAF MARKET",
        address="88 Orchard Road, Millbrook",
        phone="Customer line 555 0117",
        farewell="You saved a bag today.",
        products=_products(
            "Bananas 1kg 189; Gala apples 1kg 279; Carrots 500g 99; Baby spinach 249;"
            "Vine tomatoes 320; Whole milk 1L 145; Butter 250g 289; Free range eggs 10 399;"
            "Sourdough loaf 420; Basmati rice 1kg 345; Olive oil 750ml 899; Dark chocolate 259;"
            "Sparkling water 6x1L 359; Dish soap 199"
        ),
        date_format="%Y-%m-%d",
        header="banner",
        rule="line",
        ink=(30, 54, 46),
        paper=(246, 250, 244),
    ),
    Shop(
        folder="bolt_and_beam",
        company="BOLT & BEAM HARDWARE",
        address="Unit 4, Foundry Lane, Kestrel Bay",
        phone="Trade desk 555 0199",
        farewell="Returns within 30 days with this slip",
        products=_products(
            "Wood screws 4x40 549; Wall plugs 8mm 329; Masking tape 50mm 475; Sandpaper P120 290;"
            "Claw hammer 1890; Spirit level 60cm 2450; LED bulb E27 599; Extension lead 5m 1399;"
            "White emulsion 5L 3299; Paint roller set 1249; Pine board 2.4m 980; Work gloves L 720"
        ),
        date_format="%d.%m.%Y",
        header="left",
        rule="double",
        ink=(40, 40, 44),
        paper=(252, 246, 226),
    ),
    Shop(
        folder="paper_lantern_books",
        company="Paper Lantern Books",
        address="3 Chapel Steps, Old Town, Wexcombe",
        phone="555 0163",
        farewell="Happy reading",
        products=_products(
            "The Tide Clock (pb) 1099; A Field of Salt (hb) 2200; Maps for Walkers 1450;"
            "Bread, Simply 2695; Night Trains (pb) 999; Small Gardens 1850; Notebook A5 dotted 890;"
            "Gel pen 0.5 black 240; Greeting card 350; Gift wrap 200; Tote bag 1200"
        ),
        date_format="%d %b %Y",
        header="centred",
        rule="line",
        ink=(58, 50, 70),
        paper=(255, 252, 246),
    ),
    Shop(
        folder="saffron_kitchen",
        company="SAFFRON KITCHEN",
        address="217 Lower Market Street, Port Ellery",
        phone="Reservations 555 0175",
        farewell="Service not included",
        products=_products(
            "Vegetable samosa 650; Lentil soup 590; Tandoori chicken 1490; Saag paneer 1280;"
            "Lamb rogan josh 1620; Prawn biryani 1750; Garlic naan 390; Steamed rice 320;"
            "Cucumber raita 290; Mango lassi 450; Masala chai 320; Pistachio kulfi 580"
        ),
        date_format="%d-%b-%y",
        header="banner",
        rule="dashes",
        ink=(70, 38, 30),
        paper=(253, 244, 236),
    ),
    Shop(
        folder="corner_pharmacy",
        company="Corner Pharmacy",
        address="1 Station Square, Millbrook",
        phone="Tel 555 0128 - open until 22:00",
        farewell="Get well soon",
        products=_products(
            "Paracetamol 500mg 16 245; Ibuprofen 200mg 24 389; Throat lozenges 429;"
            "Plasters assorted 350; Hand cream 75ml 649; Sunscreen SPF50 1390; Toothpaste 299;"
            "Toothbrush soft 259; Vitamin D3 90 1095; Nasal spray 575; Shampoo 300ml 620"
        ),
        date_format="%m/%d/%Y",
        header="left",
        rule="dashes",
        ink=(34, 50, 84),
        paper=(243, 247, 252),
    ),
)
