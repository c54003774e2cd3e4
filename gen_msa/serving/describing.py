"""The OpenAPI description: what FastAPI finds by itself, and the body it cannot see.

The body is read by hand, so that it can be counted while it comes; its schema, with the limits that
are in force, is added here. Knows nothing of requests.

    describe(app, Limits())["components"]["schemas"]["AskedPost"]
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gen_msa.serving.posts import PostRequest
from gen_msa.serving.problems import ErrorResponse
from gen_msa.serving.settings import ServiceLimits

_REF = "#/components/schemas/{model}"
_POST = {"$ref": _REF.format(model="AskedPost")}
_POSTS = {"$ref": _REF.format(model="AskedPosts")}
_RED_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR42mP8z4APMOG"
    "VHbLSAEEsAQ/V+ZGNAAAAAElFTkSuQmCC"
)
OPENAPI_EXAMPLES: dict[str, Any] = {
    "one": {"value": {"text": "Great screen, awful battery", "aspects": ["screen", "battery"]}},
    "many": {
        "value": {
            "posts": [
                {"id": "a", "text": "The soup was cold", "aspects": [{"term": "soup", "start": 4}]},
                {"text": "Look at this dot", "pictures": [_RED_DOT], "meta": {"lang": "en"}},
            ]
        }
    },
}
EXPLAIN_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_POST, _POSTS, {"$ref": _REF.format(model="PostList")}]},
                "examples": OPENAPI_EXAMPLES,
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["posts"],
                    "properties": {
                        "posts": _POSTS,
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Pictures, each named by its file name in a post.",
                        },
                    },
                },
                "encoding": {"posts": {"contentType": "application/json"}},
            },
        },
    }
}
_STATUS_DESCRIPTIONS = {
    400: "The body cannot be read.",
    401: "The token is missing or wrong.",
    408: "The body came too slowly.",
    413: "The body is too large, or holds too many posts.",
    415: "The body is compressed, or of another type.",
    421: "The host is not this machine.",
    429: "Too many requests at once; see Retry-After.",
    500: "The service failed.",
    503: "The reader is loading or behind; see Retry-After.",
}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": why} for status, why in _STATUS_DESCRIPTIONS.items()
}


def build_openapi(app: FastAPI, limits: ServiceLimits, *, with_token: bool) -> dict[str, Any]:
    """The description of `app`, with the body of `/v1/explain` and the limits in force."""
    openapi = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = openapi["components"]["schemas"]
    post = PostRequest.model_json_schema(ref_template=_REF)
    schemas.update(post.pop("$defs", {}))
    for key, bound, maximum in (
        ("text", "maxLength", limits.characters),
        ("aspects", "maxItems", limits.aspects),
        ("pictures", "maxItems", limits.images),
    ):
        post["properties"][key][bound] = maximum
    post_list = {"type": "array", "items": _POST, "minItems": 1, "maxItems": limits.posts}
    schemas |= {"AskedPost": post, "PostList": post_list}
    schemas["AskedPosts"] = {
        "type": "object",
        "required": ["posts"],
        "additionalProperties": False,
        "properties": {"posts": {"$ref": _REF.format(model="PostList")}},
    }
    if with_token:
        openapi["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/v1/explain", "/metrics"):
            for operation in openapi["paths"][path].values():
                operation["security"] = [{"token": []}]
                operation["responses"].setdefault("401", {"description": _STATUS_DESCRIPTIONS[401]})
    return openapi
