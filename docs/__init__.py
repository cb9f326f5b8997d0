"""The documentation: its pages, and the two programs that make the site and the generated pages of them."""
