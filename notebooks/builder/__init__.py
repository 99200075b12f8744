"""The notebooks, built from their sources; ``notebooks/build.py`` is the command.

The first line of each module says what it takes → what it returns. ``source`` reads a lesson, and
``translate`` renders it in another language; ``questions`` end it. ``editions`` makes notebooks of
it, ``execute`` runs them, ``lint`` says what is refused. ``slides`` and ``paper`` are for a class.
For the web, ``pages`` makes the page of a lesson, ``reference`` pages of data, ``explorables`` what
one can play with, and talk to, and ``site`` builds the whole.
"""
