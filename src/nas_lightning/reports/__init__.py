"""Tables and figures from run folders."""

from nas_lightning.reports import comparison
from nas_lightning.reports.curvature import save_curvature
from nas_lightning.reports.curves import save_curves
from nas_lightning.reports.drawing import draw_cell, draw_genotype, save_genotype, save_svg
from nas_lightning.reports.mixing import draw_mixing
from nas_lightning.reports.outcome import show_outcome
from nas_lightning.reports.pool import save_pool
from nas_lightning.reports.readings import save_readings
from nas_lightning.reports.report import write_report
from nas_lightning.reports.runs import collect
from nas_lightning.reports.tables import show, summarise, write
from nas_lightning.reports.titles import run_title

__all__ = [
    "collect",
    "comparison",
    "draw_cell",
    "draw_genotype",
    "draw_mixing",
    "run_title",
    "save_curvature",
    "save_curves",
    "save_genotype",
    "save_pool",
    "save_readings",
    "save_svg",
    "show",
    "show_outcome",
    "summarise",
    "write",
    "write_report",
]
