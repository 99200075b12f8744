# Of transformers pyright is told that all is there: it would read the 3,100 files of all its
# models, which takes half of the check's time. The tests run what is called.
from typing import Any

def __getattr__(name: str) -> Any: ...
