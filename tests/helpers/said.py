"""What threads say while a test looks."""

import io
import time


class Said(io.StringIO):
    """Takes the place of stderr: what a thread says while pytest's own capture is read may be lost,
    since that reads, then empties.
    """

    def wait_for(self, text, thread):
        """Until the thread has said it, or has ended. Returns: All that was said."""
        end = time.monotonic() + 60
        while text not in self.getvalue() and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.001)
        return self.getvalue()
