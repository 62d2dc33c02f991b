"""Names, keys, and texts of the tools for whole objects, without Qt and napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ToolName = Literal["delete", "merge", "split", "add", "smooth", "copy"]
ToolControl = Literal[
    "tool_delete", "tool_merge", "tool_split", "tool_add", "tool_smooth", "tool_copy"
]
CONTROLS: dict[ToolName, ToolControl] = dict(
    zip(get_args(ToolName), get_args(ToolControl), strict=True)
)


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes
    ----------
    name : str
        Name in the code.
    title : str
        Text of its button.
    key : str
        Key on our Labels layers; napari does not use it.
    at_cursor : bool
        Whether the key acts on the object under the cursor at once. If not, it activates
        the tool.
    does : str
        What it does, for the tooltip.
    hint : str
        What to do while the tool is active.
    failed : str
        Message if nothing changed.
    through : bool
        Whether, with Alt, it acts in all slices of a volume or a film.
    """

    name: ToolName
    title: str
    key: str
    at_cursor: bool
    does: str
    hint: str
    failed: str
    through: bool = False

    @property
    def control(self) -> ToolControl:
        """Object name of its button."""
        return CONTROLS[self.name]

    @property
    def tooltip(self) -> str:
        """What it does and by which key."""
        effect = "under the cursor" if self.at_cursor else "takes the tool"
        through = "; with Alt, in all slices" if self.through else ""
        return f"{self.does} (key {self.key}: {effect}{through}; Esc leaves the tool)"


Action = Literal[
    "segment", "mark_verified", "fine_tune", "next", "done", "done_next", "contours"
]


@dataclass(frozen=True)
class Key:
    """A key on the viewer; napari uses none of them.

    Attributes
    ----------
    action : str
        What it starts.
    key : str
        The key as napari writes it.
    shown : str
        The key as users read it.
    does : str
        What it does.
    """

    action: Action
    key: str
    shown: str
    does: str


KEYS = (
    Key("segment", "G", "G", "Segment"),
    Key("mark_verified", "R", "R", "Mark the area as verified: it is right"),
    Key("next", "N", "N", "Next: where the model is least sure"),
    Key("done", "Shift-N", "Shift+N", "Done here: mark it, then Next"),
    Key("done_next", "Q", "Q", "Done & next: this image is done, open the next one"),
    Key("fine_tune", "T", "T", "Fine-tune: learn from what is verified"),
    Key("contours", "H", "H", "Contours or filled labels"),
)
KEY_OF: dict[Action, str] = {key.action: key.shown for key in KEYS}
NEXT_KEY = KEY_OF["next"]
CONTOURS_KEY = KEY_OF["contours"]
DONE_KEY = KEY_OF["done_next"]

LIST_KEY = "?"
"""Key in the window that lists the keys. napari knows no key of this name, because where it
is depends on the keyboard, so Qt handles it."""

NO_OBJECT = "There is no object: point at one."
TOOLS = (
    Tool(
        "delete", "Delete", "D", True, "Delete an object", "click on objects", NO_OBJECT,
        through=True,
    ),
    Tool(
        "merge", "Merge", "J", False, "Join the objects that you drag across",
        "drag from one object across others", "Drag across at least two objects.",
        through=True,
    ),
    Tool(
        "split", "Split", "K", False, "Divide an object by a line",
        "draw a line across an object", "The line does not divide an object.",
        through=True,
    ),
    Tool(
        "add", "Add", "A", False,
        "Add an object: scribble on it, or hold Shift and draw a box around it",
        "scribble on an object, or hold Shift and draw a box around it",
        "Nothing was added: scribble where no object is yet.",
    ),
    Tool(
        "smooth", "Smooth", "S", True, "Fill the holes of an object, smooth its contour",
        "click on objects", NO_OBJECT,
    ),
    Tool(
        "copy", "Copy to next", "C", True, "Copy an object to the next slice of the stack",
        "click on objects", "Nothing was copied: there is no object, or no room for it.",
    ),
)  # fmt: skip
THROUGH_KEYS = "Alt+" + ", ".join(tool.key for tool in TOOLS if tool.through)
THROUGH = "The same in all slices of a volume or a film; also Alt and the mouse"
BY_NAME: dict[str, Tool] = {tool.name: tool for tool in TOOLS}


def all_keys() -> list[tuple[str, str]]:
    """List all keys, each (key, what it does)."""
    tools = [(tool.key, tool.does) for tool in TOOLS]
    keys = [(key.shown, key.does) for key in KEYS]
    return [*keys, (LIST_KEY, "List the keys"), *tools, (THROUGH_KEYS, THROUGH)]
