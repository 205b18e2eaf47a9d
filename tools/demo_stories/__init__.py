"""A grammar of small stories: it writes them, and it checks stories that a model wrote.

One set of sentence templates does both. Writing a story binds facts (who, where, what, what went
wrong) and renders sentences that agree with them; checking reads the sentences with the same
templates and reports every fact that changes on the way.
"""

from .checker import check_story
from .writer import Story, stories, write_story

__all__ = ["Story", "check_story", "stories", "write_story"]
