"""Render `/` and `/docs`: plain pages that need no script, no other host and no network.

html = render_pages(openapi, model="student:text")["/docs"]
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, Template

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ info.title }}: {{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8884; border-radius: .4rem }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
</style></head><body>
<h1>{{ info.title }} {{ info.version }}</h1>
<p>{{ info.description }} The model is <code>{{ model }}</code>.</p>
{% if not is_complete %}
<p><a href="/docs">How to ask it</a> · <a href="/openapi.json">its OpenAPI description</a> ·
<a href="/healthz">whether it is ready</a> · <a href="/metrics">counts and times</a></p>
{% else %}
<p><a href="/">Start</a> · <a href="/openapi.json">OpenAPI description</a></p>
{% endif %}
<pre>curl http://HOST:PORT/v1/explain -H 'content-type: application/json' \\
{% if with_token %}  -H 'authorization: Bearer TOKEN' \\
{% endif %}  -d '{{ example }}'</pre>
{% if is_complete %}
<p>With images, as uploads:</p>
<pre>curl http://HOST:PORT/v1/explain \\
{% if with_token %}  -H 'authorization: Bearer TOKEN' \\
{% endif %}  -F 'posts={"text": "Look at this", "image": "a.jpg"}' -F files=@a.jpg</pre>
{% for path, operations in paths.items() %}{% for method, operation in operations.items() %}
<h2>{{ method.upper() }} {{ path }}</h2>
<p>{{ operation.description }}</p>
<table><tr><th>status</th><th>meaning</th></tr>
{% for status, response in operation.responses.items() %}
<tr><td>{{ status }}</td><td>{{ response.description }}</td></tr>
{% endfor %}</table>
{% endfor %}{% endfor %}
{% for name, schema in schemas.items() %}
<h2 id="{{ name }}">{{ name }}</h2>
<pre>{{ schema }}</pre>
{% endfor %}{% endif %}
</body></html>
"""


def render_pages(openapi: Mapping[str, Any], model: str) -> dict[str, str]:
    """Return the HTML of each page by its path.

    Args:
        openapi: The OpenAPI document of the service.
        model: Name of the model.
    """
    examples = openapi["paths"]["/v1/explain"]["post"]["requestBody"]["content"]
    values = {
        "info": openapi["info"],
        "model": model,
        "paths": openapi["paths"],
        "with_token": "securitySchemes" in openapi["components"],
        "example": json.dumps(examples["application/json"]["examples"]["one"]["value"]),
        "schemas": {
            name: json.dumps(schema, indent=2)
            for name, schema in openapi["components"]["schemas"].items()
        },
    }
    return {
        "/": _template().render(values, title="start"),
        "/docs": _template().render(values, title="documentation", is_complete=True),
    }


@lru_cache(maxsize=1)
def _template() -> Template:
    return Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
