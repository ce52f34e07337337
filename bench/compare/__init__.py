"""The peers of this suite, written as their own documentation would have a user write them, and the comparison."""
