"""Import this before torch: threads that wait for work then sleep instead of spinning.

Spinning gains little on an idle machine, but where other processes want the cores too (a sweep, a shared server) two
spinning threads made an epoch of the demo 13 times slower. A value that the user has set is kept.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
