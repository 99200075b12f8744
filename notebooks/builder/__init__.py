"""The notebooks, built from their sources; ``notebooks/build.py`` is the command.

``stubs`` makes stubs of solutions; ``source`` reads a lesson, ``prose`` its words and numbers;
``translate`` puts its Markdown into another language; ``editions`` makes notebooks of it, ``lint``
judges them, ``execute`` runs them.
``own`` gives a learner copies, ``slides`` a teacher slides; ``constraints`` names the versions
behind the outputs. Each imports only such as stand before it here.
"""
