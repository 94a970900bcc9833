"""The colors of every figure, and of the boxes that ``predict`` draws."""

# Okabe and Ito's palette, which stays apart under the common kinds of color blindness
# (Wong, "Points of view: Color blindness", Nature Methods 8, 2011). Its yellow is left out: on a
# light card it is too pale for a line.
COLOURS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
# The terms of cost and loss have one color each in every chapter.
TERMS = {"class": COLOURS["green"], "L1": COLOURS["blue"], "GIoU": COLOURS["vermilion"]}
INK = "#22262B"
QUIET = "#9AA1A9"
CARD = "#FBFAF7"  # behind every figure, on light pages and on dark ones
