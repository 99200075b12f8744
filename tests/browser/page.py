"""What a test expects of a page, retried until it holds; skipped where there is no playwright."""

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
