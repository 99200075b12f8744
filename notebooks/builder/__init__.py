"""The notebooks, built from their sources; ``notebooks/build.py`` is the command.

``source`` reads a lesson, ``prose`` its numbers and words; ``translate`` puts its Markdown into
another language; ``editions`` makes notebooks of it, ``execute`` runs them, ``lint`` judges them.
``own`` gives a learner copies, ``slides`` a teacher slides; ``constraints`` names the versions
behind the outputs. Each imports only what stands before it here, but that a build is linted first.
"""
