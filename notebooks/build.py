"""Build the notebooks, or slides of them: a thin command over ``notebooks/builder``."""

import sys

from builder import lint, slides

if __name__ == "__main__":
    if "--slides" in sys.argv:
        sys.argv.remove("--slides")
        sys.exit(slides.main())
    sys.exit(lint.main())
