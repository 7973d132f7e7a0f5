"""The one exception that readers of this project are meant to see."""


class CourseError(Exception):
    """Something the reader can put right; the message says what was wrong and what to type instead.

    The command line prints the message alone and exits with status 2.
    """
