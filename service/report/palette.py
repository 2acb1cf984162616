"""Colours and line styles that colour-blind eyes and grey printers tell apart.

Arms: Okabe and Ito's set without its yellow, which is lost on white, Color Universal Design, 2008; after seven the dashes change.
Maps: cividis (Nuñez, Anderton and Renslow 2018), which reads the same with every kind of colour vision and in grey.
"""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00")
DASHES = ("solid", "dash", "dot", "dashdot")
THEORY = "#666666"
ZERO = "#d55e00"
"""Of cells that are exactly zero."""
BROKEN = "#cc79a7"
"""Of cells that are not finite."""
ABSENT = "#ffffff"

CIVIDIS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip


def colour(style: int) -> str:
    return THEORY if style < 0 else COLOURS[style % len(COLOURS)]


def dash(style: int) -> str:
    return "dash" if style < 0 else DASHES[style // len(COLOURS) % len(DASHES)]
