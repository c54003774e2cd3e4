"""Self-MM that falls over once, in a given epoch, as if its process had been stopped."""

from gen_msa.students import students
from gen_msa.students.self_mm import SelfMm


class Stopped(Exception):
    """It fell over."""


@students.register
class Stopping(SelfMm):
    """`at`: the epoch in which the next one falls; None: it does not."""

    at = None

    def learned(self, batch, said, epoch):
        super().learned(batch, said, epoch)
        if epoch == Stopping.at:
            Stopping.at = None
            raise Stopped
