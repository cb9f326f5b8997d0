"""A comparison as figures: one module for each, which makes its tables and its Altair charts; and their SVG, by Vega."""
