"""Images: where they come from, what is wrong with them, which split they are in, and how they are stored."""
