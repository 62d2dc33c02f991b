"""Links lead somewhere, pictures exist, pages can be found, buttons are described."""

import ast
import re
import runpy
from pathlib import Path

import pytest
from qtpy.QtWidgets import QAbstractButton

from napari_resunet.plugin.tools import CONTOURS_KEY, KEY_OF, NEXT_KEY, TOOLS
from napari_resunet.plugin.views.dock import Dock

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
LARGEST = 300_000
RAW = "https://raw.githubusercontent.com/napari-resunet/napari-resunet/main/docs/pictures/"

LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
SKIPPED = {"_build", "_generated"}


def pages():
    found = [p for p in DOCS.rglob("*.md") if not SKIPPED & set(p.parts)]
    return [*found, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def text(path):
    return path.read_text(encoding="utf-8")


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def links(page):
    return [(bang == "!", target) for bang, target in LINK.findall(text(page))]


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for _, target in links(page):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_is_in_a_table_of_contents():
    named = set()
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```\{toctree\}(.*?)```", text(page), re.DOTALL):
            lines = (line.strip() for line in block.splitlines())
            entries = [line for line in lines if line and not line.startswith(":")]
            named |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    users = {p.resolve() for p in pages() if DOCS in p.parents}
    assert named == users - {(DOCS / "index.md").resolve()}


def test_pictures_are_those_that_the_script_takes():
    scenes = runpy.run_path(str(DOCS / "pictures.py"))["SCENES"]
    taken = {f"{name}.png" for names in scenes.values() for name in names}
    images = [target for page in pages() for bang, target in links(page) if bang]
    used = {Path(target).name for target in images}
    assert used == taken
    assert {path.name for path in PICTURES.iterdir()} == taken
    for path in PICTURES.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG"), path
        assert path.stat().st_size <= LARGEST, path


def test_the_readme_shows_its_pictures_wherever_it_is_read():
    targets = [target for bang, target in links(ROOT / "README.md") if bang]
    assert targets
    for target in targets:
        assert target.startswith(RAW)
        assert (PICTURES / target.removeprefix(RAW)).is_file()


def test_the_readme_names_the_two_commands():
    readme, makefile = text(ROOT / "README.md"), text(ROOT / "Makefile")
    for command in ("demo", "test"):
        assert re.search(rf"^make {command}\b", readme, re.MULTILINE)
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_every_key_is_described():
    page = text(DOCS / "reference" / "buttons-and-keys.md")
    rows = dict(re.findall(r"^\| \*\*(.+?)\*\* \| `(\w)` \|", page, re.MULTILINE))
    buttons = {
        "Segment": KEY_OF["segment"],
        "Mark as verified": KEY_OF["mark_verified"],
        "Fine-tune": KEY_OF["fine_tune"],
        "Next": NEXT_KEY,
        "Done & next": KEY_OF["done_next"],
        "Contours": CONTOURS_KEY,
    }
    assert rows == buttons | {tool.title: tool.key for tool in TOOLS}


def test_every_button_of_the_dock_is_described(qtbot):
    page = text(DOCS / "reference" / "buttons-and-keys.md")
    view = Dock()
    qtbot.addWidget(view)
    texts = {
        b.text().replace("&&", "&")
        for b in view.findChildren(QAbstractButton)
        if b.objectName()
    } - {""}
    titles = set(texts)
    assert len(titles) > 20
    assert titles <= set(re.findall(r"\*\*(.+?)\*\*", page))


def test_the_architecture_page_names_every_module_and_no_other():
    page = text(DOCS / "architecture.md")
    table = page[page.index("## Where is it?") : page.index("## How data flows")]
    modules = {p.name for p in (ROOT / "src" / "napari_resunet").rglob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", table)) == modules - {"__init__.py"}


def sentences_of_the_plugin():
    """Every string in the source, with "…" for what is filled in."""
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(text(file))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "…") for part in node.values)
                yield "".join(x if isinstance(x, str) else "…" for x in parts)


def test_quoted_messages_are_those_of_the_plugin():
    page = re.sub(r"\s+", " ", text(DOCS / "troubleshooting.md"))
    quoted = {message.strip("… ") for message in re.findall('"([^"]+)"', page)}
    assert len(quoted) > 10
    everything = re.sub("['‘’]…['‘’]", "…", "\n".join(sentences_of_the_plugin()))
    assert {message for message in quoted if message not in everything} == set()


def test_the_glossary_defines_each_word_once_in_order():
    words = re.findall(r"^(.+)\n: ", text(DOCS / "glossary.md"), re.MULTILINE)
    folded = [word.casefold() for word in words]
    assert len(words) > 30
    assert folded == sorted(set(folded))


def test_the_recipe_stays_short():
    assert len(text(DOCS / "learning.md").splitlines()) <= 80
