"""The searches that this suite is compared with, written as their own documentation would have a user write them."""
