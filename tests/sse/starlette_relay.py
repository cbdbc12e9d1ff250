"""A relay on sse-starlette: keeps events in memory, tells its listeners, hangs up when asked to."""

import asyncio
import json
import socket

import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

events = []
listeners = set()


async def post(request):
    event = await request.json()
    events.append(event)
    for listener in listeners:
        listener.put_nowait(event)
    return JSONResponse({}, status_code=201)


async def read(request):
    after = (request.query_params.get("after_ts", ""), request.query_params.get("after_id", "~"))
    place = lambda event: (event["ts"], event["event_id"])
    behind = sorted((event for event in events if place(event) > after), key=place)
    return JSONResponse(behind[: int(request.query_params["limit"])])


async def stream(request):
    listener = asyncio.Queue()
    listeners.add(listener)

    async def messages():
        number = len(events)
        yield {"event": "greeting", "data": "hello", "retry": 100}
        while (event := await listener.get()) is not None:
            number += 1
            yield {"id": str(number), "event": "message", "data": json.dumps(event, indent=1)}

    return EventSourceResponse(messages(), ping=1)


async def hang_up(_):
    for listener in listeners:
        listener.put_nowait(None)
    listeners.clear()
    return JSONResponse({})


async def count(_):
    return JSONResponse(len(listeners))


app = Starlette(
    routes=[
        Route("/feeds/f/events", read, methods=["GET"]),
        Route("/feeds/f/events", post, methods=["POST"]),
        Route("/feeds/f/stream", stream),
        Route("/hang-up", hang_up, methods=["POST"]),
        Route("/listeners", count),
    ]
)
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
