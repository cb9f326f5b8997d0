"""Figures as SVG, by Vega-Lite: the only part of the lab that imports a drawing library."""

from wsgilab.report.charts.svg import Drawn, as_file, draw, inline

__all__ = ["Drawn", "as_file", "draw", "inline"]
