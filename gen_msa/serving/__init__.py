"""Serve a model over HTTP: `POST /v1/explain`, `/healthz`, `/metrics` and the page `/docs`.

    server -> middleware -> app -> service: request_body -> schemas (uploads) -> batcher -> answer

One process, one model, one thread that predicts; posts of several clients are batched. Importing
this package loads no web server. Nothing is written but images, while their request lasts.

    gen-msa serve student:students/text/student port=8080
"""

from gen_msa.serving.settings import BatchingSettings, ServeSettings, ServiceLimits

__all__ = ["BatchingSettings", "ServeSettings", "ServiceLimits"]
