"""Any reader behind HTTP: `POST /v1/explain`, `/healthz`, `/metrics`, and the page `/docs`.

    running -> gate -> app -> explaining: bodies -> posts (pictures) -> batching -> answers

One process, one reader, one thread that reads; posts of several clients are read together. This
door loads no server: `running` does. Knows nothing of how readers come to their opinions, and
writes nothing but pictures for as long as their request lasts. Meets the other verbs in files only.

    gen-msa serve student:students/text/student port=8080
"""

from gen_msa.serving.settings import BatchingSettings, ServeSettings, ServiceLimits

__all__ = ["BatchingSettings", "ServeSettings", "ServiceLimits"]
