"""Renderings of what was measured: one comparison, many formats. Pure: values in, files as bytes out."""
