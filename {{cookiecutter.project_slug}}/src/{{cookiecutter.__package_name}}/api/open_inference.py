"""Open Inference Protocol V2 over REST, with binary tensors: what Triton and KServe clients speak.

Every error is `{"error": "..."}`, whatever its status, on every path below /v2. A request needs no
Content-Type, as Triton's client sends none.
"""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ..dependencies import ModelDep, SettingsDep
from ..distribution import distribution
from ..errors import InvalidInput, NotFound
from ..schema.inference import InferenceRequest, read_request, write_answer
from ..schema.tensors import Description, Tensors
from ..serving.body import client_timeout, fields, read_body
from ..serving.encoding import expand
from ..serving.model import Model
from .open_inference_openapi import describe
from .protocol import ERROR, Protocol, check_ready, refuse_in_a_line
from .route import LeanRoute
from .statistics import statistics

PREFIX = "/v2"
MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"
HEADER_LENGTH = "Inference-Header-Content-Length"
INFER = frozenset({f"{MODEL}/infer", f"{VERSION}/infer"})
_LONGEST_LENGTH = 18  # digits
_PLATFORMS = {"skops": "scikit-learn_skops", "onnx": "onnxruntime_onnx"}

router = APIRouter(tags=["open-inference"], route_class=LeanRoute)


def protocol() -> Protocol:
    """Open Inference."""
    probes = frozenset({f"{PREFIX}/health/live", f"{PREFIX}/health/ready"})
    return Protocol(router, (PREFIX,), refuse_in_a_line, probes, describe, ERROR)


async def get_named_model(request: Request, model: ModelDep) -> Model:
    """The model, if it is the one that the path names.

    Raises NotFound.
    """
    named = request.path_params
    manifest = model.manifest
    if named["model"] != manifest.name:
        raise NotFound("There is no model of this name.")
    if named.get("version", manifest.version) != manifest.version:
        raise NotFound("The model is not there in this version.")
    return model


NamedModelDep = Annotated[Model, Depends(get_named_model)]


async def get_inference(
    request: Request, model: NamedModelDep, settings: SettingsDep
) -> InferenceRequest:
    """The request's tensors, decoded."""
    headers = fields(request.scope["headers"])
    waits = client_timeout(headers)
    length = _header_length(headers.get(HEADER_LENGTH.lower().encode()))
    limit = settings.max_body_bytes
    body = await read_body(headers, request.stream(), limit)
    body = expand(body, headers.get(b"content-encoding", b""), limit)
    asked = read_request(body, length, model.adapter(Tensors))
    if waits is not None and (asked.timeout or waits) >= waits:
        return replace(asked, timeout=waits)
    return asked


InferenceDep = Annotated[InferenceRequest, Depends(get_inference)]


@router.post(f"{VERSION}/infer", response_model=None, summary="Infer (version)")
@router.post(f"{MODEL}/infer", response_model=None, summary="Infer")
async def infer(asked: InferenceDep, model: NamedModelDep) -> Response:
    """The outputs that were asked for, or all; as JSON or, where asked for, as raw bytes."""
    tensors = model.adapter(Tensors)
    outputs = await model.outputs(tensors.rows(asked.tensors, asked.timeout))
    found = tensors.answers(outputs, [name for name, _ in asked.outputs])
    manifest = model.manifest
    body, length = write_answer(asked, found, manifest.name, manifest.version)
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, 200, {HEADER_LENGTH: str(length)}, "application/octet-stream")


@router.get(f"{PREFIX}/health/live", summary="Alive")
async def live() -> dict[str, bool]:
    """Answers as long as the event loop turns."""
    return {"live": True}


@router.get(f"{PREFIX}/health/ready", summary="Ready")
async def ready(request: Request) -> dict[str, bool]:
    """Answers 200 when the model may be asked, else 503 with the reason."""
    check_ready(request)
    return {"live": True, "ready": True}


@router.get(f"{PREFIX}/", summary="The server", include_in_schema=False)
@router.get(PREFIX, summary="The server")
async def server() -> dict[str, Any]:
    """What serves, and which extensions it speaks."""
    about = distribution()
    return {
        "name": about.name,
        "version": about.version,
        "extensions": ["binary_tensor_data", "model_configuration"],
    }


@router.get(f"{VERSION}/ready", summary="Model ready (version)")
@router.get(f"{MODEL}/ready", summary="Model ready")
async def model_ready(request: Request, model: NamedModelDep) -> dict[str, Any]:
    """Answers 200 when this model may be asked, else 503 with the reason."""
    check_ready(request)
    return {"name": model.manifest.name, "ready": True}


@router.get(f"{PREFIX}/models/stats", summary="Statistics of every model")
async def all_stats(request: Request, model: ModelDep) -> dict[str, Any]:
    """The same for whatever is served; stands before a model of this name."""
    return _statistics(request, model)


@router.get(VERSION, summary="The model (version)")
@router.get(MODEL, summary="The model")
async def metadata(model: NamedModelDep) -> dict[str, Any]:
    """Which tensors the model takes and gives."""
    manifest, tensors = model.manifest, model.adapter(Tensors)
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": _platform(model),
        "inputs": list(map(_described, tensors.inputs)),
        "outputs": list(map(_described, tensors.outputs)),
    }


@router.get(f"{VERSION}/config", summary="Configuration (version)")
@router.get(f"{MODEL}/config", summary="Configuration")
async def config(model: NamedModelDep) -> dict[str, Any]:
    """The same in the form of Triton's model configuration, which its tools ask for."""
    tensors = model.adapter(Tensors)
    return {
        "name": model.manifest.name,
        "platform": _platform(model),
        "max_batch_size": 0,  # shapes hold the rows
        "input": list(map(_configured, tensors.inputs)),
        "output": list(map(_configured, tensors.outputs)),
    }


@router.get(f"{VERSION}/stats", summary="Statistics (version)")
@router.get(f"{MODEL}/stats", summary="Statistics")
async def stats(request: Request, model: NamedModelDep) -> dict[str, Any]:
    """Counts and durations since the start, in the form of Triton's statistics."""
    return _statistics(request, model)


def _header_length(given: bytes | None) -> int | None:
    if given is None:
        return None
    if not (given.isdigit() and len(given) <= _LONGEST_LENGTH):
        raise InvalidInput(f"{HEADER_LENGTH} must be a number of bytes.")
    return int(given)


def _statistics(request: Request, model: Model) -> dict[str, Any]:
    manifest = model.manifest
    counted = statistics(request.app.state.metrics.collect(), INFER)
    return {"model_stats": [{"name": manifest.name, "version": manifest.version, **counted}]}


def _platform(model: Model) -> str:
    kind = model.manifest.artifact.format
    return _PLATFORMS.get(kind, kind)


def _described(tensor: Description) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _configured(tensor: Description) -> dict[str, Any]:
    datatype = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    return {"name": tensor.name, "data_type": f"TYPE_{datatype}", "dims": tensor.shape}
