"""Tables and figures from run folders."""

from nas_lightning.reports.curves import save_curves
from nas_lightning.reports.drawing import draw_cell, save_genotype, save_svg
from nas_lightning.reports.tables import collect, show, summarise, write

__all__ = ["collect", "draw_cell", "save_curves", "save_genotype", "save_svg", "show", "summarise", "write"]
