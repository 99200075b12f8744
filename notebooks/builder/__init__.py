"""The notebooks, built from their sources; ``notebooks/build.py`` is the command.

``stubs`` makes stubs of solutions; ``source`` reads a lesson, ``prose`` its words and numbers;
``translate`` puts its Markdown into another language; ``quiz`` ends it with questions, ``editions``
makes notebooks of it.
``claims`` collects the sentences that a page vouches for, ``page`` measures its code, ``lint``
judges the whole, ``execute`` runs it.
``own`` gives a learner copies; ``slides``, ``sheets`` and ``assignment`` are for a class;
``constraints`` names the versions behind the outputs; ``clone`` opens the lessons, checks a change
and runs the tests.
For the web, ``appendix`` makes pages of data, ``webpage`` one of a lesson, ``explorables`` the data
of pieces to play with; ``stage`` puts all pages of a language together, ``live`` lets lessons run
in a browser, and ``site`` builds the whole.
Each imports only such as stand before it here.
"""
