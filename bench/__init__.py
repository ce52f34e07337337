"""Which pretrained CNN, fine-tuned how, classifies these medical images best, and how sure can one be?"""

__version__ = "0.1.0"

RULES = 7
"""Version of the rules that decide a score: results compare only within one (see CHANGELOG.md)."""
