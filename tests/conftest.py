"""Makes the repository importable from the tests and keeps torch to the two cores a test machine has."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
