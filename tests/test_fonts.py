"""Names in scripts that not every font has: matplotlib brings fonts with and without Greek and Cyrillic letters."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from paddle_focal import fonts

BUNDLED = Path(matplotlib.get_data_path(), "fonts/ttf")
LATIN = str(BUNDLED / "cmr10.ttf")
CAT = "猫"  # which no bundled font has


@pytest.fixture(autouse=True)
def system(monkeypatch):
    """The fonts of the system, to be filled in; warnings come anew."""
    found: list[str] = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: found)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    files = fonts.font_files
    files.cache_clear()
    fonts._warn.cache_clear()
    yield found
    files.cache_clear()


def rare_character() -> tuple[str, str]:
    """One that DejaVu Sans lacks, and a bundled font that has it."""
    own = FT2Font(fonts.DEFAULT).get_charmap()
    for path in sorted(BUNDLED.glob("STIX*.ttf")):
        for code in sorted(FT2Font(str(path)).get_charmap()):
            if code not in own and chr(code).isprintable() and not chr(code).isspace() and not 0xE000 <= code < 0xF900:
                return chr(code), str(path)
    raise AssertionError


def test_letters_that_the_default_has(caplog):
    names = {1: "cat", 7: "κόσμος", 9: "кошка", 10: "a\u200db \u3000"}
    with fonts.in_figures(names) as shown:
        assert shown == names
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans"]
    assert matplotlib.rcParams["font.family"] == ["sans-serif"]
    assert caplog.messages == []


def test_a_font_of_the_system_that_has_the_others(system, caplog):
    character, path = rare_character()
    system += [LATIN, path, str(BUNDLED / "none.ttf"), __file__]
    with fonts.in_figures({1: "cat"}, [character]):
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans", FT2Font(path).family_name]
    with fonts.in_figures({1: f"cat {character}"}) as shown:
        assert shown == {1: f"cat {character}"}
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans", FT2Font(path).family_name]
        figure = Figure()
        FigureCanvasAgg(figure)
        figure.suptitle(shown[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a glyph that is missing
        figure.canvas.draw()
    assert fonts.printable(f"{character}.png") == f"{character}.png"
    assert caplog.messages == []


def test_a_font_that_matplotlib_has_not_seen_yet(system, monkeypatch):
    """One that was installed after matplotlib had made its list."""
    character, path = rare_character()
    system.append(path)
    others = [entry for entry in font_manager.fontManager.ttflist if entry.fname != path]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", others)
    with fonts.in_figures({1: character}):
        assert font_manager.findfont(matplotlib.rcParams["font.family"][1], fallback_to_default=False) == path


def test_letters_that_no_font_has(system, caplog):
    system.append(LATIN)
    for _ in range(2):
        with fonts.in_figures({1: "cat", 7: f"{CAT} 2"}) as shown:
            assert shown == {1: "cat", 7: "class 7"}
    assert fonts.for_pillow({3: f"{CAT}я", 5: "я"}) == ({3: "class 3", 5: "я"}, fonts.DEFAULT)
    assert fonts.printable(f"a{CAT}.png") == "a?.png"
    assert caplog.messages == [
        "No font on this machine has 猫: pictures show such classes by their numbers. Install, for example, Noto Sans "
        "CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"
    ]


def test_other_scripts_need_other_fonts(caplog):
    letters = [chr(0x1200 + i) for i in range(9)]  # of Ethiopic
    fonts.for_pillow(dict(enumerate(letters)))
    (message,) = caplog.messages
    assert message.startswith(f"No font on this machine has {' '.join(letters[:8])} ...: ")
    assert message.endswith("Install, for example, one of the Noto fonts")


def test_what_only_directs_others_needs_no_font():
    assert fonts._characters(["a \u200d\x07", "b\u3000"]) == {"a", "b"}


def test_pillows_own_font_serves_where_it_can():
    names = {1: "cat", 2: "dog_2"}
    shown, file = fonts.for_pillow(names)
    assert (shown, file) == ({1: "cat", 2: "dog_2"}, None)
    assert shown is not names
    assert fonts.for_pillow({}) == ({}, None)


@pytest.fixture
def invented(monkeypatch):
    """Fonts that are there in name only, with the characters that they have."""

    def invent(characters: dict[str, str], scalable: bool = True) -> None:
        def read(file: str) -> SimpleNamespace:
            has = characters[file].__contains__
            return SimpleNamespace(scalable=scalable, family_name=file, get_char_index=lambda code: has(chr(code)))

        monkeypatch.setattr(fonts, "FT2Font", read)
        monkeypatch.setattr(fonts, "font_files", lambda: tuple(characters))

    return invent


def test_the_font_for_pillow_has_the_figures_of_the_scores(invented):
    invented({"some": "0123", "letters": "猫abc", "digits": "猫0123456789", "both": "猫0123456789."})
    assert fonts.for_pillow({1: "猫"}) == ({1: "猫"}, "both")
    assert fonts.for_pillow({1: "猫", 2: "abc猫"}) == ({1: "猫", 2: "class 2"}, "both")


def test_fonts_of_pictures_and_of_boxes_show_no_letters(invented):
    for name in ("LastResort HE", "Last Resort"):
        invented({fonts.DEFAULT: "a", name: "猫a"})
        assert fonts.printable("a猫") == "a?"
    invented({fonts.DEFAULT: "猫"}, scalable=False)
    assert fonts.printable("猫") == "?"


def test_upright_fonts_come_first(system):
    system += [f"/f/{name}.ttf" for name in ("A-MonoItalic", "B-Bold", "C-Regular", "D")]
    names = [os.path.basename(path) for path in fonts.font_files()]
    assert names == ["DejaVuSans.ttf", "C-Regular.ttf", "D.ttf", "B-Bold.ttf", "A-MonoItalic.ttf"]


@pytest.mark.parametrize(
    "variant", ["bold", "black", "heavy", "light", "thin", "italic", "oblique", "condensed", "mono", "serif"]
)
def test_variants_come_last(system, variant):
    system += [f"/f/A-{variant}.ttf", f"/b/B-{variant.upper()}{variant}.ttf", f"/{variant}/C.ttf"]
    names = [os.path.basename(path) for path in fonts.font_files()[1:]]
    assert names == ["C.ttf", f"A-{variant}.ttf", f"B-{variant.upper()}{variant}.ttf"]
    assert fonts.font_files()[0] == str(BUNDLED / "DejaVuSans.ttf")


@pytest.mark.parametrize(
    ("characters", "remedy"),
    [
        ("ひ", "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"),
        ("カ", "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"),
        ("한", "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"),
        ("አ猫", "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)"),
        ("አሀ", "one of the Noto fonts"),
        ("ሀሁሂሃሄህሆሇ", "one of the Noto fonts"),
        ("\U000e0fff", "one of the Noto fonts"),  # which has no name
    ],
)
def test_the_whole_warning(caplog, characters, remedy):
    for _ in range(2):
        fonts._warn(frozenset(characters))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"No font on this machine has {' '.join(sorted(characters))}: pictures show such classes by their numbers. "
            f"Install, for example, {remedy}",
        )
    ]
