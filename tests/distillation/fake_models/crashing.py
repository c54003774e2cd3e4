"""Self-MM that falls over once, in a given epoch, as if its process had been stopped."""

from gen_msa.models import models
from gen_msa.models.self_mm import SelfMm


class Interrupted(Exception):
    """It fell over."""


@models.register
class CrashingSelfMm(SelfMm):
    """`at`: the epoch in which the next one falls; None: it does not."""

    crash_epoch = None

    def on_step_end(self, batch, output, epoch):
        super().on_step_end(batch, output, epoch)
        if epoch == CrashingSelfMm.crash_epoch:
            CrashingSelfMm.crash_epoch = None
            raise Interrupted
