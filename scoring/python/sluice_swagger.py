"""The descriptions of the service: Swagger 2, OpenAPI 3.0 and 3.1.

The user's own files win: swagger.json or swagger2.json, swagger3.json,
swagger3.1.json in the app root. Otherwise they are made from the schemas that
run() is decorated with. Property order is the original's, byte by byte.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from sluice_script import ScriptError, Settings, is_decorated

logger = logging.getLogger("azmlinfsrv.swagger")

Json = Dict[str, Any]

# Versions as they are asked for, with other names that inference-schema has.
VERSIONS = {"2": {"2", "2.0"}, "3": {"3", "3.0"}, "3.1": {"3.1"}}
MAX_FILE = 8 << 20  # bytes of a user's file


class Service(NamedTuple):
    name: str
    version: str
    prefix: str  # of the paths

    def path(self, path: str) -> str:
        prefix = self.prefix.strip("/")
        return (f"/{prefix}" if self.prefix else "") + path


def documents(
    settings: Settings, service: Service, run: Callable[..., Any]
) -> Iterator[Tuple[str, bytes]]:
    """Version and text of each description that there is."""
    found: Dict[str, Any] = {}
    for version in VERSIONS:
        document = _users(settings.app_root, version) or _made(service, version, run)
        if document is not None:
            found[version] = document
    skipped = [version for version in VERSIONS if version not in found]
    if found and skipped:
        logger.info(
            "Swaggers are prepared for versions [%s] and skipped for versions [%s].",
            ", ".join(found),
            ", ".join(skipped),
        )
    elif found:
        logger.info("Swaggers are prepared for the following versions: [%s].", ", ".join(found))
    else:
        logger.info("No swagger is prepared.")
    for version, document in found.items():
        yield version, json.dumps(document).encode("ascii")


def _users(app_root: str, version: str) -> Any:
    for name in (["swagger.json"] if version == "2" else []) + [f"swagger{version}.json"]:
        path = os.path.join(app_root, name)
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(MAX_FILE + 1)
            if len(text) > MAX_FILE:
                raise ValueError(f"it is larger than {MAX_FILE} bytes")
            document = json.loads(text)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            hint = "correct the file, or take it away: without it the description is made"
            raise ScriptError("BadValue", f"{name} cannot be used: {error}", hint) from error
        logger.info("Loaded user's swagger file for version [%s] from %s", version, path)
        if document:
            return document
    return None


def _made(service: Service, version: str, run: Callable[..., Any]) -> Optional[Json]:
    given = got = {"type": "object", "example": {}}
    schema = sys.modules.get("inference_schema.schema_util")
    if schema is not None:
        if not VERSIONS[version] & set(schema.get_supported_versions(run)):
            return None
        if is_decorated(run):
            given, got = schema.get_input_schema(run), schema.get_output_schema(run)
    if version == "2":
        return _swagger(service, given, got)
    return _openapi(service, "3.1.0" if version == "3.1" else "3.0.3", given, got)


_HEALTH = "Simple health check endpoint to ensure the service is up at any given point."
_HEALTHY = "If service is up and running, this response will be returned with the content 'Healthy'"
_RUN = "Run web service's model and get the prediction output"
_PAYLOAD = "The input payload for executing the real-time machine learning service."
_PREDICTED = (
    "The service processed the input correctly and provided a result prediction, if applicable."
)
_FAILED = "The service failed to execute due to an error."
_TEXT = {"type": "string"}
_BEARER: List[Json] = [{"Bearer": []}]
_KEY = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "description": "For example: Bearer abc123",
}


def _info(service: Service) -> Json:
    about = f"API specification for the Azure Machine Learning service {service.name}"
    return {"title": service.name, "description": about, "version": service.version}


def _schemas(given: Any, got: Any) -> Json:
    error = {"type": "object", "properties": {"message": _TEXT}}
    return {"ServiceInput": given, "ServiceOutput": got, "ErrorResponse": error}


def _answers(good: Json, error: Json) -> Json:
    return {"200": good, "default": {"description": _FAILED, **error}}


def _swagger(service: Service, given: Any, got: Any) -> Json:
    def ref(name: str) -> Json:
        return {"schema": {"$ref": "#/definitions/" + name}}

    error = ref("ErrorResponse")
    healthy = {
        "description": _HEALTHY,
        "schema": _TEXT,
        "examples": {"application/json": "Healthy"},
    }
    payload = {
        "name": "serviceInputPayload",
        "in": "body",
        "description": _PAYLOAD,
        **ref("ServiceInput"),
    }
    which = {"name": "version", "in": "query", "required": False, "type": "integer", "enum": [2, 3]}
    paths: Dict[str, Json] = {
        "/": {
            "operationId": "ServiceHealthCheck",
            "description": _HEALTH,
            "responses": _answers(healthy, error),
        },
        "/score": {
            "operationId": "RunMLService",
            "description": _RUN,
            "security": _BEARER,
            "parameters": [payload],
            "responses": _answers({"description": _PREDICTED, **ref("ServiceOutput")}, error),
        },
        "/swagger.json": {
            "operationId": "GetSwaggerSpec",
            "description": "Get the Swagger specification.",
            "parameters": [which],
            "responses": _answers(
                {"description": "The Swagger specification.", "schema": _TEXT}, error
            ),
        },
    }
    return {
        "swagger": "2.0",
        "info": _info(service),
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"Bearer": _KEY},
        "paths": _operations(service, paths),
        "definitions": _schemas(given, got),
    }


def _openapi(service: Service, version: str, given: Any, got: Any) -> Json:
    def content(schema: Json, kind: str = "application/json") -> Json:
        return {"content": {kind: {"schema": schema}}}

    def ref(name: str) -> Json:
        return content({"$ref": "#/components/schemas/" + name})

    error = ref("ErrorResponse")
    healthy = content({**_TEXT, "example": "Healthy"}, "text/plain")
    which = {
        "name": "version",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "enum": [2, 3]},
    }
    paths: Dict[str, Json] = {
        "/": {
            "operationId": "ServiceHealthCheck",
            "description": _HEALTH,
            "responses": _answers({"description": _HEALTHY, **healthy}, error),
        },
        "/score": {
            "operationId": "RunMLService",
            "description": _RUN,
            "security": _BEARER,
            "requestBody": {"description": _PAYLOAD, **ref("ServiceInput")},
            "responses": _answers({"description": _PREDICTED, **ref("ServiceOutput")}, error),
        },
        "/swagger.json": {
            "operationId": "GetSwaggerSpec",
            "description": "Get the Swagger specification.",
            "parameters": [which],
            "responses": _answers(
                {"description": "The Swagger specification.", **content(_TEXT, "text/plain")}, error
            ),
        },
    }
    return {
        "openapi": version,
        "info": _info(service),
        "security": _BEARER,
        "paths": _operations(service, paths),
        "components": {"schemas": _schemas(given, got), "securitySchemes": {"Bearer": _KEY}},
    }


def _operations(service: Service, paths: Dict[str, Json]) -> Json:
    return {
        service.path(path): {"post" if path == "/score" else "get": operation}
        for path, operation in paths.items()
    }
