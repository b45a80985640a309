"""Open Inference Protocol V2 over REST, with binary tensors, for clients of Triton and KServe.

Every error on a path below /v2 is `{"error": "..."}`. A request requires no Content-Type: Triton's
client sends none.
"""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ...errors import InvalidInput, NotFound
from ...inference.model import Model
from ...web.dependencies import ModelDep, SettingsDep
from ...web.fast_route import FastRoute
from ...web.protocol import ERROR, Protocol, check_ready, one_line_error
from ...web.read_request import read_request
from .compression import expand
from .messages import InferenceRequest, parse_request, write_response
from .openapi import describe
from .statistics import statistics
from .tensors import Tensors, TensorSpec

PREFIX = "/v2"
MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"
HEADER_LENGTH = "Inference-Header-Content-Length"
INFER = frozenset({f"{MODEL}/infer", f"{VERSION}/infer"})
_MAX_LENGTH_DIGITS = 18
_PLATFORMS = {"onnx": "onnxruntime_onnx", "skops": "scikit-learn_skops"}

router = APIRouter(tags=["open-inference"], route_class=FastRoute)


def protocol() -> Protocol:
    """Make the protocol."""
    probes = frozenset({f"{PREFIX}/health/live", f"{PREFIX}/health/ready"})
    return Protocol(router, (PREFIX,), one_line_error, probes, describe, ERROR)


async def get_named_model(request: Request, model: ModelDep) -> Model:
    """Return the model. Raises NotFound if the path has another name or version."""
    parameters = request.path_params
    manifest = model.manifest
    if parameters["model"] != manifest.name:
        raise NotFound("There is no model of this name.")
    if parameters.get("version", manifest.version) != manifest.version:
        raise NotFound("There is no such version of the model.")
    return model


NamedModelDep = Annotated[Model, Depends(get_named_model)]


async def get_inference(
    request: Request, model: NamedModelDep, settings: SettingsDep
) -> InferenceRequest:
    """Read and parse a request; of the timeouts in its header and its body, the shorter holds."""
    received = await read_request(request, settings, check=lambda _: None)
    headers = received.headers
    timeout = received.timeout
    length = _header_length(headers.get(HEADER_LENGTH.lower().encode()))
    encoding = headers.get(b"content-encoding", b"")
    body = expand(received.body, encoding, settings.max_body_bytes)
    inference = parse_request(body, length, model.adapter(Tensors))
    if timeout is not None and (inference.timeout or timeout) >= timeout:
        return replace(inference, timeout=timeout)
    return inference


InferenceDep = Annotated[InferenceRequest, Depends(get_inference)]


@router.post(f"{VERSION}/infer", response_model=None, summary="Infer (version)")
@router.post(f"{MODEL}/infer", response_model=None, summary="Infer")
async def infer(inference: InferenceDep, model: NamedModelDep) -> Response:
    """The requested outputs, or all; as JSON or, if requested, as raw bytes."""
    tensors = model.adapter(Tensors)
    outputs = await model.outputs(tensors.rows(inference.tensors, inference.timeout))
    requested = tensors.output_tensors(outputs, [name for name, _ in inference.outputs])
    manifest = model.manifest
    body, length = write_response(inference, requested, manifest.name, manifest.version)
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, 200, {HEADER_LENGTH: str(length)}, "application/octet-stream")


@router.get(f"{PREFIX}/health/live", summary="Alive")
async def live() -> dict[str, bool]:
    """Returns 200 as long as the event loop runs."""
    return {"live": True}


@router.get(f"{PREFIX}/health/ready", summary="Ready")
async def ready(request: Request) -> dict[str, bool]:
    """Returns 200 when the model is ready, else 503 with the reason."""
    check_ready(request)
    return {"live": True, "ready": True}


@router.get(f"{PREFIX}/", summary="The server", include_in_schema=False)
@router.get(PREFIX, summary="The server")
async def server(request: Request) -> dict[str, Any]:
    """Name and version of the service, and the extensions that it supports."""
    return {
        "name": request.app.title,
        "version": request.app.version,
        "extensions": ["binary_tensor_data", "model_configuration"],
    }


@router.get(f"{VERSION}/ready", summary="Model ready (version)")
@router.get(f"{MODEL}/ready", summary="Model ready")
async def model_ready(request: Request, model: NamedModelDep) -> dict[str, Any]:
    """Returns 200 when this model is ready, else 503 with the reason."""
    check_ready(request)
    return {"name": model.manifest.name, "ready": True}


@router.get(f"{PREFIX}/models/stats", summary="Statistics of every model")
async def all_stats(request: Request, model: ModelDep) -> dict[str, Any]:
    """Statistics of the model that is served; this path has precedence over a model `stats`."""
    return _statistics(request, model)


@router.get(VERSION, summary="The model (version)")
@router.get(MODEL, summary="The model")
async def metadata(model: NamedModelDep) -> dict[str, Any]:
    """The input and output tensors of the model."""
    manifest = model.manifest
    tensors = model.adapter(Tensors)
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": _platform(model),
        "inputs": tensors.inputs,
        "outputs": tensors.outputs,
    }


@router.get(f"{VERSION}/config", summary="Configuration (version)")
@router.get(f"{MODEL}/config", summary="Configuration")
async def config(model: NamedModelDep) -> dict[str, Any]:
    """The tensors in the form of Triton's model configuration, for Triton's tools."""
    tensors = model.adapter(Tensors)
    return {
        "name": model.manifest.name,
        "platform": _platform(model),
        "max_batch_size": 0,  # shapes include the rows
        "input": list(map(_configuration, tensors.inputs)),
        "output": list(map(_configuration, tensors.outputs)),
    }


@router.get(f"{VERSION}/stats", summary="Statistics (version)")
@router.get(f"{MODEL}/stats", summary="Statistics")
async def stats(request: Request, model: NamedModelDep) -> dict[str, Any]:
    """Counts and durations since the start, in the form of Triton's statistics."""
    return _statistics(request, model)


def _header_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= _MAX_LENGTH_DIGITS):
        raise InvalidInput(f"{HEADER_LENGTH} must be a number of bytes.")
    return int(value)


def _statistics(request: Request, model: Model) -> dict[str, Any]:
    manifest = model.manifest
    counts = statistics(request.app.state.metrics.collect(), INFER)
    return {"model_stats": [{"name": manifest.name, "version": manifest.version, **counts}]}


def _platform(model: Model) -> str:
    kind = model.manifest.artifact.format
    return _PLATFORMS.get(kind, kind)


def _configuration(spec: TensorSpec) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": spec.shape}
