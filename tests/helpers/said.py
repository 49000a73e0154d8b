"""What threads say while a test looks."""

import io

from waiting import wait_until


class Said(io.StringIO):
    """Takes the place of stderr: what a thread says while pytest's own capture is read may be lost,
    since that reads, then empties.
    """

    def wait_for(self, text, thread):
        """Until the thread has said it, or has ended. Returns: All that was said."""
        wait_until(lambda: text in self.getvalue() or not thread.is_alive(), self.getvalue)
        return self.getvalue()
