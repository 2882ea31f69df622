"""The HTTP face of a `Service`: FastAPI's routes, with the hot ones answered without its per-request validation.

FastAPI routes and writes the OpenAPI document; a body is read, checked and answered by the protocol's own code,
because pydantic and dependency solving would cost more than tokenising (benchmarks/serve.py). Nothing is fetched from
elsewhere: /docs is one self-contained page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from luban.chinese import prefers_chinese
from luban.config import ServeConfig
from luban.errors import LubanError
from luban.records import Watch, unwatched
from luban.stages.serve import schemas
from luban.stages.serve.docs_page import docs_page
from luban.stages.serve.limits import draining, refuse
from luban.stages.serve.metrics import CONTENT_TYPE
from luban.stages.serve.protocols import kserve, plain
from luban.stages.serve.protocols.base import Face
from luban.stages.serve.served import Served
from luban.stages.serve.service import Reply, Service, failure

ABOUT = "Models served by luban. Every refusal says what happened, what was expected and what to do."


class LeanRoute(APIRoute):
    """A route whose endpoint gets the request and its path parameters and gives the response itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls with each request."""
        endpoint = self.endpoint

        async def handler(request: Request) -> Response:
            response: Response = await endpoint(request, **request.path_params)
            return response

        return handler


def build_app(models: Mapping[str, Served], config: ServeConfig, *, watch: Watch = unwatched) -> FastAPI:
    """An app that answers for these models; calibrates them first. ``app.state.service`` is its `Service`."""
    service = Service(models, config, watch)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="luban",
        version=_version(),
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.router.route_class = LeanRoute
    for declare in (
        _plain,
        _kserve,
        _house,
    ):  # on the app itself: an included router costs each request a second matching
        declare(app, service)
    _say_errors(app)
    return app


def _plain(app: FastAPI, service: Service) -> None:
    route: dict[str, Any] = {"tags": ["plain"]}

    @app.post(
        "/models/{name}/predict", response_model=schemas.Predicted, summary="Ask a model", responses=schemas.REFUSALS,
        openapi_extra=schemas.PREDICT, **route,
    )  # fmt: skip
    async def predict(request: Request, name: str) -> Response:
        return _response(await service.predict(name, request.receive), request)

    @app.get("/models", response_model=schemas.Models, summary="The models that are served", **route)
    async def models(request: Request) -> Response:
        return _json({"models": [plain.described(live.face) for live in service.models.values()]})

    @app.get("/models/{name}", response_model=schemas.Model, summary="One model", responses=schemas.MISSING, **route)
    async def model(request: Request, name: str) -> Response:
        return _json(plain.described(service.find(name).face))

    @app.post(
        "/models/{name}/explain", response_model=schemas.Explained, summary="Which words spoke for the answer",
        responses=schemas.REFUSALS, openapi_extra=schemas.EXPLAIN, **route,
    )  # fmt: skip
    async def explain(request: Request, name: str) -> Response:
        return _response(await service.explain(name, request.receive), request)


def _kserve(app: FastAPI, service: Service) -> None:
    route: dict[str, Any] = {"tags": ["KServe v2"]}

    @app.get("/v2", summary="Server metadata", **route)
    async def server(request: Request) -> Response:
        return _json(kserve.server(_version()))

    @app.get("/v2/health/live", summary="The process answers", **route)
    async def live(request: Request) -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready", summary="Requests are taken", responses=schemas.AWAY, **route)
    async def ready(request: Request) -> Response:
        taking = not service.flow.draining
        return _json({"ready": taking}, 200 if taking else 503)

    _kserve_models(app, service)


def _kserve_models(app: FastAPI, service: Service) -> None:
    route: dict[str, Any] = {"tags": ["KServe v2"]}
    asked: dict[str, Any] = {"responses": schemas.KSERVE_MISSING, **route}
    infers: dict[str, Any] = {
        "response_model": schemas.Inferred, "responses": schemas.KSERVE_REFUSALS, "openapi_extra": schemas.INFER,
        **route,
    }  # fmt: skip

    @app.post("/v2/models/{name}/infer", summary="Inference", **infers)
    async def infer(request: Request, name: str) -> Response:
        return _response(await service.infer(name, None, request.receive), request)

    @app.post("/v2/models/{name}/versions/{version}/infer", summary="Inference by a version", **infers)
    async def infer_version(request: Request, name: str, version: str) -> Response:
        return _response(await service.infer(name, version, request.receive), request)

    @app.get("/v2/models/{name}", summary="Model metadata", **asked)
    async def model(request: Request, name: str) -> Response:
        return _json(kserve.described(_face(service, name)))

    @app.get("/v2/models/{name}/versions/{version}", summary="Metadata of a version", **asked)
    async def model_version(request: Request, name: str, version: str) -> Response:
        return _json(kserve.described(_face(service, name, version)))

    @app.get("/v2/models/{name}/ready", summary="The model takes requests", **asked)
    async def ready(request: Request, name: str) -> Response:
        return _ready(service, name)

    @app.get("/v2/models/{name}/versions/{version}/ready", summary="A version takes requests", **asked)
    async def ready_version(request: Request, name: str, version: str) -> Response:
        return _ready(service, name, version)


def _house(app: FastAPI, service: Service) -> None:
    route: dict[str, Any] = {"tags": ["server"]}

    @app.get("/", summary="What there is", **route)
    async def root(request: Request) -> Response:
        places = {"predict": "/models/NAME/predict", "kserve": "/v2", "health": "/health", "metrics": "/metrics"}
        return _json({"luban": _version(), "models": list(service.models), **places, "docs": "/docs"})

    @app.get("/health", summary="Requests are taken", responses=schemas.AWAY, **route)
    async def health(request: Request) -> Response:
        if service.flow.draining:
            raise draining()
        return _json({"status": "ready", "models": list(service.models)})

    @app.get("/metrics", summary="Counters and histograms for Prometheus", **route)
    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return Response(docs_page(app.openapi()), media_type="text/html; charset=utf-8")


def _face(service: Service, name: str, version: str | None = None) -> Face:
    face = service.find(name).face
    if version is not None:
        kserve.check_version(version, face)
    return face


def _ready(service: Service, name: str, version: str | None = None) -> Response:
    taking = not service.flow.draining
    return _json({"name": _face(service, name, version).name, "ready": taking}, 200 if taking else 503)


def _say_errors(app: FastAPI) -> None:
    """Every error that leaves the app is JSON in the shape of the protocol it was asked in."""

    def reply(request: Request, error: LubanError) -> Response:
        return _response(failure(error, kserve.refused if request.url.path.startswith("/v2") else None), request)

    @app.exception_handler(LubanError)
    async def known(request: Request, error: LubanError) -> Response:
        return reply(request, error)

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        told = reply(request, _misrouted(request, error))
        told.headers.update(error.headers or {})
        return told

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        return reply(
            request, refuse(500, f"The server failed ({type(error).__name__}).", "", "Look into the server's log.")
        )


def _misrouted(request: Request, error: HTTPException) -> LubanError:
    """A refusal for what no route takes: the path is unknown, or is asked with another method."""
    asked = f"{request.method} {request.url.path}: {error.detail}."
    methods = (error.headers or {}).get("Allow")
    if methods:
        return refuse(error.status_code, asked, f"This path answers {methods}.", f"Ask it with {methods}.")
    return refuse(error.status_code, asked, "The routes are listed at /docs.", "GET / says what there is.")


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _response(reply: Reply, request: Request) -> Response:
    """A reply as it stands; an error in Chinese where the client prefers that."""
    if reply.chinese is not None and prefers_chinese(request.headers.get("accept-language", "")):
        headers = {**reply.headers, "content-language": "zh"}
        return Response(reply.chinese(), reply.status, headers, "application/json")
    return Response(reply.body, reply.status, reply.headers, "application/json")


def _version() -> str:
    try:
        return version("luban")
    except PackageNotFoundError:
        return "0"
