"""Self-MM that crashes once in a given epoch, as if its process had been stopped."""

from gen_msa.models import models
from gen_msa.models.self_mm import SelfMm


class Interrupted(Exception):
    """The run crashed."""


@models.register
class CrashingSelfMm(SelfMm):
    """Crashes in `crash_epoch`, once; None: never."""

    crash_epoch = None

    def on_step_end(self, batch, output, epoch):
        super().on_step_end(batch, output, epoch)
        if epoch == CrashingSelfMm.crash_epoch:
            CrashingSelfMm.crash_epoch = None
            raise Interrupted
